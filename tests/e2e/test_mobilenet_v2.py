"""MobileNetV2 everywhere: batch 1 at 224x224, half precision, and a batch that is chosen at run time."""

from __future__ import annotations

import gzip

import pytest

from tests.e2e.compare import assert_close, onnx_reference
from tests.e2e.conftest import Compile
from tests.e2e.executors import EXECUTORS, Run
from tests.models import cnn

SMALL = 96
"""Pixels a side where the size is not the point: the layers are those of 224, the software GPU's work is less."""


@pytest.mark.parametrize("executor", ["node", "wgpu"])
def test_at_224(executor: str, compiled: Compile) -> None:
    model, folder = compiled("mobilenet_v2")
    feeds = {"input": cnn.image(1)}
    (actual,) = EXECUTORS[executor](folder, [Run(feeds)])
    assert_close(actual, onnx_reference(model, feeds), "float32")


@pytest.mark.parametrize("executor", ["node", "wgpu"])
def test_in_half_precision(executor: str, compiled: Compile) -> None:
    model, folder = compiled("mobilenet_v2", "float16", size=SMALL)
    feeds = {"input": cnn.image(1, SMALL, dtype="float16")}
    (actual,) = EXECUTORS[executor](folder, [Run(feeds)])
    assert_close(actual, onnx_reference(model, feeds), "float16")


@pytest.mark.parametrize("executor", ["node", "chromium", "wgpu"])
def test_one_package_takes_any_batch(executor: str, compiled: Compile) -> None:
    model, folder = compiled("mobilenet_v2", batch="batch", size=SMALL)
    batches = [{"input": cnn.image(n, SMALL, seed=n)} for n in (3, 1)]
    for actual, feeds in zip(EXECUTORS[executor](folder, [Run(feeds) for feeds in batches]), batches):
        assert_close(actual, onnx_reference(model, feeds), "float32")


def test_the_wasm_is_small(compiled: Compile) -> None:
    _, folder = compiled("mobilenet_v2")
    assert len(gzip.compress((folder / "model.wasm").read_bytes(), 9)) <= 40_000
