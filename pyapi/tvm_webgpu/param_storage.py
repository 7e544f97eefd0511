"""Parameters in files as half floats or scaled bytes: arrays in, what is stored out, and back.

int8 is symmetric: an element is `value * scale`, with one float32 scale for each slice along some of the axes. Which
axes is chosen for each parameter: those that give the least squared error for at most one scale to 64 elements, so
that it fits weights whose channels lie first, last, or in tiles.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

STORAGES = ("float16", "int8")
"""What a parameter may be stored as."""

SMALLEST = 4096
"""Parameters of fewer elements (biases, norms) stay as they are: they matter more than they weigh."""

ELEMENTS_PER_SCALE = 64
MOST_RUNS = 4
"""Runs of neighbouring axes that are scaled alike; executors tell apart at most so many."""


@dataclass(frozen=True)
class Stored:
    """A parameter as it lies in its file: the bytes of its values; for int8 also scales that broadcast to its shape."""

    dtype: str
    values: bytes
    scales: bytes = b""
    scales_shape: tuple[int, ...] = ()

    def decode(self, dtype: str, shape: Sequence[int]) -> bytes:
        """The parameter's bytes, in its own dtype. ValueError if they do not fit the shape."""
        values = np.frombuffer(self.values, "<f2" if self.dtype == "float16" else "i1").reshape(shape)
        target = np.dtype(dtype).newbyteorder("<")
        if self.dtype == "float16":
            return values.astype(target).tobytes()
        scales = np.frombuffer(self.scales, "<f4").reshape(self.scales_shape)
        return (values.astype(np.float32) * np.broadcast_to(scales, values.shape)).astype(target).tobytes()


def store(data: bytes | memoryview, dtype: str, shape: Sequence[int], storage: str) -> Stored | None:
    """The parameter in a smaller form, or None where it would not be smaller, or lose what it must not.

    float16 takes float32, int8 also float16. Small parameters, and ones with values beyond the form's range, stay.
    """
    if dtype not in ("float32", "float16") or dtype == storage or int(np.prod(shape)) < SMALLEST:
        return None
    array = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).reshape(shape)
    if not np.isfinite(array).all():
        return None
    if storage == "float16":
        with np.errstate(over="ignore"):
            halves = array.astype("<f2")
        return Stored(storage, halves.tobytes()) if np.isfinite(halves).all() else None
    sizes = np.abs(array).astype(np.float32)
    axes = min(_candidates(shape), key=lambda axes: _squared_error(sizes, axes), default=None)
    if axes is None:
        return None
    largest = sizes.max(axis=axes, keepdims=True)
    scales = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype("<f4")
    if dtype == "float16" and float(scales.max()) * 127 > np.finfo(np.float16).max:
        return None
    values = np.clip(np.rint(array.astype(np.float32) / scales), -127, 127).astype(np.int8)
    return Stored(storage, values.tobytes(), scales.tobytes(), scales.shape)


def _candidates(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Sets of axes that may share scales; the shared axes, not those with scales of their own."""
    real = [axis for axis, extent in enumerate(shape) if extent > 1]
    elements = int(np.prod(shape))
    for count in range(1, len(real) + 1):
        for shared in itertools.combinations(real, count):
            scales = elements // int(np.prod([shape[axis] for axis in shared]))
            runs = 1 + sum((a in shared) != (b in shared) for a, b in itertools.pairwise(real))
            if scales * ELEMENTS_PER_SCALE <= elements and runs <= MOST_RUNS:
                yield shared


def _squared_error(sizes: np.ndarray, shared: tuple[int, ...]) -> float:
    """What rounding adds, but for a constant factor: the error is uniform within half a scale."""
    return float(np.square(sizes.max(axis=shared), dtype=np.float64).mean())
