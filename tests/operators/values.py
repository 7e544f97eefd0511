"""Inputs by kind: a name, a shape and a dtype in, an array out, the same in every run."""

from __future__ import annotations

import zlib

import numpy as np

from .spec import In, dtype_of

# Finite values where rounding, signs and exponents go wrong; NaN and infinities stand apart (`special`).
FLOAT_EDGES = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    -1.5,
    2.5,
    -2.5,
    3.0,
    7.0,
    -7.0,
    100.25,
    -100.75,
    0.1,
    -0.3,
    2.0**-10,
    -(2.0**-10),
    1024.0,
)
SPECIAL = (float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1.0, -1.0, 2.0)


def integer_edges(dtype: np.dtype) -> list[int]:
    """The extremes of an integer dtype, and what lies at the borders of narrower ones."""
    info = np.iinfo(dtype)
    near = [0, 1, -1, 2, 3, 7, -7, 8, 100, 127, 128, -128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31)]
    near += [2**32 - 1, 2**32, 123456789012, -123456789012, info.min, info.min + 1, info.max, info.max - 1]
    return sorted({n for n in near if info.min <= n <= info.max})


def edges(dtype: str) -> np.ndarray:
    """The edge values of a dtype."""
    kind = dtype_of(dtype)
    if dtype == "bool":
        return np.array([False, True])
    return np.array(FLOAT_EDGES if "float" in dtype else integer_edges(kind)).astype(kind)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype, size: float = 3) -> np.ndarray:
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        low = max(np.iinfo(dtype).min, -int(size * 3))
        return rng.integers(low, min(int(size * 3) + 1, np.iinfo(dtype).max), shape, dtype=dtype)
    return (rng.standard_normal(shape) * size).astype(dtype)


def _wide(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """All of an integer dtype's range, at every number of bits."""
    if dtype.kind not in "iu":
        return _normal(rng, shape, dtype)
    info = np.iinfo(dtype)
    full = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    return full >> rng.integers(0, info.bits, shape).astype(dtype)


def make(given: In, dtype: str, seed: int = 0) -> np.ndarray:
    """The array of an input; `kind:n` kinds take a number."""
    kind, _, number = given.values.partition(":")
    target = dtype_of(given.dtype or dtype)
    shape = given.shape
    rng = np.random.default_rng([seed, zlib.crc32(f"{shape}{kind}{target}".encode())])
    match kind:
        case "any":
            return _normal(rng, shape, target)
        case "wide":
            out = _wide(rng, shape, target)
            known = edges(str(target))[: out.size]
            out.reshape(-1)[: len(known)] = known
            return out
        case "small":
            return _normal(rng, shape, target, 0.7)
        case "positive":
            least = 1 if target.kind in "iu" else 0.25
            return (np.abs(_normal(rng, shape, target)) + np.array(least)).astype(target)
        case "unit":
            return rng.uniform(-0.98, 0.98, shape).astype(target)
        case "above":
            return rng.uniform(1.01, 20, shape).astype(target)
        case "nonzero":
            out = _wide(rng, shape, target)
            known = edges(str(target))
            known = known[known != 0][: out.size]
            out.reshape(-1)[: len(known)] = known
            return np.where(out == 0, target.type(3), out)
        case "divisor":  # small, of either sign
            out = _normal(rng, shape, target)
            return np.where(np.abs(out.astype("float64")) < 0.25, target.type(2), out)
        case "left" | "right":  # the two sides of every pair of edges
            known = edges(str(target))
            pairs = np.meshgrid(known, known, indexing="ij")[kind == "right"].ravel()
            return np.resize(pairs, shape)
        case "special" | "special_right":
            pairs = np.meshgrid(SPECIAL, SPECIAL, indexing="ij")[kind != "special"].ravel()
            return np.resize(pairs, shape).astype(target)
        case "index":  # positions in [0, n)
            return rng.integers(0, int(number), shape).astype(target)
        case "signed_index":  # positions in [-n, n)
            return rng.integers(-int(number), int(number), shape).astype(target)
        case "distinct":  # a permutation
            return rng.permutation(int(np.prod(shape))).reshape(shape).astype(target)
        case "distinct_last":  # positions below n, none twice in a row
            rows = [rng.permutation(int(number))[: shape[-1]] for _ in range(int(np.prod(shape[:-1])))]
            return np.array(rows).reshape(shape).astype(target)
        case "ties":
            out = _normal(rng, shape, target, 1)
            return out if target.kind == "b" else out.round().astype(target)
        case "unit_or_one":  # products of many neither vanish nor overflow
            out = rng.choice([1.0, -1.0, 1.0, 1.0, 1.001], shape)
            return out.round().astype(target) if target.kind in "iu" else out.astype(target)
        case "bits":
            return rng.integers(0, 2, shape).astype(target)
        case "increasing":
            return np.sort(_normal(rng, shape, target), axis=-1)
        case "list":
            return np.array([float(each) for each in number.split()]).astype(target).reshape(shape)
        case "between":
            return rng.uniform(0.01, 0.99, shape).astype(target)
        case "probabilities":
            out = rng.uniform(0.1, 1, shape)
            return (out / out.sum(-1, keepdims=True)).astype(target)
        case "shift":
            return np.resize(np.array([0, 1, 2, 5, 7, 8, 15, 16, 31, 32, 33, 63, 64, 100]), shape).astype(target)
        case _:
            raise ValueError(f"no kind of values is named {kind}")
