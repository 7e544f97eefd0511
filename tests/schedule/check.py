"""Compares a scheduled function with itself: the same inputs on a WebGPU device and, unscheduled, through LLVM."""

from __future__ import annotations

import numpy as np
import pytest
import tvm

from tests.schedule import cases, runner


def assert_same(func: tvm.tirx.PrimFunc, scheduled: tvm.tirx.PrimFunc) -> list[runner.Launch]:
    """Runs both and compares all buffers; returns the launches."""
    inputs = cases.arrays(func)
    half = any(a.dtype == np.float16 for a in inputs)
    if half and not runner.has_f16():
        pytest.skip("the adapter has no 16-bit floats")
    expected = runner.reference(func, [a.copy() for a in inputs])
    target = runner.TARGET_F16 if half else runner.TARGET
    outcome = runner.run(scheduled, [a.copy() for a in inputs], target)
    tolerance = 2e-2 if half else 1e-4
    for got, want in zip(outcome.buffers, expected, strict=True):
        np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=tolerance, atol=tolerance)
    return outcome.launches
