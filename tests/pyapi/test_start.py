"""The variant to begin with: small kernels on the same parameters, right where the tuned ones are, never chosen."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tvm_webgpu
from onnx import helper
from tvm_webgpu.cli import main
from tvm_webgpu.errors import InputError
from tvm_webgpu.executor import Executor
from tvm_webgpu.package import Package, TensorSpec, Variant
from tvm_webgpu.pipeline.variants import parse_variant

from tests.pyapi.models import mlp, model

X = np.random.default_rng(3).normal(0, 1, (2, 3, 32, 32)).astype("float32")


def network() -> onnx.ModelProto:
    """A small MobileNet: convolutions, depthwise ones of two strides, residuals, a mean, a classifier."""
    rng = np.random.default_rng(7)
    weights: dict[str, np.ndarray] = {"least": np.float32(0), "most": np.float32(6)}
    nodes: list[onnx.NodeProto] = []

    def conv(x: str, name: str, shape: tuple[int, ...], clip: bool = True, **attributes: object) -> str:
        weights[name] = rng.normal(0, 1.4 / np.sqrt(np.prod(shape[1:])), shape).astype("float32")
        weights[f"{name}.bias"] = rng.normal(0, 0.1, shape[0]).astype("float32")
        nodes.append(helper.make_node("Conv", [x, name, f"{name}.bias"], [f"{name}.y"], **attributes))
        if clip:
            nodes.append(helper.make_node("Clip", [f"{name}.y", "least", "most"], [f"{name}.z"]))
        return f"{name}.z" if clip else f"{name}.y"

    def block(x: str, name: str, channels: int, wide: int, out: int, stride: int) -> str:
        y = conv(x, f"{name}.expand", (wide, channels, 1, 1))
        y = conv(y, f"{name}.depth", (wide, 1, 3, 3), group=wide, pads=[1] * 4, strides=[stride] * 2)
        y = conv(y, f"{name}.project", (out, wide, 1, 1), clip=False)
        if stride != 1 or channels != out:
            return y
        nodes.append(helper.make_node("Add", [x, y], [f"{name}.sum"]))
        return f"{name}.sum"

    y = conv("x", "stem", (16, 3, 3, 3), pads=[1] * 4, strides=[2, 2])
    y = block(y, "a", 16, 64, 16, 1)
    y = block(y, "b", 16, 96, 24, 2)
    y = block(y, "c", 24, 96, 24, 1)
    y = block(y, "d", 24, 144, 33, 2)
    y = conv(y, "last", (130, 33, 1, 1))
    nodes.append(helper.make_node("GlobalAveragePool", [y], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    weights["dense"] = rng.normal(0, 0.1, (130, 10)).astype("float32")
    nodes.append(helper.make_node("MatMul", ["flat", "dense"], ["y"]))
    return model(nodes, {"x": X.shape}, {"y": (2, 10)}, weights)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("start")
    onnx.save(network(), place / "model.onnx")
    assert main(["compile", str(place / "model.onnx"), "-o", str(place / "dist"), "--variant", "start"]) == 0
    return place / "dist"


def test_results_are_the_model_s(folder: Path) -> None:
    expected = onnxruntime.InferenceSession(network().SerializeToString()).run(None, {"x": X})[0]
    with Executor(folder, variant="start") as executor:
        assert executor.variant == "start"
        np.testing.assert_allclose(executor.run({"x": X})["y"], expected, 1e-4, 1e-4)


def test_its_kernels_are_few_and_small(folder: Path) -> None:
    tuned, start = Package.load(folder, "baseline"), Package.load(folder, "start")
    assert len(start.kernels) <= 9 < len(tuned.kernels)  # six kinds of products, two of windows, the mean's
    assert all("var<workgroup>" not in kernel.wgsl for kernel in start.kernels)
    assert sum(len(kernel.wgsl) for kernel in start.kernels) * 3 < sum(len(kernel.wgsl) for kernel in tuned.kernels)


def test_manifests_name_it_apart_from_the_variants_and_share_parameters(folder: Path) -> None:
    top = json.loads((folder / "manifest.json").read_text())
    start = json.loads((folder / top["start"]["manifest"]).read_text())
    assert "variants" not in top and "start" not in start
    assert top["start"]["sha256"] == hashlib.sha256((folder / top["start"]["manifest"]).read_bytes()).hexdigest()
    assert start["params"] == top["params"]
    files = [{each["path"] for each in manifest["files"]} for manifest in (top, start)]
    assert files[0] & files[1] == {each["file"] for each in top["params"]}


def test_it_is_never_chosen(folder: Path) -> None:
    with Executor(folder) as on_disk, Executor(Package.load(folder)) as in_memory:
        assert on_disk.variant == in_memory.variant == "baseline"
    assert [each.variant for each in Package.requirements(folder)] == ["baseline", "start"]


def test_a_package_keeps_it(folder: Path, tmp_path: Path) -> None:
    Package.load(folder).with_compression().with_param_storage("float16").save(tmp_path / "again")
    top = json.loads((tmp_path / "again/manifest.json").read_text())
    assert json.loads((tmp_path / "again/manifest-start.json").read_text())["params"] == top["params"]


def test_a_model_with_state_or_other_parameters_has_none(folder: Path) -> None:
    package = Package.load(folder, "baseline")
    start = Package.load(folder, "start")
    (entry,) = package.entries
    stateful = (replace(entry, inputs=(*entry.inputs, TensorSpec("cache", kind="object"))),)
    others = [replace(param, data=bytes(len(param.data))) for param in start.params]
    for base, begin in (
        (replace(package, entries=stateful), replace(start, entries=stateful)),
        (package, replace(start, params=tuple(others))),
        (package, replace(start, features=("shader-f16",))),
    ):
        with pytest.raises(InputError, match=r"other parameters than .*, or state, or needs more"):
            base.with_variants([Variant("start", begin)])


def test_variants_with_other_parameters_begin_without(tmp_path: Path) -> None:
    tvm_webgpu.compile(mlp(), variants=["f16", "start"]).save(tmp_path / "dist")
    assert "start" in json.loads((tmp_path / "dist/manifest.json").read_text())
    assert "start" not in json.loads((tmp_path / "dist/manifest-f16.json").read_text())


@pytest.mark.parametrize("text", ["quick=start", "start=f16"])
def test_its_name_is_its_own(text: str) -> None:
    with pytest.raises(InputError, match="start is a name of its own"):
        parse_variant(text)
