"""A package and its inputs in, the outputs of the TypeScript runtime out; one Node process or browser for many."""

from __future__ import annotations

import json
import os
import select
import signal
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
from tests.support.pool import Died

STARTUP = 60.0
"""Seconds for Node or the browser to start."""

Feeds = Mapping[str, np.ndarray]


class Lost(Exception):
    """The process crashed or hung and is gone; the next run starts another."""

    def __init__(self, how: Died):
        super().__init__(how.how)
        self.how = how


class Runtime:
    """`host` is node or chromium; `driver` names the Vulkan driver, or is empty for the machine's own."""

    def __init__(self, host: str, driver: str) -> None:
        self.host, self.driver = host, driver
        self.process: subprocess.Popen[str] | None = None

    def run(self, package: Package, runs: Sequence[Feeds], limit: float) -> list[list[np.ndarray]]:
        """The outputs of each run in order; RuntimeError with what the runtime said, Lost after `limit` seconds."""
        if self.process is None:
            self._start()
        assert self.process and self.process.stdin
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
            self.process.stdin.write(f"{folder}\n")
            self.process.stdin.flush()
            answer = self._answer(limit)
            if "error" in answer:
                raise RuntimeError(answer["error"])
            return [[_read(folder, **output) for output in outputs] for outputs in answer["runs"]]

    def _start(self) -> None:
        environment = {**node_environment(), "XDG_RUNTIME_DIR": tempfile.gettempdir(), "VK_DRIVER_FILES": self.driver}
        if not self.driver:
            del environment["VK_DRIVER_FILES"]
        self.process = subprocess.Popen(
            ["node", str(Path(__file__).with_name("serve.mjs")), str(runtime_bundle()), self.host],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a browser has children, which go with it
        )
        self._answer(STARTUP)

    def _answer(self, limit: float) -> dict:
        assert self.process and self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], limit)  # an answer is one line
        line = self.process.stdout.readline() if ready else ""
        if not line:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
            raise Lost(Died("crash" if ready else "timeout"))
        return json.loads(line)


def _write(folder: Path, name: str, array: np.ndarray) -> dict[str, object]:
    (folder / name).write_bytes(np.ascontiguousarray(array).tobytes())
    return {"dtype": str(array.dtype), "shape": list(array.shape), "file": name}


def _read(folder: Path, dtype: str, shape: Sequence[int], file: str) -> np.ndarray:
    return np.frombuffer((folder / file).read_bytes(), dtypes.numpy(dtype)).reshape(shape)


@cache
def runtime(host: str, driver: str) -> Runtime:
    """The process for this host and driver."""
    return Runtime(host, driver)
