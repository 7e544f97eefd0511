"""Where the time of a compilation goes: a table per stage, of a model compiled again and again in one process.

PYTHONPATH=pyapi:. python -m bench.compile_time --models=resnet50 --runs=3 --json=/tmp/compile.json

Two figures a stage: wall time, and CPU time of this process, which a busy machine stretches less. `second` is all of it
once more with every kernel in the disk cache; `kernels to WGSL` is emission, validation, optimisation and translation.
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from absl import app, flags

from tests.models import ONNX_MODELS

MODELS = flags.DEFINE_list("models", ["resnet50"], "Which of the convolutional test models.")
RUNS = flags.DEFINE_integer("runs", 3, "Compilations of which the medians are given.", lower_bound=1)
JSON = flags.DEFINE_string("json", None, "File for the figures.")

Times = dict[str, tuple[float, float]]
KERNEL_STAGES = ("emit", "spirv-val", "spirv-opt", "translate")


class Stopwatch:
    """Wall and CPU seconds by stage; a stage inside another counts for itself alone."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._inner: list[list[float]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._inner.append([0.0, 0.0])
        start = time.perf_counter(), time.process_time()
        yield
        spent = [time.perf_counter() - start[0], time.process_time() - start[1]]
        inner = self._inner.pop()
        for axis in (0, 1):
            self.times[name][axis] += spent[axis] - inner[axis]
            if self._inner:
                self._inner[-1][axis] += spent[axis]

    def timed(self, name: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def run(*args: object, **kwargs: object) -> object:
            with self.stage(name):
                return function(*args, **kwargs)

        return run


def attach(stopwatch: Stopwatch, stack: ExitStack) -> None:
    """Puts the stopwatch around the stages that `compile` does not report as phases."""
    from tvm_webgpu import spirv_tools
    from tvm_webgpu.codegen import schedule, spirv, wasm32, wgsl
    from tvm_webgpu.pipeline import build, host, kernels

    functions = {
        "import model": (build, "load_model"),
        "lower host": (build, "lower"),
        "schedule": (schedule.Scheduler, "flat"),
        "lower kernels": (kernels, "split"),
        "emit": (spirv, "emit"),
        "spirv-val": (spirv_tools, "validate"),
        "spirv-opt": (spirv_tools, "optimize"),
        "translate": (wgsl, "translate"),
        "host to LLVM": (host, "codegen_build"),
        "link": (wasm32, "link"),
    }
    for name, (owner, attribute) in functions.items():
        stack.enter_context(mock.patch.object(owner, attribute, stopwatch.timed(name, getattr(owner, attribute))))


def compile_once(model: object, folder: str) -> Times:
    """One compilation with the cache in `folder`."""
    from tvm_webgpu.pipeline import build

    stopwatch = Stopwatch()
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, TVMW_CACHE_DIR=folder))
        attach(stopwatch, stack)
        with stopwatch.stage("graph and rest"):
            package = build.compile(model)
        with stopwatch.stage("package"):
            package.files()
    return {name: (wall, cpu) for name, (wall, cpu) in stopwatch.times.items()}


def total(times: Times, names: tuple[str, ...] | None = None) -> tuple[float, float]:
    chosen = [times.get(name, (0.0, 0.0)) for name in names or times]
    return sum(wall for wall, _ in chosen), sum(cpu for _, cpu in chosen)


def median(runs: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(wall for wall, _ in runs), statistics.median(cpu for _, cpu in runs)


def measure(model: object) -> dict[str, tuple[float, float]]:
    """Medians by stage, and `total`, `kernels to WGSL`, `second`."""
    first: list[Times] = []
    second: list[Times] = []
    for _ in range(RUNS.value):
        with tempfile.TemporaryDirectory() as folder:
            first.append(compile_once(model, folder))
            second.append(compile_once(model, folder))
    rows = {name: median([times.get(name, (0.0, 0.0)) for times in first]) for name in first[0]}
    rows["total"] = median([total(times) for times in first])
    rows["kernels to WGSL"] = median([total(times, KERNEL_STAGES) for times in first])
    rows["second"] = median([total(times) for times in second])
    return rows


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    start = time.perf_counter(), time.process_time()
    from tvm_webgpu.pipeline import build

    del build
    started = time.perf_counter() - start[0], time.process_time() - start[1]
    results = {}
    for name in MODELS.value:
        rows = {"import Python modules": started, **measure(ONNX_MODELS[name]())}
        results[name] = {stage: {"wall_s": round(w, 3), "cpu_s": round(c, 3)} for stage, (w, c) in rows.items()}
        print(f"\n{name}, medians of {RUNS.value}\n\n| stage | wall s | CPU s |\n|---|---|---|")
        print("\n".join(f"| {stage} | {wall:.2f} | {cpu:.2f} |" for stage, (wall, cpu) in rows.items()))
    if JSON.value:
        Path(JSON.value).write_text(json.dumps({"runs": RUNS.value, "models": results}, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
