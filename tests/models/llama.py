"""A small Llama-like decoder: a configuration in, a Relax module with its weights, and the same model in NumPy, out.

Rotary positions, RMS norm, grouped-query attention over a simple KV cache, SwiGLU. Source: Touvron et al.,
arXiv:2302.13971; grouped queries: Ainslie et al., arXiv:2305.13245.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tvm.ir import IRModule

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Config:
    layers: int = 2
    hidden: int = 128
    heads: int = 4
    kv_heads: int = 2
    intermediate: int = 352
    vocabulary: int = 500
    context: int = 64
    rope_base: float = 10000.0
    epsilon: float = 1e-5

    @property
    def head(self) -> int:
        return self.hidden // self.heads


def llama(config: Config | None = None, *, dtype: str = "float32", seed: int = 3) -> tuple[IRModule, Weights]:
    """The decoder as a Relax module, and its weights by parameter name, in order.

    Functions of the module: `_initialize_effect()` gives the empty caches (keys and values of each layer);
    `prefill(input_ids [1, sequence] int32, total, *caches, *weights)` and `decode` (the same with one token) give the
    logits `[1, 1, vocabulary]` of the last token in float32 and the caches. `total` is the number of tokens that the
    caches hold after the call.
    """
    from tvm.relax.frontend.nn import spec

    from tests.models.llama_relax import Decoder

    config = config or Config()
    decoder = Decoder(config)
    decoder.to(dtype)
    entries = {
        name: {
            "input_ids": spec.Tensor([1, length], "int32"),
            "total": int,
            "$": {"param_mode": "plain", "effect_mode": "plain"},
        }
        for name, length in (("prefill", "sequence"), ("decode", 1))
    }
    module, parameters = decoder.export_tvm(entries)
    rng = np.random.default_rng(seed)
    weights = {name: _weight(rng, name, tuple(map(int, p.shape))).astype(dtype) for name, p in parameters}
    return module, weights


def _weight(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if "norm" in name:
        return rng.uniform(0.8, 1.2, shape)
    return rng.normal(0, 1.0 if "embed" in name else shape[-1] ** -0.5, shape)


class Reference:
    """The decoder in NumPy and float64, as the formulas have it: every call attends to all tokens seen so far."""

    def __init__(self, weights: Weights, config: Config | None = None) -> None:
        self.config = config or Config()
        self.weights = {name: w.astype("float64") for name, w in weights.items()}
        self.tokens: list[int] = []

    def step(self, tokens: list[int]) -> np.ndarray:
        """Takes more tokens; gives the logits `[vocabulary]` of the last one."""
        self.tokens += tokens
        w, c = self.weights, self.config
        x = w["embed.weight"][self.tokens]
        for i in range(c.layers):
            name = f"layers.{i}"
            x = x + self._attention(self._norm(x, f"{name}.attention_norm"), f"{name}.attention")
            y = self._norm(x, f"{name}.mlp_norm")
            gate, up = y @ w[f"{name}.mlp.gate.weight"].T, y @ w[f"{name}.mlp.up.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ w[f"{name}.mlp.down.weight"].T
        return self._norm(x[-1:], "norm")[0] @ w["head.weight"].T

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + self.config.epsilon) * self.weights[f"{name}.weight"]

    def _attention(self, x: np.ndarray, name: str) -> np.ndarray:
        c, n = self.config, len(x)

        def heads(part: str, count: int) -> np.ndarray:
            return (x @ self.weights[f"{name}.{part}.weight"].T).reshape(n, count, c.head).transpose(1, 0, 2)

        group = c.heads // c.kv_heads
        query = self._rotate(heads("query", c.heads))
        key = self._rotate(heads("key", c.kv_heads)).repeat(group, 0)
        value = heads("value", c.kv_heads).repeat(group, 0)
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(c.head)
        scores = np.where(np.tri(n, dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = weights / weights.sum(-1, keepdims=True) @ value
        return mixed.transpose(1, 0, 2).reshape(n, -1) @ self.weights[f"{name}.output.weight"].T

    def _rotate(self, x: np.ndarray) -> np.ndarray:
        half = self.config.head // 2
        angle = np.outer(np.arange(x.shape[1]), self.config.rope_base ** (-np.arange(half) / half))
        cos, sin = np.cos(angle), np.sin(angle)
        low, high = x[..., :half], x[..., half:]
        return np.concatenate([low * cos - high * sin, high * cos + low * sin], -1)
