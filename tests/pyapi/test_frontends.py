"""Front ends: names and symbols survive the import, and bad models give one clear error."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import tvm
from onnx import TensorProto, helper
from tvm import relax
from tvm_webgpu.errors import InputError, UnsupportedError
from tvm_webgpu.pipeline.frontends import load_model
from tvm_webgpu.pipeline.model import ImportOptions, Model, Signature
from tvm_webgpu.pipeline.signatures import inputs_of, outputs_of

from tests.pyapi.evaluate import evaluate, operators
from tests.pyapi.models import mlp, model


def load(source: object, **options: object) -> Model:
    return load_model(source, ImportOptions(**options))


def signature(imported: Model) -> tuple[list[str], list[str]]:
    func, names = imported.mod["main"], imported.entries["main"]
    return [f"{s.name}: {s}" for s in inputs_of(func, names)], [f"{s.name}: {s}" for s in outputs_of(func, names)]


def test_onnx_names_and_symbols() -> None:
    assert signature(load(mlp())) == (["x: float32[batch, 8]"], ["y: float32[batch, 3]"])


def test_onnx_names_that_are_no_identifiers() -> None:
    made = model([helper.make_node("Relu", ["a.b/0"], ["out:1"])], {"a.b/0": ("N-1", 2)}, {"out:1": (None, 2)})
    assert signature(load(made)) == (["a.b/0: float32[N_1, 2]"], ["out:1: float32[N_1, 2]"])


def test_onnx_unnamed_dimensions_are_free_of_each_other() -> None:
    made = model(
        [helper.make_node("Concat", ["a", "b"], ["y"], axis=0)], {"a": (None, 2), "b": (None, 2)}, {"y": (None, 2)}
    )
    assert signature(load(made))[0] == ["a: float32[a_0, 2]", "b: float32[b_0, 2]"]


def test_onnx_shapes_can_be_given() -> None:
    assert signature(load(mlp(), shapes={"x": (5, 8)})) == (["x: float32[5, 8]"], ["y: float32[5, 3]"])
    assert signature(load(mlp(), shapes={"x": ("rows", 8)}))[1] == ["y: float32[rows, 3]"]
    with pytest.raises(InputError, match="no input named z; the model has x"):
        load(mlp(), shapes={"z": (1,)})
    with pytest.raises(InputError, match="for input 'x' has 3 dimensions, the model's 2"):
        load(mlp(), shapes={"x": (1, 5, 8)})


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (None, 1.0), (-0.5, None), (np.nan, 1.0)])
def test_clip_is_an_operator_that_passes_know(low: float | None, high: float | None) -> None:
    bounds = {"low": low, "high": high}
    weights = {name: np.float32(value) for name, value in bounds.items() if value is not None}
    names = [name if value is not None else "" for name, value in bounds.items()]
    imported = load(model([helper.make_node("Clip", ["x", *names], ["y"])], {"x": (4,)}, {"y": (4,)}, weights))
    assert operators(imported.mod) == ["relax.clip"]
    x = np.array([-3, -0.1, 0.7, 9], "float32")
    limits = [None if value is None or np.isnan(value) else value for value in (low, high)]
    np.testing.assert_array_equal(evaluate(imported.mod, [x]), np.clip(x, *limits))


def test_unknown_operator_is_named() -> None:
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="my.domain")
    made = model([helper.make_node("Relu", ["x"], ["y"])], {"x": (1,)}, {"y": (1,)})
    made.graph.node[0].CopyFrom(node)
    made.opset_import.append(helper.make_opsetid("my.domain", 1))
    with pytest.raises(UnsupportedError, match=r"Frobnicate of my\.domain"):
        load(made)


def test_strings_are_refused() -> None:
    words = helper.make_tensor_value_info("words", TensorProto.STRING, [2])
    same = helper.make_tensor_value_info("y", TensorProto.STRING, [2])
    graph = helper.make_graph([helper.make_node("Identity", ["words"], ["y"])], "g", [words], [same])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    with pytest.raises(UnsupportedError, match="input 'words' holds strings: give the model numbers"):
        load(made)


def test_operator_that_can_not_be_converted_is_named_with_its_node(capfd: pytest.CaptureFixture[str]) -> None:
    node = helper.make_node("Pad", ["x", "pads"], ["y"], name="my_pad")
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 2)),
        helper.make_tensor_value_info("pads", TensorProto.INT64, (4,)),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (None, None))]
    made = helper.make_model(
        helper.make_graph([node], "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)]
    )
    made.ir_version = 9
    with pytest.raises(UnsupportedError, match=r"Pad \(node 'my_pad', inputs .*float32.*int64"):
        load(made)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_files(tmp_path: Path) -> None:
    onnx.save(mlp(), tmp_path / "net.onnx")
    assert load(tmp_path / "net.onnx").name == "net"
    assert load(str(tmp_path / "net.onnx"), name="mine").name == "mine"
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "empty.onnx").write_bytes(b"")
    for file in ("text.onnx", "empty.onnx"):
        with pytest.raises(InputError, match="not an ONNX model"):
            load(tmp_path / file)
    with pytest.raises(InputError, match=r"can't read .*none.onnx"):
        load(tmp_path / "none.onnx")
    with pytest.raises(InputError, match=r"don't know what kind of model .* no such file \(weights; .*known are"):
        load("weights.safetensors")
    with pytest.raises(InputError, match=r"can't compile a builtins.dict; known are"):
        load({})


SCRIPT = """
import numpy as np
from tvm import relax

def _module():
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    w = relax.Var("w", relax.TensorType((3, 4), "float32"))
    with builder.function("main", [x, w]):
        with builder.dataflow():
            y = builder.emit_output(relax.op.matmul(x, w))
        builder.emit_func_output(y)
    mod = builder.get()
    mod["main"] = mod["main"].with_attr("num_input", 1)
    return mod

def bare():
    return _module()

def bound():
    return _module(), {"w": np.ones((3, 4), "float32")}

def fails():
    raise RuntimeError("on purpose")

number = 3
"""


def test_python_function(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    imported = load(f"{path}:bound")
    assert (imported.name, imported.entries) == ("bound", {"main": Signature(("x",))})
    assert list(imported.constant_names.values()) == ["w"]
    np.testing.assert_array_equal(evaluate(imported.mod, [np.ones((2, 3), "float32")]), np.full((2, 4), 3))
    with pytest.raises(InputError, match="needs parameters that were not given: w"):
        load(f"{path}:bare")
    with pytest.raises(InputError, match="no entry has a parameter named v"):
        load(f"{path}:bound", params={"v": np.ones(1)})
    with pytest.raises(InputError, match="failed: RuntimeError: on purpose"):
        load(f"{path}:fails")
    with pytest.raises(InputError, match="no function 'number'"):
        load(f"{path}:number")
    with pytest.raises(InputError, match="no such file"):
        load(f"{tmp_path}/other.py:main")


def test_module_without_entries() -> None:
    with pytest.raises(InputError, match="no public Relax function"):
        load(tvm.IRModule({}))


def test_integers_and_objects_in_signatures() -> None:
    func = relax.Function(
        [
            relax.Var("total", relax.ShapeType([tvm.tirx.Var("total", "int64")])),
            relax.Var("cache", relax.ObjectType()),
        ],
        relax.const(np.zeros(2, "float32")),
        relax.TensorType((2,), "float32"),
    )
    inputs = inputs_of(func, Signature(("total", "cache")))
    assert [(spec.name, spec.kind, spec.shape) for spec in inputs] == [
        ("total", "shape", ("total",)),
        ("cache", "object", ()),
    ]
