"""Floats of 8 and 16 bits: every one of them as float32, and float32 as the nearest of them, as ml_dtypes has it."""

import ml_dtypes
import numpy as np
import pytest
import tvm_webgpu
from tvm import relax
from tvm.script import relax as R

DTYPES = ("float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float16", "bfloat16")


def cast(x: np.ndarray, *dtypes: str) -> np.ndarray:
    """x as each of the dtypes in turn, in one kernel."""
    builder = relax.BlockBuilder()
    given = value = relax.Var("x", R.Tensor(x.shape, str(x.dtype)))
    with builder.function("main", [given]):
        with builder.dataflow():
            for dtype in dtypes:
                value = relax.op.astype(value, dtype)
            result = builder.emit_output(value)
        builder.emit_func_output(result)
    (output,) = tvm_webgpu.load(tvm_webgpu.compile(builder.get())).run({"x": x}).values()
    return output


def every(dtype: str) -> np.ndarray:
    """All values, in the order of their bits."""
    small = np.dtype(getattr(ml_dtypes, dtype, dtype))
    return np.arange(256**small.itemsize, dtype=f"uint{8 * small.itemsize}").view(small)


def same(found: np.ndarray, wanted: np.ndarray) -> bool:
    found, wanted = found.astype("float32"), wanted.astype("float32")
    return bool(((found == wanted) | (np.isnan(found) & np.isnan(wanted))).all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_values(dtype: str) -> None:
    x = every(dtype)
    if dtype == "bfloat16":  # a GPU may take subnormals for 0
        x = x[(np.abs(x.astype("float32")) >= 2.0**-126) | (x == 0) | ~np.isfinite(x.astype("float32"))]
    assert same(cast(x, "float32"), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding(dtype: str) -> None:
    known = every(dtype).astype("float32")
    known = np.sort(known[np.isfinite(known)])[:: len(known) // 256]
    with np.errstate(over="ignore"):
        between = [known, (known[1:] + known[:-1]) / 2, np.nextafter(known, np.float32(np.inf)), known * 1.3]
    x = np.concatenate([*between, np.float32([0, -0.0, np.inf, -np.inf, np.nan, 3e38, -3e38])]).astype("float32")
    x = x[(np.abs(x) >= 2.0**-126) | (x == 0) | ~np.isfinite(x)]  # a GPU may take subnormals for 0
    with np.errstate(all="ignore"):
        want = x.astype(every(dtype).dtype)
    assert same(cast(x, dtype), want)
    assert same(cast(x, dtype, "float32"), want)
