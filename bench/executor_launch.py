"""What a launch costs on the host in the Python executor: replay in one native call beside calls from Python.

PYTHONPATH=pyapi:. python -m bench.executor_launch --launches=500

The list is that of a static model, given again and again: what is measured ends when the queue has the work. CPU time
of this thread, which a busy machine stretches less than wall time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from unittest import mock

import numpy as np
import wgpu
from absl import app, flags
from tvm_webgpu.executor import encoder
from tvm_webgpu.executor.gpu import Gpu
from tvm_webgpu.package import Kernel, Scalar

LAUNCHES = flags.DEFINE_integer("launches", 500, "Launches in the list.", lower_bound=1)
RUNS = flags.DEFINE_integer("runs", 30, "Flushes of which the median is given.", lower_bound=3)

WGSL = """@group(0) @binding(0) var<storage, read_write> data: array<u32>;
struct Args { n: u32 }
@group(0) @binding(1) var<uniform> args: Args;
@compute @workgroup_size(1) fn touch() { data[0] = args.n; }
"""


def words(handles: list[int]) -> memoryview:
    """A list of launches with one buffer and one scalar each, over several buffers and values."""
    lists = [[1 | 7 << 8, 0, 1, 1, 1, handles[i % len(handles)], i % 16] for i in range(LAUNCHES.value)]
    return memoryview(np.array(lists, np.uint32).reshape(-1))


def median_us(function: Callable[[], None], settle: Callable[[], None]) -> float:
    times = []
    for _ in range(RUNS.value):
        start = time.thread_time_ns()
        function()
        times.append(time.thread_time_ns() - start)
        settle()
    return statistics.median(times) / 1e3 / LAUNCHES.value


def measure(name: str) -> None:
    device = wgpu.gpu.request_adapter_sync().request_device_sync()
    gpu = Gpu(device, [Kernel("touch", WGSL, (1, 1, 1), ("read_write",), (Scalar("n", "uint32"),))])
    handles = [gpu.alloc(64) for _ in range(8)]
    commands = words(handles)
    gpu.flush(commands)

    def settle() -> None:
        gpu.read([(handles[0], 0, 4)])

    print(f"| {name} | {median_us(lambda: gpu.flush(commands), settle):.2f} |")
    gpu.close()


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    print(f"{LAUNCHES.value} launches, medians of {RUNS.value}\n\n| way | us a launch |\n|---|---|")
    measure("one native call")
    with mock.patch.object(encoder, "_native", lambda: None):
        measure("calls from Python")


if __name__ == "__main__":
    app.run(main)
