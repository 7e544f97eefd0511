"""Blocks as data: a PrimFunc in; its loop nests (iterators, initial and update statements) and who feeds whom out.

Inlining is left to `s_tir.Schedule`; what remains are nests that a kernel writer can emit in any order and mapping.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir.schedule import SBlockRV
from tvm.tirx.analysis import undefined_vars

from .axis import Axis
from .blocks import NotApplicable, inline_injective, kinds, open_schedule
from .builder import Kernel, i64


@dataclass(frozen=True)
class Nest:
    """One block: its spatial and reduced iterators, statements, and the buffers that it reads and writes."""

    spatial: Axis
    reduced: Axis
    init: tirx.Stmt | None
    body: tirx.Stmt
    reads: tuple[tirx.Buffer, ...]
    writes: tuple[tirx.Buffer, ...]

    @property
    def reduces(self) -> bool:
        """Whether there is a reduction, be it over a single element."""
        return self.init is not None

    @property
    def single(self) -> bool:
        """Whether the body is one store."""
        return isinstance(self.body, tirx.BufferStore)

    @property
    def store(self) -> tirx.BufferStore:
        """The only statement of the body. Raises NotApplicable where there are more."""
        if not self.single:
            raise NotApplicable("more than one store in a block")
        return self.body


def nests_of(func: tirx.PrimFunc) -> list[Nest]:
    """The nests that remain after inlining, in order. Raises NotApplicable for blocks of any other kind."""
    sch, blocks = open_schedule(func)
    return [_nest(sch, block) for block in inline_injective(sch, blocks)]


def _nest(sch: s_tir.Schedule, rv: SBlockRV) -> Nest:
    block, letters = sch.get(rv), kinds(sch, rv)
    if "O" in letters or len(block.alloc_buffers) or len(block.match_buffers):
        raise NotApplicable("a block is neither spatial nor a reduction")
    if "R" in letters and block.init is None:
        raise NotApplicable("a reduction has no initial value")
    by_kind = {k: [it for it, letter in zip(block.iter_vars, letters) if letter == k] for k in "SR"}
    return Nest(
        Axis.of(by_kind["S"]),
        Axis.of(by_kind["R"]),
        block.init,
        block.body,
        tuple(r.source for r in block.reads),
        tuple(w.source for w in block.writes),
    )


def declare_intermediates(kernel: Kernel, func: tirx.PrimFunc, nests: list[Nest], kept: set[tirx.Buffer]) -> None:
    """Allocates, in global memory, what one nest writes for another, except the buffers in `kept`."""
    known = set(func.params)
    for nest in nests:
        for buffer in nest.writes:
            if buffer not in known and buffer not in kept:
                known.add(buffer)
                kernel.allocate(buffer)


def same_space(a: Axis, b: Axis) -> bool:
    """Whether two axes have equally many positions, for certain."""
    return tvm.sym.Analyzer().can_prove_equal(i64(a.extent), i64(b.extent))


def reads_in_place(nest: Nest, buffer: tirx.Buffer, writer: Nest) -> dict[tirx.Var, tirx.Expr] | None:
    """Values of `nest`'s iterators in terms of the writer's, if each position reads what the writer wrote there.

    None where the read is anything but one to one.
    """
    if not nest.single:
        return None
    written = _store_indices(writer, buffer)
    if written is None:
        return None
    own = {var for var, _ in nest.spatial.iterators}
    single = {var for var, size in nest.spatial.iterators if is_one(size)}
    mapping: dict[tirx.Var, tirx.Expr] = {var: i64(0) for var in single}
    found = False
    for load in loads_of(nest.store.value):
        if not load.source.same_as(buffer):
            continue
        found = True
        for theirs, ours in zip(load.indices, written, strict=True):
            if isinstance(theirs, tirx.Var) and theirs in own:
                if theirs not in single and theirs in mapping and not mapping[theirs].same_as(ours):
                    return None
                mapping[theirs] = ours
            elif not (isinstance(theirs, tirx.IntImm) and int(theirs) == 0):
                return None
    complete = found and own <= set(mapping) and same_space(nest.spatial, writer.spatial)
    return mapping if complete else None


def _store_indices(nest: Nest, buffer: tirx.Buffer) -> tuple[tirx.Expr, ...] | None:
    """Where the nest stores to the buffer, if at one place."""
    found: list[tirx.BufferStore] = []
    tvm_ffi.structural_walk(nest.body, (tirx.BufferStore, found.append), order="post")
    places = {tuple(s.indices) for s in found if s.buffer.same_as(buffer)}
    return next(iter(places)) if len(places) == 1 else None


def is_one(expr: tirx.Expr) -> bool:
    """Whether an extent is known to be 1."""
    return isinstance(expr, tirx.IntImm) and int(expr) == 1


def substitute(expr: tirx.Expr, values: dict[tirx.Var, tirx.Expr]) -> tirx.Expr:
    """The expression with variables replaced."""
    return tvm_ffi.structural_map(expr, (tirx.Var, lambda v: values.get(v, v)))


def loads_of(expr: tirx.Expr) -> list[tvm.ir.TensorLoad]:
    """All loads inside an expression."""
    found: list[tvm.ir.TensorLoad] = []
    tvm_ffi.structural_walk(expr, (tvm.ir.TensorLoad, found.append), order="post")
    return found


def reads_of(expr: tirx.Expr, buffer: tirx.Buffer) -> list[tvm.ir.TensorLoad]:
    """The loads of one buffer inside an expression."""
    return [node for node in loads_of(expr) if node.source.same_as(buffer)]


def instead_of_reads(expr: tirx.Expr, buffer: tirx.Buffer, value: tirx.Expr) -> tirx.Expr:
    """The expression with `value` in place of whatever it loads of a buffer."""

    def load(node: tvm.ir.TensorLoad) -> tirx.Expr:
        return value if node.source.same_as(buffer) else node

    return tvm_ffi.structural_map(expr, (tvm.ir.TensorLoad, load))


def uses(expr: tirx.Expr, var: tirx.Var) -> bool:
    """Whether the variable occurs."""
    return any(v.same_as(var) for v in undefined_vars(expr))


Registers = dict[tirx.Buffer, tuple[tirx.Buffer, tirx.Expr | int]]
"""Buffers that live in registers or workgroup memory: where, and at which index."""


def flatten(
    kernel: Kernel, expr: tirx.Expr, values: dict[tirx.Var, tirx.Expr], registers: Registers | None = None
) -> tirx.Expr:
    """The expression at given iterator values, its loads on flat views with simplified offsets."""

    def load(node: tvm.ir.TensorLoad) -> tvm.ir.TensorLoad:
        buffer = node.source
        if registers and buffer in registers:
            target, index = registers[buffer]
            return kernel.load(target, index)
        if buffer.scope() != "global" or kernel.is_flat(buffer):
            return node
        return tirx.BufferLoad(kernel.flat(buffer), [kernel.simplify(offset_of(buffer, node.indices))])

    return kernel.simplify(tvm_ffi.structural_map(substitute(expr, values), (tvm.ir.TensorLoad, load)))


def is_guarded_load(kernel: Kernel, node: tvm.ir.Call) -> bool:
    """Whether a call is a scalar load from a flat view under a condition, a constant else."""
    if not (isinstance(node.op, tvm.ir.Op) and node.op.name == "prim.if_then_else"):
        return False
    _, then, other = node.args
    if not isinstance(then, tvm.ir.TensorLoad) or not isinstance(other, tirx.IntImm | tirx.FloatImm):
        return False
    return kernel.is_flat(then.source) and then.ty.dtype.lanes == 1


def without_branches(kernel: Kernel, value: tirx.Expr) -> tirx.Expr:
    """Guarded loads (padding) turned into loads that always happen, at a harmless place where the guard fails.

    A branch around every load would keep them from being in flight together.
    """

    def guarded(node: tvm.ir.Call) -> tirx.Expr:
        if not is_guarded_load(kernel, node):
            return node
        condition, then, other = node.args
        place = tirx.Select(condition, then.indices[0], i64(0))
        # Named, so that no later pass moves the load back behind a branch.
        loaded = kernel.let("loaded", tirx.BufferLoad(then.source, [place]))
        return tirx.Select(condition, loaded, other)

    return tvm_ffi.structural_map(value, (tvm.ir.Call, guarded), order="pre")


def offset_of(buffer: tirx.Buffer, indices: Sequence[tirx.Expr]) -> tirx.Expr:
    """Row-major offset of an element; what one fused iterator was decoded to becomes that iterator again.

    With numbers the simplifier sees that h * 28 + w is p where h = p // 28 and w = p % 28, with symbols it does not.
    """
    analyzer = tvm.sym.Analyzer()
    offset, below = i64(0), i64(1)
    dims = [(analyzer.simplify(index), dim) for index, dim in zip(indices, buffer.shape, strict=True)]
    while dims:
        index, dim = dims.pop()
        while dims and (joined := _join(analyzer, *dims[-1], index, dim)):
            dims.pop()
            index, dim = joined
        offset, below = offset + index * below, below * dim
    return offset


def _join(
    analyzer: tvm.sym.Analyzer, upper: tirx.Expr, upper_dim: tirx.Expr, lower: tirx.Expr, lower_dim: tirx.Expr
) -> tuple[tirx.Expr, tirx.Expr] | None:
    """(e // d, e % d) in dimensions (n, d) as e, (e // d % m, e % d) as e % (m * d): index and dimension, or None."""
    same = tvm_ffi.structural_equal
    if not (isinstance(lower, tirx.FloorMod) and same(lower.b, lower_dim)):
        return None
    whole, divisor = lower.a, lower.b
    dim = analyzer.simplify(upper_dim * lower_dim)

    def quotient(expr: tirx.Expr, of: tirx.Expr) -> bool:
        return isinstance(expr, tirx.FloorDiv) and same(expr.a, of) and same(expr.b, divisor)

    if quotient(upper, whole):
        return whole, dim
    if isinstance(upper, tirx.FloorMod) and quotient(upper.a, whole):
        return tvm.tirx.floormod(whole, analyzer.simplify(upper.b * divisor)), dim
    if isinstance(upper, tirx.FloorDiv) and isinstance(upper.a, tirx.FloorMod) and quotient(upper, upper.a):
        inner = upper.a
        if same(inner.a, whole) and analyzer.can_prove_equal(tvm.tirx.floormod(inner.b, divisor), i64(0)):
            return inner, dim
    return None


def emit(kernel: Kernel, stmt: tirx.Stmt, values: dict[tirx.Var, tirx.Expr], registers: Registers) -> None:
    """Emits a block's statement at given iterator values. Raises NotApplicable for loops and calls."""
    match stmt:
        case tirx.SeqStmt():
            inner = dict(values)
            for item in stmt.seq:
                if isinstance(item, tirx.Bind):
                    # A fresh variable each time: a body may be emitted more than once.
                    inner[item.var] = kernel.let(item.var.name, flatten(kernel, item.value, inner, registers))
                else:
                    emit(kernel, item, inner, registers)
        case tirx.BufferStore():
            value = flatten(kernel, stmt.value, values, registers)
            if stmt.buffer in registers:
                target, index = registers[stmt.buffer]
                kernel.store(target, index, value)
            else:
                offset = kernel.simplify(substitute(offset_of(stmt.buffer, stmt.indices), values))
                kernel.store(kernel.flat(stmt.buffer), offset, value)
        case tirx.IfThenElse(else_case=None):
            with kernel.when(flatten(kernel, stmt.condition, values, registers)):
                emit(kernel, stmt.then_case, values, registers)
        case _:
            raise NotApplicable(f"a block contains {type(stmt).__name__}")
