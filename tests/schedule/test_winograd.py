"""Winograd's convolutions for software GPUs: transforms, kernels over sizes that no patch divides, and the choice."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import tvm
from tvm.relax import op as R
from tvm_webgpu.codegen.schedule import Limits, Scheduler, signature, winograd
from tvm_webgpu.codegen.schedule.blocks import NotApplicable
from tvm_webgpu.codegen.schedule.product import recognise

from tests.schedule import cases, runner

SOFTWARE = Limits(software=True)


def _conv(batch: int, channels: int, filters: int, size: tuple[int, int], pad: int = 1, **how: bool) -> cases.Case:
    weight = (channels, 3, 3, filters) if how.get("packed") else (filters, channels, 3, 3)
    inputs = [(batch, channels, *size), weight, (1, filters, 1, 1)]
    if how.get("residual"):
        inputs.append((batch, filters, *(edge + 2 * pad - 2 for edge in size)))
    return cases.case("product", cases.conv(pad=pad, **how), *inputs)


CASES = {
    "odd": _conv(1, 5, 7, (9, 11)),
    "batch_without_padding": _conv(2, 8, 12, (10, 7), pad=0),
    "packed_residual": _conv(1, 16, 20, (13, 6), packed=True, residual=True),
    "wide_padding": _conv(3, 3, 4, (5, 5), pad=2),
}


def _function(spec: cases.Case) -> tvm.tirx.PrimFunc:
    (func,) = cases.functions_of(spec).values()
    return func


def _exact(x: np.ndarray, w: np.ndarray, rest: list[np.ndarray], pad: int, packed: bool) -> np.ndarray:
    """The convolution, bias, residual and clip in float64."""
    x, w = x.astype(np.float64), w.astype(np.float64)
    w = w.transpose(3, 0, 1, 2) if packed else w
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, ((0, 0), (0, 0), (pad,) * 2, (pad,) * 2)), (3, 3), (2, 3)
    )
    out = np.einsum("nchwij,ocij->nohw", windows, w)
    return out if not rest else np.clip(out + sum(r.astype(np.float64) for r in rest), 0, 6)


@pytest.mark.parametrize("edge", winograd.EDGES)
def test_transforms_are_exact(edge: int) -> None:
    at, g, bt = (np.array(m, dtype=object) for m in winograd.matrices(edge))
    rng = np.random.default_rng(0)
    window = [Fraction(int(n)) for n in rng.integers(-9, 9, winograd.WINDOW)]
    image = [Fraction(int(n)) for n in rng.integers(-9, 9, edge + winograd.WINDOW - 1)]
    direct = [sum(window[k] * image[i + k] for k in range(winograd.WINDOW)) for i in range(edge)]
    assert list(at @ ((g @ window) * (bt @ image))) == direct


@pytest.mark.parametrize(
    ("name", "edge"), [("odd", 4), ("packed_residual", 4), ("batch_without_padding", 4), ("wide_padding", 2)]
)
def test_kernels(name: str, edge: int) -> None:
    func = _function(CASES[name])
    *inputs, out = cases.arrays(func)
    inputs[1] *= 0.1
    product = recognise(func)
    written = winograd.write(product, winograd.Winograd(edge), SOFTWARE)
    outcome = runner.run(written, [*inputs, out], runner.TARGET)
    pad = (out.shape[2] - inputs[0].shape[2] + 2) // 2
    exact = _exact(inputs[0], inputs[1], inputs[2:], pad, packed=inputs[1].shape[0] == inputs[0].shape[1])
    assert len(outcome.launches) == 4
    assert np.abs(outcome.buffers[-1] - exact).max() < 1e-5 * np.abs(exact).max()


def test_float32_loses_little_over_many_channels() -> None:
    """The bound that is promised: 1e-5 of the largest result for F(4, 3) over 512 channels (seen: 4e-6)."""
    func = _function(
        cases.case("product", lambda bb, x, w: R.nn.conv2d(x, w, padding=1), (1, 512, 8, 8), (16, 512, 3, 3))
    )
    x, w, out = cases.arrays(func)
    got = runner.run(winograd.write(recognise(func), winograd.Winograd(4), SOFTWARE), [x, w, out], runner.TARGET)
    exact = _exact(x, w, [], 1, packed=False)
    assert np.abs(got.buffers[-1] - exact).max() < 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("spec", "edge"),
    [
        (_conv(1, 64, 64, (56, 56)), 4),
        (_conv(1, 64, 64, (14, 14)), 4),
        (_conv(1, 512, 512, (7, 7)), 2),  # larger patches would be wasted, and weights are most of the work
        (_conv(1, 3, 16, (32, 32)), None),
        (cases.CASES["conv3x3_packed_stride"], None),
        (cases.CASES["conv1x1"], None),
        (cases.CASES["conv_groups"], None),
        (cases.CASES["conv3x3_open"], None),
        (cases.CASES["matmul"], None),
        (cases.CASES["conv_transposed_dilated"], None),
    ],
)
def test_the_choice(spec: cases.Case, edge: int | None) -> None:
    func = _function(spec)
    chosen = winograd.choose(recognise(func))
    assert (chosen and chosen.edge) == edge


@pytest.mark.parametrize("name", ["conv3x3_packed_stride", "conv1x1", "conv_groups", "conv3x3_open", "matmul"])
def test_other_products_are_refused(name: str) -> None:
    (func,) = cases.functions(name).values()
    with pytest.raises(NotApplicable):
        winograd.write(recognise(func), winograd.Winograd(4), SOFTWARE)


def test_on_software_gpus_only() -> None:
    func = _function(_conv(1, 64, 64, (16, 16)))
    plans = [Scheduler(limits)(func, "conv").attrs["tvm_webgpu.plan"] for limits in (SOFTWARE, Limits())]
    assert plans[0].startswith("Winograd") and plans[1].startswith("Tile")
    assert signature(func, SOFTWARE) is None  # kernels for one size are shared by equal functions only
