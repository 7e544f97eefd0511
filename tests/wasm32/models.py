"""Small Relax modules that between them use every part of the C runtime."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax, te
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T


@I.ir_module
class Add:
    @R.function
    def main(x: R.Tensor((64,), "float32"), y: R.Tensor((64,), "float32")) -> R.Tensor((64,), "float32"):
        return R.add(x, y)


@I.ir_module
class Mlp:
    """Dynamic batch; weights are the trailing parameters; a small constant stays in the module."""

    @R.function
    def main(
        x: R.Tensor(("n", 8), "float32"), w1: R.Tensor((8, 16), "float32"), w2: R.Tensor((16, 4), "float32")
    ) -> R.Tuple(R.Tensor(("n", 4), "float32"), R.Tensor(("n * 4",), "float32")):
        n = T.int64()
        with R.dataflow():
            hidden = R.nn.relu(R.matmul(x, w1))
            out = R.add(R.matmul(hidden, w2), R.const(np.arange(4, dtype="float32")))
            scores = R.nn.softmax(out)
            flat = R.reshape(scores, (n * 4,))
            both = (out, flat)
            R.output(both)
        return both


@I.ir_module
class TwoInputs:
    @R.function
    def main(x: R.Tensor(("n", "m"), "float32"), y: R.Tensor(("m",), "float32")) -> R.Tensor(("n", "m"), "float32"):
        return R.multiply(x, y)


@I.ir_module
class Nested:
    """A nested tuple with an input in it, twice, and a view of an input."""

    @R.function
    def main(x: R.Tensor((4, 6), "float32")) -> R.Tuple(
        R.Tuple(R.Tensor((4, 6), "float32"), R.Tensor((24,), "float32")), R.Tensor((4, 6), "float32")
    ):
        with R.dataflow():
            flat = R.reshape(x, (24,))
            out = ((x, flat), x)
            R.output(out)
        return out


@I.ir_module
class Call:
    @R.function(private=True)
    def twice(x: R.Tensor(("n", 4), "float32")) -> R.Tensor(("n", 4), "float32"):
        return R.add(x, x)

    @R.function
    def main(x: R.Tensor(("n", 4), "float32")) -> R.Tensor(("n", 4), "float32"):
        cls = Call
        y = cls.twice(x)
        return cls.twice(y)


@I.ir_module
class Branch:
    """A condition on the device, and work before it."""

    @R.function
    def main(c: R.Tensor((), "bool"), x: R.Tensor((4,), "float32")) -> R.Tensor((4,), "float32"):
        z = R.subtract(x, R.const(1, "float32"))
        if c:
            y = R.add(z, z)
        else:
            y = R.multiply(z, z)
        return y


@I.ir_module
class Counted:
    """A shape that lies on the device."""

    @R.function
    def main(x: R.Tensor((1,), "float32"), n: R.Tensor((1,), "int64")) -> R.Tensor(ndim=1, dtype="float32"):
        k = T.int64()
        _: R.Shape([k]) = R.match_cast(R.tensor_to_shape(n), R.Shape([k]))
        return R.broadcast_to(x, R.shape([k]))


@I.ir_module
class Lacking:
    """Calls a function that no runtime has."""

    @R.function
    def main(x: R.Tensor((4,), "float32")) -> R.Tensor((4,), "float32"):
        return R.call_pure_packed("somewhere.else", x, ty_args=(R.Tensor((4,), "float32"),))


@I.ir_module
class TwoKernels:
    """A PrimFunc of two kernels: the buffer between them is its own."""

    @T.prim_func(s_tir=True)
    def both(a: T.handle, b: T.handle):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        n = T.int64()
        A, B = T.match_buffer(a, (n,), "float32"), T.match_buffer(b, (n,), "float32")
        between = T.sblock_alloc_buffer((n,), "float32")
        for i in T.thread_binding(n, thread="blockIdx.x"):
            with T.sblock("first"):
                v = T.axis.spatial(n, i)
                between[v] = A[v] + T.float32(1)
        for i in T.thread_binding(n, thread="blockIdx.x"):
            with T.sblock("second"):
                v = T.axis.spatial(n, i)
                B[v] = between[n - T.int64(1) - v] * T.float32(2)

    @R.function
    def main(x: R.Tensor(("n",), "float32")) -> R.Tensor(("n",), "float32"):
        n = T.int64()
        cls = TwoKernels
        return R.call_tir(cls.both, (x,), R.Tensor((n,), "float32"))


def cache() -> tvm.IRModule:
    """The KV cache of relax.frontend.nn: `create` makes it, `step` appends rows and gives a view of all."""
    builder = relax.BlockBuilder()
    rows = relax.Var("rows", R.Tensor((2, 2, 4), "float32"))
    with builder.function("create", [rows]):
        arguments = [rows, relax.ShapeExpr([2, 2, 4]), relax.prim_value(0)]
        made = relax.op.call_pure_packed("vm.builtin.attention_kv_cache_create", *arguments, ty_args=relax.ObjectType())
        builder.emit_func_output(builder.emit(made))
    s, total = tvm.tirx.Var("s", "int64"), tvm.tirx.Var("total", "int64")
    x, length = relax.Var("x", R.Tensor((s, 2, 4), "float32")), relax.Var("length", R.Shape([total]))
    kept = relax.Var("cache", relax.ObjectType())
    with builder.function("step", [x, length, kept]):
        append = relax.op.call_inplace_packed(
            "vm.builtin.attention_kv_cache_append", kept, x, inplace_indices=[0], ty_args=relax.ObjectType()
        )
        grown = builder.emit(append)
        shape = relax.ShapeExpr([total, 2, 4])
        view = relax.op.call_pure_packed(
            "vm.builtin.attention_kv_cache_view", grown, shape, ty_args=relax.TensorType(shape, "float32")
        )
        builder.emit_func_output(relax.Tuple([builder.emit(view), grown]))
    return builder.finalize()


def add_scalar() -> tvm.IRModule:
    """y = x + k: a shape's value reaches the kernel as a scalar."""
    n, k = tvm.tirx.Var("n", "int64"), tvm.tirx.Var("k", "int64")
    builder = relax.BlockBuilder()
    x, shape = relax.Var("x", R.Tensor((n,), "float32")), relax.Var("k", R.Shape([k]))
    with builder.function("main", [x, shape]):
        y = builder.emit_te(lambda a, k: te.compute(a.shape, lambda i: a[i] + k.astype("float32"), name="y"), x, k)
        builder.emit_func_output(y)
    return builder.finalize()
