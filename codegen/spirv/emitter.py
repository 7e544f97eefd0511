"""One TIR device function in; one SPIR-V module and its launch description out.

Statements and expressions are emitted in one walk, each node kind by the method that `STATEMENTS` or `EXPRESSIONS`
names. 64-bit integers are computed in 32 bits wherever the facts prove that the result fits, and as index arithmetic
in the low word only; elsewhere exactly, as pairs (`wide`).
"""

from __future__ import annotations

from collections.abc import Callable

from tvm import ir, tirx
from tvm.ir.prim import expr as prim
from tvm.target import Target
from tvm_webgpu.codegen.spirv import arith, calls, storage, wide
from tvm_webgpu.codegen.spirv.arith import COMPARISONS, RING
from tvm_webgpu.codegen.spirv.builder import Builder, Id, float_bits
from tvm_webgpu.codegen.spirv.dtypes import INT_RANGE, REPR, DType, dtype_of
from tvm_webgpu.codegen.spirv.facts import Fact, is_zero_or
from tvm_webgpu.codegen.spirv.launch import MAX_GRID, Binding, KernelModule, Scalar
from tvm_webgpu.codegen.spirv.limits import Limits
from tvm_webgpu.codegen.spirv.opcodes import (
    SEMANTICS_WORKGROUP,
    BuiltIn,
    Capability,
    Op,
    Scope,
    Storage,
)
from tvm_webgpu.codegen.spirv.scan import (
    ATOMICS,
    BLOCK_TAGS,
    GRID_TAGS,
    Memory,
    Scan,
    addressed,
    called,
    is_one,
    memory_bytes,
    plan_storage,
    scan,
)
from tvm_webgpu.codegen.spirv.values import WIDE, Lanes, Val, Value, const, join, lanewise, split
from tvm_webgpu.errors import UnsupportedError

IGNORED_ATTRIBUTES = ("reduce_scope", "storage_alignment", "volatile_scope", "realize_scope", "extern_scope",
                      "tirx.noalias", "hand_threaded", "device_scope")
NARROW = {"int64": "i32", "uint64": "u32"}
SUBGROUP = {
    "webgpu.subgroup_shuffle": (Op.GroupNonUniformShuffle, Capability.GroupNonUniformShuffle),
    "webgpu.subgroup_shuffle_up": (Op.GroupNonUniformShuffleUp, Capability.GroupNonUniformShuffleRelative),
    "webgpu.subgroup_shuffle_down": (Op.GroupNonUniformShuffleDown, Capability.GroupNonUniformShuffleRelative),
}


def emit(func: tirx.PrimFunc, name: str, target: Target) -> KernelModule:
    """SPIR-V of a device function that `lower` has prepared.

    Raises UnsupportedError, naming kernel, operation and dtype, for what has no correct form in WebGPU or exceeds the
    target's limits.
    """
    return Emitter(func, name, Limits.of(target)).run()


class Emitter:
    """State of one emission."""

    def __init__(self, func: tirx.PrimFunc, name: str, limits: Limits) -> None:
        self.func, self.name, self.limits = func, name, limits
        self.b = Builder()
        self.env: dict[int, Value] = {}
        self.places: dict[int, storage.Place] = {}
        self.features: set[str] = set()
        self.workgroup_memory = 0
        self.scan: Scan = scan(func, name)
        self.facts = self.scan.facts

    def unsupported(self, what: str, hint: str = "") -> UnsupportedError:
        return UnsupportedError(f"kernel {self.name}: {what}" + (f"; {hint}" if hint else ""))

    # the whole kernel ------------------------------------------------------------------------------------------

    def run(self) -> KernelModule:
        b = self.b
        bindings = [m for m in self.scan.memories if m.binding is not None]
        if len(bindings) > self.limits.storage_buffers:
            raise self.unsupported(
                f"needs {len(bindings)} storage buffers, the target has {self.limits.storage_buffers}",
                "fuse less, or raise feature.storage_buffers of the target where the device has more")
        size = self._workgroup_size()
        grid, folds = self._grid()
        scalars = self._scalars(folds)
        for memory in bindings:
            self._place(memory)
        with b.function(b.void, [], self.name) as (entry, _):
            self._load_scalars(scalars)
            self._thread_indices(folds)
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
            spirv=b.assemble(self.name, entry, size),
            bindings=tuple(Binding(m.name, "read_write" if m.written else "read", m.dtype) for m in bindings),
            scalars=tuple(scalars),
            launch_tags=tuple(str(t) for t in self.func.attrs["tirx.kernel_launch_params"]),
            workgroup_size=size,
            grid=grid,
            folds_grid=folds,
            features=frozenset(self.features),
            workgroup_memory_bytes=self.workgroup_memory,
        )

    def _workgroup_size(self) -> tuple[int, int, int]:
        size = []
        for tag in BLOCK_TAGS:
            extent = self.scan.extents.get(tag)
            if extent is not None and not isinstance(extent, prim.IntImm):
                raise self.unsupported(f"{tag} has the extent {extent}, which is not a constant")
            size.append(extent.value if extent is not None else 1)
        if size[0] * size[1] * size[2] > self.limits.threads:
            raise self.unsupported(f"workgroup of {size[0]} x {size[1]} x {size[2]} threads, the target has "
                                   f"{self.limits.threads}", "schedule with fewer threads or raise max_num_threads")
        return size[0], size[1], size[2]

    def _grid(self) -> tuple[tuple[int | None, int | None, int | None], bool]:
        def static(tag: str) -> int | None:
            extent = self.scan.extents.get(tag)
            return 1 if extent is None else int(extent.value) if isinstance(extent, prim.IntImm) else None

        grid = (static("blockIdx.x"), static("blockIdx.y"), static("blockIdx.z"))
        folds = "blockIdx.z" not in self.scan.extents and (grid[0] is None or grid[0] > MAX_GRID)
        for tag, n in list(zip(GRID_TAGS, grid))[1 if folds else 0:]:
            if n is not None and n > MAX_GRID:
                raise self.unsupported(f"{tag} has {n} workgroups, more than {MAX_GRID}",
                                       "bind fewer, or bind the large extent to blockIdx.x and leave blockIdx.z out")
        return grid, folds

    def _scalars(self, folds: bool) -> list[Scalar]:
        scalars = []
        for param in self.func.params:
            if isinstance(param.ty, ir.PointerType):
                continue
            dtype = dtype_of(param)
            if dtype.name not in REPR:
                raise self.unsupported(f"scalar parameter {param.name} of dtype {dtype}")
            word = "float32" if dtype.is_float else "uint32" if dtype.name in ("uint32", "uint64") else "int32"
            scalars.append(Scalar(param.name, word))
        return [*scalars, Scalar("grid_x", "uint32")] if folds else scalars

    def _load_scalars(self, scalars: list[Scalar]) -> None:
        """Puts every scalar parameter's value in the environment, and the folded extent in `grid_x`."""
        if not scalars:
            return
        b = self.b
        types = [{"int32": b.i32, "uint32": b.u32, "float32": b.f32}[s.dtype] for s in scalars]
        struct = b.block_struct("scalars", [(t, 4 * i, s.name) for i, (t, s) in enumerate(zip(types, scalars))])
        variable = b.global_variable(Storage.PushConstant, struct, "args")
        b.kept.add(variable)
        params = [p for p in self.func.params if not isinstance(p.ty, ir.PointerType)]
        for i, (scalar, type) in enumerate(zip(scalars, types)):
            pointer = b.op(Op.AccessChain, b.pointer(Storage.PushConstant, type), variable, b.constant(b.i32, i))
            rep = {"int32": "i32", "uint32": "u32", "float32": "f32"}[scalar.dtype]
            value = Val(rep, (b.load(type, pointer),))
            b.name(value.id, scalar.name)
            if i < len(params):
                dtype = dtype_of(params[i])
                value = value if dtype.is_wide else self._convert(value, self.rep(dtype), dtype)
                self.env[params[i].__chandle__()] = value
            else:
                self.grid_x = value

    def _thread_indices(self, folds: bool) -> None:
        """Loads the indices in use, and leaves where a folded grid overhangs (uniformly, so barriers are safe)."""
        b = self.b
        vec3 = b.vector(b.u32, 3)
        indices: dict[str, Val] = {}
        for tags, which, label in ((GRID_TAGS, BuiltIn.WorkgroupId, "workgroup_id"),
                                   (BLOCK_TAGS, BuiltIn.LocalInvocationId, "local_invocation_id")):
            if not any(tag in self.scan.extents for tag in tags):
                continue
            vector = b.load(vec3, b.builtin(which, label))
            for i, tag in enumerate(tags):
                indices[tag] = Val("u32", (b.op(Op.CompositeExtract, b.u32, vector, i),))
        if folds:
            count = b.load(vec3, b.builtin(BuiltIn.NumWorkgroups, "num_workgroups"))
            width = Val("u32", (b.op(Op.CompositeExtract, b.u32, count, 0),))
            x = arith.binary(b, "Add", indices["blockIdx.x"], arith.binary(b, "Mul", indices["blockIdx.z"], width))
            outside = arith.binary(b, "GE", x, self.grid_x)
            with b.branch(outside.id, False) as arms:
                next(arms)
                b.terminate(Op.Return)
            indices["blockIdx.x"] = x
        self.indices = {}
        for tag in self.scan.extents:
            index = arith.bitcast(b, "i32", indices[tag])
            b.name(index.id, tag.replace(".", "_"))
            self.indices[tag] = index

    def _place(self, memory: Memory) -> None:
        layout = plan_storage(memory, self.limits.f16)
        for view in memory.views or {memory.dtype}:
            self._check(DType(view))
        if layout.element == "f16":
            self.features.add("shader-f16")
            self.b.capabilities |= {Capability.Float16, Capability.StorageBuffer16BitAccess}
        if memory.scope == "shared":
            self.workgroup_memory += memory_bytes(memory, layout)
        self.places[id(memory)] = storage.declare(self.b, memory, layout)

    def _check(self, dtype: DType) -> None:
        if dtype.name not in REPR:
            raise self.unsupported(f"dtype {dtype.name}", "WebGPU has no such type; cast the model to float32")

    # statements ------------------------------------------------------------------------------------------------

    def stmt(self, stmt: tirx.Stmt) -> None:
        kind = type(stmt).__name__
        if kind not in STATEMENTS:
            raise self.unsupported(f"statement {kind} can't run in a shader")
        STATEMENTS[kind](self, stmt)

    def _seq(self, stmt: tirx.SeqStmt) -> None:
        for part in stmt.seq:
            if not self.b.open:
                return
            self.stmt(part)

    def _attr(self, stmt: tirx.AttrStmt) -> None:
        if stmt.attr_key == "thread_extent":
            self.env[stmt.node.var.__chandle__()] = self._thread_var(stmt.node)
        elif stmt.attr_key not in IGNORED_ATTRIBUTES and not stmt.attr_key.startswith("pragma_"):
            raise self.unsupported(f"attribute {stmt.attr_key}")
        self.stmt(stmt.body)

    def _thread_var(self, iter_var: tirx.IterVar) -> Val:
        tag = iter_var.thread_tag
        if tag not in self.indices:
            raise self.unsupported(f"thread tag {tag}")
        dtype = dtype_of(iter_var.var)
        return self.indices[tag] if dtype.is_wide else self._convert(self.indices[tag], self.rep(dtype), dtype)

    def _declare(self, stmt: tirx.DeclBuffer) -> None:
        pass  # the scan has resolved it

    def _allocate(self, stmt: tirx.AllocBuffer) -> None:
        memory = self.scan.views[stmt.buffer.__chandle__()].memory
        if id(memory) not in self.places:
            self._place(memory)

    def _bind(self, stmt: tirx.Bind) -> None:
        if isinstance(stmt.var.ty, ir.PointerType):
            raise self.unsupported(f"pointer variable {stmt.var.name}")
        self.env[stmt.var.__chandle__()] = self.expr(stmt.value)

    def _evaluate(self, stmt: tirx.Evaluate) -> None:
        if isinstance(stmt.value, ir.Call):
            self._call(stmt.value)
        elif not isinstance(stmt.value, prim.IntImm):
            self.expr(stmt.value)

    def _if(self, stmt: tirx.IfThenElse) -> None:
        condition = self._condition(stmt.condition)
        known = self.b.bool_value(condition)
        if known is not None:
            taken = stmt.then_case if known else stmt.else_case
            if taken is not None:
                self.stmt(taken)
            return
        with self.b.branch(condition, stmt.else_case is not None) as arms:
            next(arms)
            self.stmt(stmt.then_case)
            if stmt.else_case is not None:
                next(arms)
                self.stmt(stmt.else_case)

    def _for(self, stmt: tirx.For) -> None:
        b, var = self.b, stmt.loop_var
        if stmt.kind == tirx.ForKind.VECTORIZED:
            raise self.unsupported(f"vectorized loop over {var.name} that was not lowered")
        extent, start = self.facts(stmt.extent), self.facts(stmt.min)
        step = int(stmt.step) if stmt.step is not None else 1
        end = Fact(start.lo + extent.lo, start.hi + extent.hi)
        if extent.hi <= 0:
            return
        if not (start.fits_i32 and end.fits_i32) or step <= 0:
            raise self.unsupported(f"loop over {var.name} whose range [{stmt.min}, {stmt.min} + {stmt.extent}) may "
                                   "exceed 32 bits")
        first = self.low(stmt.min)
        if extent.lo == extent.hi == 1 and not self.scan.jumps:
            self._set_index(var, first)
            self.stmt(stmt.body)
            return
        bound = arith.binary(b, "Add", first, self.low(stmt.extent))
        with b.counted_loop(first.id, bound.id, step, b.i32) as i:
            b.name(i, var.name)
            self._set_index(var, Val("i32", (i,)))
            self.stmt(stmt.body)

    def _set_index(self, var: ir.Var, index: Val) -> None:
        dtype = dtype_of(var)
        self.env[var.__chandle__()] = index if dtype.is_wide else self._convert(index, self.rep(dtype), dtype)

    def _while(self, stmt: tirx.While) -> None:
        with self.b.while_loop():
            self.b.break_unless(self._condition(stmt.condition))
            self.stmt(stmt.body)

    def _break(self, stmt: tirx.Break) -> None:
        self.b.jump("break")

    def _continue(self, stmt: tirx.Continue) -> None:
        self.b.jump("continue")

    def _store(self, stmt: tirx.BufferStore) -> None:
        view = self.scan.views[stmt.buffer.__chandle__()]
        dtype = DType(view.dtype.name, dtype_of(stmt.value).lanes)
        value = self._coerce(self.expr(stmt.value), dtype)
        place = self.places[id(view.memory)]
        for index, first, count, whole in self._accesses(stmt.buffer, stmt.indices[0]):
            part = value if count == value.lanes else join(self.b, split(self.b, value)[first:first + count])
            storage.store(self.b, place, dtype.name, index, part, whole)

    def _accesses(self, buffer: ir.Var, index: ir.Expr) -> list[tuple[Val, int, int, bool]]:
        """The runs of consecutive elements an access touches: (i32 index, first lane, lanes, whole and aligned)."""
        view = self.scan.views[buffer.__chandle__()]
        b, unit = self.b, view.dtype.lanes
        offset = self.low(view.offset) if view.offset is not None else None

        def at(position: Val) -> Val:
            scaled = arith.binary(b, "Mul", position, const(b, "i32", unit)) if unit > 1 else position
            return scaled if offset is None else arith.binary(b, "Add", scaled, offset)

        def aligned(base: ir.Expr, lanes: int) -> bool:
            whole = is_zero_or(self.facts(base), lanes) or unit == lanes
            return whole and (view.offset is None or is_zero_or(self.facts(view.offset), lanes))

        if isinstance(index, prim.Ramp) and is_one(index.stride):
            lanes = int(index.lanes) * unit
            return [(at(self.low(index.base)), 0, lanes, aligned(index.base, lanes))]
        if dtype_of(index).lanes == 1:
            return [(at(self.low(index)), 0, unit, aligned(index, unit))]
        positions = [self._low_word(p) for p in split(b, self.expr(index))]
        return [(at(p), i * unit, unit, unit == 1 or view.offset is None) for i, p in enumerate(positions)]

    # expressions -----------------------------------------------------------------------------------------------

    def rep(self, dtype: DType) -> str:
        """What a dtype is computed as."""
        self._check(dtype)
        if dtype.name == "float16" and self.limits.f16:
            self.features.add("shader-f16")
            return "f16"
        return REPR[dtype.name]

    def expr(self, expr: ir.Expr) -> Value:
        kind = type(expr).__name__
        if isinstance(expr, prim.BinaryOpExpr | prim.CmpExpr) or kind in ("And", "Or"):
            return self._binary(expr, kind)
        if kind not in EXPRESSIONS:
            raise self.unsupported(f"expression {kind}")
        return EXPRESSIONS[kind](self, expr)

    def val(self, expr: ir.Expr) -> Val:
        """An expression that has to be a scalar, or a vector that SPIR-V has."""
        value = self.expr(expr)
        if isinstance(value, Lanes):
            raise self.unsupported(f"{dtype_of(expr)} where a scalar is needed, in {expr}")
        return value

    def _condition(self, expr: ir.Expr) -> Id:
        return arith.to_bool(self.b, self.val(expr)).id

    def low(self, expr: ir.Expr) -> Val:
        """The low 32 bits as i32: all that an index needs, and exact wherever the value fits."""
        b, dtype = self.b, dtype_of(expr)
        kind = type(expr).__name__
        if dtype.is_wide and not self._fits(self.facts(expr), dtype):
            if kind in RING:
                return arith.binary(b, kind, self.low(expr.a), self.low(expr.b))
            if isinstance(expr, prim.Cast) and dtype_of(expr.value).is_int:
                return self.low(expr.value)
        return self._low_word(self.val(expr))

    def _low_word(self, value: Val) -> Val:
        if value.rep in WIDE:
            return arith.bitcast(self.b, "i32", Val("u32", (value.ids[0],)))
        return arith.convert(self.b, value, "i32", "int32")

    def _fits(self, fact: Fact, dtype: DType) -> bool:
        return fact.within(*INT_RANGE["int32" if dtype.name == "int64" else "uint32"])

    def _narrow(self, value: Val, dtype: DType) -> Val:
        """A 64-bit value known to fit, in 32 bits."""
        rep = NARROW[dtype.name]
        if value.rep in WIDE:
            value = Val("u32", (value.ids[0],))
        return arith.convert(self.b, value, rep, "")

    def _coerce(self, value: Value, dtype: DType) -> Value:
        """A value in its dtype's own representation: 64-bit integers as pairs."""
        rep = self.rep(dtype)
        return lanewise(self.b, lambda v: self._convert(v, rep, dtype), value)

    def _convert(self, value: Val, rep: str, dtype: DType) -> Val:
        b = self.b
        if value.rep == rep:
            return value
        if rep in WIDE:
            if value.rep in arith.FLOATS:
                return wide.from_float(b, arith.convert(b, value, "f32", ""), rep)
            return wide.widen(b, value, rep)
        if value.rep in WIDE:
            if rep == "bool":
                return arith.to_bool(b, arith.binary(b, "BitwiseOr", *wide.words(value)))
            if rep in arith.FLOATS:
                return arith.convert(b, wide.to_float(b, value), rep, "")
            value = Val("u32", (value.ids[0],))
        return arith.convert(b, value, rep, dtype.name)

    def _int(self, expr: prim.IntImm) -> Value:
        dtype = dtype_of(expr)
        rep = self.rep(dtype)
        if dtype.is_wide and self._fits(self.facts(expr), dtype):
            rep = NARROW[dtype.name]
        return const(self.b, rep, expr.value)

    def _float(self, expr: prim.FloatImm) -> Value:
        rep = self.rep(dtype_of(expr))
        bits = float_bits(expr.value, 32)
        if bits & 0x7F800000 != 0x7F800000:
            return const(self.b, rep, expr.value)
        return arith.convert(self.b, Val("f32", (self.b.opaque_float(bits),)), rep, "")

    def _var(self, expr: ir.Var) -> Value:
        if expr.__chandle__() not in self.env:
            raise self.unsupported(f"variable {expr.name} is not defined in the kernel")
        return self.env[expr.__chandle__()]

    def _binary(self, expr: ir.Expr, kind: str) -> Value:
        b, dtype = self.b, dtype_of(expr.a)
        if dtype.is_wide:
            return self._wide_binary(expr, kind, dtype)
        fx, fy = (self.facts(expr.a), self.facts(expr.b)) if dtype.is_int and dtype.lanes == 1 else (None, None)
        x, y = self.expr(expr.a), self.expr(expr.b)

        def one(p: Val, q: Val) -> Val:
            result = arith.binary(b, kind, p, q, fx, fy)
            return result if result.rep == "bool" else arith.wrap(b, result, dtype.name)

        return lanewise(b, one, x, y)

    def _wide_binary(self, expr: ir.Expr, kind: str, dtype: DType) -> Value:
        b = self.b
        if dtype.lanes > 1:
            rep = self.rep(dtype)
            return lanewise(b, lambda p, q: wide.wide_binary(b, kind, wide.widen(b, p, rep), wide.widen(b, q, rep)),
                            self.expr(expr.a), self.expr(expr.b))
        fx, fy = self.facts(expr.a), self.facts(expr.b)
        compares = kind in COMPARISONS
        fits = compares or self._fits(self.facts(expr), dtype)
        if fits and not compares and kind in RING:
            result = arith.binary(b, kind, self.low(expr.a), self.low(expr.b))
            return arith.bitcast(b, NARROW[dtype.name], result)
        if fits and self._fits(fx, dtype) and self._fits(fy, dtype):
            x, y = (self._narrow(self.val(e), dtype) for e in (expr.a, expr.b))
            return arith.binary(b, kind, x, y, fx, fy)
        rep = self.rep(dtype)
        x, y = (self._convert(self.val(e), rep, dtype) for e in (expr.a, expr.b))
        result = wide.wide_binary(b, kind, x, y)
        return self._narrow(result, dtype) if fits and not compares else result

    def _not(self, expr: ir.Expr) -> Value:
        b, dtype = self.b, dtype_of(expr.a)

        def one(x: Val) -> Val:
            return wide.invert(b, x) if x.rep in WIDE else arith.wrap(b, arith.invert(b, x), dtype.name)

        return lanewise(b, one, self.expr(expr.a))

    def _cast(self, expr: prim.Cast) -> Value:
        source, target = dtype_of(expr.value), dtype_of(expr)
        self._check(source)
        rep = self.rep(target)
        if target.is_wide and target.lanes == 1 and self._fits(self.facts(expr), target) and source.is_int:
            return self._narrow(self.val(expr.value), target)

        def one(v: Val) -> Val:
            return arith.wrap(self.b, v, target.name) if v.rep == rep else self._convert(v, rep, target)

        return lanewise(self.b, one, self.expr(expr.value))

    def _load(self, expr: ir.TensorLoad) -> Value:
        view = self.scan.views[expr.source.__chandle__()]
        place, rep = self.places[id(view.memory)], self.rep(view.dtype)
        parts = [storage.load(self.b, place, view.dtype.name, rep, index, count, whole)
                 for index, _, count, whole in self._accesses(expr.source, expr.indices[0])]
        return parts[0] if len(parts) == 1 else join(self.b, [e for p in parts for e in split(self.b, p)])

    def _pick(self, expr: ir.Expr, condition: ir.Expr, x: ir.Expr, y: ir.Expr) -> Value:
        """Eager select."""
        dtype, b = dtype_of(expr), self.b
        values = [self._arm(e, expr, dtype) for e in (x, y)]
        chosen = self.expr(condition)
        if isinstance(values[0], Lanes) or isinstance(values[1], Lanes) or isinstance(chosen, Lanes):
            conditions = split(b, chosen) * (dtype.lanes // chosen.lanes)
            return join(b, [arith.select(b, c, p, q)
                            for c, p, q in zip(conditions, *(split(b, v) for v in values))])
        return arith.select(b, chosen, values[0], values[1])

    def _arm(self, arm: ir.Expr, whole: ir.Expr, dtype: DType) -> Value:
        if dtype.is_wide and dtype.lanes == 1 and self._fits(self.facts(whole), dtype):
            return self._narrow(self.val(arm), dtype)
        return self._coerce(self.expr(arm), dtype)

    def _lazy(self, expr: ir.Call) -> Value:
        """prim.if_then_else: only the arm taken is computed, unless both are free."""
        condition, x, y = expr.args
        if all(isinstance(e, prim.IntImm | prim.FloatImm | ir.Var) for e in (x, y)):
            return self._pick(expr, condition, x, y)
        b, dtype = self.b, dtype_of(expr)
        test = self._condition(condition)
        shapes: list[Value] = []

        def arm(e: ir.Expr) -> Callable[[], tuple[Id, ...]]:
            def make() -> tuple[Id, ...]:
                value = self._arm(e, expr, dtype)
                shapes.append(value)
                return value.ids if isinstance(value, Val) else tuple(i for v in value.elems for i in v.ids)
            return make

        ids = b.choose(test, arm(x), arm(y))
        like = shapes[0]
        if isinstance(like, Val):
            return Val(like.rep, ids, like.lanes)
        step = len(like.elems[0].ids)
        return Lanes(tuple(Val(like.rep, ids[i:i + step]) for i in range(0, len(ids), step)))

    def _select(self, expr: prim.Select) -> Value:
        return self._pick(expr, expr.condition, expr.true_value, expr.false_value)

    def _let(self, expr: prim.Let) -> Value:
        self.env[expr.var.__chandle__()] = self.expr(expr.value)
        return self.expr(expr.body)

    def _ramp(self, expr: prim.Ramp) -> Value:
        b, dtype = self.b, dtype_of(expr)
        base, stride = (self._convert(self.val(e), self.rep(dtype), dtype) for e in (expr.base, expr.stride))
        f = wide.wide_binary if dtype.is_wide else arith.binary
        rep = self.rep(dtype)
        return join(b, [f(b, "Add", base, f(b, "Mul", stride, const(b, rep, i)))
                        for i in range(dtype.lanes)])

    def _broadcast(self, expr: prim.Broadcast) -> Value:
        dtype = dtype_of(expr)
        value = self._coerce(self.expr(expr.value), DType(dtype.name))
        lanes = split(self.b, value)
        return join(self.b, lanes * (dtype.lanes // len(lanes)))

    def _shuffle(self, expr: prim.Shuffle) -> Value:
        dtype = dtype_of(expr)
        lanes = [e for v in expr.vectors for e in split(self.b, self._coerce(self.expr(v), dtype_of(v)))]
        if not all(isinstance(i, prim.IntImm) for i in expr.indices):
            raise self.unsupported(f"shuffle of {dtype} by indices that are not constant")
        return join(self.b, [lanes[int(i)] for i in expr.indices])

    # calls -----------------------------------------------------------------------------------------------------

    def _call(self, expr: ir.Call) -> Value:
        short, args = called(expr)
        if short in ATOMICS:
            return self._atomic(short, args)
        if short in CALLS:
            return CALLS[short](self, expr, args)
        if short in SUBGROUP:
            return self._subgroup(short, args)
        function = calls.lookup(short)
        dtype = dtype_of(expr)
        if function is None or any(dtype_of(a).is_wide for a in args):
            given = ", ".join(str(dtype_of(a)) for a in args if hasattr(a.ty, "dtype"))
            raise self.unsupported(f"operation {short}({given}) -> {dtype}", "no WebGPU form of it is known")
        values = [self._coerce(self.expr(a), dtype_of(a)) for a in args]
        result = lanewise(self.b, lambda *v: function(self.b, *v), *values)
        return self._coerce(result, dtype)

    def _barrier(self, expr: ir.Call, args: list[ir.Expr]) -> Value:
        scope = str(args[0].value)
        if scope not in ("shared", "shared.dyn"):
            raise self.unsupported(f"synchronisation of {scope} memory", "WebGPU synchronises within a workgroup only")
        b = self.b
        workgroup = b.constant(b.u32, Scope.Workgroup)
        b.effect(Op.ControlBarrier, workgroup, workgroup, b.constant(b.u32, SEMANTICS_WORKGROUP))
        return const(b, "i32", 0)

    def _atomic(self, name: str, args: list[ir.Expr]) -> Value:
        element, dtype = addressed(args[0], self.name), dtype_of(args[1])
        view = self.scan.views[element.source.__chandle__()]
        if view.dtype.name not in ("int32", "uint32", "float32") or view.dtype.name != dtype.name:
            raise self.unsupported(f"{name} of {dtype} on a buffer of {view.dtype}", "WebGPU's atomics have 32 bits")
        index = self._accesses(element.source, element.indices[0])[0][0]
        return storage.atomic(self.b, self.places[id(view.memory)], ATOMICS[name], index, self.val(args[1]))

    def _subgroup(self, name: str, args: list[ir.Expr]) -> Value:
        if not self.limits.subgroups:
            raise self.unsupported(name, "the target needs feature.subgroups")
        self.features.add("subgroups")
        b, (op, capability) = self.b, SUBGROUP[name]
        b.capabilities |= {Capability.GroupNonUniform, capability}
        value, lane = self.expr(args[0]), arith.bitcast(b, "u32", self.low(args[1]))
        scope = b.constant(b.u32, Scope.Subgroup)

        def one(v: Val) -> Val:
            type = b.u32 if len(v.ids) == 2 else b.type_of(v.id)
            return Val(v.rep, tuple(b.raw(op, type, scope, i, lane.id) for i in v.ids), v.lanes)

        return lanewise(b, one, value)

    def _warp_shuffle(self, expr: ir.Call, args: list[ir.Expr]) -> Value:
        """tvm_warp_shuffle{,_up,_down}(mask, value, lane or delta, width, warp size)."""
        kind = str(expr.op.name).removeprefix("tirx.tvm_warp_shuffle")
        return self._subgroup("webgpu.subgroup_shuffle" + kind, args[1:3])

    def _first(self, expr: ir.Call, args: list[ir.Expr]) -> Value:
        return self.expr(args[0])

    def _nothing(self, expr: ir.Call, args: list[ir.Expr]) -> Value:
        return const(self.b, "i32", 0)

    def _dp4a(self, expr: ir.Call, args: list[ir.Expr]) -> Value:
        """acc + dot of two vectors of four 8-bit integers."""
        b, rep = self.b, self.rep(dtype_of(expr))
        x, y = (split(b, self.expr(a)) for a in args[:2])
        total = self.val(args[2])
        for p, q in zip(x, y):
            product = arith.binary(b, "Mul", arith.bitcast(b, rep, p), arith.bitcast(b, rep, q))
            total = arith.binary(b, "Add", total, product)
        return total

    def _reinterpret(self, expr: ir.Call, args: list[ir.Expr]) -> Value:
        source, target = dtype_of(args[0]), dtype_of(expr)
        value, rep = self._coerce(self.expr(args[0]), source), self.rep(target)
        same = {"int32", "uint32", "float32"}
        if source.lanes == target.lanes and {source.name, target.name} <= same:
            return lanewise(self.b, lambda v: arith.bitcast(self.b, rep, v), value)
        fields = storage.FIELDS
        if source.lanes == target.lanes and source.name in fields and target.name in fields:
            def one(v: Val) -> Val:
                bits = fields[source.name][1](self.b, self._convert(v, REPR[source.name], source))
                back = fields[target.name][0](self.b, bits, wide.u32(self.b, 0))
                return self._convert(back, rep, target)
            return join(self.b, [one(v) for v in split(self.b, value)])
        if source.is_wide and target.is_wide:
            return lanewise(self.b, lambda v: Val(rep, v.ids), value)
        raise self.unsupported(f"reinterpret of {source} as {target}")

    def _break_call(self, expr: ir.Call, args: list[ir.Expr]) -> Value:
        self.b.jump("break" if expr.op.name.endswith("break_loop") else "continue")
        return const(self.b, "i32", 0)


STATEMENTS: dict[str, Callable[[Emitter, tirx.Stmt], None]] = {
    "SeqStmt": Emitter._seq, "AttrStmt": Emitter._attr, "DeclBuffer": Emitter._declare,
    "AllocBuffer": Emitter._allocate, "Bind": Emitter._bind, "Evaluate": Emitter._evaluate,
    "IfThenElse": Emitter._if, "For": Emitter._for, "While": Emitter._while, "BufferStore": Emitter._store,
    "Break": Emitter._break, "Continue": Emitter._continue,
}
EXPRESSIONS: dict[str, Callable[[Emitter, ir.Expr], Value]] = {
    "IntImm": Emitter._int, "FloatImm": Emitter._float, "Var": Emitter._var, "Not": Emitter._not,
    "BitwiseNot": Emitter._not, "Cast": Emitter._cast, "TensorLoad": Emitter._load, "Select": Emitter._select,
    "Let": Emitter._let, "Ramp": Emitter._ramp, "Broadcast": Emitter._broadcast, "Shuffle": Emitter._shuffle,
    "Call": Emitter._call,
}
CALLS: dict[str, Callable[[Emitter, ir.Call, list[ir.Expr]], Value]] = {
    "if_then_else": lambda self, expr, args: self._lazy(expr),
    "tvm_storage_sync": Emitter._barrier,
    "tvm_thread_invariant": Emitter._first, "likely": Emitter._first,
    "assume": Emitter._nothing, "tvm_warp_activemask": Emitter._nothing,
    "tvm_warp_shuffle": Emitter._warp_shuffle, "tvm_warp_shuffle_up": Emitter._warp_shuffle,
    "tvm_warp_shuffle_down": Emitter._warp_shuffle,
    "dp4a": Emitter._dp4a, "reinterpret": Emitter._reinterpret,
    "break_loop": Emitter._break_call, "continue_loop": Emitter._break_call,
}
