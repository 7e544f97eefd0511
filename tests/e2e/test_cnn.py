"""Convolutional networks, batch 1 at 224x224 and a batch that is chosen at run time, against ONNX Runtime."""

from __future__ import annotations

import pytest

from tests.e2e.compare import assert_close, onnx_reference
from tests.e2e.conftest import Compile
from tests.e2e.executors import EXECUTORS, Run
from tests.models import cnn


@pytest.mark.parametrize(
    ("name", "executor"),
    [
        ("mobilenet_v1", "node"),
        ("resnet18", "node"),
        ("mobilenet_v2", "node"),
        ("mobilenet_v2", "chromium"),
        ("mobilenet_v2", "wgpu"),
    ],
)
def test_at_224(name: str, executor: str, compiled: Compile) -> None:
    model, folder = compiled(name)
    feeds = {"input": cnn.image(1)}
    (actual,) = EXECUTORS[executor](folder, [Run(feeds)])
    assert_close(actual, onnx_reference(model, feeds), "float32")


@pytest.mark.parametrize("executor", ["node", "wgpu"])
def test_in_half_precision(executor: str, compiled: Compile) -> None:
    model, folder = compiled("mobilenet_v2", "float16")
    feeds = {"input": cnn.image(1, dtype="float16")}
    (actual,) = EXECUTORS[executor](folder, [Run(feeds)])
    assert_close(actual, onnx_reference(model, feeds), "float16")


@pytest.mark.parametrize("executor", ["node", "wgpu"])
def test_one_package_takes_any_batch(executor: str, compiled: Compile) -> None:
    model, folder = compiled("mobilenet_v2", batch="batch", size=96)
    batches = [{"input": cnn.image(n, 96, seed=n)} for n in (3, 1)]
    for actual, feeds in zip(EXECUTORS[executor](folder, [Run(feeds) for feeds in batches]), batches):
        assert_close(actual, onnx_reference(model, feeds), "float32")
