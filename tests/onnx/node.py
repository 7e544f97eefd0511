"""A package and its inputs in, the outputs of the TypeScript runtime in Node with Dawn out; one process for many."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from tvm_webgpu.executor import dtypes
from tvm_webgpu.package import Package
from tvm_webgpu.serve import runtime_bundle

from tests.e2e.executors import node_environment

SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json"
"""Chromium's software driver, for which Dawn is made."""

Feeds = Mapping[str, np.ndarray]


class Node:
    """The process. If it dies, the worker that owns it dies with it, and the case counts as a crash."""

    def __init__(self, driver: str) -> None:
        environment = {"VK_DRIVER_FILES": driver, "XDG_RUNTIME_DIR": tempfile.gettempdir(), **os.environ}
        self.process = subprocess.Popen(
            ["node", str(Path(__file__).with_name("serve.mjs")), str(runtime_bundle())],
            env={**node_environment(), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def _answer(self) -> dict:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            os._exit(1)  # the pool sees a crash, and starts afresh
        return json.loads(line)

    def run(self, package: Package, runs: Sequence[Feeds]) -> list[list[np.ndarray]]:
        """The outputs of each run in order; RuntimeError with what the runtime said."""
        with tempfile.TemporaryDirectory(prefix="tvm-webgpu-onnx-") as scratch:
            folder = Path(scratch)
            package.save(folder / "package")
            described = [
                {
                    name: _write(folder, f"{index}.in.{position}", array)
                    for position, (name, array) in enumerate(feeds.items())
                }
                for index, feeds in enumerate(runs)
            ]
            (folder / "job.json").write_text(json.dumps({"runs": described}))
            assert self.process.stdin
            self.process.stdin.write(f"{folder}\n")
            self.process.stdin.flush()
            answer = self._answer()
            if "error" in answer:
                raise RuntimeError(answer["error"])
            return [[_read(folder, **output) for output in outputs] for outputs in answer["runs"]]


def _write(folder: Path, name: str, array: np.ndarray) -> dict[str, object]:
    (folder / name).write_bytes(np.ascontiguousarray(array).tobytes())
    return {"dtype": str(array.dtype), "shape": list(array.shape), "file": name}


def _read(folder: Path, dtype: str, shape: Sequence[int], file: str) -> np.ndarray:
    return np.frombuffer((folder / file).read_bytes(), dtypes.numpy(dtype)).reshape(shape)


@cache
def node(driver: str) -> Node:
    """The process for this driver."""
    return Node(driver)
