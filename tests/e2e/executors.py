"""The three executors behind one function: a package's folder and runs of it in, each run's tensors out."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

TIMEOUT = 300  # seconds for all runs of one job


class Earlier(NamedTuple):
    """A result of an earlier run of the same job, such as a cache."""

    run: int
    output: str


Value = np.ndarray | int | Earlier


@dataclass(frozen=True)
class Run:
    inputs: Mapping[str, Value]
    entry: str = "main"


Executor = Callable[[Path, Sequence[Run]], list[dict[str, np.ndarray]]]


def node(package: Path, runs: Sequence[Run]) -> list[dict[str, np.ndarray]]:
    """Node with Dawn, on lavapipe, which has f16 and is faster than SwiftShader."""
    return _job(package, runs)


def chromium(package: Path, runs: Sequence[Run]) -> list[dict[str, np.ndarray]]:
    """Headless Chromium on SwiftShader."""
    return _job(package, runs, "--browser")


def wgpu(package: Path, runs: Sequence[Run]) -> list[dict[str, np.ndarray]]:
    """The Python executor: wasmtime and wgpu."""
    import tvm_webgpu

    model = tvm_webgpu.load(package)
    results: list[Mapping[str, object]] = []
    for run in runs:
        inputs = {
            name: results[value.run][value.output] if isinstance(value, Earlier) else value
            for name, value in run.inputs.items()
        }
        results.append(model.run(inputs, entry=run.entry))
    return [{name: value for name, value in each.items() if isinstance(value, np.ndarray)} for each in results]


EXECUTORS: dict[str, Executor] = {"node": node, "chromium": chromium, "wgpu": wgpu}


def node_environment() -> dict[str, str]:
    """The environment for Node: with its npm packages, and lavapipe as Dawn accepts it, unless it names others."""
    from tvm_webgpu.serve import runtime_bundle

    defaults = {"NODE_PATH": str(runtime_bundle().parent / "node_modules")}
    if "VK_DRIVER_FILES" not in os.environ:
        defaults["VK_DRIVER_FILES"] = str(_lavapipe())
    return {**defaults, **os.environ}


@cache
def _lavapipe() -> Path:
    from tests.vulkan import driver

    return driver.build(Path(tempfile.gettempdir(), "tvm-webgpu-vulkan"))


def _job(package: Path, runs: Sequence[Run], *options: str) -> list[dict[str, np.ndarray]]:
    from tvm_webgpu.serve import runtime_bundle

    manifest = json.loads((package / "manifest.json").read_text())
    tensors = {
        entry["name"]: [port["name"] for port in entry["outputs"] if "dtype" in port] for entry in manifest["entries"]
    }
    with tempfile.TemporaryDirectory(prefix="tvm-webgpu-job-") as scratch:
        folder = Path(scratch)

        def argument(index: int, name: str, value: Value) -> object:
            if isinstance(value, Earlier):
                return value._asdict()
            if isinstance(value, int):
                return value
            np.save(folder / f"{index}.{name}.in.npy", value)
            return f"{index}.{name}.in.npy"

        def described(index: int, run: Run) -> dict[str, object]:
            inputs = {name: argument(index, name, value) for name, value in run.inputs.items()}
            outputs = {name: f"{index}.{i}.out.npy" for i, name in enumerate(tensors[run.entry])}
            return {"entry": run.entry, "inputs": inputs, "outputs": outputs}

        described_runs = [described(index, run) for index, run in enumerate(runs)]
        job = {"package": str(package.absolute()), "runs": described_runs}
        (folder / "job.json").write_text(json.dumps(job))
        command = ["node", str(runtime_bundle() / "node_cli.mjs"), "--job", str(folder / "job.json"), "--json"]
        done = subprocess.run(
            [*command, *options], env=node_environment(), capture_output=True, text=True, timeout=TIMEOUT
        )
        if done.returncode:
            raise RuntimeError(f"exit status {done.returncode}\n{done.stdout}{done.stderr}")
        print(done.stdout.strip())
        return [{name: np.load(folder / path) for name, path in each["outputs"].items()} for each in described_runs]
