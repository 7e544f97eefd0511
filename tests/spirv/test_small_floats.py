"""Floats of 8 bits: every one of them as float32, and float32 as the nearest of them, as ml_dtypes has it."""

import gpu
import numpy as np
import pytest
from tvm import te

ml_dtypes = pytest.importorskip("ml_dtypes")
DTYPES = ("float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu")


def same(found: np.ndarray, wanted: np.ndarray) -> bool:
    found, wanted = found.astype("float32"), wanted.astype("float32")
    return bool(((found == wanted) | (np.isnan(found) & np.isnan(wanted))).all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_values(dtype: str) -> None:
    bits = np.arange(256, dtype="uint8")
    a = gpu.tensor((256,), dtype)
    out = te.compute(a.shape, lambda i: a[i].astype("float32"), name="out")
    got = gpu.run([a, out], [bits, np.zeros(256, "float32")])[-1]
    assert same(got, bits.view(getattr(ml_dtypes, dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding(dtype: str) -> None:
    small = getattr(ml_dtypes, dtype)
    known = np.arange(256, dtype="uint8").view(small).astype("float32")
    known = np.sort(known[np.isfinite(known)])
    with np.errstate(over="ignore"):
        between = [known, (known[1:] + known[:-1]) / 2, np.nextafter(known, np.float32(np.inf)), known * 1.3]
    x = np.concatenate([*between, np.float32([0, -0.0, np.inf, -np.inf, np.nan, 3e38, -3e38])]).astype("float32")
    x = x[(np.abs(x) >= 2.0**-126) | (x == 0) | ~np.isfinite(x)]  # a GPU may take subnormals for 0
    x = np.resize(x, -(-len(x) // 64) * 64)
    a = gpu.tensor(x.shape, "float32")
    stored = te.compute(a.shape, lambda i: a[i].astype(dtype), name="out")
    with np.errstate(all="ignore"):
        want = x.astype(small)
    assert same(gpu.run([a, stored], [x, np.zeros(len(x), "uint8")])[-1].view(small), want)
    back = te.compute(a.shape, lambda i: a[i].astype(dtype).astype("float32"), name="out")
    assert same(gpu.run([a, back], [x, np.zeros_like(x)])[-1], want)
