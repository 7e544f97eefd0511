"""Outputs of a case beside those expected: raises AssertionError where they differ by more than ONNX allows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.runner import Runner

from .cases import Case


def assert_similar(case: Case, actual: Sequence[object], expected: Sequence[object]) -> None:
    """Shape, dtype and values as ONNX's own runner compares them, and the lengths of sequences, which it forgets."""
    wanted = [_array(value) for value in expected]
    assert len(actual) == len(wanted), f"{len(actual)} outputs instead of {len(wanted)}"
    for got, want in zip(actual, wanted):
        if isinstance(want, list):
            assert isinstance(got, list | tuple), f"a {type(got).__name__} instead of a sequence"
            assert len(got) == len(want), f"a sequence of {len(got)} instead of {len(want)}"
        else:
            assert isinstance(got, np.ndarray), f"a {type(got).__name__} instead of a tensor"
    Runner.assert_similar_outputs(wanted, actual, case.rtol, case.atol)


def _array(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_array(item) for item in value]
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return value if value is None else np.asarray(value)
