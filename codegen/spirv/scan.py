"""A kernel's body in; what must be known before its first instruction is emitted out.

One pre-order walk collects the thread extents, the buffers that share memory and how each is accessed, and enters the
facts about every variable. `plan_storage` then decides how each piece of memory is declared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import gcd, prod

import tvm_ffi
from tvm import ir, tirx
from tvm.ir.prim import expr as prim
from tvm.tirx.buffer import is_buffer_var
from tvm_webgpu.codegen.spirv.dtypes import BYTES, FLOAT8, DType, parse
from tvm_webgpu.codegen.spirv.facts import Fact, Facts, bind, is_zero_or
from tvm_webgpu.codegen.spirv.launch import MAX_FOLDED_GRID, MAX_GRID
from tvm_webgpu.codegen.spirv.opcodes import MatrixUse
from tvm_webgpu.errors import UnsupportedError

GRID_TAGS = ("blockIdx.x", "blockIdx.y", "blockIdx.z")
BLOCK_TAGS = ("threadIdx.x", "threadIdx.y", "threadIdx.z")
SCOPES = {"global": "global", "shared": "shared", "shared.dyn": "shared", "local": "local", "": "global"}
FRAGMENTS = {"wmma.matrix_a": MatrixUse.A, "wmma.matrix_b": MatrixUse.B, "wmma.accumulator": MatrixUse.Accumulator}
"""Scopes of buffers that hold matrices spread over a subgroup."""
# Calls with the address of a matrix in memory: the argument that is the address.
MATRIX_ADDRESS = {"tvm_load_matrix_sync": 5, "tvm_store_matrix_sync": 5}
# Calls that update an element atomically, by the operation; their first argument is the element's address.
ATOMICS = {"atomic_add": "Add", "atomicAdd": "Add", "atomicMin": "Min", "atomicMax": "Max"}


@dataclass(slots=True)
class Memory:
    """One piece of memory: an argument buffer, or a shared or local allocation."""

    name: str
    scope: str  # global, shared or local
    binding: int | None = None
    dtype: str = ""  # of its allocation, or the argument's pointer type
    elements: int | None = None  # of that dtype, where static
    views: set[str] = field(default_factory=set)  # dtypes it is accessed as
    vectors: set[tuple[int, bool]] = field(default_factory=set)  # (lanes, whole and aligned) of each access
    written: bool = False
    atomic: bool = False
    matrix: int = 0  # what divides the places and strides of all matrices in it; 0: there are none


@dataclass(frozen=True, slots=True)
class View:
    """A buffer of the body: memory seen from an offset as elements of a dtype."""

    memory: Memory
    dtype: DType
    offset: ir.Expr | None


@dataclass(frozen=True, slots=True)
class Fragments:
    """A buffer of matrices, each spread over a subgroup; `elements` is their number times rows times columns."""

    name: str
    use: MatrixUse
    dtype: DType
    elements: int


@dataclass(slots=True)
class Scan:
    """What the walk found."""

    facts: Facts
    views: dict[int, View] = field(default_factory=dict)
    memories: list[Memory] = field(default_factory=list)
    extents: dict[str, ir.Expr] = field(default_factory=dict)
    fragments: dict[int, Fragments] = field(default_factory=dict)
    jumps: bool = False  # whether some loop is left early


def buffer_dtype(buffer: ir.Var, kernel: str) -> DType:
    """The element dtype; raises UnsupportedError for one that WebGPU can't hold."""
    dtype = parse(str(buffer.ty.dtype))
    if dtype.name not in BYTES:
        raise UnsupportedError(f"kernel {kernel}: buffer {buffer.name} of dtype {dtype.name}; WebGPU has no such type, "
                               "cast it to float32 or another supported one")
    return dtype


def static_size(buffer: ir.Var) -> int | None:
    """Number of elements, where the shape is constant."""
    extents = [int(e.value) for e in buffer.ty.shape if isinstance(e, prim.IntImm)]
    return prod(extents) if len(extents) == len(buffer.ty.shape) else None


LARGEST_SCALARS = "tvm_webgpu.largest"
"""Attribute of a device function: scalars, by name, that are at least 1 and at most this in every launch."""


def scan(func: tirx.PrimFunc, kernel: str) -> Scan:
    """Walks the body; raises UnsupportedError for memory of a kind that WebGPU has not."""
    largest = (func.attrs or {}).get(LARGEST_SCALARS, {})
    found = Scan(Facts({str(name): int(value) for name, value in largest.items()}))
    pointers: dict[int, Memory] = {}
    scalars = []
    for param in func.params:
        if isinstance(param.ty, ir.PointerType):
            memory = Memory(param.name, "global", binding=len(found.memories))
            pointers[param.__chandle__()] = memory
            found.memories.append(memory)
        else:
            scalars.append(param)

    def declare(stmt: tirx.DeclBuffer) -> None:
        source = stmt.data
        if isinstance(source, ir.Call):
            source = source.args[0]
        handle = source.__chandle__()
        memory = pointers[handle] if handle in pointers else found.views[handle].memory
        dtype = buffer_dtype(stmt.buffer, kernel)
        offset = stmt.buffer.ty.elem_offset
        if offset is not None and isinstance(offset, prim.IntImm) and offset.value == 0:
            offset = None
        if is_buffer_var(source) and found.views[handle].offset is not None:
            offset = found.views[handle].offset if offset is None else offset + found.views[handle].offset
        found.views[stmt.buffer.__chandle__()] = View(memory, dtype, offset)
        size = static_size(stmt.buffer)
        if memory.scope == "global":
            found.facts.shape(stmt.buffer)
            for var in scalars:
                found.facts.scalar(var)
            if not memory.dtype:
                memory.name, memory.dtype = stmt.buffer.name, dtype.name
            if memory.elements is None and size is not None:
                memory.elements = size * dtype.lanes

    def allocate(stmt: tirx.AllocBuffer) -> None:
        buffer = stmt.buffer
        scope = SCOPES.get(buffer.ty.storage_scope)
        size = static_size(buffer)
        use = FRAGMENTS.get(buffer.ty.storage_scope)
        if use is not None and size is not None:
            found.fragments[buffer.__chandle__()] = Fragments(buffer.name, use, buffer_dtype(buffer, kernel), size)
            return
        if scope not in ("shared", "local") or size is None:
            raise UnsupportedError(
                f"kernel {kernel}: buffer {buffer.name} of scope {buffer.ty.storage_scope!r} and shape "
                f"{list(buffer.ty.shape)} can't be allocated in a shader; use scope shared or local, and constants")
        dtype = buffer_dtype(buffer, kernel)
        memory = Memory(buffer.name, scope, dtype=dtype.name, elements=size * dtype.lanes)
        found.memories.append(memory)
        found.views[buffer.__chandle__()] = View(memory, dtype, None)

    def attribute(stmt: tirx.AttrStmt) -> None:
        if stmt.attr_key != "thread_extent":
            return
        tag, extent = stmt.node.thread_tag, stmt.value
        found.extents.setdefault(tag, extent)
        most = MAX_FOLDED_GRID if tag == "blockIdx.x" else MAX_GRID  # a runtime launches no more
        found.facts.set(stmt.node.var, Fact(0, max(min(found.facts(extent).hi, most) - 1, 0)))

    def loop(stmt: tirx.For) -> None:
        start, extent = found.facts(stmt.min), found.facts(stmt.extent)
        found.facts.set(stmt.loop_var, Fact(start.lo, max(start.hi + extent.hi - 1, start.lo),
                                            1 if extent.hi > 1 else start.multiple))

    def access(buffer: ir.Expr, indices: list[ir.Expr], write: bool) -> None:
        view = found.views.get(buffer.__chandle__())
        if view is None or len(indices) != 1:
            raise UnsupportedError(f"kernel {kernel}: buffer {buffer} is not a flat buffer declared in the kernel")
        memory, index = view.memory, indices[0]
        memory.views.add(view.dtype.name)
        memory.written |= write
        lanes, whole = view.dtype.lanes, True
        if isinstance(index, prim.Ramp):
            lanes *= int(index.lanes)
            whole = is_one(index.stride) and is_zero_or(found.facts(index.base), lanes)
        elif found.facts.dtype(index).lanes > 1:
            lanes, whole = found.facts.dtype(index).lanes * lanes, False
        if view.offset is not None:
            whole = whole and is_zero_or(found.facts(view.offset), lanes)
        memory.vectors.add((lanes, whole))

    def call(expr: ir.Call) -> None:
        name, args = called(expr)
        found.jumps |= name in ("break_loop", "continue_loop")
        if name in ATOMICS:
            memory = found.views[addressed(args[0], kernel).source.__chandle__()].memory
            memory.written = memory.atomic = True
        if name in MATRIX_ADDRESS:
            element = addressed(args[MATRIX_ADDRESS[name]], kernel)
            view = found.views[element.source.__chandle__()]
            memory, places = view.memory, [element.indices[0], args[MATRIX_ADDRESS[name] + 1], view.offset]
            memory.matrix = gcd(memory.matrix, *(found.facts(place).multiple for place in places if place is not None))
            memory.written |= name == "tvm_store_matrix_sync"

    def jump(_: tirx.Stmt) -> None:
        found.jumps = True

    handlers: dict[type, Callable] = {
        tirx.Break: jump,
        tirx.Continue: jump,
        tirx.DeclBuffer: declare,
        tirx.AllocBuffer: allocate,
        tirx.AttrStmt: attribute,
        tirx.For: loop,
        tirx.Bind: lambda stmt: bind(found.facts, stmt),
        prim.Let: lambda expr: bind(found.facts, expr),
        tirx.BufferStore: lambda s: access(s.buffer, s.indices, True),
        ir.TensorLoad: lambda e: access(e.source, e.indices, False),
        ir.Call: call,
    }
    nodes: list[ir.Node] = []  # handled after the walk: it would turn a typed error into another
    tvm_ffi.structural_walk(func.body, [(tuple(handlers), nodes.append)], order="pre")
    for node in nodes:
        handlers[type(node)](node)
    return found


def called(expr: ir.Call) -> tuple[str, list[ir.Expr]]:
    """Name and arguments of a call: those of the extern function, where it is one."""
    name, args = str(getattr(expr.op, "name", expr.op)).split(".", 1)[-1], list(expr.args)
    if name in ("call_pure_extern", "call_extern"):
        return str(args[0].value), args[1:]
    return name, args


def addressed(pointer: ir.Expr, kernel: str) -> ir.TensorLoad:
    """The element that an `address_of` points to."""
    if isinstance(pointer, ir.Call) and called(pointer)[0] == "address_of":
        element = pointer.args[0]
        if isinstance(element, ir.TensorLoad):
            return element
    raise UnsupportedError(f"kernel {kernel}: {pointer} is not the address of a buffer's element")


def is_one(expr: ir.Expr) -> bool:
    return isinstance(expr, prim.IntImm) and expr.value == 1


ELEMENT_BYTES = {"i32": 4, "u32": 4, "f32": 4, "f16": 2, "f64": 8}


@dataclass(frozen=True, slots=True)
class Layout:
    """How memory is declared: `width` lanes of `element` per array element, `packing` says how dtypes sit in it."""

    element: str  # i32, u32, f32, f16, f64
    width: int
    packing: str  # native, packed, pair, words


def plan_storage(memory: Memory, f16: bool) -> Layout:
    """Chooses the declaration that serves every access to the memory.

    Vectors are declared where some access is a whole aligned vector and none would fall off the end: all are such,
    or the size is a multiple of the vector.
    """
    views = {parse(v).name for v in memory.views} or {memory.dtype or "float32"}
    if len(views) > 1 and not (memory.scope != "global" and views <= {"int8", "bool"}):
        return Layout("u32", 1, "words")
    (view,) = views if len(views) == 1 else {"int8"}
    if view in ("int64", "uint64"):
        return Layout("u32", 2, "pair")
    if view == "float64":
        return Layout("f64", 1, "native")
    if view == "float32" and memory.atomic:
        return Layout("u32", 1, "words")  # updated by compare and exchange of its bits
    native = view in ("int32", "uint32", "float32") or (view == "float16" and f16)
    if memory.scope == "global" and not native:
        return Layout("u32", 1, "packed")
    width = 1
    for lanes in (4, 2):
        fits_all = all(whole and n % lanes == 0 for n, whole in memory.vectors)
        some = any(whole and n % lanes == 0 for n, whole in memory.vectors)
        divides = memory.elements is not None and memory.elements % lanes == 0
        if not memory.atomic and memory.matrix % lanes == 0 and some and (fits_all or divides):
            width = lanes
            break
    element = {"int32": "i32", "uint32": "u32", "float32": "f32", "float16": "f16" if f16 else "f32",
               "bfloat16": "f32", "int8": "i32", "int16": "i32", "uint8": "u32", "uint16": "u32", "bool": "u32",
               **dict.fromkeys(FLOAT8, "f32")}[view]
    return Layout(element, width, "native")


def memory_bytes(memory: Memory, layout: Layout) -> int:
    """Size of a shared or local allocation as declared."""
    return declared_elements(memory, layout) * layout.width * ELEMENT_BYTES[layout.element]


def declared_elements(memory: Memory, layout: Layout) -> int:
    """Length of the array that an allocation is declared as."""
    count = memory.elements or 0
    if layout.packing == "words":
        count = -(-count * BYTES[memory.dtype] // 4)
    elif layout.packing == "native":
        count = -(-count // layout.width)
    return max(count, 1)
