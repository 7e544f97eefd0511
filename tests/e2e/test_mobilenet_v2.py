"""MobileNetV2 at 224x224, and in half precision."""

from __future__ import annotations

import gzip

import pytest

from tests.e2e.compare import assert_close, onnx_reference
from tests.e2e.conftest import Compile
from tests.e2e.executors import EXECUTORS, Run
from tests.models import cnn

SMALL = 96
"""Pixels a side where the size is not the point: the layers are those of 224, the software GPU's work is less."""


def test_at_224(compiled: Compile) -> None:
    """In one executor: kernels and host code are the same in all, and Node's first run takes minutes of the driver."""
    model, folder = compiled("mobilenet_v2")
    feeds = {"input": cnn.image(1)}
    (actual,) = EXECUTORS["wgpu"](folder, [Run(feeds)])
    assert_close(actual, onnx_reference(model, feeds), "float32")


@pytest.mark.parametrize("executor", ["node", "wgpu"])
def test_in_half_precision(executor: str, compiled: Compile) -> None:
    model, folder = compiled("mobilenet_v2", "float16", size=SMALL)
    feeds = {"input": cnn.image(1, SMALL, dtype="float16")}
    (actual,) = EXECUTORS[executor](folder, [Run(feeds)])
    assert_close(actual, onnx_reference(model, feeds), "float16")


def test_the_wasm_is_small(compiled: Compile) -> None:
    _, folder = compiled("mobilenet_v2")
    assert len(gzip.compress((folder / "model.wasm").read_bytes(), 9)) <= 40_000
