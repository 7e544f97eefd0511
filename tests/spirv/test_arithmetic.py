"""Integer operators and casts of every dtype on edge values and on random ones, on a device against NumPy."""

from __future__ import annotations

import functools

import gpu
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import te, tirx
from tvm_webgpu.spirv_tools import disassemble

EDGES = {
    "int64": [0, 1, -1, 2, -2, 7, -7, 2**31 - 1, 2**31, -2**31, -2**31 - 1, 2**32, 2**32 - 1, -2**32, 2**62, -2**62,
              2**63 - 1, -2**63, 123456789012],
    "uint64": [0, 1, 2, 7, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1, 123456789012],
    "int32": [0, 1, -1, 2, 7, -7, 100, 2**31 - 1, -2**31, 65536, -300],
    "uint32": [0, 1, 2, 7, 255, 256, 2**31, 2**32 - 1],
    "int16": [0, 1, -1, 300, -300, 32767, -32768],
    "uint16": [0, 1, 300, 65535, 32768],
    "int8": [0, 1, -1, 7, -7, 127, -128, 100],
    "uint8": [0, 1, 2, 127, 128, 255, 200],
    "float32": [0, 1, -1, 1.5, -1.5, 2.5, 100.25, -100.75, 3e9, -3e9, 1e18, 65504, 2.0**-10, 16777217.0],
    "float16": [0, 1, -1, 1.5, -2.5, 100.25, 65504, -0.33],
    "bool": [0, 1, 1, 0],
}
INTEGERS = [d for d in EDGES if "int" in d]
# Where a float may be cast to an integer: outside, C leaves the result open.
INTO = {"int8": (-2**31, 2**31 - 129), "int16": (-2**31, 2**31 - 129), "int32": (-2**31, 2**31 - 129),
        "uint8": (-2**31, 2**31 - 129), "uint16": (-2**31, 2**31 - 129), "uint32": (0, 2**32 - 257),
        "int64": (-2**63, 2**62), "uint64": (0, 2**63)}


def values(dtype: str) -> np.ndarray:
    return np.resize(np.array(EDGES[dtype], dtype), 61)


def truncated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    q = np.floor_divide(a, b)
    return np.where((a - q * b != 0) & ((a < 0) != (b < 0)), q + 1, q).astype(a.dtype)


OPERATORS = {
    "add": (lambda x, y: x + y, np.add),
    "sub": (lambda x, y: x - y, np.subtract),
    "mul": (lambda x, y: x * y, np.multiply),
    "floordiv": (tirx.floordiv, np.floor_divide),
    "floormod": (tirx.floormod, np.mod),
    "truncdiv": (tirx.truncdiv, truncated),
    "truncmod": (tirx.truncmod, lambda a, b: (a - truncated(a, b) * b).astype(a.dtype)),
    "floordiv_7": (lambda x, y: tirx.floordiv(x, tirx.const(7, x.ty)), lambda a, b: np.floor_divide(a, 7)),
    "floormod_8": (lambda x, y: tirx.floormod(x, tirx.const(8, x.ty)), lambda a, b: np.mod(a, 8)),
    "truncdiv_8": (lambda x, y: tirx.truncdiv(x, tirx.const(8, x.ty)), lambda a, b: truncated(a, a.dtype.type(8))),
    "min": (tirx.min, np.minimum),
    "max": (tirx.max, np.maximum),
    "less": (lambda x, y: x < y, np.less),
    "less_equal": (lambda x, y: x <= y, np.less_equal),
    "greater": (lambda x, y: x > y, np.greater),
    "greater_equal": (lambda x, y: x >= y, np.greater_equal),
    "equal": (tirx.EQ, np.equal),
    "not_equal": (tirx.NE, np.not_equal),
    "and": (lambda x, y: x & y, np.bitwise_and),
    "or": (lambda x, y: x | y, np.bitwise_or),
    "xor": (lambda x, y: x ^ y, np.bitwise_xor),
    "shift_left": (lambda x, y: x << y, np.left_shift),
    "shift_right": (lambda x, y: x >> y, np.right_shift),
    "select": (lambda x, y: tirx.Select(x < y, x, y), np.minimum),
    "if_then_else": (lambda x, y: tirx.if_then_else(x < y, x, y), np.minimum),
}


def operands(name: str, dtype: str, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is defined: no division by 0 or of the least integer by -1, shifts by less than the width."""
    if name in ("floordiv", "floormod", "truncdiv", "truncmod"):
        b = np.where(b == 0, np.array(3, dtype), b)
        if dtype.startswith("int"):
            b = np.where((a == np.iinfo(dtype).min) & (b == -1), np.array(5, dtype), b)
    if name.startswith("shift"):
        b = (b.astype("uint64") % np.uint64(np.iinfo(dtype).bits)).astype(dtype)
    return a, b


@pytest.mark.parametrize("dtype", INTEGERS)
def test_operators_on_every_pair_of_edge_values(dtype):
    edge = np.array(EDGES[dtype], dtype)
    a, b = (v.ravel() for v in np.meshgrid(edge, edge))
    for name, (function, reference) in OPERATORS.items():
        x, y = operands(name, dtype, a, b)
        with np.errstate(all="ignore"):
            want = reference(x, y)
        got = gpu.elementwise(function, [x, y], str(want.dtype))
        np.testing.assert_array_equal(got, want, err_msg=f"{name} of {dtype}")


CASTS = [(s, gpu.TARGET) for s in EDGES] + [("float16", gpu.TARGET_F16)]


@pytest.mark.parametrize(("source", "target"), CASTS)
def test_casts_to_every_dtype(source, target):
    for dtype in EDGES:
        a = values(source)
        if source.startswith("float") and dtype in INTO:
            a = np.clip(a, *INTO[dtype]).astype(source)
        with np.errstate(all="ignore"):
            through = a.astype("int64") if source.startswith("float") and dtype in INTEGERS[2:] else a
            want = through.astype(dtype)
        if source == dtype:
            continue
        got = gpu.elementwise(lambda x, to=dtype: x.astype(to), [a], dtype, target)
        np.testing.assert_array_equal(got, want, err_msg=f"{source} to {dtype}")


@functools.cache
def compiled(name: str, dtype: str, size: int):
    args = [gpu.tensor((size,), dtype, n) for n in "ab"]
    out = te.compute(args[0].shape, lambda i: OPERATORS[name][0](args[0](i), args[1](i)), name="out")
    (kernel_name, func), = gpu.device_functions(gpu.schedule([*args, out])).items()
    return func, gpu.checked(func, kernel_name)


@pytest.mark.parametrize(
    "name", ["mul", "floordiv", "floormod", "truncdiv", "floordiv_7", "floormod_8", "shift_left", "shift_right"])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), bits=st.tuples(st.integers(1, 64), st.integers(1, 64)))
def test_int64_of_random_widths(name, seed, bits):
    rng = np.random.default_rng(seed)
    full = rng.integers(-2**63, 2**63 - 1, (2, 256), dtype="int64")
    a, b = full[0] >> (64 - bits[0]), full[1] >> (64 - bits[1])
    a, b = operands(name, "int64", a, b)
    func, kernel = compiled(name, "int64", 256)
    order = {"a": a, "b": b, "out": np.zeros_like(a)}
    names = [x.name for x in kernel.bindings]
    got = gpu.launch(func, kernel, [order[n] for n in names])[names.index("out")]
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(got, OPERATORS[name][1](a, b))


def test_brain_floats_are_packed_and_rounded_to_even():
    x = np.random.default_rng(0).standard_normal(257).astype("float32")
    bits = x.view("uint32")
    want = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("uint16")
    a = gpu.tensor(x.shape, "float32")
    packed = te.compute(a.shape, lambda i: a[i].astype("bfloat16"), name="out")
    np.testing.assert_array_equal(gpu.run([a, packed], [x, np.zeros_like(want)])[-1], want)
    b = gpu.tensor(x.shape, "bfloat16")
    doubled = te.compute(b.shape, lambda i: b[i].astype("float32") * tirx.const(2, "float32"), name="out")
    got = gpu.run([b, doubled], [want, np.zeros_like(x)])[-1]
    np.testing.assert_array_equal(got, (want.astype("uint32") << 16).view("float32") * 2)


@pytest.mark.parametrize("rounding", ["floor", "round", "trunc", "nearbyint"])
def test_a_quotient_that_is_rounded_to_an_integer_is_the_nearest_float(rounding):
    n = 4096
    x, y = gpu.tensor((n,), name="x"), gpu.tensor((n,), name="y")
    out = te.compute((gpu.i64(n),), lambda i: getattr(tirx, rounding)(x[i] / y[i]), name="out")
    rng = np.random.default_rng(0)
    b = (rng.uniform(1, 2, n) * 2.0 ** rng.integers(-40, 40, n)).astype("float32")
    # All bits of these quotients are in front of the point; half of the others are halfway between two integers.
    a = (b.astype("float64") * rng.integers(2**23, 2**24, n)).astype("float32")
    a[::2] = (b.astype("float64") * (rng.integers(-(2**12), 2**12, n) + 0.5))[::2].astype("float32")
    a[:6], b[:6] = [np.inf, 1, 0, 0, 1e-30, 3e38], [2, 0, 5, 0, 3e38, 1e-30]
    with np.errstate(all="ignore"):
        quotient = a / b
    away = np.copysign(np.floor(np.abs(quotient) + np.float32(0.5)), quotient)
    wanted = {"floor": np.floor(quotient), "trunc": np.trunc(quotient), "nearbyint": np.rint(quotient),
              "round": np.where(np.abs(quotient) < 2**23, away, quotient)}[rounding]
    *_, result = gpu.run([x, y, out], [a, b, np.zeros(n, "float32")])
    normal = np.abs(quotient) >= 2.0**-126
    np.testing.assert_array_equal(result[normal], wanted[normal])
    (_, func), = gpu.device_functions(gpu.schedule([x, y, out])).items()
    assert "%quotient" in disassemble(gpu.checked(func, "main").spirv)
