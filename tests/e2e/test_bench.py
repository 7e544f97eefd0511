"""`tvm-webgpu bench` on a small model: both executors, its files, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tvm
import tvm_webgpu
from tvm.script import relax as R
from tvm.script import tirx as T
from tvm_webgpu.cli import main

from tests.e2e.executors import node_environment


@tvm.script.ir_module
class Product:
    @R.function
    def main(
        x: R.Tensor(("n", 8), "float32"), ids: R.Tensor(("n",), "int64"), w: R.Tensor((8, 16), "float32")
    ) -> R.Tensor(("n", 16), "float32"):
        n = T.int64()
        with R.dataflow():
            y: R.Tensor((n, 16), "float32") = R.nn.relu(R.matmul(R.take(x, ids, axis=0), w))
            R.output(y)
        return y


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tvm_webgpu.compile(Product, target="webgpu").save(tmp_path_factory.mktemp("bench") / "package")


def test_in_node_kernels_have_times_and_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in node_environment().items():
        monkeypatch.setenv(name, value)
    figures, trace = tmp_path / "figures.json", tmp_path / "trace.json"
    arguments = ["--dim", "n=32", "--runs", "3", "--json", str(figures), "--trace", str(trace), "--variant", "baseline"]
    assert main(["bench", str(folder), *arguments]) == 0
    report = json.loads(figures.read_text())
    assert len(report["ms"]) == 4
    products = [kernel for kernel in report["profile"]["kernels"] if "matmul" in kernel["kernel"]]
    assert [kernel["flops"] for kernel in products] == [32 * 16 * (2 * 8 + 1)]
    assert report["memory"]["peak"] > 0
    events = [event for event in json.loads(trace.read_text())["traceEvents"] if event["ph"] == "X"]
    assert len(events) == report["dispatches"] == len(report["profile"]["launches"])
    printed = capsys.readouterr().out
    for text in ("matmul", "variant baseline", "MFLOP", "GFLOP/s", "MB", "GB/s", "█", "GPU memory: parameters"):
        assert text in printed


def test_with_wgpu_runs_have_times(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "ids.npy", np.zeros(2, np.int64))
    figures, trace = tmp_path / "figures.json", tmp_path / "trace.json"
    arguments = ["--executor", "wgpu", "--variant", "baseline", "--runs", "2", "--dim", "n=2"]
    arguments += ["--input", f"ids={tmp_path / 'ids.npy'}", "--json", str(figures), "--trace", str(trace)]
    assert main(["bench", str(folder), *arguments]) == 0
    launches = json.loads(figures.read_text())["profile"]["launches"]
    events = [event for event in json.loads(trace.read_text())["traceEvents"] if event["ph"] == "X"]
    assert [event["name"] for event in events] == [launch["kernel"] for launch in launches]
    assert [event["args"]["flops"] for event in events] == [launch["flops"] for launch in launches]
    printed = capsys.readouterr().out
    for text in ("in 2 runs", "matmul", "GFLOP/s", "█", "GPU memory: parameters"):
        assert text in printed


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--dim", "m=2"], "not NAME=N with a symbol of the entry; it has n"),
        (["--dim", "n=x"], "not NAME=N"),
        (["--runs", "0"], "no number of runs"),
        (["--input", "y=y.npy"], "has no input 'y'"),
        (["--executor", "wgpu", "--variant", "f8"], "no variant 'f8'; it has baseline"),
        (["--entry", "nope"], "nope"),
    ],
)
def test_what_can_not_be_measured_is_refused(
    folder: Path, arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(folder), *arguments]) == 1
    assert problem in capsys.readouterr().err
