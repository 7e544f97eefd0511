"""A depthwise convolution shares a kernel with a 1x1 convolution beside it, where `schedule.JOINTS` says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tvm
import tvm_webgpu
from tvm import relax
from tvm.relax import op as R
from tvm_webgpu.pipeline import graph
from tvm_webgpu.pipeline.passes.patterns import CALL_TIR
from tvm_webgpu.pipeline.target import resolve_target

from tests.pyapi.evaluate import evaluate

RNG = np.random.default_rng(5)


def conv(
    bb: relax.BlockBuilder, x: relax.Expr, out: int, kernel: int = 1, stride: int = 1, act: bool = True
) -> relax.Expr:
    """Convolution, bias, clip; with a kernel of more than 1 depthwise."""
    channels = int(x.ty.shape[1])
    groups = channels if kernel > 1 else 1
    weight = RNG.standard_normal((out, channels // groups, kernel, kernel)) / (kernel * (channels // groups) ** 0.5)
    y = R.nn.conv2d(x, relax.const(weight.astype("float32")), strides=stride, padding=kernel // 2, groups=groups)
    bias = relax.const(RNG.standard_normal((1, out, 1, 1)).astype("float32"))
    y = bb.emit(R.add(bb.emit(y), bias))
    return bb.emit(R.clip(y, 0, 6)) if act else y


def network(edge: int, images: int | tvm.tirx.Var = 1, seen: bool = False) -> tvm.IRModule:
    """Two inverted residual blocks and one with stride 2; `seen`: what its first convolution gives is an output."""
    bb = relax.BlockBuilder()
    data = relax.Var("x", relax.TensorType((images, 8, edge, edge), "float32"))
    with bb.function("main", [data]):
        with bb.dataflow():
            y = conv(bb, data, 12)
            for _ in range(2):
                inner = conv(bb, conv(bb, y, 36), 36, 3)
                y = bb.emit(R.add(y, conv(bb, inner, 12, act=False)))
            last = conv(bb, y, 40)
            out = bb.emit_output(conv(bb, conv(bb, last, 40, 3, 2), 20, act=False))
            outputs = relax.Tuple([out, bb.emit_output(last)]) if seen else out
        bb.emit_func_output(outputs)
    return bb.get()


def kernels(mod: tvm.IRModule, **features: bool) -> tuple[tvm.IRModule, int]:
    """The module with operators as TIR functions, and the number of its calls of them."""
    target = resolve_target({"kind": "webgpu", **{f"feature.{name}": value for name, value in features.items()}})
    with target:
        mod = tvm.transform.Sequential(graph.to_kernels(target, share=False))(mod)
    return mod, sum(b.value.op == CALL_TIR for block in mod["main"].body.blocks for b in block.bindings)


@pytest.mark.parametrize(
    ("edge", "images", "calls"),
    [
        (7, 1, 7),  # all three with the convolution in front of them
        (40, 1, 8),  # the first two with the one behind them; the last has work for few cores
        (7, "open", 7),
        (14, 5, 10),  # too many positions for a workgroup's memory, work for few cores
    ],
)
def test_calls_and_results(edge: int, images: int | str, calls: int) -> None:
    number = 3 if images == "open" else int(images)
    mod = network(edge, tvm.tirx.Var("n", "int64") if images == "open" else number)
    fused, count = kernels(mod)
    assert count == calls
    x = RNG.standard_normal((number, 8, edge, edge)).astype("float32")
    np.testing.assert_allclose(evaluate(fused, [x]), evaluate(mod, [x]), rtol=1e-5, atol=1e-5)


def test_what_others_see_stays() -> None:
    assert kernels(network(7, seen=True))[1] == 8


@pytest.mark.parametrize("feature", ["software", "start"])
def test_other_targets_stay_as_they_are(feature: str) -> None:
    assert kernels(network(7), **{feature: True})[1] == 10


def test_on_the_gpu(tmp_path: Path) -> None:
    mod = network(7)
    package = tvm_webgpu.compile(mod, cache=False)
    assert len(package.kernels) == 5  # the first, two expansions with their windows, two projections
    package.save(tmp_path)
    x = RNG.standard_normal((1, 8, 7, 7)).astype("float32")
    (result,) = tvm_webgpu.load(tmp_path).run({"x": x}).values()
    np.testing.assert_allclose(result, evaluate(mod, [x]), rtol=1e-5, atol=1e-5)
