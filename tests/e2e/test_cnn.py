"""Other convolutional networks against ONNX Runtime, at sizes that a software GPU does quickly."""

from __future__ import annotations

import pytest

from tests.e2e.compare import assert_close, onnx_reference
from tests.e2e.conftest import Compile
from tests.e2e.executors import EXECUTORS, Run
from tests.models import cnn


@pytest.mark.parametrize(("name", "size"), [("mobilenet_v1", 128), ("resnet18", 96)])
def test_in_node(name: str, size: int, compiled: Compile) -> None:
    model, folder = compiled(name, size=size)
    feeds = {"input": cnn.image(1, size)}
    (actual,) = EXECUTORS["node"](folder, [Run(feeds)])
    assert_close(actual, onnx_reference(model, feeds), "float32")
