"""TVM's `wmma` intrinsics in, operations on cooperative matrices (SPV_KHR_cooperative_matrix) out.

A fragment is a matrix whose elements are spread over the subgroup: a row of a buffer in one of the scopes
`wmma.matrix_a` (m x k), `wmma.matrix_b` (k x n) and `wmma.accumulator` (m x n), numbered by `index`:

- `tvm_fill_fragment(fragments, m, n, k, index, value)`
- `tvm_load_matrix_sync(fragments, m, n, k, index, address, stride, "row_major" or "col_major")`
- `tvm_mma_sync(d, index_d, a, index_a, b, index_b, c, index_c)`: d = a b + c
- `tvm_store_matrix_sync(fragments, m, n, k, index, address, stride, layout)`

`fragments` is `buffer_data(buffer)`, `address` is `address_of(element)` in global or workgroup memory of the same
dtype or of uint32, words that hold the elements, and `stride` is in elements of that memory. Every invocation of the
subgroup must come by with the same arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvm import ir
from tvm.ir.prim import expr as prim
from tvm_webgpu.codegen.spirv import storage
from tvm_webgpu.codegen.spirv.access import accesses
from tvm_webgpu.codegen.spirv.conversions import convert, low
from tvm_webgpu.codegen.spirv.dtypes import DType
from tvm_webgpu.codegen.spirv.instructions import Id
from tvm_webgpu.codegen.spirv.opcodes import Capability, MatrixLayout, MatrixUse, Op, Scope, Storage
from tvm_webgpu.codegen.spirv.scan import Fragments, addressed
from tvm_webgpu.codegen.spirv.values import Value, const

if TYPE_CHECKING:
    from tvm_webgpu.codegen.spirv.emitter import Emitter

FEATURE = "chromium-experimental-subgroup-matrix"
EXTENSION = "SPV_KHR_cooperative_matrix"
LAYOUTS = {"row_major": MatrixLayout.RowMajor, "col_major": MatrixLayout.ColumnMajor}
COMPONENTS = ("float16", "float32")
WORDS = DType("uint32", 1)


@dataclass(frozen=True, slots=True)
class Declared:
    """A declared buffer of fragments: an array of matrices, or one matrix alone."""

    fragments: Fragments
    variable: Id
    matrix: Id
    count: int
    rep: str


def _shape(e: Emitter, args: list[ir.Expr]) -> tuple[int, int, int]:
    if not all(isinstance(size, prim.IntImm) for size in args):
        raise e.unsupported("a matrix fragment whose size is not constant")
    m, n, k = (int(size) for size in args)
    return m, n, k


def _fragments(e: Emitter, data: ir.Expr) -> Fragments:
    source = data.args[0] if isinstance(data, ir.Call) else data
    found = e.scan.fragments.get(source.__chandle__())
    if found is None:
        raise e.unsupported(f"{source} is not a buffer of matrix fragments", "allocate it in a scope wmma.*")
    return found


def _declare(e: Emitter, fragments: Fragments, m: int, n: int, k: int) -> Declared:
    """The variable, declared at its first use, which tells the shape."""
    if id(fragments) in e.matrices:
        return e.matrices[id(fragments)]
    if not e.limits.subgroup_matrix:
        raise e.unsupported("matrix fragments", "the target needs feature.subgroup_matrix")
    rep = e.rep(fragments.dtype)
    if fragments.dtype.name not in COMPONENTS or (rep == "f32") != (fragments.dtype.name == "float32"):
        raise e.unsupported(f"matrix fragments of {fragments.dtype}", "they hold float32, or float16 with feature.f16")
    b = e.b
    rows, columns = {MatrixUse.A: (m, k), MatrixUse.B: (k, n), MatrixUse.Accumulator: (m, n)}[fragments.use]
    count, rest = divmod(fragments.elements, rows * columns)
    if rest or not count:
        raise e.unsupported(f"{fragments.name} of {fragments.elements} elements as matrices of {rows} x {columns}")
    e.features |= {FEATURE, "subgroups"}
    b.capabilities.add(Capability.CooperativeMatrixKHR)
    b.extensions.add(EXTENSION)
    sizes = [b.constant(b.u32, word) for word in (Scope.Subgroup, rows, columns, fragments.use)]
    matrix = b.declare(Op.TypeCooperativeMatrixKHR, getattr(b, rep), *sizes)
    held = b.array(matrix, count) if count > 1 else matrix
    declared = Declared(fragments, b.local_variable(held, fragments.name), matrix, count, rep)
    e.matrices[id(fragments)] = declared
    return declared


def _pointer(e: Emitter, declared: Declared, index: ir.Expr) -> Id:
    if declared.count == 1:
        return declared.variable
    b = e.b
    return b.op(Op.AccessChain, b.pointer(Storage.Function, declared.matrix), declared.variable, low(e, index).id)


def _place(e: Emitter, declared: Declared, args: list[ir.Expr]) -> tuple[Id, Id, Id]:
    """Pointer, layout and stride of a matrix in memory, from the arguments `address, stride, layout`.

    The pointer is to an element of the memory's array, the stride in such elements: vectors, where those divide all.
    """
    element, b = addressed(args[0], e.name), e.b
    view = e.scan.views[element.source.__chandle__()]
    if view.dtype not in (declared.fragments.dtype, WORDS):
        raise e.unsupported(f"a matrix of {declared.fragments.dtype} in a buffer of {view.dtype}")
    index = accesses(e, element.source, element.indices[0])[0][0]
    pointer, stride = storage.array_place(b, e.places[id(view.memory)], index, low(e, args[1]))
    return pointer, b.constant(b.u32, LAYOUTS[str(args[2].value)]), convert(e, stride, "u32", view.dtype).id


def _fill(e: Emitter, expr: ir.Call, args: list[ir.Expr]) -> Value:
    declared = _declare(e, _fragments(e, args[0]), *_shape(e, args[1:4]))
    value = convert(e, e.val(args[5]), declared.rep, declared.fragments.dtype)
    e.b.store(_pointer(e, declared, args[4]), e.b.op(Op.CompositeConstruct, declared.matrix, value.id))
    return const(e.b, "i32", 0)


def _load(e: Emitter, expr: ir.Call, args: list[ir.Expr]) -> Value:
    declared = _declare(e, _fragments(e, args[0]), *_shape(e, args[1:4]))
    matrix = e.b.raw(Op.CooperativeMatrixLoadKHR, declared.matrix, *_place(e, declared, args[5:8]))
    e.b.store(_pointer(e, declared, args[4]), matrix)
    return const(e.b, "i32", 0)


def _store(e: Emitter, expr: ir.Call, args: list[ir.Expr]) -> Value:
    declared = _declare(e, _fragments(e, args[0]), *_shape(e, args[1:4]))
    matrix = e.b.load(declared.matrix, _pointer(e, declared, args[4]))
    pointer, layout, stride = _place(e, declared, args[5:8])
    e.b.effect(Op.CooperativeMatrixStoreKHR, pointer, matrix, layout, stride)
    return const(e.b, "i32", 0)


def _multiply(e: Emitter, expr: ir.Call, args: list[ir.Expr]) -> Value:
    b = e.b
    declared = [e.matrices.get(id(_fragments(e, data))) for data in args[::2]]
    if None in declared:
        raise e.unsupported("a product of matrix fragments that nothing has filled or loaded")
    result, *operands = [one for one in declared if one is not None]
    uses = [one.fragments.use for one in (result, *operands)]
    if uses != [MatrixUse.Accumulator, MatrixUse.A, MatrixUse.B, MatrixUse.Accumulator]:
        raise e.unsupported(f"a product of fragments as {', '.join(use.name for use in uses)}")
    values = [b.load(one.matrix, _pointer(e, one, index)) for one, index in zip(operands, args[3::2])]
    total = b.raw(Op.CooperativeMatrixMulAddKHR, result.matrix, *values)
    b.store(_pointer(e, result, args[1]), total)
    return const(b, "i32", 0)


CALLS = {
    "tvm_fill_fragment": _fill,
    "tvm_load_matrix_sync": _load,
    "tvm_store_matrix_sync": _store,
    "tvm_mma_sync": _multiply,
}
