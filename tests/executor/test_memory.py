"""Memory that really runs out, and devices that are lost: the driver of the tests gives no more than it is told."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator

import numpy as np
import pytest
import wgpu
from tvm_webgpu.errors import DeviceLostError, InputError, OutOfMemoryError
from tvm_webgpu.executor import Executor

from tests.executor import packages

MIB = 1 << 20
SMALL = np.arange(8, dtype=np.float32).reshape(2, 4)
LARGE = np.ones((4 * MIB - 256, 4), np.float32)
"""Nearly 64 MiB: wgpu's allocator asks the driver for 64 or 128 MiB at a time."""


def limit(size: int | None = None) -> None:
    """The bytes that the driver gives from now on, in all."""
    os.environ["LAVAPIPE_MEMORY"] = "" if size is None else str(size)


@pytest.fixture(scope="module", autouse=True)
def driver() -> None:
    try:
        device = wgpu.gpu.request_adapter_sync().request_device_sync()
    except RuntimeError as error:
        pytest.skip(f"no Vulkan driver: {error}")
    limit(0)
    try:
        device.create_buffer(size=256 * MIB, usage=wgpu.BufferUsage.STORAGE)
        pytest.skip("VK_DRIVER_FILES names no driver of tests/vulkan")
    except wgpu.GPUError:
        pass
    finally:
        limit()


@pytest.fixture(autouse=True)
def unlimited_afterwards() -> Iterator[None]:
    yield
    limit()


def is_right(executor: Executor, x: np.ndarray) -> bool:
    return bool((executor.run({"x": x})["out"] == 4 * x).all())


def test_in_a_run_it_is_said_for_what_and_the_model_goes_on() -> None:
    refused = []
    with Executor(packages.four_times()) as executor:
        assert is_right(executor, SMALL)
        for room in range(0, 1024, 64):
            limit(room * MIB)
            try:
                assert is_right(executor, LARGE)
                break
            except OutOfMemoryError as error:
                refused.append(str(error))
            assert is_right(executor, SMALL)
    for what in ("input 'x' of 67104768", "no buffer of 67108864", "a copy of the results of 67104768"):
        assert any(re.search(f"{what} bytes.*smaller inputs", text) for text in refused), refused


def test_at_load_the_parameter_is_named_and_the_next_model_loads() -> None:
    package = packages.scaled()
    (param,) = package.params
    large = dataclasses.replace(param, name="large", data=bytes(256 * MIB), shape=(64 * MIB,))
    device = wgpu.gpu.request_adapter_sync().request_device_sync()
    limit(0)
    with pytest.raises(OutOfMemoryError, match=rf"parameter 'large' of {256 * MIB} bytes"):
        Executor(dataclasses.replace(package, params=(large,)), device=device)
    with pytest.raises(OutOfMemoryError, match="gave no device"):
        Executor(package)
    limit()
    with Executor(packages.four_times()) as executor:
        assert is_right(executor, SMALL)


def test_a_lost_device_is_replaced() -> None:
    with Executor(packages.cache()) as executor:
        state = executor.run({"rows": np.zeros((2, 2, 4), np.float32)}, entry="create")["cache"]
        executor._gpu.device.destroy()
        rows = np.ones((1, 2, 4), np.float32)
        with pytest.raises(DeviceLostError):
            executor.run({"x": rows, "total": 1, "cache": state}, entry="step")
        with pytest.raises(InputError, match="lost with its device"):
            executor.run({"x": rows, "total": 1, "cache": state}, entry="step")
        state = executor.run({"rows": np.zeros((2, 2, 4), np.float32)}, entry="create")["cache"]
        out = executor.run({"x": rows, "total": 1, "cache": state}, entry="step")
        np.testing.assert_array_equal(out["all"], rows)


def test_a_lost_device_of_the_callers_stays_lost() -> None:
    device = wgpu.gpu.request_adapter_sync().request_device_sync()
    executor = Executor(packages.four_times(), device=device)
    assert is_right(executor, SMALL)
    device.destroy()
    for _ in range(2):
        with pytest.raises(DeviceLostError):
            executor.run({"x": SMALL})
