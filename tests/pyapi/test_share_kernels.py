"""Functions that differ in sizes only become one kernel, with the same results bit for bit."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from unittest import mock

import numpy as np
import pytest
import tvm
import tvm_webgpu
from tvm import relax
from tvm.relax import op as R
from tvm_webgpu.package import Package
from tvm_webgpu.pipeline import graph
from tvm_webgpu.pipeline.passes.share_kernels import _line, _Symbols

Layer = tuple[int, ...]


Extent = int | tvm.tirx.Var


def convolutions(layers: Sequence[Layer], groups: bool = False, images: Extent = 1) -> tvm.IRModule:
    """For each (in, out, h, w, kernel, stride) an input, and its convolution with bias, clipped, as an output."""
    rng = np.random.default_rng(3)
    bb = relax.BlockBuilder()
    inputs = [
        relax.Var(f"x{i}", relax.TensorType((images, c, h, w), "float32"))
        for i, (c, _, h, w, _, _) in enumerate(layers)
    ]
    with bb.function("main", inputs):
        with bb.dataflow():
            results = []
            for x, (c, n, _, _, kernel, stride) in zip(inputs, layers):
                weight = rng.standard_normal((n, 1 if groups else c, kernel, kernel)).astype("float32") / c**0.5
                y = R.nn.conv2d(x, relax.const(weight), strides=stride, padding=kernel // 2, groups=c if groups else 1)
                y = R.add(y, relax.const(rng.standard_normal((1, n, 1, 1)).astype("float32")))
                results.append(bb.emit_output(bb.emit(R.clip(y, 0, 6))))
        bb.emit_func_output(relax.Tuple(results))
    return bb.get()


def matmuls(sizes: Sequence[Layer], rows: Extent | None = None) -> tvm.IRModule:
    """For each (m, n, k) an input [m, k], or [rows, k], and its product with a constant, through tanh, as an output."""
    rng = np.random.default_rng(4)
    bb = relax.BlockBuilder()
    inputs = [
        relax.Var(f"x{i}", relax.TensorType((m if rows is None else rows, k), "float32"))
        for i, (m, _, k) in enumerate(sizes)
    ]
    with bb.function("main", inputs):
        with bb.dataflow():
            results = []
            for x, (_, n, k) in zip(inputs, sizes):
                y = R.matmul(x, relax.const(rng.standard_normal((k, n)).astype("float32") / k**0.5))
                results.append(bb.emit_output(bb.emit(R.tanh(bb.emit(y)))))
        bb.emit_func_output(relax.Tuple(results))
    return bb.get()


def compiled(mod: tvm.IRModule, share: bool) -> Package:
    with mock.patch.object(graph, "to_kernels", functools.partial(graph.to_kernels, share=share)):
        return tvm_webgpu.compile(mod, cache=False)


def check(mod: tvm.IRModule, alone: int, together: int, tmp_path, lengths: Sequence[int] = (1,)) -> None:
    """Compares both packages' results, and counts their kernels; open extents have each of the lengths in turn."""
    packages = [compiled(mod, share) for share in (False, True)]
    assert [len(package.kernels) for package in packages] == [alone, together]
    models = []
    for i, package in enumerate(packages):
        package.save(tmp_path / str(i))
        models.append(tvm_webgpu.load(tmp_path / str(i)))
    rng = np.random.default_rng(5)
    for length in lengths:
        shapes = {var.name: [getattr(n, "value", length) for n in var.ty.shape] for var in mod["main"].params}
        arrays = {name: rng.standard_normal(shape).astype("float32") for name, shape in shapes.items()}
        expected, results = (model.run(arrays) for model in models)
        for name, values in expected.items():
            np.testing.assert_array_equal(results[name], values, err_msg=f"{name}, length {length}")


def test_convolutions_of_many_sizes_are_one_kernel(tmp_path) -> None:
    layers = [(120, 32, 12, 12, 1, 1), (104, 64, 6, 10, 1, 1), (100, 36, 8, 4, 1, 1)]
    check(convolutions(layers), 3, 1, tmp_path)


def test_windows_and_strides_may_be_shared_but_not_with_others(tmp_path) -> None:
    """3x3 convolutions of one stride agree; the padded height follows the height."""
    layers = [(16, 24, 9, 9, 3, 1), (24, 32, 7, 13, 3, 1), (16, 24, 9, 9, 3, 2)]
    check(convolutions(layers), 3, 2, tmp_path)


def test_odd_sizes_keep_to_themselves(tmp_path) -> None:
    """Sizes that are no multiples of 4 have other loads: two kernels, each in two sizes."""
    layers = [(40, 32, 12, 12, 1, 1), (48, 36, 8, 8, 1, 1), (40, 32, 7, 7, 1, 1), (52, 32, 5, 9, 1, 1)]
    check(convolutions(layers), 4, 2, tmp_path)


def test_products_of_many_sizes(tmp_path) -> None:
    check(matmuls([(40, 64, 100), (36, 32, 120), (44, 96, 132)]), 3, 1, tmp_path)


def test_convolutions_of_any_number_of_images(tmp_path) -> None:
    """The number of images stays open beside the sizes; planes of 4 * n columns, and odd ones."""
    layers = [(40, 32, 12, 12, 1, 1), (48, 36, 8, 8, 1, 1), (40, 32, 7, 7, 1, 1), (52, 32, 5, 9, 1, 1)]
    check(convolutions(layers, images=tvm.tirx.Var("n", "int64")), 4, 2, tmp_path, lengths=(1, 3))


def test_windows_of_any_number_of_images(tmp_path) -> None:
    layers = [(24, 24, 9, 9, 3, 1), (16, 16, 11, 9, 3, 1), (9, 9, 11, 13, 3, 2)]
    check(convolutions(layers, groups=True, images=tvm.tirx.Var("n", "int64")), 3, 2, tmp_path, lengths=(1, 5))


def test_products_of_any_number_of_rows(tmp_path) -> None:
    """A symbol of the model's own may have the name that a size would get."""
    sizes = [(0, 64, 100), (0, 32, 120), (0, 96, 132)]
    check(matmuls(sizes, rows=tvm.tirx.Var("size0", "int64")), 3, 1, tmp_path, lengths=(1, 37))


def test_what_is_called_with_the_same_sizes_is_left_alone(tmp_path) -> None:
    package = compiled(convolutions([(40, 32, 12, 12, 1, 1)]), share=True)
    assert [kernel.scalars for kernel in package.kernels] == [()]


@pytest.mark.parametrize(
    ("known", "sizes", "line"),
    [
        ((28, 14), (30, 16), (1, 2)),
        ((28, 14), (57, 29), (2, 1)),
        ((14, 28), (7, 14), None),
        ((28, 14), (14, 28), None),
        ((28, 28), (30, 31), None),
        ((4, 8, 12), (5, 9, 14), None),
    ],
)
def test_sizes_that_follow_others(known: Layer, sizes: Layer, line: Layer | None) -> None:
    assert _line(known, sizes) == line


def test_common_divisors_are_kept() -> None:
    symbols = _Symbols()
    assert str(symbols((32, 96))) == "size0 * T.int64(32)"
    assert str(symbols((34, 98))) == "size0 * T.int64(32) + T.int64(2)"
    assert symbols.values == [(1, 3)]
