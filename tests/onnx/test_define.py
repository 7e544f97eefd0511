"""Definitions of operators of our own, and unrolled loops, beside ONNX Runtime: before the import, on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from onnx.helper import make_node, np_dtype_to_tensor_dtype
from onnx.reference import ReferenceEvaluator
from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.pipeline.frontends.onnx_prepare import prepare

from .graphs import RANDOM, check, floats, model


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot_with_values_that_are_inputs(axis: int) -> None:
    feeds = {"i": np.array([[0, -1, 7], [2, 1, -4]]), "values": np.array([2, 5], np.float32)}
    nodes = [make_node("OneHot", ["i", "depth", "values"], ["y"], axis=axis)]
    check(model(nodes, feeds, [("y", TensorProto.FLOAT)], [("depth", np.array([4]))]), feeds, "OneHot")


def test_powers_of_other_types() -> None:
    feeds = {"x": np.array([-2, 3, 0.5], np.float32), "i": np.array([-3, 0, 2]), "n": np.array([3, 0, 1])}
    nodes = [make_node("Pow", ["x", "n"], ["a"]), make_node("Pow", ["i", "n"], ["b"])]
    after = prepare(model(nodes, feeds, [("a", TensorProto.FLOAT), ("b", TensorProto.INT64)]), {}, {})
    a, b = ReferenceEvaluator(after).run(None, feeds)
    np.testing.assert_allclose(a, [-8, 1, 0.5])
    assert b.tolist() == [-27, 1, 2] and [node.op_type for node in after.graph.node].count("Pow") == 1


def test_layer_norms_of_doubles() -> None:
    feeds = {"x": floats(2, 5).astype(np.float64), "scale": floats(5).astype(np.float64)}
    node = make_node("LayerNormalization", ["x", "scale"], ["y"], axis=-1)
    check(model([node], feeds, [("y", TensorProto.DOUBLE)]), feeds, "LayerNormalization")


@pytest.mark.parametrize("time_axis", [0, 1])
def test_reversed_sequences(time_axis: int) -> None:
    feeds = {"x": floats(4, 4, 2, 3), "lengths": np.array([1, 4, 2, 3])}
    node = make_node("ReverseSequence", ["x", "lengths"], ["y"], time_axis=time_axis, batch_axis=1 - time_axis)
    check(model([node], feeds, [("y", TensorProto.FLOAT)]), feeds, "ReverseSequence")


@pytest.mark.parametrize("signed", [False, True])
def test_quantised_convolutions(signed: bool) -> None:
    kind, (low, high) = (np.int8, (-128, 128)) if signed else (np.uint8, (0, 256))
    feeds = {"x": RANDOM.integers(low, high, (1, 4, 7, 7)).astype(kind)}
    constants = [
        ("xs", np.float32(0.02)), ("xz", kind(3)),
        # Larger weights overflow in ONNX Runtime's 16-bit sums on CPUs without VNNI.
        ("w", RANDOM.integers(-60, 60, (6, 2, 3, 3)).astype(np.int8)),
        ("ws", RANDOM.uniform(0.001, 0.01, 6).astype(np.float32)), ("wz", np.zeros(6, np.int8)),
        ("ys", np.float32(0.05)), ("yz", kind(7)), ("b", RANDOM.integers(-500, 500, 6).astype(np.int32)),
    ]
    node = make_node("QLinearConv", ["x", *(name for name, _ in constants)], ["y"], group=2, pads=[1, 1, 1, 1])
    outputs = [("y", np_dtype_to_tensor_dtype(np.dtype(kind)))]
    before = model([node], feeds, outputs, [(name, np.asarray(array)) for name, array in constants])
    check(before, feeds, "QLinearConv")


def test_quantised_products() -> None:
    feeds = {"a": RANDOM.integers(0, 256, (2, 5, 8)).astype(np.uint8)}
    constants = [
        ("as", np.float32(0.02)), ("az", np.uint8(9)), ("b", RANDOM.integers(-60, 60, (8, 3)).astype(np.int8)),
        ("bs", np.float32(0.01)), ("bz", np.int8(-4)), ("ys", np.float32(0.05)), ("yz", np.uint8(128)),
    ]
    node = make_node("QLinearMatMul", ["a", *(name for name, _ in constants)], ["y"])
    before = model([node], feeds, [("y", TensorProto.UINT8)], [(name, np.asarray(array)) for name, array in constants])
    check(before, feeds, "QLinearMatMul")


@pytest.mark.parametrize("p", [1, 2])
def test_normalised_by_a_norm_that_may_be_zero(p: int) -> None:
    feeds = {"x": np.array([[3, -4], [0, 0]], np.float32)}
    before = model([make_node("LpNormalization", ["x"], ["y"], p=p)], feeds, [("y", TensorProto.FLOAT)])
    (got,) = ReferenceEvaluator(prepare(before, {}, {})).run(None, feeds)
    np.testing.assert_allclose(got, [[3 / (7, 5)[p - 1], -4 / (7, 5)[p - 1]], [0, 0]], rtol=1e-6)


def test_what_training_drops_is_refused() -> None:
    feeds = {"x": floats(3)}
    nodes = [make_node("Dropout", ["x", "ratio", "training"], ["y", "mask"], name="drop")]
    outputs = [("y", TensorProto.FLOAT), ("mask", TensorProto.BOOL)]
    constants = [("ratio", np.array(0.5, np.float32)), ("training", np.array(True))]
    with pytest.raises(UnsupportedError, match=r"Dropout .node 'drop'.*training mode"):
        prepare(model(nodes, feeds, outputs, constants), {}, {})
    check(model(nodes, feeds, outputs, [constants[0], ("training", np.array(False))]), feeds, "Dropout")


@pytest.mark.parametrize("shape, more", [([10, 8], {}), ([8, 6], {"auto_pad": "SAME_UPPER"})])
def test_transposed_convolutions_to_a_shape(shape: list[int], more: dict) -> None:
    feeds = {"x": floats(1, 2, 3, 3), "w": floats(2, 2, 3, 3)}
    node = make_node("ConvTranspose", ["x", "w"], ["y"], strides=[3, 2], output_shape=shape, **more)
    check(model([node], feeds, [("y", TensorProto.FLOAT)]), feeds, "")


def test_remainders_have_the_divisors_sign() -> None:
    x = np.array([5.5, -5.5, 5.5, -5.5, 2, -2, 3], np.float32)
    y = np.array([2, 2, -2, -2, np.inf, np.inf, -np.inf], np.float32)
    nodes = [make_node("Mod", ["x", "y"], ["z"])]
    before = model(nodes, {"x": x, "y": y}, [("z", TensorProto.FLOAT)], opset=26)
    (got,) = ReferenceEvaluator(prepare(before, {}, {})).run(None, {"x": x, "y": y})
    np.testing.assert_array_equal(got, np.mod(x, y))


RESIZES = [
    {"mode": "nearest", "scales": [1, 1, 0.6, 1.7]},
    {"mode": "nearest", "sizes": [1, 2, 9, 3], "nearest_mode": "ceil", "coordinate_transformation_mode": "asymmetric"},
    {"mode": "linear", "scales": [1, 1, 0.6, 0.6]},
    {"mode": "linear", "scales": [1, 1, 0.4, 0.7], "antialias": 1},
    {"mode": "cubic", "scales": [1, 1, 0.8, 0.8], "exclude_outside": 1, "cubic_coeff_a": -0.5},
    {"mode": "cubic", "sizes": [1, 2, 3, 4], "antialias": 1},
    {"mode": "linear", "sizes": [11, 7], "axes": [3, 2], "coordinate_transformation_mode": "half_pixel_symmetric"},
    {"mode": "nearest", "sizes": [9, 9], "axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"},
    {
        "mode": "linear", "sizes": [1, 2, 3, 3], "coordinate_transformation_mode": "tf_crop_and_resize",
        "roi": [0, 0, 0.4, 0.6, 1, 1, 1.2, 1.7], "extrapolation_value": 10.0,
    },
]


@pytest.mark.parametrize("options", RESIZES)
def test_resizing(options: dict) -> None:
    feeds = {"x": floats(1, 2, 6, 8)}
    options = dict(options)
    constants = [("roi", np.array(options.pop("roi", []), np.float32))]
    inputs = ["x", "roi" if constants[0][1].size else ""]
    for name, kind in (("scales", np.float32), ("sizes", np.int64)):
        inputs.append(name if name in options else "")
        if name in options:
            constants.append((name, np.array(options.pop(name), kind)))
    nodes = [make_node("Resize", inputs, ["y"], **options)]
    check(model(nodes, feeds, [("y", TensorProto.FLOAT)], constants, opset=19), feeds, "Resize")


def test_expanding_to_a_shape_that_is_not_known_keeps_extents() -> None:
    feeds = {"x": floats(3, 1), "shape": np.array([2, 1, 6])}
    before = model([make_node("Expand", ["x", "shape"], ["y"])], feeds, [("y", TensorProto.FLOAT)])
    (got,) = ReferenceEvaluator(prepare(before, {}, {})).run(None, feeds)
    assert got.shape == (2, 3, 6)


@pytest.mark.parametrize("signs", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_infinities_of_one_sign(signs: tuple[int, int]) -> None:
    feeds = {"x": np.array([np.inf, -np.inf, 1, np.nan], np.float32)}
    node = make_node("IsInf", ["x"], ["y"], detect_negative=signs[0], detect_positive=signs[1])
    check(model([node], feeds, [("y", TensorProto.BOOL)]), feeds, "")


@pytest.mark.parametrize(
    "parts, options",
    [(1, {}), (2, {}), (1, {"onesided": 1}), (2, {"inverse": 1}), (2, {"inverse": 1, "length": 5}), (1, {"length": 8})],
)
def test_fourier_transforms(parts: int, options: dict) -> None:
    feeds = {"x": floats(2, 6, 3, parts)}
    options = dict(options)
    constants = [("length", np.array(options.pop("length")))] if "length" in options else []
    node = make_node("DFT", ["x", *(name for name, _ in constants)], ["y"], axis=1, **options)
    check(model([node], feeds, [("y", TensorProto.FLOAT)], constants), feeds, "DFT")


@pytest.mark.parametrize("length", [6, 7])
def test_the_inverse_of_half_a_transform_is_real(length: int) -> None:
    x = RANDOM.standard_normal((2, length)).astype(np.float32)
    half = np.fft.rfft(x)
    feeds = {"x": np.stack([half.real, half.imag], -1).astype(np.float32)}
    node = make_node("DFT", ["x", "length"], ["y"], inverse=1, onesided=1)
    before = model([node], feeds, [("y", TensorProto.FLOAT)], [("length", np.array(length))], opset=20)
    (got,) = ReferenceEvaluator(prepare(before, {}, {})).run(None, feeds)
    np.testing.assert_allclose(got[..., 0], x, atol=1e-6)


def test_fourier_transforms_of_frames() -> None:
    feeds = {"x": floats(2, 20, 1)}
    constants = [("step", np.array(3)), ("window", np.hanning(8).astype(np.float32)), ("length", np.array(8))]
    node = make_node("STFT", ["x", *(name for name, _ in constants)], ["y"])
    check(model([node], feeds, [("y", TensorProto.FLOAT)], constants), feeds, "STFT")


def test_quantised_blocks() -> None:
    feeds = {"x": floats(4, 6), "scale": RANDOM.uniform(0.01, 0.1, (2, 6)).astype(np.float32)}
    feeds["zero"] = RANDOM.integers(-9, 9, (2, 6)).astype(np.int8)
    nodes = [
        make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], axis=0, block_size=2),
        make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], axis=0, block_size=2),
    ]
    before = model(nodes, feeds, [("q", TensorProto.INT8), ("y", TensorProto.FLOAT)], opset=21)
    check(before, feeds, "QuantizeLinear")


def test_casts_to_floats_of_8_bits_stop_at_the_largest() -> None:
    values = np.array([-1e9, -449, 3, 447, 1e9, np.inf, np.nan], np.float32)
    to = TensorProto.FLOAT8E4M3FN
    nodes = [make_node("Cast", ["x"], ["small"], to=to), make_node("Cast", ["small"], ["y"], to=TensorProto.FLOAT)]
    after = prepare(model(nodes, {"x": values}, [("y", TensorProto.FLOAT)], opset=19), {}, {})
    (y,) = ReferenceEvaluator(after).run(None, {"x": values})
    np.testing.assert_array_equal(y, np.array([-448, -448, 3, 448, 448, 448, np.nan], np.float32))
    assert "Clip" in {node.op_type for node in after.graph.node}
