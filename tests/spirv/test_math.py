"""Functions of floats on a device against NumPy in double precision: relative errors, and the special cases."""

from __future__ import annotations

import math

import gpu
import numpy as np
import pytest
from tvm import tirx

RNG = np.random.default_rng(0)
ALL = np.concatenate([RNG.standard_normal(200) * 3, RNG.standard_normal(50) * 1e-3, [0, 0.5, 1.5, 2.5, -0.5, -1.5,
                      0.49999997, -2.5, 30, -30]]).astype("float32")
POSITIVE = np.abs(ALL) + np.float32(1e-6)
UNIT = np.clip(ALL / 3, -0.999, 0.999).astype("float32")


def half_away(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.floor(np.abs(x) + 0.5)


FUNCTIONS = {
    "erf": (ALL, np.vectorize(math.erf), 3e-7), "tanh": (ALL, np.tanh, 3e-7), "sinh": (ALL, np.sinh, 3e-6),
    "cosh": (ALL, np.cosh, 3e-6), "asinh": (ALL, np.arcsinh, 1e-6),
    "acosh": (POSITIVE + np.float32(1), np.arccosh, 1e-6), "atanh": (UNIT, np.arctanh, 1e-6),
    "asin": (UNIT, np.arcsin, 1e-4), "acos": (UNIT, np.arccos, 1e-4), "atan": (ALL, np.arctan, 1e-4),
    "round": (ALL, half_away, 0), "nearbyint": (ALL, np.round, 0), "floor": (ALL, np.floor, 0),
    "ceil": (ALL, np.ceil, 0), "trunc": (ALL, np.trunc, 0), "log1p": (POSITIVE, np.log1p, 1e-6),
    "log": (POSITIVE, np.log, 1e-4), "log2": (POSITIVE, np.log2, 1e-4), "log10": (POSITIVE, np.log10, 1e-4),
    "exp": (ALL, np.exp, 3e-6), "exp2": (ALL, np.exp2, 3e-6), "exp10": (ALL, lambda x: 10.0**x, 1e-5),
    "sigmoid": (ALL, lambda x: 1 / (1 + np.exp(-x)), 5e-6), "sqrt": (POSITIVE, np.sqrt, 3e-7),
    "rsqrt": (POSITIVE, lambda x: 1 / np.sqrt(x), 5e-7), "sin": (ALL, np.sin, 1e-4), "cos": (ALL, np.cos, 1e-4),
    "fabs": (ALL, np.abs, 0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name):
    x, reference, tolerance = FUNCTIONS[name]
    got = gpu.elementwise(tirx.abs if name == "fabs" else getattr(tirx, name), [x], "float32")
    want = reference(x.astype("float64"))
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=0 if tolerance < 1e-5 else 1e-6)


def test_power_of_any_base():
    x, y = ALL[ALL != 0], RNG.integers(-4, 5, np.count_nonzero(ALL)).astype("float32")
    got = gpu.elementwise(tirx.pow, [x, y], "float32")
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(got, np.power(x.astype("float64"), y).astype("float32"), rtol=1e-5)


@pytest.mark.parametrize("name", ["fmod", "truncmod"])
def test_float_remainders(name):
    x, y = ALL, (RNG.integers(1, 5, ALL.size) + 0.5).astype("float32") * np.where(ALL > 1, -1, 1).astype("float32")
    got = gpu.elementwise(getattr(tirx, name), [x, y], "float32")
    np.testing.assert_allclose(got, np.fmod(x.astype("float64"), y), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "reference"), [("isnan", np.isnan), ("isinf", np.isinf), ("isfinite", np.isfinite)])
def test_special_values_are_told_apart(name, reference):
    x = np.array([np.nan, np.inf, -np.inf, 1, 0, -0.0, 3e38] * 9, "float32")
    np.testing.assert_array_equal(gpu.elementwise(getattr(tirx, name), [x], "bool"), reference(x))


def test_infinite_constants():
    x = np.array([1, -1, 5], "float32")
    got = gpu.elementwise(lambda v: tirx.Select(v > 0, v, tirx.const(float("-inf"), "float32")), [x], "float32")
    np.testing.assert_array_equal(got, np.array([1, -np.inf, 5], "float32"))


@pytest.mark.parametrize("target", [gpu.TARGET, gpu.TARGET_F16], ids=["emulated", "native"])
def test_half_precision(target):
    a, b = ((RNG.standard_normal(333) * 10).astype("float16") for _ in range(2))
    got = gpu.elementwise(lambda x, y: x * y + tirx.exp(x / tirx.const(8, "float16")), [a, b], "float16", target)
    want = a.astype("float64") * b + np.exp(a.astype("float64") / 8)
    np.testing.assert_allclose(got.astype("float64"), want, rtol=5e-3, atol=2e-2)


def test_half_precision_overflows_to_infinity():
    a = np.array([60000, -60000, 2], "float16")
    np.testing.assert_array_equal(gpu.elementwise(lambda x: x + x, [a], "float16"),
                                  np.array([np.inf, -np.inf, 4], "float16"))


def test_bit_counts():
    x = np.array([0, 1, -1, 255, 2**31 - 1, -2**31], "int32")
    want = np.array([bin(int(v) & 0xFFFFFFFF).count("1") for v in x], "int32")
    np.testing.assert_array_equal(gpu.elementwise(tirx.popcount, [x], "int32"), want)
    clz = np.array([32 - (int(v) & 0xFFFFFFFF).bit_length() for v in x], "int32")
    np.testing.assert_array_equal(gpu.elementwise(tirx.clz, [x], "int32"), clz)
