"""MobileNetV2 with a batch that is chosen at run time: one package, in every executor."""

from __future__ import annotations

import pytest

from tests.e2e.compare import assert_close, onnx_reference
from tests.e2e.conftest import Compile
from tests.e2e.executors import EXECUTORS, Run
from tests.models import cnn

SIZE = 64
"""Pixels a side: the layers are those of 224, the software GPUs' work is a tenth."""


@pytest.mark.parametrize("executor", ["node", "chromium", "wgpu"])
def test_one_package_takes_any_batch(executor: str, compiled: Compile) -> None:
    model, folder = compiled("mobilenet_v2", batch="batch", size=SIZE)
    batches = [{"input": cnn.image(n, SIZE, seed=n)} for n in (3, 1)]
    for actual, feeds in zip(EXECUTORS[executor](folder, [Run(feeds) for feeds in batches]), batches):
        assert_close(actual, onnx_reference(model, feeds), "float32")
