"""Recognises sums of products: a PrimFunc in; its operands and result as functions of (s, y, x, k) out.

Matmuls of any transposition and convolutions of any kernel size are C[s, y, x] = sum over k of Y[s, y, k] * X[s, x, k],
where x runs along the axis that is contiguous in memory in the result, and s (batch or group) is in both operands.
Padding and other injective producers are part of the operands, elementwise consumers part of the store, so a kernel
written from a `Product` is the whole PrimFunc.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir.schedule import SBlockRV
from tvm.tirx.analysis import undefined_vars

from .axis import Axis, divides
from .blocks import NotApplicable, inline_injective, kinds, open_schedule
from .builder import Kernel, i64
from .nest import instead_of_reads, is_one, loads_of, offset_of, substitute
from .typical import is_bounded, typical

VECTOR = 4
# An axis of fewer positions stays with its open batch: a tile would be mostly padding.
MIN_INNER = 24
# Of fewer channels no piece of a sum is at one place of a convolution's window.
MIN_PIECE = 8


@dataclass(frozen=True)
class Operand:
    """A factor: a scalar expression of the iterators; `along`: the axis ("own", "k") of aligned runs of 4, or None.

    `overlaps`: it is computed from windows (`windowed.py`), and what four neighbours on the own axis read of a tensor
    are elements of aligned vectors, many of them the same.
    """

    value: tirx.Expr
    dtype: str
    along: str | None
    overlaps: bool = False


@dataclass(frozen=True)
class Product:
    """A recognised PrimFunc. Axes as in the module's text; `vector_store`: runs of 4 along x are stored whole."""

    func: tirx.PrimFunc
    s: Axis
    y: Axis
    x: Axis
    k: Axis
    operand_y: Operand
    operand_x: Operand
    result_dtype: str
    store_buffer: tirx.Buffer
    store_indices: tuple[tirx.Expr, ...]
    store_value: Callable[[tirx.Expr], tirx.Expr]
    vector_store: bool

    @property
    def accumulator(self) -> str:
        """dtype of the sums: at least f32 for floats."""
        return "float32" if self.result_dtype in ("float16", "bfloat16") else self.result_dtype

    def at(self, s: tirx.Expr, y: tirx.Expr | None, x: tirx.Expr | None, k: tirx.Expr | None) -> dict:
        """Values of all iterators at a position; None leaves an axis out."""
        values = {}
        for axis, position in ((self.s, s), (self.y, y), (self.x, x), (self.k, k)):
            if position is not None:
                values.update(axis.decode(position))
        return values


def recognise(func: tirx.PrimFunc) -> Product:
    """Raises NotApplicable where the function is anything but one sum of products with elementwise work around it."""
    sch, blocks = open_schedule(func)
    main, epilogue = _main_and_epilogue(sch, inline_injective(sch, blocks))
    return sums_of(func, sch.get(main), stored(sch, main, epilogue))


Stored = tuple[tirx.Buffer, tuple[tirx.Expr, ...], Callable[[tirx.Expr], tirx.Expr]]
"""Where a result goes and what becomes of it, both in terms of the iterators of the block that computes it."""


def sums_of(
    func: tirx.PrimFunc,
    block: s_tir.SBlock,
    store: Stored,
    apart: Set[tirx.Var] = frozenset(),
    expand: Callable[[tirx.Expr], tirx.Expr] = lambda factor: factor,
) -> Product:
    """A block that is a sum of products, as one; iterators in `apart` go to the batch. Raises NotApplicable.

    `expand` says what a factor is that reads what another block of the function computes.
    """
    factor_a, factor_b, result_dtype = _factors(block)
    factor_a, factor_b = expand(factor_a), expand(factor_b)
    output = block.writes[0]
    spatial = [it for it in block.iter_vars if it.iter_type == tirx.IterVar.DataPar]
    reduced = [it for it in block.iter_vars if it.iter_type == tirx.IterVar.CommReduce]
    last = _contiguous_variable(output, spatial)
    spatial, parts = _split(spatial, (factor_a, factor_b))
    factor_a, factor_b = (_simplified(substitute(factor, parts), spatial) for factor in (factor_a, factor_b))
    in_a, in_b = set(undefined_vars(factor_a)), set(undefined_vars(factor_b))

    only_a = [it for it in spatial if it.var in in_a and it.var not in in_b]
    only_b = [it for it in spatial if it.var in in_b and it.var not in in_a]
    both = [it for it in spatial if it.var in in_a and it.var in in_b]
    neither = [it for it in spatial if it.var not in in_a and it.var not in in_b]
    if any(not is_one(it.dom.extent) for it in neither):
        raise NotApplicable("an axis is in neither operand")
    if not reduced:
        raise NotApplicable("no reduction")
    # Of an iterator in parts the one that is contiguous but for the others.
    run = {last} if last not in parts else set(undefined_vars(parts[last]))
    x_is_b = any(it.var in run for it in only_b)
    if not x_is_b and not any(it.var in run for it in only_a):
        raise NotApplicable("the contiguous axis of the result is in both operands")
    own_y, own_x = (only_a, only_b) if x_is_b else (only_b, only_a)
    value_y, value_x = (factor_a, factor_b) if x_is_b else (factor_b, factor_a)
    outer, own_y, own_x = _set_open_batch_apart(func, own_y, own_x)
    outer += [it for it in own_x if it.var in apart]
    own_x = [it for it in own_x if it.var not in apart]
    s, y, x, k = Axis.of(outer + both + neither), Axis.of(own_y), Axis.of(own_x), Axis.of(reduced)
    store_buffer, indices, store_value = _substituted(store, parts)
    everything = (s, y, x, k)
    along_y = direction(value_y, everything, {"own": y, "k": k})
    along_x = direction(value_x, everything, {"own": x, "k": k})
    if "k" not in (along_y, along_x):
        k = _channels_last(k, (factor_a, factor_b), {var for axis in (y, x) for var, _ in axis.iterators})
    return Product(
        func, s, y, x, k,
        Operand(value_y, str(value_y.ty.dtype), along_y),
        Operand(value_x, str(value_x.ty.dtype), along_x),
        result_dtype, store_buffer, indices, store_value,
        vector_store(store_buffer, indices, store_value, result_dtype, everything, x),
    )  # fmt: skip


def _split(
    spatial: list[tirx.IterVar], factors: tuple[tirx.Expr, tirx.Expr]
) -> tuple[list[tirx.IterVar], dict[tirx.Var, tirx.Expr]]:
    """Iterators that are divided by a number become two, the quotient and the rest, and what stands for them.

    So the group of a grouped convolution, and what a transposed one's place is past a multiple of the stride, are
    iterators of their own: they are in both operands, while what is left of the divided iterator is in one.
    """
    divisors: dict[tirx.Var, set[int]] = {}

    def visit(node: tirx.FloorDiv | tirx.FloorMod) -> None:
        if isinstance(node.b, tirx.IntImm):
            for var in undefined_vars(node.a):
                divisors.setdefault(var, set()).add(int(node.b))

    for factor in factors:
        tvm_ffi.structural_walk(factor, [(tirx.FloorDiv, visit), (tirx.FloorMod, visit)], order="post")
    out: list[tirx.IterVar] = []
    parts: dict[tirx.Var, tirx.Expr] = {}
    for it in spatial:
        by = divisors.get(it.var, set())
        extent, divisor = it.dom.extent, min(by, default=0)
        known = isinstance(extent, tirx.IntImm) and len(by) == 1 and 1 < divisor < int(extent)
        if not known or int(extent) % divisor:
            out.append(it)
            continue
        whole, rest = tirx.Var(f"{it.var.name}_whole", "int64"), tirx.Var(f"{it.var.name}_rest", "int64")
        for var, size in ((whole, int(extent) // divisor), (rest, divisor)):
            out.append(tirx.IterVar(tvm.ir.Range(i64(0), i64(size)), var, tirx.IterVar.DataPar))
        parts[it.var] = whole * i64(divisor) + rest
    return out, parts


def _simplified(expr: tirx.Expr, iterators: list[tirx.IterVar]) -> tirx.Expr:
    kernel = Kernel()
    for it in iterators:
        kernel.know(it.var, it.dom.extent)
    return kernel.simplify(expr)


def _substituted(store: Stored, parts: dict[tirx.Var, tirx.Expr]) -> Stored:
    buffer, indices, value = store
    return buffer, tuple(substitute(i, parts) for i in indices), lambda result: substitute(value(result), parts)


def _channels_last(k: Axis, factors: tuple[tirx.Expr, tirx.Expr], own: Set[tirx.Var]) -> Axis:
    """The sum in another order: those of its iterators last that share no index with an operand's `own` ones.

    These are a convolution's channels; the others move its window. A piece of the sum then stays at one place of the
    window, so that padding and the position in the image are found once for all of it.
    """
    indices = [undefined_vars(i) for factor in factors for node in loads_of(factor) for i in node.indices]

    def alone(var: tirx.Var) -> bool:
        return not any(own & set(used) for used in indices if any(v.same_as(var) for v in used))

    channels = [(var, extent) for var, extent in k.iterators if alone(var)]
    window = [(var, extent) for var, extent in k.iterators if not alone(var)]
    return Axis((*window, *channels)) if channels and divides(MIN_PIECE, Axis(tuple(channels)).extent) else k


def _set_open_batch_apart(
    func: tirx.PrimFunc, own_y: list[tirx.IterVar], own_x: list[tirx.IterVar]
) -> tuple[list[tirx.IterVar], list[tirx.IterVar], list[tirx.IterVar]]:
    """Moves an outermost iterator of open extent from y or x to s, where what is left has a size worth a tile.

    The extents that guards, vectors and index arithmetic depend on are then constants, or of a known divisor; an
    operand that does not depend on s is simply read again, from cache.
    """
    outer: list[tirx.IterVar] = []

    def settle(iters: list[tirx.IterVar]) -> list[tirx.IterVar]:
        wide = [it for it in iters if not is_one(it.dom.extent)]
        if len(wide) < 2 or is_bounded(func, wide[0].dom.extent):
            return iters
        inner = [it.dom.extent for it in wide[1:]]
        if not all(is_bounded(func, extent) for extent in inner):
            return iters
        if math.prod(typical(func, extent, 0) for extent in inner) < MIN_INNER:
            return iters
        outer.append(wide[0])
        return [it for it in iters if not it.same_as(wide[0])]

    return outer, settle(own_y), settle(own_x)


def _main_and_epilogue(sch: s_tir.Schedule, blocks: list[SBlockRV]) -> tuple[SBlockRV, SBlockRV | None]:
    sorts = [kinds(sch, b) for b in blocks]
    if not 1 <= len(blocks) <= 2 or "R" not in sorts[0] or any("O" in s for s in sorts):
        raise NotApplicable("not one reduction with at most one block behind it")
    if len(blocks) == 2 and ("R" in sorts[1] or not isinstance(sch.get(blocks[1]).body, tirx.BufferStore)):
        raise NotApplicable("the block behind the reduction is not elementwise")
    return blocks[0], blocks[1] if len(blocks) == 2 else None


def _factors(block: s_tir.SBlock) -> tuple[tirx.Expr, tirx.Expr, str]:
    """The two factors of C = C + a * b, casts included, and the dtype of C."""
    body = block.body
    if not isinstance(body, tirx.BufferStore) or not isinstance(body.value, tirx.Add):
        raise NotApplicable("not a sum")
    if not isinstance(block.init, tirx.BufferStore):
        raise NotApplicable("no initial value")
    start = block.init.value
    if not (isinstance(start, tirx.IntImm | tirx.FloatImm) and start.value == 0):
        raise NotApplicable("the sum does not start at 0")
    old, product = body.value.a, body.value.b
    if not (isinstance(old, tvm.ir.TensorLoad) and old.source.same_as(body.buffer)):
        raise NotApplicable("not a sum")
    dtype = str(body.buffer.dtype)
    while isinstance(product, tirx.Cast):
        product = product.value
    if not isinstance(product, tirx.Mul):
        raise NotApplicable("not a product")
    return product.a, product.b, dtype


def _contiguous_variable(output: tvm.ir.TensorRegion, spatial: list[tirx.IterVar]) -> tirx.Var:
    """The iterator behind the innermost output dimension that is longer than 1."""
    wide = {it.var for it in spatial if not is_one(it.dom.extent)}
    for rng in reversed(output.region):
        used = [v for v in undefined_vars(rng.min) if v in wide]
        if used:
            if not isinstance(rng.min, tirx.Var):
                raise NotApplicable("the result is not indexed by plain iterators")
            return used[0]
    raise NotApplicable("a single result")


def stored(sch: s_tir.Schedule, main: SBlockRV, epilogue: SBlockRV | None) -> Stored:
    """What a block's results become in the block behind it. Raises NotApplicable where that is not one by one."""
    body = sch.get(main).body
    if not isinstance(body, tirx.BufferStore):
        raise NotApplicable("not one result")
    if epilogue is None:
        return body.buffer, tuple(body.indices), lambda value: value
    target = sch.get(epilogue)
    store = target.body
    reads = [node for node in loads_of(store.value) if node.source.same_as(body.buffer)]
    own = {it.var: it.dom.extent for it in target.iter_vars}
    extents = {it.var: it.dom.extent for it in sch.get(main).iter_vars}
    same = tvm.sym.Analyzer().can_prove_equal
    mapping: dict[tirx.Var, tirx.Expr] = {it.var: i64(0) for it in target.iter_vars if is_one(it.dom.extent)}
    for node in reads:
        for theirs, ours in zip(node.indices, body.indices, strict=True):
            if isinstance(theirs, tirx.Var) and theirs in own:
                if theirs in mapping and not _is_one_iter(target, theirs) and not mapping[theirs].same_as(ours):
                    raise NotApplicable("the result is read at two places")
                if ours in extents and not same(own[theirs], extents[ours]):
                    raise NotApplicable("the consumer takes a part of the results")
                mapping[theirs] = ours
            elif not (isinstance(theirs, tirx.IntImm) and int(theirs) == 0):
                raise NotApplicable("the result is read at a computed place")
    if not reads or set(own) - set(mapping):
        raise NotApplicable("the consumer broadcasts the result")

    def value(result: tirx.Expr) -> tirx.Expr:
        return substitute(instead_of_reads(store.value, body.buffer, result), mapping)

    return store.buffer, tuple(substitute(i, mapping) for i in store.indices), value


def _is_one_iter(block: s_tir.SBlock, var: tirx.Var) -> bool:
    return any(it.var.same_as(var) and is_one(it.dom.extent) for it in block.iter_vars)


def direction(value: tirx.Expr, everything: tuple[Axis, ...], candidates: dict[str, Axis]) -> str | None:
    """The candidate axis along which aligned groups of 4 values are one vector in memory."""
    inner = value
    while isinstance(inner, tirx.Cast):
        inner = inner.value
    if not isinstance(inner, tvm.ir.TensorLoad):
        return None
    for name, axis in candidates.items():
        if runs(inner, everything, axis):
            return name
    return None


def runs(load: tvm.ir.TensorLoad, everything: tuple[Axis, ...], axis: Axis, length: int = VECTOR) -> bool:
    """Whether positions of `axis` from a multiple of `length` are an aligned run of the load's buffer, for certain."""
    size = axis.extent
    if size == 0 or not divides(length, size):
        return False
    kernel = Kernel()
    values: dict[tirx.Var, tirx.Expr] = {}
    for other in everything:
        values.update(other.decode(kernel.variable("p", other.extent)))
    # Simplified for a plain position first: only then does (p // 9) * 9 + p % 9 become p again.
    position = kernel.variable("p", size)
    indices = [substitute(i, {**values, **axis.decode(position)}) for i in load.indices]
    general = kernel.simplify(offset_of(load.source, indices))
    group = kernel.variable("g", tvm.tirx.floordiv(i64(size), i64(length)))

    def offset(lane: int) -> tirx.Expr:
        return kernel.simplify(substitute(general, {position: group * length + lane}))

    base = offset(0)
    aligned = kernel.analyzer.can_prove_equal(tvm.tirx.floormod(base, length), i64(0))
    return aligned and all(kernel.analyzer.can_prove_equal(offset(lane) - base, i64(lane)) for lane in range(1, length))


def vector_store(
    buffer: tirx.Buffer,
    indices: tuple[tirx.Expr, ...],
    value: Callable[[tirx.Expr], tirx.Expr],
    dtype: str,
    everything: tuple[Axis, ...],
    x: Axis,
) -> bool:
    """Whether 4 neighbours along x are stored, after the elementwise work `value`, as one vector."""
    target = tirx.BufferLoad(buffer, list(indices))
    if not runs(target, everything, x):
        return False
    mine = {var for var, size in x.iterators if not is_one(size)}
    for node in loads_of(value(tirx.const(0, dtype))):
        uses = any(v in mine for i in node.indices for v in undefined_vars(i))
        if uses and not runs(node, everything, x):
            return False
    return True
