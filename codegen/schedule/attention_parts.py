"""Recognises attention: a PrimFunc in; its two products and the elementwise work between them out.

After inlining, attention is four reductions and perhaps an elementwise nest:

    S[b, i, j] = sum over d of Q[b, i, d] * K[b, j, d]
    M[b, i]    = max over j of f(S[b, i, j])
    Z[b, i]    = sum over j of e,  e being exp(f(S[b, i, j]) - M[b, i]), or 0 where a condition does not hold
    O[b, i, x] = sum over j of e / Z[b, i] * V[b, j, x]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import tirx
from tvm.tirx.analysis import undefined_vars

from .axis import Axis
from .blocks import NotApplicable
from .builder import Kernel, i64
from .nest import Nest, instead_of_reads, is_one, loads_of, nests_of, offset_of, reads_in_place, substitute
from .product import Operand, Product, direction, vector_store

Values = dict[tirx.Var, tirx.Expr]


@dataclass(frozen=True)
class Parts:
    """scores: Q (operand_y) K (operand_x), its result is `raw`; result: V (operand_x) and the store. Both share the
    iterators s (batch), y (queries); the keys are x of the scores and k of the result. score: f, in those iterators;
    kept: conditions under which a weight is not 0."""

    scores: Product
    result: Product
    raw: tirx.Buffer
    score: tirx.Expr
    kept: tuple[tirx.Expr, ...]


def recognise(func: tirx.PrimFunc) -> Parts:
    """Raises NotApplicable where the function is anything else."""
    nests = nests_of(func)
    if not 4 <= len(nests) <= 5 or not all(n.reduces for n in nests[:4]) or any(n.reduces for n in nests[4:]):
        raise NotApplicable("not the four reductions of attention")
    first, highest, summed, last = nests[:4]
    raw, top, total = (n.store.buffer for n in (first, highest, summed))
    weight, v = _value_factors(last, raw)
    s, y, x = _axes(last, weight, v)
    k = Axis(_wide(last.reduced))
    everything = {var: i64(0) for var, size in last.spatial.iterators if is_one(size)}
    keys = [var for var, _ in last.reduced.iterators]

    # All nests in terms of the last one's iterators.
    of_scores = _mapped(first, _only_load(weight, raw, everything), [])
    of_top = _mapped(highest, _only_load(weight, top, everything), keys)
    of_total = _mapped(summed, _only_load(weight, total, everything), keys)
    score = _simplified(last, substitute(_operand(highest, tirx.Max), {**of_top}), everything)
    term = _simplified(last, substitute(_operand(summed, tirx.Add), {**of_total}), everything)
    weight = _simplified(last, weight, everything)
    kept = _exponential(term, score, top)
    if not (isinstance(weight, tirx.Div) and tvm_ffi.structural_equal(weight.a, term)):
        raise NotApplicable("the weights are not normalised exponentials")

    q, key = _score_factors(first, of_scores, {var for var, _ in y.iterators})
    d = Axis(_wide(first.reduced))
    if not isinstance(d.extent, int) or not isinstance(x.extent, int):
        raise NotApplicable("heads of unknown width")
    inside = (s, y, k, d)
    buffer, indices, store_value = _store(func, nests, last, everything)
    dtype = str(last.store.buffer.dtype)
    scores = Product(
        func, s, y, k, d,
        Operand(q, str(q.ty.dtype), direction(q, inside, {"own": y, "k": d})),
        Operand(key, str(key.ty.dtype), direction(key, inside, {"own": k, "k": d})),
        str(raw.dtype), raw, (), lambda value: value, False,
    )  # fmt: skip
    outer = (s, y, x, k)
    operand_v = Operand(v, str(v.ty.dtype), direction(v, outer, {"own": x, "k": k}))
    whole = vector_store(buffer, indices, store_value, dtype, outer, x)
    result = Product(func, s, y, x, k, operand_v, operand_v, dtype, buffer, indices, store_value, whole)
    return Parts(scores, result, raw, score, kept)


def _wide(axis: Axis) -> tuple[tuple[tirx.Var, tirx.Expr], ...]:
    return tuple((v, e) for v, e in axis.iterators if not is_one(e))


def _bare(expr: tirx.Expr) -> tirx.Expr:
    while isinstance(expr, tirx.Cast):
        expr = expr.value
    return expr


def _operand(nest: Nest, fold: type[tirx.Add] | type[tirx.Max]) -> tirx.Expr:
    """What the reduction adds to its result."""
    value = nest.store.value
    if not isinstance(value, fold) or not isinstance(value.a, tvm.ir.TensorLoad):
        raise NotApplicable("not a plain reduction")
    if not value.a.source.same_as(nest.store.buffer):
        raise NotApplicable("not a plain reduction")
    return value.b


def _reads(expr: tirx.Expr, buffer: tirx.Buffer) -> bool:
    return any(load.source.same_as(buffer) for load in loads_of(expr))


def _product(nest: Nest) -> tuple[tirx.Expr, tirx.Expr]:
    value = _bare(_operand(nest, tirx.Add))
    if not isinstance(value, tirx.Mul):
        raise NotApplicable("not a product")
    return value.a, value.b


def _value_factors(last: Nest, raw: tirx.Buffer) -> tuple[tirx.Expr, tirx.Expr]:
    a, b = _product(last)
    if _reads(a, raw) == _reads(b, raw):
        raise NotApplicable("the last product does not weigh values by the scores")
    weight, v = (a, b) if _reads(a, raw) else (b, a)
    return _bare(weight), v


def _axes(last: Nest, weight: tirx.Expr, v: tirx.Expr) -> tuple[Axis, Axis, Axis]:
    """Batch, queries, and the width of the values, by who depends on what."""
    in_weight, in_v = set(undefined_vars(weight)), set(undefined_vars(v))
    wide = _wide(last.spatial)
    both = tuple(it for it in wide if it[0] in in_v and it[0] in in_weight)
    queries = tuple(it for it in wide if it[0] in in_weight and it[0] not in in_v)
    width = tuple(it for it in wide if it[0] in in_v and it[0] not in in_weight)
    if len(both) + len(queries) + len(width) != len(wide) or not width:
        raise NotApplicable("an axis is in neither operand")
    return Axis(both), Axis(queries), Axis(width)


def _simplified(nest: Nest, expr: tirx.Expr, ones: Values) -> tirx.Expr:
    analyzer = tvm.sym.Analyzer()
    for var, size in (*nest.spatial.iterators, *nest.reduced.iterators):
        analyzer.bind(var, tvm.ir.Range(i64(0), size))
    return analyzer.simplify(substitute(expr, ones))


def _only_load(expr: tirx.Expr, buffer: tirx.Buffer, ones: Values) -> list[tirx.Expr]:
    """The indices of the one place at which the buffer is read."""
    places = [[tvm.sym.Analyzer().simplify(substitute(i, ones)) for i in n.indices]
              for n in loads_of(expr) if n.source.same_as(buffer)]  # fmt: skip
    if not places or any(not tvm_ffi.structural_equal(a, b) for p in places[1:] for a, b in zip(places[0], p)):
        raise NotApplicable("an intermediate is read at no place or at several")
    return places[0]


def _mapped(nest: Nest, places: list[tirx.Expr], keys: list[tirx.Var]) -> Values:
    """The nest's iterators in terms of its reader's, which reads its result at `places`."""
    values: Values = {var: i64(0) for var, size in nest.spatial.iterators if is_one(size)}
    for mine, theirs in zip(nest.store.indices, places, strict=True):
        if isinstance(mine, tirx.Var):
            values.setdefault(mine, theirs)
    if {var for var, _ in nest.spatial.iterators} - set(values):
        raise NotApplicable("an intermediate is not written by plain iterators")
    if keys:
        if len(nest.reduced.iterators) != len(keys):
            raise NotApplicable("reductions over different axes")
        values.update({mine: theirs for (mine, _), theirs in zip(nest.reduced.iterators, keys)})
    return values


def _exponential(term: tirx.Expr, score: tirx.Expr, top: tirx.Buffer) -> tuple[tirx.Expr, ...]:
    """The conditions around exp(score - top). Raises NotApplicable where the term is anything else."""
    kept = []
    while isinstance(term, tirx.Select) and isinstance(term.false_value, tirx.FloatImm):
        if term.false_value.value != 0:
            raise NotApplicable("weights that are neither exponentials nor 0")
        kept.append(term.condition)
        term = term.true_value
    if not (isinstance(term, tvm.ir.Call) and getattr(term.op, "name", "") == "tirx.exp"):
        raise NotApplicable("no exponential")
    (difference,) = term.args
    if not (isinstance(difference, tirx.Sub) and isinstance(difference.b, tvm.ir.TensorLoad)):
        raise NotApplicable("no maximum is subtracted")
    if not difference.b.source.same_as(top) or not tvm_ffi.structural_equal(difference.a, score):
        raise NotApplicable("another maximum is subtracted")
    return tuple(kept)


def _score_factors(first: Nest, mapping: Values, queries: set[tirx.Var]) -> tuple[tirx.Expr, tirx.Expr]:
    a, b = (substitute(factor, mapping) for factor in _product(first))
    a_is_query = any(v in queries for v in undefined_vars(a))
    if queries and a_is_query == any(v in queries for v in undefined_vars(b)):
        raise NotApplicable("the scores are not products of queries and keys")
    return (a, b) if a_is_query or not queries else (b, a)


def _store(
    func: tirx.PrimFunc, nests: list[Nest], last: Nest, ones: Values
) -> tuple[tirx.Buffer, tuple[tirx.Expr, ...], Callable[[tirx.Expr], tirx.Expr]]:
    """Where a result goes, and what becomes of it on the way."""
    held = last.store
    if len(nests) == 4:
        return held.buffer, tuple(substitute(i, ones) for i in held.indices), lambda value: value
    behind = nests[4]
    mapping = reads_in_place(behind, held.buffer, last)
    if mapping is None:
        mapping = _read_in_order(behind, held)
    if mapping is None or held.buffer in set(func.params):
        raise NotApplicable("the result is not read in place")

    def value(result: tirx.Expr) -> tirx.Expr:
        changed = instead_of_reads(behind.store.value, held.buffer, result)
        return substitute(substitute(changed, mapping), ones)

    indices = tuple(substitute(substitute(i, mapping), ones) for i in behind.store.indices)
    return behind.store.buffer, indices, value


def _read_in_order(behind: Nest, held: tirx.BufferStore) -> Values | None:
    """The iterators of a nest that reads the buffer element by element in order, as a reshape does."""
    kernel = Kernel()
    position = kernel.variable("position", behind.spatial.extent)
    values = behind.spatial.decode(position)
    for load in loads_of(behind.store.value):
        if load.source.same_as(held.buffer):
            offset = kernel.simplify(substitute(offset_of(held.buffer, list(load.indices)), values))
            if not kernel.analyzer.can_prove_equal(offset, position):
                return None
    return behind.spatial.decode(offset_of(held.buffer, list(held.indices)))
