"""A BERT encoder: one package for short and long texts, alone and in a padded batch, against ONNX Runtime."""

from __future__ import annotations

import pytest

from tests.e2e.compare import assert_close, onnx_reference
from tests.e2e.conftest import Compile
from tests.e2e.executors import EXECUTORS, Run
from tests.models import bert


@pytest.mark.parametrize(
    ("executor", "dtype"),
    [
        ("node", "float32"),
        ("chromium", "float32"),
        ("wgpu", "float32"),
        ("node", "float16"),
        ("wgpu", "float16"),
    ],
)
def test_any_length(executor: str, dtype: str, compiled: Compile) -> None:
    model, folder = compiled("bert", dtype)
    texts = [bert.text(batch, sequence, seed=sequence) for batch, sequence in ((1, 7), (1, 128), (3, 20))]
    for actual, feeds in zip(EXECUTORS[executor](folder, [Run(feeds) for feeds in texts]), texts):
        assert_close(actual, onnx_reference(model, feeds), dtype)
