"""The comparison's models in PyTorch with CUDA: the native side. One JSON line a model, in the comparison's own form.

python -m bench.peers.native --bench=/some/folder/bench [--workloads=mobilenet_v2,...] --out=native.jsonl

Needs nothing but PyTorch, NumPy, this folder and that one, so that it runs on a machine without a network. A model
runs as a CUDA graph with cuDNN's own search for algorithms and without TF32, in both memory formats; the quicker one
counts.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from bench.peers.weights import random_values, values

Op = dict[str, Any]
Values = dict[str, torch.Tensor]


def tensor(spec: Op, dtype: str) -> torch.Tensor:
    """A weight or an input as its seed says, on the GPU."""
    if spec.get("dtype") == "int64":
        if spec["fixed"] is not None:
            return torch.full(spec["shape"], spec["fixed"], dtype=torch.int64, device="cuda")
        uniform = (random_values(spec["seed"], math.prod(spec["shape"]), 1.0).astype(np.float64) + 1) / 2
        ids = np.minimum(np.floor(uniform * spec["hi"]), spec["hi"] - 1).astype(np.int64)
        return torch.from_numpy(ids.reshape(spec["shape"])).cuda()
    return torch.from_numpy(values(spec, dtype)).cuda()


def conv(op: Op, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    top, left, bottom, right = op["pads"]
    if (top, left) == (bottom, right):
        return F.conv2d(x, w, b, op["s"], (top, left), groups=op["groups"])
    return F.conv2d(F.pad(x, (left, right, top, bottom)), w, b, op["s"], groups=op["groups"])


def maxpool(op: Op, x: torch.Tensor) -> torch.Tensor:
    top, left, bottom, right = op["pads"]
    return F.max_pool2d(F.pad(x, (left, right, top, bottom), value=-math.inf), op["k"], op["s"])


def embed(op: Op, ids: torch.Tensor, types: torch.Tensor, *tables: torch.Tensor) -> torch.Tensor:
    word, position, kind = tables
    return F.embedding(ids, word) + F.embedding(types, kind) + position


def attention(op: Op, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    batch, length, width = op["shape"]
    q, k, v = (t.view(batch, length, op["heads"], -1).transpose(1, 2) for t in (q, k, v))
    bias = (1.0 - mask[:, None, None, :].to(q.dtype)) * -10000.0
    result = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(batch, 1, length, length))
    return result.transpose(1, 2).reshape(batch, length, width)


KINDS: dict[str, Callable[..., torch.Tensor]] = {
    "conv": conv,
    "maxpool": maxpool,
    "embed": embed,
    "attention": attention,
    "add": lambda op, a, b: a + b,
    "addt": lambda op, a, b: a + b,
    "gap": lambda op, x: x.mean((2, 3)),
    "fc": lambda op, x, w, b: torch.addmm(b, x, w),
    "matmul": lambda op, x, w: x @ w,
    "linear": lambda op, x, w, b: x @ w + b,
    "layernorm": lambda op, x, g, b: F.layer_norm(x, (x.shape[-1],), g, b, op["eps"]),
}
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "gelu": F.gelu,
}


def forward(net: Op, values: Values) -> torch.Tensor:
    for op in net["ops"]:
        result = KINDS[op["kind"]](op, *(values[name] for name in op["ins"]))
        values[op["out"]] = ACTIVATIONS[op.get("act", "none")](result)
    return values[net["output"]]


def relative_error(result: torch.Tensor, work: Op) -> float:
    """Largest difference from the reference's sampled elements over its largest magnitude."""
    reference = np.frombuffer(base64.b64decode(work["ref"]["data"]), np.float32)
    flat = result.float().flatten()
    positions = torch.arange(reference.size, device="cuda") * flat.numel() // reference.size
    return float(np.abs(flat[positions].cpu().numpy() - reference).max() / work["ref"]["maxabs"])


def median_ms(function: Callable[[], object], seconds: float) -> tuple[float, int]:
    """Median time from the call until the GPU is idle, and the number of runs."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 10 or (len(times) < 300 and time.perf_counter() < end):
        start = time.perf_counter()
        function()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times), len(times)


def measure(net: Op, work: Op, channels_last: bool, seconds: float) -> Op:
    specs = {**{spec["name"]: spec for spec in net["inputs"]}, **net["weights"]}
    tensors = {name: tensor(spec, net["dtype"]) for name, spec in specs.items()}
    if channels_last:
        last = torch.channels_last
        tensors = {n: t.contiguous(memory_format=last) if t.dim() == 4 else t for n, t in tensors.items()}
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):  # a capture must not be the first use of cuDNN
        for _ in range(3):
            eager = forward(net, dict(tensors))
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = forward(net, dict(tensors))
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(eager, output) or torch.allclose(eager.float(), output.float(), rtol=1e-3, atol=1e-3)
    for _ in range(10):
        graph.replay()
    milliseconds, runs = median_ms(graph.replay, seconds)
    eager_ms, _ = median_ms(lambda: forward(net, dict(tensors)), seconds / 2)
    error = relative_error(output, work)
    return {
        "gpu_ms": round(milliseconds, 4),
        "gpu_n": runs,
        "eager_ms": round(eager_ms, 4),
        "gflops": round(work["flops"] / 1e6 / milliseconds, 1),
        "channels_last": channels_last,
        "check": {"ok": error < (3e-2 if net["dtype"] == "float16" else 2e-3), "rel_err": float(f"{error:.2e}")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--workloads", default="")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    works = json.loads((options.bench / "models" / "manifest.json").read_text())
    with options.out.open("w") as out, torch.inference_mode():
        for name in options.workloads.split(",") if options.workloads else works:
            row: Op = {
                "engine": "pytorch-cuda",
                "workload": name,
                "env": "native",
                "adapter": torch.cuda.get_device_name(),
            }
            row["version"] = torch.__version__
            try:
                net = json.loads(gzip.decompress((options.bench / "models" / f"{name}.net.json.gz").read_bytes()))
                formats = (False, True) if any(op["kind"] == "conv" for op in net["ops"]) else (False,)
                results = [measure(net, works[name], last, options.seconds) for last in formats]
                row |= min(results, key=lambda result: result["gpu_ms"])
            except (RuntimeError, KeyError, OSError) as error:
                row["error"] = f"{type(error).__name__}: {error}"[:300]
            out.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
