"""Random arrays that make overflows, signs and ties likely, and stay exact where they are floats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.fuzz.expressions import INTEGERS, STEPS, limits


def array(rng: np.random.Generator, shape: Sequence[int], dtype: str) -> np.ndarray:
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.startswith("float"):
        return (rng.integers(-64, 65, shape) / STEPS).astype(dtype)
    low, high = limits(dtype)
    values = rng.integers(low, high, shape, dtype=dtype, endpoint=True)
    small = rng.integers(max(low, -4), 5, shape).astype(dtype)
    ends = rng.choice(np.array([low, high], dtype), shape)
    picked = rng.integers(0, 4, shape)
    assert dtype in INTEGERS
    return np.where(picked == 0, small, np.where(picked == 1, ends, values)).astype(dtype)
