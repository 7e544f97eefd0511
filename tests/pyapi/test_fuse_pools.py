"""A sum over all positions of a convolution's results is part of its kernel, where one tile holds the positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tvm
import tvm_webgpu
from tvm import relax
from tvm.relax import op as R

from tests.pyapi.evaluate import evaluate

RNG = np.random.default_rng(7)
Pool = Callable[[relax.Expr], relax.Expr]


def network(
    x: tuple[int, ...], channels: int, kernel: int, stride: int, pool: Pool, seen: bool = False, dtype: str = "float32"
) -> tvm.IRModule:
    """clip(conv2d(x) + bias), pooled, plus 1; `seen`: the convolution's result is an output, too."""
    bb = relax.BlockBuilder()
    data = relax.Var("x", relax.TensorType(x, dtype))
    weight = (RNG.standard_normal((channels, x[1], kernel, kernel)) / (kernel * x[1] ** 0.5)).astype(dtype)
    with bb.function("main", [data]):
        with bb.dataflow():
            y = bb.emit(R.nn.conv2d(data, relax.const(weight), strides=stride, padding=kernel // 2))
            y = bb.emit(R.add(y, relax.const(RNG.standard_normal((1, channels, 1, 1)).astype(dtype))))
            y = bb.emit(R.clip(y, 0, 6))
            z = bb.emit_output(bb.emit(R.add(pool(y), relax.const(np.ones((), dtype)))))
            out = relax.Tuple([z, bb.emit_output(y)]) if seen else z
        bb.emit_func_output(out)
    return bb.get()


def mean(y: relax.Expr) -> relax.Expr:
    return R.mean(y, [2, 3], keepdims=True)


def kernels_and_result(
    mod: tvm.IRModule, x: np.ndarray, folder: Path, features: Sequence[str] = ()
) -> tuple[int, np.ndarray]:
    package = tvm_webgpu.compile(mod, cache=False, features=features)
    package.save(folder)
    return len(package.kernels), next(iter(tvm_webgpu.load(folder).run({"x": x}).values()))


@pytest.mark.parametrize(
    ("shape", "channels", "kernel", "stride"),
    [
        ((1, 40, 7, 7), 50, 1, 1),
        ((2, 36, 5, 9), 33, 1, 1),
        ((1, 12, 13, 9), 20, 3, 2),
    ],
)
def test_one_kernel(shape: tuple[int, ...], channels: int, kernel: int, stride: int, tmp_path: Path) -> None:
    mod = network(shape, channels, kernel, stride, mean)
    x = RNG.standard_normal(shape).astype("float32")
    count, result = kernels_and_result(mod, x, tmp_path)
    assert count == 1
    np.testing.assert_allclose(result, evaluate(mod, [x]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("features", [(), ("start",)])
def test_halves_are_added_up_in_float32(features: tuple[str, ...], tmp_path: Path) -> None:
    mod = network((1, 40, 7, 7), 50, 1, 1, mean, dtype="float16")
    x = RNG.standard_normal((1, 40, 7, 7)).astype("float16")
    count, result = kernels_and_result(mod, x, tmp_path, features)
    assert count == 1
    np.testing.assert_allclose(result, evaluate(mod, [x]), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("shape", "pool", "seen"),
    [
        ((1, 40, 9, 9), mean, False),  # too many positions
        ((1, 40, 7, 7), lambda y: R.max(y, [2, 3], keepdims=True), False),  # not a sum
        ((1, 40, 7, 7), lambda y: R.mean(y, [1], keepdims=True), False),  # not over positions
        ((1, 40, 7, 7), mean, True),  # another sees the results
    ],
)
def test_others_stay_apart(shape: tuple[int, ...], pool: Pool, seen: bool, tmp_path: Path) -> None:
    mod = network(shape, 32, 1, 1, pool, seen)
    x = RNG.standard_normal(shape).astype("float32")
    count, result = kernels_and_result(mod, x, tmp_path)
    assert count > 1
    if not seen:
        np.testing.assert_allclose(result, evaluate(mod, [x]), rtol=1e-5, atol=1e-5)
