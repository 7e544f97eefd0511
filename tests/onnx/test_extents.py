"""Models with open extents, in the forms in which exporters write arithmetic on shapes, at several sizes."""

import numpy as np
import onnxruntime
import pytest
import tvm_webgpu
from onnx import ModelProto, TensorProto
from onnx.helper import make_node

from .graphs import floats, model

INT = TensorProto.INT64


def opened(nodes, shapes, outputs, constants=()) -> ModelProto:  # type: ignore[no-untyped-def]
    """`shapes` gives each input's extents, numbers and names."""
    made = model(nodes, {name: floats(*[2 for _ in dims]) for name, dims in shapes.items()}, outputs, constants, 18)
    for value in made.graph.input:
        dims = value.type.tensor_type.shape
        dims.ClearField("dim")
        for extent in shapes[value.name]:
            dims.dim.add(**({"dim_param": extent} if isinstance(extent, str) else {"dim_value": extent}))
    return made


def agree(before: ModelProto, *calls: dict[str, np.ndarray]) -> None:
    session = onnxruntime.InferenceSession(before.SerializeToString(), providers=["CPUExecutionProvider"])
    with tvm_webgpu.load(tvm_webgpu.compile(before)) as executor:
        for feeds in calls:
            found = executor.run(feeds)
            for value, want in zip(session.get_outputs(), session.run(None, feeds), strict=True):
                assert found[value.name].shape == want.shape and found[value.name].dtype == want.dtype
                np.testing.assert_allclose(found[value.name], want, 1e-5, 1e-5)


NUMBERS = [("zero", np.int64(0)), ("one", np.int64(1)), ("two", np.int64(2)), ("axis", np.array([0])),
           ("ones", np.array([1, 1, 1])), ("less", np.array([-1, -1, -1])), ("rest", np.array([-1])),
           ("four", np.array([4]))]  # fmt: skip


def test_expansion_as_exporters_write_it() -> None:
    """[batch, -1, -1] by Shape, Concat, Equal and Where; a reshape to [batch, length / 2, -1]; positions."""
    nodes = [
        make_node("Shape", ["x"], ["shape"]),
        make_node("Gather", ["shape", "zero"], ["batch"]),
        make_node("Gather", ["shape", "one"], ["length"]),
        make_node("Unsqueeze", ["batch", "axis"], ["batch1"]),
        make_node("Concat", ["batch1", "rest", "rest"], ["wanted"], axis=0),
        make_node("Equal", ["wanted", "less"], ["open"]),
        make_node("Where", ["open", "ones", "wanted"], ["filled"]),
        make_node("Expand", ["token", "filled"], ["tokens"]),
        make_node("Concat", ["tokens", "x"], ["joined"], axis=1),
        make_node("Div", ["length", "two"], ["half"]),
        make_node("Unsqueeze", ["half", "axis"], ["half1"]),
        make_node("Concat", ["batch1", "half1", "rest"], ["folded"], axis=0),
        make_node("Reshape", ["x", "folded"], ["y"]),
        make_node("Range", ["zero", "length", "one"], ["places"]),
        make_node("Cast", ["length"], ["scale"], to=TensorProto.FLOAT),
        make_node("Div", ["joined", "scale"], ["z"]),
    ]
    before = opened(
        nodes,
        {"x": ["batch", "length", 4]},
        [("y", TensorProto.FLOAT), ("z", TensorProto.FLOAT), ("places", INT), ("shape", INT)],
        [*NUMBERS, ("token", floats(1, 1, 4))],
    )
    agree(before, {"x": floats(2, 6, 4)}, {"x": floats(3, 2, 4)})


def test_extents_that_meet() -> None:
    """What a pool halves and a resize doubles is joined with what it was; two inputs of as many rows are added."""
    nodes = [
        make_node("MaxPool", ["x"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        make_node("Resize", ["pooled", "", "scales"], ["large"], mode="nearest", nearest_mode="floor",
                  coordinate_transformation_mode="asymmetric"),
        make_node("Concat", ["large", "x"], ["y"], axis=1),
        make_node("Shape", ["x"], ["shape"], start=2),
        make_node("Shape", ["x"], ["ahead"], end=2),
        make_node("Concat", ["ahead", "shape"], ["sizes"], axis=0),
        make_node("Resize", ["pooled", "", "", "sizes"], ["smooth"], mode="linear"),
        make_node("Add", ["smooth", "t"], ["z"]),
    ]  # fmt: skip
    before = opened(
        nodes,
        {"x": ["n", 2, "h", "w"], "t": ["m", 2, 1, 1]},
        [("y", TensorProto.FLOAT), ("z", TensorProto.FLOAT)],
        [("scales", np.array([1, 1, 2, 2], np.float32))],
    )
    calls = [{"x": floats(n, 2, h, w), "t": floats(n, 2, 1, 1)} for n, h, w in ((2, 4, 6), (1, 8, 2))]
    agree(before, *calls)
    with tvm_webgpu.load(tvm_webgpu.compile(before)) as executor, pytest.raises(tvm_webgpu.TvmWebgpuError):
        executor.run({"x": floats(1, 2, 5, 4), "t": floats(1, 2, 1, 1)})


def test_means_over_open_planes() -> None:
    """The loop over all positions is as long as a product of extents, which fits 32 bits."""
    nodes = [make_node("InstanceNormalization", ["x", "scale", "bias"], ["y"])]
    before = opened(
        nodes, {"x": [1, 2, "h", "w"]}, [("y", TensorProto.FLOAT)], [("scale", floats(2)), ("bias", floats(2))]
    )
    agree(before, {"x": floats(1, 2, 5, 3)}, {"x": floats(1, 2, 9, 16)})


def test_slices_and_tiles() -> None:
    nodes = [
        make_node("Shape", ["x"], ["rows"], end=1),
        make_node("Sub", ["rows", "four"], ["first"]),
        make_node("Slice", ["x", "first", "rows", "axis"], ["last"]),
        make_node("Concat", ["rows", "four"], ["times"], axis=0),
        make_node("Tile", ["last", "times"], ["y"]),
        make_node("ConstantOfShape", ["times"], ["zeros"]),
    ]
    before = opened(
        nodes, {"x": ["n", 3]}, [("last", TensorProto.FLOAT), ("y", TensorProto.FLOAT), ("zeros", TensorProto.FLOAT)],
        NUMBERS,
    )  # fmt: skip
    agree(before, {"x": floats(6, 3)}, {"x": floats(4, 3)})
