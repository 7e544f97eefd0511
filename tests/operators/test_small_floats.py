"""Floats of 8 bits: every one of them as float32, and float32 as the nearest of them, as ml_dtypes has it."""

import ml_dtypes
import numpy as np
import pytest
import tvm_webgpu
from tvm import relax
from tvm.script import relax as R

DTYPES = ("float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu")


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


def same(found: np.ndarray, wanted: np.ndarray) -> bool:
    found, wanted = found.astype("float32"), wanted.astype("float32")
    return bool(((found == wanted) | (np.isnan(found) & np.isnan(wanted))).all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_values(dtype: str) -> None:
    x = np.arange(256, dtype="uint8").view(getattr(ml_dtypes, dtype))
    assert same(cast(x, "float32"), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding(dtype: str) -> None:
    small = getattr(ml_dtypes, dtype)
    known = np.arange(256, dtype="uint8").view(small).astype("float32")
    known = np.sort(known[np.isfinite(known)])
    with np.errstate(over="ignore"):
        between = [known, (known[1:] + known[:-1]) / 2, np.nextafter(known, np.float32(np.inf)), known * 1.3]
    x = np.concatenate([*between, np.float32([0, -0.0, np.inf, -np.inf, np.nan, 3e38, -3e38])]).astype("float32")
    x = x[(np.abs(x) >= 2.0**-126) | (x == 0) | ~np.isfinite(x)]  # a GPU may take subnormals for 0
    with np.errstate(all="ignore"):
        want = x.astype(small)
    assert same(cast(x, dtype), want)
    assert same(cast(x, dtype, "float32"), want)
