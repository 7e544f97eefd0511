"""The demo's digits: the held-out set through an executor, compared with ONNX Runtime and with the labels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx

from tests.e2e.compare import assert_close, onnx_reference
from tests.e2e.executors import EXECUTORS, Run

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
sys.path.insert(0, str(DIGITS))


def compile_to(folder: Path) -> Path:
    """The bundled model's package."""
    import tvm_webgpu

    tvm_webgpu.compile(DIGITS / "digits.onnx", target="webgpu").save(folder)
    return folder


def check_held_out_set(executor: str, package: Path) -> None:
    """Every digit is read as ONNX Runtime reads it, nearly all rightly."""
    from dataset import load

    _, held_out = load()
    batches = np.split(held_out.images, [1, 8])
    results = EXECUTORS[executor](package, [Run({"image": images}) for images in batches])
    actual = {"logits": np.concatenate([result["logits"] for result in results])}
    expected = onnx_reference(onnx.load(DIGITS / "digits.onnx"), {"image": held_out.images})
    assert_close(actual, expected, "float32")
    predicted = actual["logits"].argmax(1)
    np.testing.assert_array_equal(predicted, expected["logits"].argmax(1))
    assert (predicted == held_out.labels).mean() >= 0.97
