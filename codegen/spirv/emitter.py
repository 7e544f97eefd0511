"""One TIR device function in; one SPIR-V module and its launch description out.

Statements and expressions are emitted in one walk, each node kind by the function that the tables `STATEMENTS` and
`EXPRESSIONS` give for its class. 64-bit integers are computed in 32 bits wherever the facts prove that the result fits,
and as index arithmetic in the low word only; elsewhere exactly, as pairs (`wide`).
"""

from __future__ import annotations

from tvm import ir, tirx
from tvm.target import Target
from tvm_webgpu.codegen.spirv import arith, frame, matrix, storage
from tvm_webgpu.codegen.spirv.assembly import assemble
from tvm_webgpu.codegen.spirv.builder import Builder
from tvm_webgpu.codegen.spirv.dtypes import REPR, DType
from tvm_webgpu.codegen.spirv.expressions import EXPRESSIONS
from tvm_webgpu.codegen.spirv.instructions import Id, Region
from tvm_webgpu.codegen.spirv.launch import Binding, KernelModule
from tvm_webgpu.codegen.spirv.limits import Limits
from tvm_webgpu.codegen.spirv.opcodes import Capability, Op
from tvm_webgpu.codegen.spirv.scan import Memory, Scan, memory_bytes, plan_storage, scan
from tvm_webgpu.codegen.spirv.statements import STATEMENTS
from tvm_webgpu.codegen.spirv.values import Lanes, Val, Value
from tvm_webgpu.errors import UnsupportedError


def emit(func: tirx.PrimFunc, name: str, target: Target) -> KernelModule:
    """SPIR-V of a device function that `lower` has prepared.

    Raises UnsupportedError, naming kernel, operation and dtype, for what has no correct form in WebGPU or exceeds the
    target's limits.
    """
    return Emitter(func, name, Limits.of(target)).run()


class Emitter:
    """State of one emission, and what the functions in the tables ask of it."""

    def __init__(self, func: tirx.PrimFunc, name: str, limits: Limits) -> None:
        self.func, self.name, self.limits = func, name, limits
        self.b = Builder()
        self.env: dict[int, Value] = {}
        self.known: dict[int, tuple[Region, int, Value]] = {}  # of pure expressions: where, at which depth, what
        # Of branching expressions, by their hash: the expression, where, at which depth, what.
        self.choices: dict[int, list[tuple[ir.Expr, Region, int, Value]]] = {}
        self.exact: set[int] = set()  # divisions of floats that must be rounded once, by their handles
        self.indices: dict[str, Val] = {}
        self.places: dict[int, storage.Place] = {}
        self.matrices: dict[int, matrix.Declared] = {}
        self.features: set[str] = set()
        self.workgroup_memory = 0
        self.scan: Scan = scan(func, name)
        self.facts = self.scan.facts
        self.terms, self.dtype = self.facts.terms, self.facts.dtype

    def unsupported(self, what: str, hint: str = "") -> UnsupportedError:
        return UnsupportedError(f"kernel {self.name}: {what}" + (f"; {hint}" if hint else ""))

    def run(self) -> KernelModule:
        b = self.b
        bindings = [m for m in self.scan.memories if m.binding is not None]
        if len(bindings) > self.limits.storage_buffers:
            raise self.unsupported(
                f"needs {len(bindings)} storage buffers, the target has {self.limits.storage_buffers}",
                "fuse less, or raise feature.storage_buffers of the target where the device has more")
        size = frame.workgroup_size(self)
        grid, folds = frame.grid(self)
        scalars = frame.scalars(self, folds)
        for memory in bindings:
            self.place(memory)
        with b.function(b.void, [], self.name) as (entry, _):
            width = frame.load_scalars(self, scalars)
            frame.thread_indices(self, width if folds else None)
            self.stmt(self.func.body)
            if b.open:
                b.terminate(Op.Return)
        if self.workgroup_memory > self.limits.workgroup_memory:
            raise self.unsupported(
                f"needs {self.workgroup_memory} bytes of workgroup memory, the target has "
                f"{self.limits.workgroup_memory}",
                "use smaller tiles, or raise feature.workgroup_memory of the target where the device has more")
        return KernelModule(
            name=self.name,
            spirv=assemble(b, b.functions, self.name, entry, size),
            bindings=tuple(Binding(m.name, "read_write" if m.written else "read", m.dtype) for m in bindings),
            scalars=tuple(scalars),
            launch_tags=tuple(str(t) for t in self.func.attrs["tirx.kernel_launch_params"]),
            workgroup_size=size,
            grid=grid,
            folds_grid=folds,
            features=frozenset(self.features),
            workgroup_memory_bytes=self.workgroup_memory,
        )

    def place(self, memory: Memory) -> None:
        """Declares a piece of memory."""
        layout = plan_storage(memory, self.limits.f16)
        for view in memory.views or {memory.dtype}:
            self.check(DType(view))
        if layout.element == "f16":
            self.features.add("shader-f16")
            self.b.capabilities |= {Capability.Float16, Capability.StorageBuffer16BitAccess}
        if memory.scope == "shared":
            self.workgroup_memory += memory_bytes(memory, layout)
        self.places[id(memory)] = storage.declare(self.b, memory, layout)

    def check(self, dtype: DType) -> None:
        """Raises UnsupportedError for a dtype that nothing stands for."""
        if dtype.name not in REPR:
            raise self.unsupported(f"dtype {dtype.name}", "WebGPU has no such type; cast the model to float32")

    def rep(self, dtype: DType) -> str:
        """What a dtype is computed as."""
        self.check(dtype)
        if dtype.name == "float16" and self.limits.f16:
            self.features.add("shader-f16")
            return "f16"
        return REPR[dtype.name]

    def stmt(self, stmt: tirx.Stmt) -> None:
        emit_it = STATEMENTS.get(type(stmt))
        if emit_it is None:
            raise self.unsupported(f"statement {type(stmt).__name__} can't run in a shader")
        emit_it(self, stmt)

    def bind(self, var: ir.Var, value: Value) -> None:
        """Gives a variable its value from here on."""
        handle = var.__chandle__()
        if handle in self.env:
            self.known.clear()  # what was computed of it
            self.choices.clear()
        self.env[handle] = value

    def expr(self, expr: ir.Expr) -> Value:
        """The value of an expression; of one that depends on variables alone the one computed before in this scope."""
        expr = self.terms(expr)
        handle = expr.__chandle__()
        known, regions = self.known.get(handle), self.b.fn.regions
        if known is not None and known[1] < len(regions) and regions[known[1]] is known[0]:
            return known[2]
        emit_it = EXPRESSIONS.get(type(expr))
        if emit_it is None:
            raise self.unsupported(f"expression {type(expr).__name__}")
        value = emit_it(self, expr)
        if self.terms.pure(handle):
            self.known[handle] = regions[-1], len(regions) - 1, value
        return value

    def val(self, expr: ir.Expr) -> Val:
        """An expression that has to be a scalar, or a vector that SPIR-V has."""
        value = self.expr(expr)
        if isinstance(value, Lanes):
            raise self.unsupported(f"{self.dtype(expr)} where a scalar is needed, in {expr}")
        return value

    def condition(self, expr: ir.Expr) -> Id:
        return arith.to_bool(self.b, self.val(expr)).id
