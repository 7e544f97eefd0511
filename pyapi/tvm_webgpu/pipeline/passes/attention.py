"""Finds attention written out as products, softmax and transposes, and makes one operator of it.

    softmax(Q K^T * scale + bias) V   ->   attention(q, k, v, bias), all of [batch, sequence, heads, width]

The transposes that frameworks put around it cancel out. `legalize_attention` gives the operator a TIR function that
our schedule turns into a single kernel; as an injective function it takes slices, reshapes and transposes of its
operands and result into that kernel.
"""

from __future__ import annotations

import math

import tvm
from tvm import relax, te, tirx, topi
from tvm.relax import op
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_webgpu.pipeline.model import to_numpy
from tvm_webgpu.pipeline.passes.patterns import INJECTIVE, PATTERN
from tvm_webgpu.pipeline.passes.rewrite import rewrite_functions

SWAP_HEADS = (0, 2, 1, 3)
"""[batch, heads, sequence, width] to [batch, sequence, heads, width] and back."""


@mutator
class _Rewriter(PyExprMutator):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        if getattr(call.op, "name", "") == "relax.permute_dims" and call.attrs.axes is not None:
            return self._transposed(call.args[0], tuple(map(int, call.attrs.axes)), call)
        attention = self._attention(call)
        return call if attention is None else attention

    def _call(self, expr: relax.Expr, *names: str) -> relax.Call | None:
        """The call behind an expression, if it is one of these operators."""
        if isinstance(expr, relax.Var):
            expr = self.lookup_binding(expr)
        return expr if isinstance(expr, relax.Call) and getattr(expr.op, "name", "") in names else None

    def _attention(self, call: relax.Call) -> relax.Expr | None:
        if getattr(call.op, "name", "") != "relax.matmul" or _rank(call) != 4:
            return None
        softmax = self._call(call.args[0], "relax.nn.softmax")
        if softmax is None or int(softmax.attrs.axis) not in (-1, 3):
            return None
        bias: relax.Expr | None = None
        scores, scale = softmax.args[0], 1.0
        while (sum_ := self._call(scores, "relax.add")) is not None:
            # Of the two, the scores are what ends in a product.
            mine = 0 if self._is_scores(sum_.args[0]) else 1
            scores, other = sum_.args[mine], sum_.args[1 - mine]
            bias = other if bias is None else self.builder_.emit(op.add(bias, other))
        while (scaled := self._call(scores, "relax.multiply", "relax.divide")) is not None:
            factor = _scalar(scaled.args[1])
            if factor is None:
                return None
            scores = scaled.args[0]
            scale = scale * factor if scaled.op.name == "relax.multiply" else scale / factor
        product = self._call(scores, "relax.matmul")
        if product is None or not _same_batch(product, call):
            return None
        q, k = (self._transposed(product.args[i], axes) for i, axes in enumerate((SWAP_HEADS, (0, 3, 1, 2))))
        v = self._transposed(call.args[1], SWAP_HEADS)
        if bias is not None and (bias := self._four_axes(bias)) is None:
            return None
        result = self.builder_.emit(op.nn.attention(q, k, v, bias, scale=scale))
        return op.permute_dims(result, list(SWAP_HEADS))

    def _is_scores(self, expr: relax.Expr) -> bool:
        while (scaled := self._call(expr, "relax.multiply", "relax.divide", "relax.add")) is not None:
            expr = scaled.args[0]
        return self._call(expr, "relax.matmul") is not None

    def _four_axes(self, bias: relax.Expr) -> relax.Expr | None:
        rank = _rank(bias)
        if rank > 4:
            return None
        return bias if rank == 4 else self.builder_.emit(op.expand_dims(bias, list(range(4 - rank))))

    def _transposed(self, expr: relax.Expr, axes: tuple[int, ...], itself: relax.Call | None = None) -> relax.Expr:
        """A transpose of the expression, joined with one that it is already; `itself` where nothing is to join."""
        inner = self._call(expr, "relax.permute_dims")
        if inner is not None and inner.attrs.axes is not None:
            expr, axes, itself = inner.args[0], tuple(int(inner.attrs.axes[axis]) for axis in axes), None
        if axes == tuple(range(len(axes))):
            return expr
        return itself if itself is not None else self.builder_.emit(op.permute_dims(expr, list(axes)))


def _rank(expr: relax.Expr) -> int:
    return int(expr.ty.ndim)


def _scalar(expr: relax.Expr) -> float | None:
    if not isinstance(expr, tvm.ir.GenericConst):
        return None
    value = to_numpy(expr.value)
    return float(value.reshape(())) if value.size == 1 else None


def _same_batch(product: relax.Call, call: relax.Call) -> bool:
    """Whether all operands have the same batch and heads: attention does not broadcast."""
    operands = (product.args[0], product.args[1], call.args[1])
    if any(_rank(x) != 4 or x.ty.shape is None for x in operands):
        return False
    analyzer = tvm.sym.Analyzer()
    first = operands[0].ty.shape
    return all(analyzer.can_prove_equal(first[i], x.ty.shape[i]) for x in operands[1:] for i in (0, 1))


@tvm.transform.module_pass(opt_level=0, name="RewriteAttention")
class RewriteAttention:
    """The pass; see the module's text."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite_functions(_Rewriter(mod), mod)


def legalize_attention(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """A call of the operator's TIR function, computed in float32 and marked injective."""
    bias = call.args[3] if len(call.args) > 3 else None
    attrs = call.attrs
    scale = None if attrs.scale is None else float(attrs.scale)
    causal = None if attrs.causal_mask is None else str(attrs.causal_mask)
    if getattr(attrs, "window_size", None) is not None:
        return call
    return builder.call_te(
        _attention,
        *call.args[:3],
        *([bias] if bias is not None else []),
        scale=scale,
        causal=causal,
        primfunc_name_hint="attention",
        primfunc_attrs={PATTERN: INJECTIVE},
    )


def _attention(
    q: te.Tensor, k: te.Tensor, v: te.Tensor, *bias: te.Tensor, scale: float | None, causal: str | None
) -> te.Tensor:
    batch, queries, heads, width = q.shape
    keys, width_v = k.shape[1], v.shape[3]
    acc, factor = "float32", scale if scale is not None else 1 / math.sqrt(int(width))
    d, j = te.reduce_axis((0, width), "d"), te.reduce_axis((0, keys), "j")

    def wide(value: tirx.Expr) -> tirx.Expr:
        return value.astype(acc)

    raw = te.compute(
        (batch, heads, queries, keys),
        lambda b, h, row, key: te.sum(wide(q[b, row, h, d]) * wide(k[b, key, h, d]), axis=d),
        "scores",
    )
    scores = topi.multiply(raw, tirx.const(factor, acc)) if factor != 1 else raw
    if bias:
        scores = topi.add(scores, topi.cast(bias[0], acc))
    if causal is None:
        weights = topi.nn.softmax(scores)
    else:
        # Queries and keys begin together, or end together.
        offset = 0 if causal == "TopLeft" else keys - queries
        kept = te.compute(
            scores.shape,
            lambda b, h, row, key: tirx.Select(key <= row + offset, scores[b, h, row, key], tirx.min_value(acc)),
            "kept",
        )
        weights = topi.nn.softmax(kept)
    attended = te.compute(
        (batch, queries, heads, width_v),
        lambda b, row, h, x: te.sum(weights[b, h, row, j] * wide(v[b, j, h, x]), axis=j),
        "attended",
    )
    return attended if str(q.dtype) == acc else topi.cast(attended, str(q.dtype))


LEGALIZE_ATTENTION = dict.fromkeys(("relax.nn.attention", "relax.nn.attention_bias"), legalize_attention)
"""For LegalizeOps."""
