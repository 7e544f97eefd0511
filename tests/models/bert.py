"""A small BERT encoder as ONNX: layers, widths and dtype in, a model with dynamic batch and sequence length out.

The graph has the nodes that torch's exporter writes for a HuggingFace BERT: Gather embeddings, LayerNormalization,
attention by Reshape/Transpose/MatMul/Softmax with an additive mask, GELU through Erf, and a tanh pooler.
Source: Devlin et al., arXiv:1810.04805.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from tests.models.graph import Graph


@dataclass(frozen=True)
class Config:
    layers: int = 2
    hidden: int = 128
    heads: int = 4
    intermediate: int = 512
    vocabulary: int = 1000
    positions: int = 512


class Encoder(Graph):
    def __init__(self, config: Config, *, seed: int, dtype: str) -> None:
        super().__init__("bert", seed=seed, dtype=dtype)
        self.config = config

    def linear(self, x: str, name: str, inputs: int, outputs: int, gain: float = 1.0) -> str:
        weight = self.normal(f"{name}.weight", (inputs, outputs), gain * inputs**-0.5)
        return self.op("Add", self.op("MatMul", x, weight), self.normal(f"{name}.bias", (outputs,), 0.1))

    def layer_norm(self, x: str, name: str) -> str:
        scale = self.uniform(f"{name}.weight", (self.config.hidden,), 0.8, 1.2)
        bias = self.normal(f"{name}.bias", (self.config.hidden,), 0.1)
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-6)

    def gelu(self, x: str) -> str:
        erf = self.op("Erf", self.op("Div", x, self.scalar(2**0.5)))
        return self.op("Mul", self.op("Mul", x, self.op("Add", erf, self.scalar(1))), self.scalar(0.5))

    def embed(self, input_ids: str, token_type_ids: str) -> str:
        c = self.config
        words = self.op("Gather", self.normal("embeddings.word", (c.vocabulary, c.hidden), 1.0), input_ids, axis=0)
        kinds = self.op("Gather", self.normal("embeddings.kind", (2, c.hidden), 0.5), token_type_ids, axis=0)
        length = self.op("Slice", self.op("Shape", input_ids), self.ints(1), self.ints(2), self.ints(0))
        all_places = self.weight("position_ids", np.arange(c.positions)[None])
        places = self.op("Slice", all_places, self.ints(0), length, self.ints(1))
        where = self.op("Gather", self.normal("embeddings.position", (c.positions, c.hidden), 0.5), places, axis=0)
        return self.layer_norm(self.op("Add", self.op("Add", words, kinds), where), "embeddings.norm")

    def additive_mask(self, attention_mask: str) -> str:
        """0 where attention is allowed and a large negative number elsewhere: `[batch, 1, 1, sequence]`."""
        to = onnx.helper.np_dtype_to_tensor_dtype(self.dtype)
        mask = self.op("Cast", self.op("Unsqueeze", attention_mask, self.ints(1, 2)), to=to)
        return self.op("Mul", self.op("Sub", self.scalar(1), mask), self.scalar(-10000))

    def attention(self, x: str, mask: str, name: str) -> str:
        c = self.config
        split = self.ints(0, 0, c.heads, c.hidden // c.heads)

        def heads(part: str, perm: list[int], gain: float = 1.0) -> str:
            projected = self.linear(x, f"{name}.{part}", c.hidden, c.hidden, gain)
            return self.op("Transpose", self.op("Reshape", projected, split), perm=perm)

        # A gain above one makes the attention choose, so that the mask and every position matter.
        query, key = heads("query", [0, 2, 1, 3], 1.5), heads("key", [0, 2, 3, 1], 1.5)
        scores = self.op("Div", self.op("MatMul", query, key), self.scalar((c.hidden / c.heads) ** 0.5))
        weights = self.op("Softmax", self.op("Add", scores, mask), axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", weights, heads("value", [0, 2, 1, 3])), perm=[0, 2, 1, 3])
        return self.linear(self.op("Reshape", mixed, self.ints(0, 0, c.hidden)), f"{name}.output", c.hidden, c.hidden)

    def layer(self, x: str, mask: str, name: str) -> str:
        c = self.config
        x = self.layer_norm(self.op("Add", x, self.attention(x, mask, f"{name}.attention")), f"{name}.attention.norm")
        wide = self.gelu(self.linear(x, f"{name}.intermediate", c.hidden, c.intermediate))
        narrow = self.linear(wide, f"{name}.output", c.intermediate, c.hidden)
        return self.layer_norm(self.op("Add", x, narrow), f"{name}.norm")

    def pool(self, x: str) -> str:
        first = self.op("Gather", x, self.weight("first", np.array(0, "int64")), axis=1)
        return self.op("Tanh", self.linear(first, "pooler", self.config.hidden, self.config.hidden))


def bert(*, config: Config | None = None, dtype: str = "float32", seed: int = 2) -> onnx.ModelProto:
    config = config or Config()
    net = Encoder(config, seed=seed, dtype=dtype)
    inputs = [net.input(n, ("batch", "sequence"), "int64") for n in ("input_ids", "attention_mask", "token_type_ids")]
    mask = net.additive_mask(inputs[1])
    x = net.embed(inputs[0], inputs[2])
    for i in range(config.layers):
        x = net.layer(x, mask, f"layer{i}")
    net.output(x, "last_hidden_state", ("batch", "sequence", config.hidden))
    net.output(net.pool(x), "pooler_output", ("batch", config.hidden))
    return net.build()


def text(batch: int, sequence: int, *, config: Config | None = None, seed: int = 0) -> dict[str, np.ndarray]:
    """Random token ids `[batch, sequence]`; all rows but the first are padded at the end, the second half is text B."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, (config or Config()).vocabulary, (batch, sequence))
    mask = np.ones_like(ids)
    mask[1:, sequence - sequence // 3 :] = 0
    kinds = np.zeros_like(ids)
    kinds[:, sequence // 2 :] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}
