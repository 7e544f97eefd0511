"""Branching expressions: only the arm that is taken is computed, and an expression that is repeated only once."""

import gpu
import numpy as np
import tvm
from tvm import te, tirx
from tvm.script import tirx as T
from tvm_webgpu.spirv_tools import disassemble

LEVELS = 5


def test_what_a_formula_repeats_is_computed_once():
    a = gpu.tensor((64,), "float32")

    def folded(i):
        value = a[i]
        for _ in range(LEVELS):
            value = tirx.if_then_else(value > 0, value * value - 1, value + 2)
        return value

    out = te.compute(a.shape, folded, name="out")
    (name, func), = gpu.device_functions(gpu.schedule([a, out])).items()
    kernel = gpu.checked(func, name)
    assert disassemble(kernel.spirv).count("OpSelectionMerge") <= LEVELS + 1
    x = np.linspace(-3, 3, 64, dtype="float32")
    want = x
    for _ in range(LEVELS):
        want = np.where(want > 0, want * want - 1, want + 2)
    np.testing.assert_allclose(gpu.run([a, out], [x, np.zeros_like(x)])[-1], want, rtol=1e-4, atol=1e-5)


def test_what_is_written_in_between_is_read_again():
    @T.prim_func(s_tir=True)
    def twice(A: T.Buffer((64,), "float32")):
        T.func_attr({"tirx.noalias": True})
        for tx in T.thread_binding(64, thread="threadIdx.x"):
            A[tx] = T.if_then_else(A[tx] > T.float32(0), A[tx] * T.float32(2), A[tx] - T.float32(1))
            A[tx] = T.if_then_else(A[tx] > T.float32(0), A[tx] * T.float32(2), A[tx] - T.float32(1))

    (name, func), = gpu.device_functions(tvm.IRModule({"main": twice})).items()
    x = np.linspace(-2, 2, 64, dtype="float32")
    once = np.where(x > 0, x * 2, x - 1)
    got, = gpu.launch(func, gpu.checked(func, name), [x])
    np.testing.assert_array_equal(got, np.where(once > 0, once * 2, once - 1))
