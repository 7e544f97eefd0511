"""Packed weights and transposed convolutions as sums of products: results stay those of TVM's own form (on the CPU)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax import op as R
from tvm_webgpu.pipeline.passes.pack_weights import PackWeights
from tvm_webgpu.pipeline.passes.transposed_convolution import LEGALIZE_TRANSPOSED

Operator = Callable[[relax.Var, relax.Expr], relax.Expr]

CASES: dict[str, tuple[Operator, tuple[int, ...], tuple[int, ...], str]] = {
    "groups": (lambda x, w: R.nn.conv2d(x, w, groups=3, padding=1), (1, 24, 7, 6), (36, 8, 3, 3), "IHWO"),
    "few_filters_a_group": (lambda x, w: R.nn.conv2d(x, w, groups=6), (1, 24, 7, 6), (36, 4, 3, 3), "OIHW"),
    "transposed": (
        lambda x, w: R.nn.conv2d_transpose(x, w, strides=2, padding=1, output_padding=1),
        (2, 8, 5, 6),
        (8, 12, 3, 3),
        "IHWO",
    ),
    "transposed_cut": (lambda x, w: R.nn.conv2d_transpose(x, w, strides=(3, 2)), (1, 8, 5, 6), (8, 9, 2, 5), "IHWO"),
    "transposed_1d": (lambda x, w: R.nn.conv1d_transpose(x, w, strides=4, padding=2), (1, 8, 9), (8, 5, 8), "IWO"),
    "transposed_dilated": (
        lambda x, w: R.nn.conv2d_transpose(x, w, strides=2, dilation=2),
        (1, 8, 5, 6),
        (8, 9, 3, 3),
        "IOHW",
    ),
    "transposed_without_stride": (
        lambda x, w: R.nn.conv2d_transpose(x, w, padding=1),
        (1, 8, 5, 6),
        (8, 9, 3, 3),
        "IOHW",
    ),
}


def _module(build: Operator, data: tuple[int, ...], weight: tuple[int, ...]) -> tvm.IRModule:
    bb = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(data, "float32"))
    constant = relax.const(np.random.default_rng(1).standard_normal(weight).astype("float32"))
    with bb.function("main", [x]):
        with bb.dataflow():
            out = bb.emit_output(build(x, constant))
        bb.emit_func_output(out)
    return bb.get()


def _run(mod: tvm.IRModule, data: tuple[int, ...], legalize: dict) -> np.ndarray:
    target = tvm.target.Target("llvm")
    with target:
        built = relax.build(relax.transform.LegalizeOps(legalize)(mod), target)
    x = tvm.runtime.tensor(np.random.default_rng(2).standard_normal(data).astype("float32"))
    return relax.VirtualMachine(built, tvm.cpu())["main"](x).numpy()


@pytest.mark.parametrize("name", CASES)
def test_results_stay(name: str) -> None:
    build, data, weight, layout = CASES[name]
    mod = _module(build, data, weight)
    packed = PackWeights()(mod)
    (call,) = (b.value for b in packed["main"].body.blocks[0].bindings if isinstance(b.value, relax.Call))
    assert call.attrs.kernel_layout == layout
    expected = _run(mod, data, {})
    np.testing.assert_allclose(_run(packed, data, LEGALIZE_TRANSPOSED), expected, rtol=1e-4, atol=1e-4)
