"""Variants and small parameters from a model to results: what is compiled, what is chosen, and what it computes."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import tvm
import tvm_webgpu
from onnx import helper
from tvm.script import relax as R
from tvm.script import tirx as T
from tvm_webgpu.cli import main
from tvm_webgpu.errors import InputError, PackageError
from tvm_webgpu.executor import Executor
from tvm_webgpu.executor.device import lacks
from tvm_webgpu.package import Package, Requirements
from tvm_webgpu.pipeline.target import resolve_target
from tvm_webgpu.pipeline.variants import PRESETS, parse_variant

from tests.pyapi.models import model

X = np.random.default_rng(11).normal(0, 1, (3, 64)).astype("float32")


def network() -> onnx.ModelProto:
    """Two dense layers, clipped between: `x [batch, 64]` to `y [batch, 96]`."""
    rng = np.random.default_rng(7)
    weights = {
        "first": rng.normal(0, 0.2, (64, 128)).astype("float32"),
        "second": rng.normal(0, 0.2, (128, 96)).astype("float32"),
        "least": np.float32(0),
        "most": np.float32(6),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"]),
        helper.make_node("Clip", ["a", "least", "most"], ["b"]),
        helper.make_node("MatMul", ["b", "second"], ["y"]),
    ]
    return model(nodes, {"x": ("batch", 64)}, {"y": ("batch", 96)}, weights)


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return onnxruntime.InferenceSession(network().SerializeToString()).run(None, {"x": X})[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with variants, as the command line writes it."""
    place = tmp_path_factory.mktemp("variants")
    onnx.save(network(), place / "model.onnx")
    arguments = ["--variant", "f16", "--variant", "more=storage_buffers=10", "--variant", "huge=storage_buffers=99"]
    assert main(["compile", str(place / "model.onnx"), "-o", str(place / "dist"), *arguments]) == 0
    return place / "dist"


def test_variants_without_a_use_are_left_out(folder: Path) -> None:
    # Two products gain nothing from more buffers.
    assert [(each.variant, each.features) for each in Package.requirements(folder)] == [
        ("f16", ("shader-f16",)),
        ("baseline", ()),
    ]


def test_the_best_variant_that_the_device_runs(folder: Path, expected: np.ndarray) -> None:
    with Executor(folder) as best, Executor(folder, variant="baseline") as baseline:
        has_f16 = "shader-f16" in best._gpu._device.adapter.features
        assert (best.variant, baseline.variant) == ("f16" if has_f16 else "baseline", "baseline")
        np.testing.assert_allclose(baseline.run({"x": X})["y"], expected, 1e-5, 1e-5)
        largest = np.abs(expected).max()
        np.testing.assert_allclose(best.run({"x": X})["y"] / largest, expected / largest, 0, 5e-3)
        if has_f16:
            # A device of the caller's without the feature gets the baseline.
            with Executor(folder, device=best._gpu._device.adapter.request_device_sync()) as plain:
                assert plain.variant == "baseline"
    with pytest.raises(PackageError, match="no variant 'f8'; it has f16, baseline"):
        Executor(folder, variant="f8")


def test_software_adapters_get_kernels_of_their_own(tmp_path: Path, expected: np.ndarray) -> None:
    package = tvm_webgpu.compile(network(), variants=["software"])
    (variant,) = package.variants
    assert variant.package.features == ("software-adapter",) and package.features == ()
    assert all("var<workgroup>" not in kernel.wgsl for kernel in variant.package.kernels)
    package.save(tmp_path / "dist")
    with Executor(tmp_path / "dist") as executor:
        software = executor._gpu._device.adapter.info["adapter_type"] == "CPU"
        assert executor.variant == ("software" if software else "baseline")
        np.testing.assert_allclose(executor.run({"x": X})["y"], expected, 1e-5, 1e-5)


@tvm.script.ir_module
class RowSums:
    """Sums of rows, the threads of a group together: where the target has subgroups, by shuffles in 32 of them."""

    @T.prim_func(s_tir=True)
    def row_sums(x: T.Buffer((8, 64), "float32"), y: T.Buffer((8,), "float32")):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        for i in T.thread_binding(8, thread="blockIdx.x"):
            for k in T.thread_binding(32, thread="threadIdx.x"):
                for j in range(2):
                    with T.sblock("sum"):
                        row, column = T.axis.spatial(8, i), T.axis.reduce(64, j * 32 + k)
                        with T.init():
                            y[row] = T.float32(0)
                        y[row] = y[row] + x[row, column]

    @R.function
    def main(x: R.Tensor((8, 64), "float32")) -> R.Tensor((8,), "float32"):
        cls = RowSums
        return R.call_tir(cls.row_sums, (x,), R.Tensor((8,), "float32"))


@pytest.mark.parametrize("executor", ["wgpu", "node"])
def test_shuffles_run_where_subgroups_are_large_enough_only(
    executor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tvm_webgpu.compile(RowSums, variants=["subgroups"])
    (variant,) = package.variants
    assert [("subgroupShuffle" in each.kernels[0].wgsl) for each in (package, variant.package)] == [False, True]
    assert package.features == () and variant.package.features == ("subgroups", "subgroups-of-32")
    package.save(tmp_path / "dist")
    x = np.random.default_rng(3).normal(0, 1, (8, 64)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    files = ["--input", f"x={tmp_path / 'x.npy'}", "--output", str(tmp_path / "y.npy")]
    run = ["run", str(tmp_path / "dist"), "--executor", executor, *files]
    assert main(run) == 0
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), x.sum(1), 1e-5, 1e-5)
    assert main([*run, "--variant", "baseline"]) == 0
    if main([*run, "--variant", "subgroups"]):
        assert "subgroups-of-32" in capsys.readouterr().err
    else:
        np.testing.assert_allclose(np.load(tmp_path / "y.npy"), x.sum(1), 1e-5, 1e-5)


@pytest.mark.parametrize(("vendor", "missing"), [(0x10DE, []), (0x8086, ["the feature subgroups-of-32"])])
def test_one_vendor_s_subgroups_are_known(vendor: int, missing: list[str]) -> None:
    info = {"adapter_type": "DiscreteGPU", "vendor_id": vendor}
    adapter = SimpleNamespace(info=info, features={"subgroup"}, limits={})
    assert lacks(Requirements("subgroups", ("subgroups", "subgroups-of-32"), {}), adapter) == missing


def test_a_package_in_memory_is_chosen_from_likewise(folder: Path) -> None:
    with Executor(Package.load(folder)) as in_memory, Executor(folder) as on_disk:
        assert in_memory.variant == on_disk.variant
    with pytest.raises(PackageError, match="no variant 'f8'"):
        Executor(Package.load(folder), variant="f8")


@pytest.mark.parametrize(("storage", "tolerance"), [("float16", 1e-3), ("int8", 2e-2)])
def test_small_parameters(storage: str, tolerance: float, tmp_path: Path, expected: np.ndarray) -> None:
    onnx.save(network(), tmp_path / "model.onnx")
    arguments = ["-o", str(tmp_path / "dist"), "--param-storage", storage, "--compress"]
    assert main(["compile", str(tmp_path / "model.onnx"), *arguments]) == 0
    sizes = [len(param.stored.values) if param.stored else 0 for param in Package.load(tmp_path / "dist").params]
    assert sum(sizes) == (64 * 128 + 128 * 96) * (2 if storage == "float16" else 1)
    with tvm_webgpu.load(tmp_path / "dist") as executor:
        largest = np.abs(expected).max()
        np.testing.assert_allclose(executor.run({"x": X})["y"] / largest, expected / largest, 0, tolerance)


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name: str) -> None:
    spec = parse_variant(name)
    assert spec.name == name
    spec.target(resolve_target())


def test_a_variant_of_ones_own() -> None:
    spec = parse_variant("fast=f16,mixed_precision,threads=512,workgroup_memory=32768")
    assert (spec.name, spec.mixed_precision) == ("fast", True)
    attributes = spec.target(resolve_target()).attrs
    assert [int(attributes[key]) for key in ("max_num_threads", "max_shared_memory_per_block")] == [512, 32768]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f8", "unknown variant 'f8'; there are f16, subgroups"),
        ("a=f16,warp", "'warp' is none of f16, subgroups"),
        ("a=threads", "'threads' is none of"),
        ("a=threads=many", "'threads=many' is none of"),
        ("a=mixed_precision", "mixed_precision needs f16"),
        ("a=", "'' is none of"),
    ],
)
def test_wrong_variants(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_variant(text)
