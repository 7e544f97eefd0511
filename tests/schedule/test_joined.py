"""Small windows and a product as one kernel, whichever comes first, over shapes that no tile divides."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import tvm
from tvm import relax
from tvm.relax import op as R
from tvm_webgpu.codegen.schedule import JOINTS, Limits, gemm, planes, windowed
from tvm_webgpu.codegen.schedule.blocks import NotApplicable

from tests.schedule.check import assert_same


class Net(NamedTuple):
    """A depthwise convolution (or, as `work`, a pool) and a 1x1 one; images: a number, or `open` for any."""

    channels: int
    height: int
    width: int
    others: int
    window: tuple[int, int] = (3, 3)
    stride: int = 1
    padding: tuple[int, ...] = (1, 1, 1, 1)
    dilation: int = 1
    work: str = "clip"
    images: int | str = 1
    dtype: str = "float32"
    sums: str | None = None
    """dtype of the convolutions' sums, as of models that are compiled for mixed precision."""


def _work(bb: relax.BlockBuilder, y: relax.Expr, bias: relax.Var, kind: str) -> relax.Expr:
    if kind == "none":
        return y
    y = bb.emit(R.add(y, bias))
    return bb.emit({"clip": lambda v: R.clip(v, 0.0, 6.0), "silu": R.nn.silu}[kind](y))


def _windows(bb: relax.BlockBuilder, y: relax.Expr, net: Net, weight: relax.Var) -> relax.Expr:
    options = {"strides": net.stride, "padding": net.padding, "dilation": net.dilation}
    if net.work == "max":
        return bb.emit(R.nn.max_pool2d(y, net.window, **options))
    return _conv(bb, y, weight, net, groups=net.channels, **options)


def _conv(bb: relax.BlockBuilder, y: relax.Expr, weight: relax.Var, net: Net, **options: object) -> relax.Expr:
    y = bb.emit(R.nn.conv2d(y, weight, out_dtype=net.sums or net.dtype, **options))
    return bb.emit(R.astype(y, net.dtype)) if net.sums else y


def function(net: Net, windows_first: bool) -> tvm.tirx.PrimFunc:
    """Both, with bias and work behind the first, and bias and relu behind the second, as one TIR function."""
    images = tvm.tirx.Var("n", "int64") if net.images == "open" else net.images
    c, o = net.channels, net.others
    first, last = (c, o) if windows_first else (o, c)
    shapes = [(images, first, net.height, net.width), (c, 1, *net.window), (first, 1, 1, last), (1, c, 1, 1)]
    shapes.append((1, last, 1, 1))
    params = [relax.Var(f"x{i}", relax.TensorType(shape, net.dtype)) for i, shape in enumerate(shapes)]
    bb = relax.BlockBuilder()
    x, depthwise, pointwise, own, other = params
    kind = "clip" if net.work == "max" else net.work
    with bb.function("joined", params, attrs={"Primitive": 1}, private=True):
        with bb.dataflow():
            if windows_first:
                y = _work(bb, _windows(bb, x, net, depthwise), own, kind)
                y = bb.emit(R.add(_conv(bb, y, pointwise, net, kernel_layout="IHWO"), other))
            else:
                y = _work(bb, _conv(bb, x, pointwise, net, kernel_layout="IHWO"), own, kind)
                y = bb.emit(R.add(_windows(bb, y, net, depthwise), other))
            out = bb.emit_output(R.nn.relu(y))
        inner = bb.emit_func_output(out)
    args = [relax.Var(f"x{i}", param.ty) for i, param in enumerate(params)]
    with bb.function("main", args):
        with bb.dataflow():
            out = bb.emit_output(relax.Call(inner, args))
        bb.emit_func_output(out)
    with tvm.target.Target("webgpu"):
        mod = tvm.transform.Sequential([relax.transform.LegalizeOps(), relax.transform.FuseTIR()])(bb.get())
    (call,) = [binding.value for block in mod["main"].body.blocks for binding in block.bindings]
    return mod[call.args[0]]


# Where what neighbours load are lanes of aligned vectors, as windows in front want.
ROWS = Net(10, 9, 12, 18)
ROWS_STRIDE = Net(13, 14, 16, 20, (3, 3), 2, (0, 1, 1, 0), work="none")
ROWS_OPEN = Net(12, 6, 8, 9, (5, 3), 1, (2, 1, 2, 1), work="silu", images="open")
ROWS_POOL = Net(10, 8, 8, 12, (2, 2), 2, (0, 0, 0, 0), work="max", images=2)
ROWS_DILATED = Net(8, 11, 12, 16, (3, 3), 1, (2, 2, 2, 2), 2)
RUNS = [ROWS, ROWS_STRIDE, ROWS_OPEN, ROWS_POOL, ROWS_DILATED]
HALF_ROWS, MIXED_ROWS = ROWS._replace(dtype="float16"), ROWS_STRIDE._replace(dtype="float16", sums="float32")
HALF_RUNS = [HALF_ROWS, MIXED_ROWS, ROWS_OPEN._replace(dtype="float16")]
# And any.
ODD = Net(10, 9, 11, 18, (3, 3), 3, (0, 1, 1, 2), images=3)
VALID = Net(11, 10, 10, 13, (3, 5), 1, (0, 0, 0, 0), work="none")
POOL = Net(10, 9, 9, 12, (3, 3), 2, (1, 1, 1, 1), work="max")
HALF = [net._replace(dtype="float16") for net in (ODD, VALID)]
MIXED = [net._replace(dtype="float16", sums="float32") for net in (ODD, VALID, POOL)]


@pytest.mark.parametrize("net", [ODD, VALID, POOL, ROWS_OPEN, ROWS_DILATED, *HALF, *MIXED], ids=str)
def test_windows_behind(net: Net) -> None:
    func = function(net, windows_first=False)
    found = planes.recognise(func)
    assert_same(func, planes.write(found, planes.tile_for(found.product, Limits()), Limits()))


@pytest.mark.parametrize("net", [*RUNS, ODD, *HALF_RUNS], ids=str)
def test_windows_in_front(net: Net) -> None:
    func = function(net, windows_first=True)
    product = windowed.recognise(func)
    assert product.operand_x.overlaps == (net in [*RUNS, *HALF_RUNS])
    assert_same(func, gemm.write(product, gemm.Tile(16, 16, 8, 4, 4, 2), Limits()))


# MobileNetV2's layers: channels in front of the windows, behind them, edge of the planes, stride; and what becomes of
# them: one kernel by this rule, or two.
LAYERS = [
    ((32, 16, 112, 1), True, True),
    ((96, 24, 112, 2), True, True),
    ((144, 32, 56, 2), True, True),
    ((192, 32, 28, 1), True, True),
    ((192, 64, 28, 2), True, False),
    ((384, 64, 14, 1), True, False),
    ((192, 32, 28, 1), False, False),
    ((192, 32, 28, 2), False, True),
    ((576, 96, 14, 1), False, True),
    ((960, 160, 7, 1), False, True),
    ((512, 512, 14, 1), False, False),
    ((144, 24, 56, 1), False, False),
]


@pytest.mark.parametrize(("layer", "windows_first", "one"), LAYERS, ids=str)
def test_pairs_that_pay(layer: tuple[int, int, int, int], windows_first: bool, one: bool) -> None:
    channels, others, edge, stride = layer
    net = Net(channels, edge, edge, others, stride=stride)
    (joint,) = [joint for joint in JOINTS if joint.windows == (0 if windows_first else 1)]
    func = function(net, windows_first)
    assert joint.pays(func, Limits()) == one
    assert not joint.pays(func, Limits(software=True)) and not joint.pays(func, Limits(start=True))


@pytest.mark.parametrize("windows_first", [True, False])
def test_others_are_no_such_pairs(windows_first: bool) -> None:
    net = Net(8, 8, 8, 12)
    module = windowed if windows_first else planes
    with pytest.raises(NotApplicable):
        module.recognise(function(net, not windows_first))
