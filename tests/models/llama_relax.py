"""The Llama-like decoder of `llama.py` as `relax.frontend.nn` modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm import te, tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor, op

if TYPE_CHECKING:
    from tests.models.llama import Config


def rotate(x: Tensor, offset: tirx.Expr, base: float) -> Tensor:
    """Rotary embedding of `x [1, n, heads, head]`, whose first token stands at position `offset`; angles in float32."""
    head, dtype = int(x.shape[3]), x.dtype
    half = head // 2

    def compute(x: te.Tensor, offset: tirx.Expr) -> te.Tensor:
        def element(b: tirx.Expr, n: tirx.Expr, h: tirx.Expr, d: tirx.Expr) -> tirx.Expr:
            frequency = tirx.power(
                tirx.const(base, "float32"), tirx.Cast("float32", -(d % half)) / tirx.const(half, "float32")
            )
            angle = tirx.Cast("float32", n + offset) * frequency
            partner = tirx.if_then_else(d < half, -x[b, n, h, d + half], x[b, n, h, d - half])
            turned = x[b, n, h, d].astype("float32") * tirx.cos(angle) + partner.astype("float32") * tirx.sin(angle)
            return turned.astype(dtype)

        return te.compute(x.shape, element, name="rotary")

    return op.tensor_expr_op(compute, "rotary", [x, offset])


def causal(scores: Tensor) -> Tensor:
    """Hides from each of the last `n` tokens those that come after it: `scores [1, heads, n, total]`."""

    def compute(scores: te.Tensor) -> te.Tensor:
        _, _, n, total = scores.shape
        lowest = tirx.min_value(scores.dtype)
        return te.compute(
            scores.shape,
            lambda b, h, i, j: tirx.if_then_else(j <= i + (total - n), scores[b, h, i, j], lowest),
            name="causal",
        )

    return op.tensor_expr_op(compute, "causal", [scores])


def _last_token(x: te.Tensor) -> te.Tensor:
    batch, n, width = x.shape
    return te.compute((batch, 1, width), lambda b, _, d: x[b, n - 1, d], name="last")


class Attention(nn.Module):
    def __init__(self, config: Config) -> None:
        self.config = config
        kv = config.kv_heads * config.head
        self.query = nn.Linear(config.hidden, config.hidden, bias=False)
        self.key = nn.Linear(config.hidden, kv, bias=False)
        self.value = nn.Linear(config.hidden, kv, bias=False)
        self.output = nn.Linear(config.hidden, config.hidden, bias=False)
        self.keys = nn.KVCache(config.context, [config.kv_heads, config.head])
        self.values = nn.KVCache(config.context, [config.kv_heads, config.head])

    def forward(self, x: Tensor, total: tirx.Expr) -> Tensor:
        c, n = self.config, x.shape[1]
        offset = total - n
        query = rotate(op.reshape(self.query(x), (1, n, c.heads, c.head)), offset, c.rope_base)
        key = rotate(op.reshape(self.key(x), (1, n, c.kv_heads, c.head)), offset, c.rope_base)
        self.keys.append(op.squeeze(key, 0))
        self.values.append(op.reshape(self.value(x), (n, c.kv_heads, c.head)))

        def seen(cache: nn.KVCache) -> Tensor:
            past = op.reshape(cache.view(total), (1, total, c.kv_heads, c.head))
            return op.permute_dims(op.repeat(past, c.heads // c.kv_heads, 2), (0, 2, 1, 3))

        scores = op.matmul(op.permute_dims(query, (0, 2, 1, 3)), op.permute_dims(seen(self.keys), (0, 1, 3, 2)))
        scores = causal((scores * c.head**-0.5).astype("float32"))
        weights = op.softmax(scores, axis=-1).astype(x.dtype)
        mixed = op.permute_dims(op.matmul(weights, seen(self.values)), (0, 2, 1, 3))
        return self.output(op.reshape(mixed, (1, n, c.hidden)))


class Mlp(nn.Module):
    def __init__(self, config: Config) -> None:
        self.gate = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.up = nn.Linear(config.hidden, config.intermediate, bias=False)
        self.down = nn.Linear(config.intermediate, config.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(op.silu(self.gate(x)) * self.up(x))


class Layer(nn.Module):
    def __init__(self, config: Config) -> None:
        self.attention_norm = nn.RMSNorm(config.hidden, -1, config.epsilon, bias=False)
        self.attention = Attention(config)
        self.mlp_norm = nn.RMSNorm(config.hidden, -1, config.epsilon, bias=False)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, total: tirx.Expr) -> Tensor:
        x = x + self.attention(self.attention_norm(x), total)
        return x + self.mlp(self.mlp_norm(x))


class Decoder(nn.Module):
    def __init__(self, config: Config) -> None:
        self.embed = nn.Embedding(config.vocabulary, config.hidden)
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.layers)])
        self.norm = nn.RMSNorm(config.hidden, -1, config.epsilon, bias=False)
        self.head = nn.Linear(config.hidden, config.vocabulary, bias=False)

    def prefill(self, input_ids: Tensor, total: tirx.Var) -> Tensor:
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x, total)
        last = op.tensor_expr_op(_last_token, "last", [x])
        return self.head(self.norm(last)).astype("float32")

    def decode(self, input_ids: Tensor, total: tirx.Var) -> Tensor:
        return self.prefill(input_ids, total)
