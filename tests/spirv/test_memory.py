"""Vectors, packed elements, shared memory and control flow, run on a device against NumPy."""

from __future__ import annotations

import gpu
import numpy as np
import pytest
import tvm
from tvm.script import tirx as T
from tvm_webgpu.codegen.spirv import UnsupportedError, emit
from tvm_webgpu.spirv_tools import disassemble

RNG = np.random.default_rng(0)


def run(func, *arrays, target=gpu.TARGET, shader=gpu.SHADER):
    (name, device), = gpu.device_functions(tvm.IRModule({"main": func}), target).items()
    kernel = gpu.checked(device, name, target)
    given = dict(zip([p.name for p in func.params], arrays))
    names = [b.name for b in kernel.bindings]
    return kernel, dict(zip(names, gpu.launch(device, kernel, [given[n] for n in names], shader=shader)))


def copy4(dtype: str, size: int):
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((size,), dtype), B: T.Buffer((size,), dtype)):
        T.func_attr({"tirx.noalias": True})
        for bx in T.thread_binding(size // 256, thread="blockIdx.x"):
            for tx in T.thread_binding(64, thread="threadIdx.x"):
                for v in T.vectorized(4):
                    B[bx * 256 + tx * 4 + v] = A[bx * 256 + tx * 4 + v] + A[bx * 256 + tx * 4 + v]
    return main


@pytest.mark.parametrize("dtype", ["float32", "int32", "float16", "int8", "uint8", "int16", "int64"])
@pytest.mark.parametrize("target", [gpu.TARGET, gpu.TARGET_F16], ids=["plain", "f16"])
def test_aligned_vectors_are_loaded_whole(dtype, target):
    a = RNG.integers(-50, 50, 1024).astype(dtype)
    kernel, out = run(copy4(dtype, 1024), a, np.zeros_like(a), target=target)
    np.testing.assert_array_equal(out["B"], a + a)
    text = disassemble(kernel.spirv)
    assert "OpAtomic" not in text
    if dtype in ("float32", "int32"):
        assert "v4" in text
        assert text.count("OpLoad %v4") >= 1


def test_a_buffer_read_as_vectors_and_scalars_is_declared_once():
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((256,), "float32"), B: T.Buffer((256,), "float32")):
        T.func_attr({"tirx.noalias": True})
        for tx in T.thread_binding(64, thread="threadIdx.x"):
            for v in T.vectorized(4):
                B[tx * 4 + v] = A[tx * 4 + v] * A[255 - tx]
            B[tx * 4 + 1] = A[tx]

    a = RNG.standard_normal(256).astype("float32")
    _, out = run(main, a, np.zeros_like(a))
    want = (a.reshape(64, 4) * a[::-1][:64, None]).copy()
    want[:, 1] = a[:64]
    np.testing.assert_allclose(out["B"], want.ravel())


def test_a_vector_access_that_would_miss_the_tail_stays_scalar():
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((254,), "float32"), B: T.Buffer((254,), "float32")):
        T.func_attr({"tirx.noalias": True})
        for tx in T.thread_binding(64, thread="threadIdx.x"):
            if tx < 63:
                for v in T.vectorized(4):
                    B[tx * 4 + v] = A[tx * 4 + v]
            else:
                B[252] = A[252]
                B[253] = A[253]

    a = RNG.standard_normal(254).astype("float32")
    _, out = run(main, a, np.zeros_like(a))
    np.testing.assert_array_equal(out["B"], a)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "bool", "float16", "int16"])
def test_neighbouring_invocations_store_parts_of_a_word(dtype):
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((1003,), dtype), B: T.Buffer((1003,), dtype)):
        T.func_attr({"tirx.noalias": True})
        for bx in T.thread_binding(16, thread="blockIdx.x"):
            for tx in T.thread_binding(64, thread="threadIdx.x"):
                if bx * 64 + tx < 1003:
                    B[bx * 64 + tx] = A[1002 - bx * 64 - tx]

    a = RNG.integers(0, 100, 1003).astype(dtype)
    start = np.full_like(a, 1)
    _, out = run(main, a, start)
    np.testing.assert_array_equal(out["B"], a[::-1])


def test_break_continue_and_while():
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((64,), "int32"), B: T.Buffer((64,), "int32")):
        T.func_attr({"tirx.noalias": True})
        for tx in T.thread_binding(64, thread="threadIdx.x"):
            n = T.alloc_buffer((2,), "int32", scope="local")
            n[0] = A[tx]
            n[1] = 0
            while n[0] != 1 and n[1] < 200:
                n[0] = T.if_then_else(n[0] % 2 == 0, n[0] // 2, 3 * n[0] + 1)
                n[1] = n[1] + 1
            B[tx] = n[1]

    def collatz(n: int) -> int:
        steps = 0
        while n != 1 and steps < 200:
            n, steps = (n // 2 if n % 2 == 0 else 3 * n + 1), steps + 1
        return steps

    a = np.arange(1, 65, dtype="int32")
    _, out = run(main, a, np.zeros_like(a))
    np.testing.assert_array_equal(out["B"], [collatz(int(n)) for n in a])


@pytest.mark.parametrize("dtype", ["int32", "uint32", "float32"])
@pytest.mark.parametrize("name", ["atomic_add", "atomicAdd", "atomicMax"])
def test_atomic_updates(dtype, name):
    def update(pointer, value):
        return T.call_extern(dtype, name, pointer, value)

    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((256,), "int32"), V: T.Buffer((256,), dtype), B: T.Buffer((16,), dtype)):
        T.func_attr({"tirx.noalias": True})
        for bx in T.thread_binding(4, thread="blockIdx.x"):
            for tx in T.thread_binding(64, thread="threadIdx.x"):
                T.evaluate(update(T.address_of(B[A[bx * 64 + tx]]), V[bx * 64 + tx]))

    where, value = RNG.integers(0, 16, 256).astype("int32"), RNG.integers(0, 50, 256).astype(dtype)
    # naga's SPIR-V reader fails on the compare and exchange that floats need.
    shader = "wgsl" if dtype == "float32" else gpu.SHADER
    _, out = run(main, where, value, np.zeros(16, dtype), shader=shader)
    want = np.zeros(16, dtype)
    (np.maximum if name == "atomicMax" else np.add).at(want, where, value)
    np.testing.assert_array_equal(out["B"], want)


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_subgroup_shuffles_need_the_feature(dtype):
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((64,), dtype), B: T.Buffer((64,), dtype)):
        T.func_attr({"tirx.noalias": True})
        for tx in T.thread_binding(64, thread="threadIdx.x"):
            B[tx] = T.call_intrin(dtype, "tirx.webgpu.subgroup_shuffle", A[tx], T.uint32(0))

    (name, func), = gpu.device_functions(tvm.IRModule({"main": main})).items()
    with pytest.raises(UnsupportedError, match=r"feature\.subgroups"):
        emit(func, name, gpu.TARGET)
    target = tvm.target.Target({"kind": "webgpu", "host": "llvm", "feature.subgroups": True})
    kernel, out = run(main, a := RNG.integers(0, 99, 64).astype(dtype), np.zeros(64, dtype), target=target,
                      shader="spirv")  # naga has no WGSL subgroups
    assert kernel.features == {"subgroups"}
    assert set(out["B"]) <= set(a)
    assert out["B"][0] == a[0]


def test_workgroup_reduction_with_barriers():
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((1024,), "float32"), B: T.Buffer((16,), "float32")):
        T.func_attr({"tirx.noalias": True})
        for bx in T.thread_binding(16, thread="blockIdx.x"):
            for tx in T.thread_binding(64, thread="threadIdx.x"):
                s = T.alloc_buffer((64,), "float32", scope="shared")
                s[tx] = A[bx * 64 + tx]
                for i in range(6):
                    T.tvm_storage_sync("shared")
                    if tx < T.shift_right(32, i):
                        s[tx] = s[tx] + s[tx + T.shift_right(32, i)]
                T.tvm_storage_sync("shared")
                if tx == 0:
                    B[bx] = s[0]

    a = RNG.standard_normal(1024).astype("float32")
    _, out = run(main, a, np.zeros(16, "float32"))
    np.testing.assert_allclose(out["B"], a.reshape(16, 64).sum(1), rtol=1e-5, atol=1e-5)


def big_copy(n: int, threads: int = 1):
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((n,), "int32"), B: T.Buffer((n,), "int32")):
        T.func_attr({"tirx.noalias": True})
        for bx in T.thread_binding(n // threads, thread="blockIdx.x"):
            for tx in T.thread_binding(threads, thread="threadIdx.x"):
                B[bx * threads + tx] = A[bx * threads + tx] + 1
    return main


def test_a_static_grid_over_65535_folds():
    a = np.arange(70001, dtype="int32")
    kernel, out = run(big_copy(70001), a, np.zeros_like(a))
    assert kernel.folds_grid
    assert kernel.scalars[-1].name == "grid_x"
    np.testing.assert_array_equal(out["B"], a + 1)


def test_a_static_grid_that_fits_has_no_guard():
    a = np.arange(4096, dtype="int32")
    kernel, out = run(big_copy(4096, 64), a, np.zeros_like(a))
    assert not kernel.folds_grid
    assert kernel.scalars == ()
    assert "OpBranchConditional" not in disassemble(kernel.spirv)
    np.testing.assert_array_equal(out["B"], a + 1)


def test_same_input_gives_same_bytes():
    (name, func), = gpu.device_functions(tvm.IRModule({"main": big_copy(4096, 64)})).items()
    assert emit(func, name, gpu.TARGET).spirv == emit(func, name, gpu.TARGET).spirv


def test_too_many_threads_are_refused():
    (name, func), = gpu.device_functions(tvm.IRModule({"main": big_copy(4096, 512)})).items()
    with pytest.raises(UnsupportedError, match="512 x 1 x 1 threads"):
        emit(func, name, gpu.TARGET)


def test_too_much_workgroup_memory_is_refused():
    @T.prim_func(s_tir=True)
    def main(A: T.Buffer((64,), "float32"), B: T.Buffer((64,), "float32")):
        T.func_attr({"tirx.noalias": True})
        for tx in T.thread_binding(64, thread="threadIdx.x"):
            s = T.alloc_buffer((5000,), "float32", scope="shared")
            s[tx * 70] = A[tx]
            T.tvm_storage_sync("shared")
            B[tx] = s[(63 - tx) * 70]

    (name, func), = gpu.device_functions(tvm.IRModule({"main": main})).items()
    with pytest.raises(UnsupportedError, match=r"17644 bytes of workgroup memory.*16384"):
        emit(func, name, gpu.TARGET)
    more = tvm.target.Target({"kind": "webgpu", "host": "llvm", "feature.workgroup_memory": 32768})
    assert emit(func, name, more).workgroup_memory_bytes == 17644


def test_too_many_buffers_are_refused():
    from tvm import te

    inputs = [gpu.tensor((256,), name=f"x{i}") for i in range(8)]
    total = te.compute((gpu.i64(256),), lambda i: sum((x[i] for x in inputs[1:]), inputs[0][i]), name="out")
    (name, func), = gpu.device_functions(gpu.schedule([*inputs, total])).items()
    with pytest.raises(UnsupportedError, match="9 storage buffers"):
        emit(func, name, gpu.TARGET)
    ten = tvm.target.Target({"kind": "webgpu", "host": "llvm", "feature.storage_buffers": 10})
    assert len(emit(func, name, ten).bindings) == 9
