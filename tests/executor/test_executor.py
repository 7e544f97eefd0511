from __future__ import annotations

import dataclasses
import gc
import struct
from pathlib import Path

import numpy as np
import pytest
import tvm_webgpu
import wgpu
from tvm_webgpu.errors import DeviceError, InputError, PackageError, UnsupportedError
from tvm_webgpu.executor import Executor, State
from tvm_webgpu.executor.commands import Copy, Fill, decode
from tvm_webgpu.executor.device import choose_package
from tvm_webgpu.executor.gpu import Gpu
from tvm_webgpu.executor.profile import evaluate
from tvm_webgpu.package import Package, Variant

from tests.executor import packages

RANDOM = np.random.default_rng(7)


@pytest.fixture(scope="module")
def device() -> wgpu.GPUDevice:
    try:
        return wgpu.gpu.request_adapter_sync().request_device_sync()
    except RuntimeError as error:
        pytest.skip(f"no Vulkan driver: {error}")


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


def test_any_batch_size_runs(device: wgpu.GPUDevice) -> None:
    with Executor(packages.multiply(), device=device) as executor:
        for n, m in ((1, 1), (3, 5), (700, 33), (0, 4), (3, 5)):
            x, y = floats(n, m), floats(m)
            out = executor.run({"x": x, "y": y})
            assert list(out) == ["out"] and out["out"].dtype == np.float32
            np.testing.assert_array_equal(out["out"], x * y)


def test_a_saved_package_runs_on_a_device_of_its_own(tmp_path: Path) -> None:
    packages.scaled().save(tmp_path / "model")
    executor = tvm_webgpu.load(tmp_path / "model")
    x = floats(64)
    out = executor.run({"x": x})["out"]
    np.testing.assert_array_equal(out, x + np.linspace(-1, 1, 64, dtype=np.float32))
    assert out.flags.writeable
    executor.close()
    with pytest.raises(InputError, match="closed"):
        executor.run({"x": x})


def test_a_variant_for_programs_on_the_cpu_runs_on_such_adapters_only(device: wgpu.GPUDevice) -> None:
    package = packages.scaled()
    software = dataclasses.replace(package, features=("software-adapter",))
    both = package.with_variants([Variant("software", software)])
    expected = "software" if device.adapter.info["adapter_type"] == "CPU" else "baseline"
    assert choose_package(both, device, None)[0] == choose_package(both, device.adapter, None)[0] == expected
    if expected == "software":
        Executor(both).close()
    else:
        with pytest.raises(PackageError, match="software-adapter"):
            Executor(software)


def test_lists_and_views_are_taken(device: wgpu.GPUDevice) -> None:
    executor = Executor(packages.multiply(), device=device)
    out = executor.run({"x": [[1, 2], [3, 4]], "y": (10, 100)})["out"]
    np.testing.assert_array_equal(out, [[10, 200], [30, 400]])
    x = floats(4, 6).T[::2]
    np.testing.assert_array_equal(executor.run({"x": x, "y": np.ones(4, np.float32)})["out"], x)


def test_a_profile_has_each_launch_with_its_time_and_work() -> None:
    work = {"flops": ("count", "m", "+"), "traffic": 7}
    plain = packages.multiply()
    package = dataclasses.replace(plain, kernels=[dataclasses.replace(kernel, **work) for kernel in plain.kernels])
    with Executor(package) as executor:
        x, y = floats(3, 5), floats(5)
        if "timestamp-query" not in executor._gpu.device.features:
            pytest.skip("the adapter has no timestamps")
        profile = executor.profile({"x": x, "y": y}, runs=2)
        (launch,), (kernel,) = profile["launches"], profile["kernels"]
        assert launch["kernel"] == kernel["kernel"] == package.kernels[0].name
        assert (kernel["launches"], kernel["flops"], kernel["bytes"]) == (1, 15 + 5, 7)
        assert 0 < launch["ms"] == kernel["ms"] == profile["ms"] <= profile["span"] and profile["runs"] == 2
        np.testing.assert_array_equal(executor.run({"x": x, "y": y})["out"], x * y)  # nothing stays switched on
        assert executor._gpu.timer is None
        assert executor.memory()["others"] >= x.nbytes + y.nbytes


def test_a_profile_needs_timestamps(device: wgpu.GPUDevice) -> None:
    executor = Executor(packages.multiply(), device=device)
    with pytest.raises(UnsupportedError, match="'timestamp-query'"):
        executor.profile({"x": floats(2, 3), "y": floats(3)})


def test_amounts_are_postfix() -> None:
    assert evaluate(("n", 3, "+", 2, "//", "m", "*", 100, "min"), {"n": 8, "m": 4}) == 20
    assert evaluate(12, {}) == 12


def test_equal_calls_reuse_buffers_and_bind_groups(device: wgpu.GPUDevice) -> None:
    executor = Executor(packages.four_times(), device=device)
    gpu: Gpu = executor._gpu
    executor.run({"x": floats(9, 4)})
    state = len(gpu.buffers), len(gpu._groups), len(gpu._prepared), gpu.launches
    for _ in range(3):
        x = floats(9, 4)
        np.testing.assert_array_equal(executor.run({"x": x})["out"], 4 * x)
    assert (len(gpu.buffers), len(gpu._groups), len(gpu._prepared)) == state[:3]
    assert gpu.launches == 4 * state[3]


def test_inputs_may_be_outputs(device: wgpu.GPUDevice) -> None:
    x = floats(4, 6)
    out = Executor(packages.nested(), device=device).run({"x": x})
    for name, expected in {"a": x, "b": x.reshape(24), "c": x}.items():
        np.testing.assert_array_equal(out[name], expected)


def test_states_live_between_calls(device: wgpu.GPUDevice) -> None:
    executor = Executor(packages.cache(), device=device)
    state = executor.run({"rows": np.zeros((2, 2, 4), np.float32)}, entry="create")["cache"]
    assert isinstance(state, State)
    everything = floats(7, 2, 4)
    for start, stop in ((0, 1), (1, 4), (4, 7)):
        out = executor.run({"x": everything[start:stop], "total": stop, "cache": state}, entry="step")
        np.testing.assert_array_equal(out["all"], everything[:stop])
        state = out["cache"]
    with pytest.raises(InputError, match="holds 8 rows"):
        executor.run({"x": everything[:1], "total": 3, "cache": state}, entry="step")
    with pytest.raises(InputError, match="must be an integer"):
        executor.run({"x": everything[:1], "total": "3", "cache": state}, entry="step")
    other = Executor(packages.cache(), device=device)
    for wrong in (other.run({"rows": np.zeros((2, 2, 4), np.float32)}, entry="create")["cache"], everything):
        with pytest.raises(InputError, match="must be a state that this executor's run gave"):
            executor.run({"x": everything[:1], "total": 9, "cache": wrong}, entry="step")
    before = len(executor._gpu.buffers)
    del state, out
    gc.collect()
    executor.trim()
    assert len(executor._gpu.buffers) < before


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": floats(2, 3)}, "missing input 'y'; entry 'main' takes 'x', 'y'"),
        ({"x": floats(2, 3), "y": floats(3), "z": 1}, "unknown input 'z'; entry 'main' takes 'x', 'y'"),
        ({"x": floats(2, 3).astype(np.float64), "y": floats(3)}, "input 'x' has dtype float64, expected float32"),
        ({"x": floats(2, 3), "y": floats(4)}, 'input "y": dimension 0 (m) is 4, but input "x" has m = 3'),
        ({"x": floats(2, 3, 1), "y": floats(3)}, 'input "x": shape (2, 3, 1) has rank 3, expected 2'),
        ({"x": [[1, 2], [3]], "y": floats(3)}, "input 'x' is not an array of float32"),
    ],
)
def test_bad_inputs_are_refused(device: wgpu.GPUDevice, inputs: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as error:
        Executor(packages.multiply(), device=device).run(inputs)
    assert message in str(error.value)


def test_unknown_entry_names_those_there_are(device: wgpu.GPUDevice) -> None:
    with pytest.raises(PackageError, match="no entry 'predict'"):
        Executor(packages.multiply(), device=device).run({}, entry="predict")


def changed(**fields: object) -> Package:
    return dataclasses.replace(packages.multiply(), **fields)


@pytest.mark.parametrize(
    ("package", "message"),
    [
        (changed(features=("shader-f16",)), "needs the feature shader-f16"),
        (changed(limits={"maxComputeInvocationsPerWorkgroup": 1 << 20}), "needs maxComputeInvocationsPerWorkgroup of"),
        (changed(wasm=b"\0asm\1\0\0\0"), "lacks the export"),
        (changed(wasm=b"nonsense"), "model.wasm can't be started"),
    ],
)
def test_packages_that_do_not_fit_are_refused(device: wgpu.GPUDevice, package: Package, message: str) -> None:
    with pytest.raises(PackageError, match=message):
        Executor(package, device=device)


def test_a_shader_that_the_device_refuses_is_named(device: wgpu.GPUDevice) -> None:
    (kernel,) = packages.multiply().kernels
    broken = dataclasses.replace(kernel, wgsl=kernel.wgsl.replace("u32(s.count)", "s.count"))
    executor = Executor(changed(kernels=(broken,)), device=device)
    with pytest.raises(PackageError, match="the device does not take kernel multiply_kernel"):
        executor.run({"x": floats(2, 3), "y": floats(3)})


def test_a_failure_on_the_device_leaves_the_module_usable(
    device: wgpu.GPUDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = Executor(packages.four_times(), device=device)
    x = floats(9, 4)
    executor.run({"x": x})
    buffers = len(executor._gpu.buffers)

    def fail(words: memoryview) -> None:
        raise wgpu.GPUValidationError("refused")

    with monkeypatch.context() as patch:
        patch.setattr(executor._gpu, "flush", fail)
        for _ in range(3):
            with pytest.raises(DeviceError, match="refused"):
                executor.run({"x": x})
    np.testing.assert_array_equal(executor.run({"x": x})["out"], 4 * x)
    assert len(executor._gpu.buffers) == buffers


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    folder = packages.scaled().save(tmp_path / "model")
    path = folder / "model.wasm"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(PackageError, match=r"model\.wasm"):
        tvm_webgpu.load(folder)


def test_fills_and_copies(device: wgpu.GPUDevice) -> None:
    gpu = Gpu(device, ())
    first, second = gpu.alloc(64), gpu.alloc(64)
    fill, copy = 3 | 5 << 8, 2 | 6 << 8
    words = [fill, first, 8, 16, 0x01020304, copy, first, 8, second, 0, 32, fill, first, 0, 12, 0]
    gpu.flush(memoryview(struct.pack(f"<{len(words)}I", *words)).cast("I"))
    data = np.frombuffer(gpu.read([(second, 0, 32)])[0], np.uint32)
    np.testing.assert_array_equal(data, [0x01020304] * 4 + [0] * 4)
    data = np.frombuffer(gpu.read([(first, 0, 32)])[0], np.uint32)
    np.testing.assert_array_equal(data, [0, 0, 0] + [0x01020304] * 3 + [0, 0])


def test_memory_that_is_out_is_reported(device: wgpu.GPUDevice) -> None:
    assert Gpu(device, ()).alloc((1 << 32) - 4) == 0


def test_command_lists_are_decoded() -> None:
    assert list(decode([2 | 6 << 8, 64, 0, 128, 4, 8, 3 | 5 << 8, 64, 0, 4, 9], [])) == [
        Copy(64, 0, 128, 4, 8),
        Fill(64, 0, 4, 9),
    ]
    for words in ([0], [9 | 1 << 8], [1 | 99 << 8, 0], [1 | 5 << 8, 3, 1, 1, 1], [2 | 2 << 8, 1]):
        with pytest.raises(PackageError, match=r"model\.wasm wrote"):
            list(decode(words, []))
