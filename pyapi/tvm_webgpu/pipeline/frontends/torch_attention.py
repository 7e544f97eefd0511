"""Scaled dot-product attention of PyTorch, kept whole, so that one kernel does it.

PyTorch's definition by other operators is a dozen kernels, of which some only look for rows that are masked entirely.
"""

from __future__ import annotations

from typing import Any

from tvm import relax, tirx
from tvm.relax import op

from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.pipeline.frontends.torch_scope import Scope
from tvm_webgpu.pipeline.passes.attention import SWAP_HEADS, legalize_attention

MASKED = -3e38
"""A score that no softmax sees beside another, with room for what is added to it; Relax's masks are finite."""


def attention(scope: Scope) -> relax.Expr:
    """softmax(Q K^T * scale + mask) V; a row without any key that is not masked gives zeros, as in PyTorch."""
    named = scope.named
    if named["dropout_p"]:
        raise UnsupportedError("dropout while training: export the module after .eval()")
    lead = scope.extents()[:-2]
    values = [named[name] for name in ("query", "key", "value")]
    if named.get("enable_gqa"):
        query, *shared = (_with_heads(scope, value) for value in values)
        values = [query, *(_repeated(scope, value, query) for value in shared)]
    else:
        values = [_with_heads(scope, _spread(scope, value, lead)) for value in values]
    bias, kept = _mask(scope, len(lead))
    q, k, v = (scope.emit(op.permute_dims(value, list(SWAP_HEADS))) for value in values)
    causal = "TopLeft" if named["is_causal"] else None
    found = op.nn.attention(q, k, v, bias, scale=named.get("scale"), causal_mask=causal)
    if not isinstance(k.ty.shape[1], tirx.IntImm | tirx.Var):
        # TVM's folding asks its own definition of the operator, which fails on lengths that are computed.
        found = legalize_attention(scope.importer.block_builder, found)
    found = scope.emit(op.permute_dims(scope.emit(found), list(SWAP_HEADS)))
    if kept is not None:
        found = scope.emit(op.where(kept, found, relax.const(0, str(found.ty.dtype))))
    return found if len(lead) == 2 else scope.emit(op.reshape(found, scope.extents()))


def _spread(scope: Scope, value: relax.Expr, lead: list[Any]) -> relax.Expr:
    """The tensor with these extents before its last two: attention does not broadcast."""
    *own, length, width = value.ty.shape
    if len(own) == len(lead) and all(str(a) == str(b) for a, b in zip(own, lead, strict=True)):
        return value
    return scope.emit(op.broadcast_to(value, [*lead, length, width]))


def _with_heads(scope: Scope, value: relax.Expr) -> relax.Expr:
    """A tensor of two axes or more as [batch, heads, sequence, width]."""
    *lead, length, width = value.ty.shape
    if len(lead) == 2:
        return value
    batch: Any = 1
    for extent in lead[:-1]:
        batch = batch * extent
    return scope.emit(op.reshape(value, [batch, lead[-1] if lead else 1, length, width]))


def _repeated(scope: Scope, value: relax.Expr, query: relax.Expr) -> relax.Expr:
    """Heads of keys or values that several heads of queries share."""
    wanted, given = int(query.ty.shape[1]), int(value.ty.shape[1])
    return value if wanted == given else scope.emit(op.repeat(value, wanted // given, axis=1))


def _mask(scope: Scope, leading: int) -> tuple[relax.Expr | None, relax.Expr | None]:
    """What is added to the scores, and which rows have a key at all; both fit [batch, heads, queries, keys]."""
    mask = scope.named["attn_mask"]
    if mask is None:
        return None, None
    if leading > 2:
        raise UnsupportedError("a mask for more axes than batch and heads: reshape them to one")
    mask = _with_heads(scope, scope.emit(op.expand_dims(mask, list(range(leading + 2 - mask.ty.ndim)))))
    lowest = relax.const(MASKED, "float32")
    if str(mask.ty.dtype) == "bool":
        bias = scope.emit(op.where(mask, relax.const(0, "float32"), lowest))
    else:
        bias = scope.emit(op.maximum(scope.cast(mask, "float32"), lowest))
    return bias, scope.emit(op.greater(op.max(bias, axis=-1, keepdims=True), lowest))
