"""Whole models as TVM lowers them: every kernel must emit, validate, and do its index arithmetic in 32 bits."""

from __future__ import annotations

import gpu
import pytest
import tvm
from tvm import relax, s_tir, tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import op, spec
from tvm.s_tir import dlight
from tvm_webgpu.codegen.spirv import wide

WIDTH, HEADS, VOCABULARY, LENGTH = 64, 4, 128, 64


def relu6(x: nn.Tensor) -> nn.Tensor:
    return op.minimum(op.relu(x), nn.Tensor.from_scalar(6.0, "float32"))


class DepthwiseNet(nn.Module):
    """Strided, depthwise and pointwise convolutions, a residual, pooling and a classifier."""

    def __init__(self) -> None:
        self.stem = nn.Conv2D(3, 16, 3, stride=2, padding=1)
        self.expand = nn.Conv2D(16, 64, 1)
        self.depthwise = nn.Conv2D(64, 64, 3, padding=1, groups=64)
        self.project = nn.Conv2D(64, 16, 1)
        self.classify = nn.Linear(16, 10)

    def main(self, x: nn.Tensor) -> nn.Tensor:
        x = relu6(self.stem(x))
        x = x + self.project(relu6(self.depthwise(relu6(self.expand(x)))))
        pooled = op.sum(op.sum(x, -1), -1) / 256.0
        return op.softmax(self.classify(pooled), -1)


class Encoder(nn.Module):
    """int64 ids, attention over a mask, GELU by erf, argmax of the result."""

    def __init__(self) -> None:
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def main(self, ids: nn.Tensor, mask: nn.Tensor) -> nn.Tensor:
        x = self.embed(ids)
        batch, length, _ = x.shape
        parts = op.split(op.reshape(self.qkv(x), (batch, length, 3 * HEADS, WIDTH // HEADS)), 3, axis=2)
        q, k, v = (op.permute_dims(part, [0, 2, 1, 3]) for part in parts)
        bias = op.astype(op.reshape(mask, (batch, 1, 1, length)), "float32") * 1e4 - 1e4
        weights = op.softmax(op.matmul(q, op.permute_dims(k, [0, 1, 3, 2])) * 0.25 + bias, -1)
        x = x + op.reshape(op.permute_dims(op.matmul(weights, v), [0, 2, 1, 3]), (batch, length, WIDTH))
        return self.norm(x + self.down(op.gelu(self.up(x))))


class Decoder(nn.Module):
    """RMS norm, attention on a simple KV cache, SwiGLU."""

    def __init__(self, dtype: str) -> None:
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.norm = nn.RMSNorm(WIDTH, -1, 1e-5, bias=False)
        self.gate, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(2 * WIDTH, WIDTH, bias=False)
        self.k = nn.KVCache(LENGTH, [HEADS, WIDTH // HEADS], dtype)
        self.v = nn.KVCache(LENGTH, [HEADS, WIDTH // HEADS], dtype)
        self.dtype = dtype

    def main(self, ids: nn.Tensor, total: tirx.Var) -> nn.Tensor:
        x = self.embed(ids)
        _, length, _ = x.shape
        size = WIDTH // HEADS
        q, k, v = op.split(op.reshape(self.qkv(self.norm(x)), (1, length, 3 * HEADS, size)), 3, axis=2)
        self.k.append(op.squeeze(k, 0))
        self.v.append(op.squeeze(v, 0))
        q, k, v = (op.permute_dims(t, [0, 2, 1, 3]) for t in (
            q, op.reshape(self.k.view(total), (1, total, HEADS, size)),
            op.reshape(self.v.view(total), (1, total, HEADS, size))))
        weights = op.softmax(op.astype(op.matmul(q, op.permute_dims(k, [0, 1, 3, 2])) / 4.0, "float32"), -1)
        mixed = op.permute_dims(op.matmul(op.astype(weights, self.dtype), v), [0, 2, 1, 3])
        x = x + op.reshape(mixed, (1, length, WIDTH))
        a, b = op.split(self.gate(self.norm(x)), 2, axis=-1)
        return op.astype(x + self.down(op.silu(a) * b), "float32")


PLAIN = {"param_mode": "plain", "effect_mode": "plain"}
NO_EFFECT = {"param_mode": "plain", "effect_mode": "none"}
MODELS = {
    "depthwise": (DepthwiseNet, {"x": spec.Tensor(["batch", 3, 32, 32], "float32"), "$": NO_EFFECT}, "float32"),
    "encoder": (Encoder, {"ids": spec.Tensor(["batch", "length"], "int64"),
                          "mask": spec.Tensor(["batch", "length"], "int64"), "$": NO_EFFECT}, "float32"),
    "decoder": (lambda: Decoder("float32"), {"ids": spec.Tensor([1, "length"], "int32"), "total": int, "$": PLAIN},
                "float32"),
    "decoder f16": (lambda: Decoder("float16"), {"ids": spec.Tensor([1, "length"], "int32"), "total": int,
                                                 "$": PLAIN}, "float16"),
}


def kernels(name: str, target: tvm.target.Target) -> dict[str, tirx.PrimFunc]:
    make, inputs, dtype = MODELS[name]
    model = make()
    model.to(dtype)
    mod, _ = model.export_tvm({"main": inputs})
    rules = (dlight.gpu.Matmul(), dlight.gpu.GEMV(), dlight.gpu.Reduction(), dlight.gpu.GeneralReduction(),
             dlight.gpu.Fallback())
    t = relax.transform
    with target, tvm.transform.PassContext(config={"tirx.disable_cse_tir": True}):
        mod = tvm.ir.transform.Sequential([
            t.LegalizeOps(), t.AnnotateTIROpPattern(), t.FuseOps(), t.FuseTIR(), t.DeadCodeElimination(),
            dlight.ApplyDefaultSchedule(*rules), s_tir.transform.DefaultGPUSchedule(),
            t.AttachGlobalSymbol()])(mod)
        functions = {g: f for g, f in mod.functions_items() if isinstance(f, tirx.PrimFunc)}
        return gpu.device_functions(tvm.IRModule(functions), target)


@pytest.mark.parametrize(("name", "target"), [*((name, gpu.TARGET) for name in MODELS),
                                              ("decoder f16", gpu.TARGET_F16)])
def test_every_kernel(name, target, monkeypatch):
    emulated: list[str] = []
    original = wide.wide_binary
    monkeypatch.setattr(wide, "wide_binary", lambda b, kind, x, y: emulated.append(kind) or original(b, kind, x, y))
    found = kernels(name, target)
    assert len(found) >= 5
    for kernel_name, func in found.items():
        emulated.clear()
        kernel = gpu.checked(func, kernel_name, target)
        if not any("int64" in b.dtype for b in kernel.bindings):
            assert not emulated, f"{kernel_name} emulates 64-bit {emulated}"
        gpu.device().create_shader_module(code=kernel.spirv)
