"""A cast to f16 rounds also inside a kernel, where that is computed as f32; a store of it costs nothing more.

For the floats of 8 bits and bfloat16, which TVM's default passes rewrite, see tests/operators/test_small_floats.py.

`python test_casts.py --update` rewrites the `.wgsl` of each kernel beside this file; the diff is the review.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import tirx
from tvm.script import tirx as T

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import gpu  # noqa: E402
from tvm_webgpu.codegen import wgsl  # noqa: E402
from tvm_webgpu.codegen.spirv import KernelModule  # noqa: E402

SIZE = 256


def there_and_back() -> tirx.PrimFunc:
    """float32 -> float16 -> float32, four at a time."""

    @T.prim_func(s_tir=True)
    def there_and_back(A: T.Buffer((SIZE,), "float32"), B: T.Buffer((SIZE,), "float32")):
        T.func_attr({"tirx.noalias": True})
        for tx in T.thread_binding(SIZE // 4, thread="threadIdx.x"):
            for v in T.vectorized(4):
                B[tx * 4 + v] = T.Cast("float32", T.Cast("float16", A[tx * 4 + v]))

    return there_and_back


def stored() -> tirx.PrimFunc:
    """float32 -> float16, into a buffer of it."""

    @T.prim_func(s_tir=True)
    def stored(A: T.Buffer((SIZE,), "float32"), B: T.Buffer((SIZE,), "float16")):
        T.func_attr({"tirx.noalias": True})
        for tx in T.thread_binding(SIZE, thread="threadIdx.x"):
            B[tx] = T.Cast("float16", A[tx])

    return stored


def kept() -> tirx.PrimFunc:
    """float32 -> float16 in workgroup memory, which holds it as f32 -> float32."""

    @T.prim_func(s_tir=True)
    def kept(A: T.Buffer((SIZE,), "float32"), B: T.Buffer((SIZE,), "float32")):
        T.func_attr({"tirx.noalias": True})
        for tx in T.thread_binding(SIZE, thread="threadIdx.x"):
            S = T.alloc_buffer((SIZE,), "float16", scope="shared")
            S[tx] = T.Cast("float16", A[tx])
            T.tvm_storage_sync("shared")
            B[tx] = T.Cast("float32", S[SIZE - 1 - tx])

    return kept


KERNELS: dict[str, tuple[Callable[[], tirx.PrimFunc], tvm.target.Target]] = {
    "cast_half_and_back": (there_and_back, gpu.TARGET),
    "cast_half_and_back_feature": (there_and_back, gpu.TARGET_F16),
    "cast_half_stored": (stored, gpu.TARGET),
}
"""Those with a golden text."""


@cache
def compiled(make: Callable[[], tirx.PrimFunc], target: tvm.target.Target = gpu.TARGET):
    ((name, device),) = gpu.device_functions(tvm.IRModule({"main": make()}), target).items()
    return device, gpu.checked(device, name, target)


def text_of(name: str) -> str:
    kernel: KernelModule = compiled(*KERNELS[name])[1]
    return wgsl.translate(kernel.spirv).text


@pytest.mark.parametrize("name", KERNELS)
def test_text(name: str) -> None:
    wanted = (HERE / f"{name}.wgsl").read_text()
    assert text_of(name) == wanted, "run test_casts.py --update and look at the diff"


def test_a_cast_that_is_stored_rounds_once() -> None:
    assert text_of("cast_half_stored").count("pack2x16float") == 1
    assert "unpack" not in text_of("cast_half_stored")


def same(found: np.ndarray, wanted: np.ndarray) -> None:
    found, wanted = found.astype("float32"), wanted.astype("float32")
    np.testing.assert_array_equal(found, wanted)  # which takes NaN for NaN
    real = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(found)[real], np.signbit(wanted)[real])


@pytest.mark.parametrize("make", [there_and_back, stored, kept], ids=lambda make: make.__name__)
@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 2**32 - 1), exponent=st.integers(-26, 18))
def test_nearest(make: Callable[[], tirx.PrimFunc], seed: int, exponent: int) -> None:
    rng = np.random.default_rng(seed)
    any_bits = rng.integers(0, 2**32, SIZE // 4, dtype="uint32").view("float32")
    near = (rng.standard_normal(SIZE // 4) * 2.0**exponent).astype("float32")
    with np.errstate(all="ignore"):
        between = near.astype("float16").astype("float32")
        between += (rng.integers(-1, 2, SIZE // 4) * np.abs(between) * np.finfo("float32").eps).astype("float32")
        ties = rng.integers(-(2**12), 2**12, SIZE // 4).astype("float32") * np.float32(2.0**exponent)
        x = np.concatenate([any_bits, near, between, ties])
        x[:8] = [0.0, -0.0, np.inf, -np.inf, np.nan, 65520, 65519.996, 3.4e38]
        x[(np.abs(x) < 2.0**-126) & (x != 0)] = 1.0  # a GPU may take subnormals for 0
        wanted = x.astype("float16")
    device, kernel = compiled(make)
    out = np.zeros(SIZE, "float16" if make is stored else "float32")
    _, result = gpu.launch(device, kernel, [x, out])
    same(result[::-1] if make is kept else result, wanted)


if __name__ == "__main__":
    if sys.argv[1:] == ["--update"]:
        for name in KERNELS:
            (HERE / f"{name}.wgsl").write_text(text_of(name))
    else:
        sys.exit(pytest.main([__file__, "-p", "no:cacheprovider"]))
