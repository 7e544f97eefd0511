"""Launches of runs -> their times on the GPU, bytes and operations, by launch and by kernel."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import wgpu

from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.package import Kernel, Postfix

from .commands import Dispatch

FEATURE = "timestamp-query"
SET_SIZE = 4096
"""Queries in a set, two a launch: WebGPU allows no more."""

OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "min": min,
    "max": max,
}


class LaunchTimer:
    """The times of one run's launches, each of which gets a compute pass of its own."""

    def __init__(self, device: wgpu.GPUDevice) -> None:
        if FEATURE not in device.features:
            raise UnsupportedError(f"the device was made without the feature {FEATURE!r}, which profiles need")
        self.launches: list[Dispatch] = []
        self._device = device
        self._sets: list[wgpu.GPUQuerySet] = []

    def writes(self, launch: Dispatch) -> dict[str, object]:
        """The timestamps that the launch's pass is to write."""
        index = 2 * len(self.launches) % SET_SIZE
        if index == 0:
            self._sets.append(self._device.create_query_set(type="timestamp", count=SET_SIZE))
        self.launches.append(launch)
        places = {"beginning_of_pass_write_index": index, "end_of_pass_write_index": index + 1}
        return {"query_set": self._sets[-1], **places}

    def read(self) -> np.ndarray:
        """Begin and end of each launch: whole nanoseconds since the first began, int64 [launches, 2]."""
        if not self.launches:
            return np.zeros((0, 2), np.int64)
        usage = wgpu.BufferUsage.QUERY_RESOLVE | wgpu.BufferUsage.COPY_SRC
        resolved = self._device.create_buffer(size=8 * SET_SIZE * len(self._sets), usage=usage)
        encoder = self._device.create_command_encoder()
        for index, queries in enumerate(self._sets):
            count = min(SET_SIZE, 2 * len(self.launches) - index * SET_SIZE)
            encoder.resolve_query_set(queries, 0, count, resolved, 8 * SET_SIZE * index)
        self._device.queue.submit([encoder.finish()])
        data = self._device.queue.read_buffer(resolved, 0, 16 * len(self.launches))
        resolved.destroy()
        ticks = np.frombuffer(data, np.int64).reshape(-1, 2)
        return np.rint((ticks - ticks[0, 0]) * _nanoseconds(self._device)).astype(np.int64)


def _nanoseconds(device: wgpu.GPUDevice) -> float:
    """Of one step of the clock: WebGPU counts in nanoseconds, wgpu-native in what the device has.

    wgpu 0.32 has no public name for it. Its instance flag AutomaticTimestampNormalization would make steps nanoseconds,
    but for the whole process and only before anybody made a device.
    """
    try:
        from wgpu.backends.wgpu_native._ffi import lib

        return float(lib.wgpuQueueGetTimestampPeriod(device.queue._internal))
    except (ImportError, AttributeError):
        return 1.0


def evaluate(amount: Postfix, scalars: Mapping[str, int]) -> int:
    """An amount of the manifest for a launch with these scalars."""
    stack: list[int] = []
    for item in amount if isinstance(amount, tuple) else (amount,):
        if item in OPERATIONS:
            right = stack.pop()
            stack.append(OPERATIONS[str(item)](stack.pop(), right))
        else:
            stack.append(scalars[item] if isinstance(item, str) else item)
    return stack.pop()


def profile_of(kernels: Sequence[Kernel], runs: Sequence[tuple[Sequence[Dispatch], np.ndarray]]) -> dict[str, Any]:
    """What `Profile` of the TypeScript runtime has, of some runs of the same launches; times in ms, averages."""
    times = np.mean([each for _, each in runs], axis=0) / 1e6
    launches: list[dict[str, Any]] = [
        {
            "kernel": kernels[launch.kernel].name,
            "grid": list(launch.grid),
            "begin": float(begin),
            "ms": max(0.0, float(end - begin)),
            **_cost(kernels[launch.kernel], launch),
        }
        for launch, (begin, end) in zip(runs[0][0], times)
    ]
    total = sum(launch["ms"] for launch in launches)
    by_kernel: dict[str, list[dict[str, Any]]] = {}
    for launch in launches:
        by_kernel.setdefault(launch["kernel"], []).append(launch)
    rows = [
        {
            "kernel": name,
            "launches": len(group),
            "ms": sum(launch["ms"] for launch in group),
            "share": sum(launch["ms"] for launch in group) / total if total else 0.0,
            **{key: sum(launch[key] for launch in group) for key in ("bytes", "flops") if key in group[0]},
        }
        for name, group in by_kernel.items()
    ]
    return {
        "runs": len(runs),
        "launches": launches,
        "kernels": sorted(rows, key=lambda row: -row["ms"]),
        "ms": total,
        "span": float(times[-1, 1]) if launches else 0.0,
        "resolution": math.gcd(*(int(time) for _, each in runs for time in each.flat)) / 1e6,
    }


def _cost(kernel: Kernel, launch: Dispatch) -> dict[str, int]:
    bits = np.array(launch.scalars, np.uint32).view(np.int32).tolist()
    scalars = {scalar.name: value for scalar, value in zip(kernel.scalars, bits)}
    amounts = {"bytes": kernel.traffic, "flops": kernel.flops}
    return {name: evaluate(amount, scalars) for name, amount in amounts.items() if amount is not None}
