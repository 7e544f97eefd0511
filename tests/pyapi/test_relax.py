"""What developers with TVM of their own bring: schedules, partitioned graphs, parameters; right, or refused by name."""

from collections.abc import Callable

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax.dpl import is_op, wildcard
from tvm.s_tir import dlight
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T
from tvm_webgpu.errors import InputError, UnsupportedError
from tvm_webgpu.executor import Executor
from tvm_webgpu.pipeline.build import compile
from tvm_webgpu.pipeline.passes.order_symbols import OrderSymbols

RNG = np.random.default_rng(6)


def values(*shape: int) -> np.ndarray:
    return RNG.normal(0, 1, shape).astype("float32")


@I.ir_module
class Rows:
    """`softmax(x @ w)` for any number of rows."""

    @R.function
    def main(x: R.Tensor(("n", 64), "float32"), w: R.Tensor((64, 32), "float32")) -> R.Tensor(("n", 32), "float32"):
        with R.dataflow():
            product = R.matmul(x, w)
            out = R.nn.softmax(product)
            R.output(out)
        return out


@I.ir_module
class InPlace:
    @T.prim_func(s_tir=True, private=True)
    def accumulate(A: T.Buffer((8,), "float32"), B: T.Buffer((8,), "float32")):
        for i in range(8):
            with T.sblock("sum"):
                v = T.axis.spatial(8, i)
                A[v] = A[v] + B[v]

    @R.function
    def main(x: R.Tensor((8,), "float32"), y: R.Tensor((8,), "float32")) -> R.Tensor((8,), "float32"):
        twice = R.add(x, x)
        return R.call_tir_inplace(InPlace.accumulate, (twice, y), [0], out_ty=R.Tensor((8,), "float32"))


def dlight_scheduled() -> tvm.IRModule:
    """Products of several virtual threads, and reductions over threads."""
    rules = (dlight.gpu.Matmul(), dlight.gpu.GeneralReduction(), dlight.gpu.Fallback())
    with tvm.target.Target("webgpu"):
        return tvm.transform.Sequential([relax.transform.LegalizeOps(), dlight.ApplyDefaultSchedule(*rules)])(Rows)


def partitioned() -> tvm.IRModule:
    """The product set apart for a library that a package does not have."""
    patterns = [("cublas.matmul", is_op("relax.matmul")(wildcard(), wildcard()))]
    return relax.transform.FuseOpsByPattern(patterns, annotate_codegen=True)(Rows)


@pytest.mark.parametrize("make", [dlight_scheduled, partitioned])
def test_prepared_for_another_way(make: Callable[[], tvm.IRModule]) -> None:
    x, w = values(5, 64), values(64, 32)
    package = compile(make(), params={"w": w})
    assert [entry.name for entry in package.entries] == ["main"]
    with Executor(package) as executor:
        actual = executor.run({"x": x})["output"]
    expected = np.exp(x @ w - (x @ w).max(1, keepdims=True))
    np.testing.assert_allclose(actual, expected / expected.sum(1, keepdims=True), 1e-5, 1e-6)


def test_in_place() -> None:
    x, y = values(8), values(8)
    with Executor(compile(InPlace)) as executor:
        np.testing.assert_allclose(executor.run({"x": x, "y": y})["output"], x + x + y, 1e-6, 1e-6)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"w": np.zeros((64, 31), "float32")}, r"'w' has shape \[64, 31\], the module takes"),
        ({"w": np.zeros((64, 32))}, "'w' is float64, the module takes float32"),
        ({"v": np.zeros(1)}, "no entry has a parameter named v"),
        ([np.zeros((64, 32), "float32")], "params is a list, not a dict"),
    ],
)
def test_parameters_that_do_not_fit(params: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compile(Rows, params=params)


def lowered() -> tvm.IRModule:
    """As TVM's virtual machine wants it."""
    names = ("LegalizeOps", "ToNonDataflow", "RemovePurityChecking", "CallTIRRewrite", "StaticPlanBlockMemory")
    passes = [getattr(relax.transform, name)() for name in (*names, "LowerAllocTensor", "LowerRuntimeBuiltin")]
    return tvm.transform.Sequential([*passes, relax.transform.VMShapeLower()])(Rows)


def placed() -> tvm.IRModule:
    device = I.vdevice("webgpu", 0)
    return tvm.IRModule(Rows.functions, attrs=Rows.attrs, global_infos={"vdevice": [device]})


def unbound() -> tvm.IRModule:
    x, y = (relax.Var(name, relax.TensorType((4,), "float32")) for name in "xy")
    function = relax.Function([x], y, ret_ty=relax.TensorType((4,), "float32"))
    return tvm.IRModule({"main": function.with_attr("global_symbol", "main")})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lowered, "lowered for TVM's virtual machine already .*relax.vm."),
        (placed, "vdevice"),
        (unbound, "not well-formed: Var y is not defined"),
        (lambda: Rows["main"], r'Function \(tvm.IRModule\({"main": function}\)\)'),
        (lambda: "weights.safetensors", "torch.export.export"),
    ],
)
def test_what_is_no_module_to_compile(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compile(make())


def test_functions_of_other_runtimes() -> None:
    @I.ir_module
    class Library:
        @R.function
        def main(x: R.Tensor((8,), "float32")) -> R.Tensor((8,), "float32"):
            return R.call_dps_packed("library.product", (x,), R.Tensor((8,), "float32"))

    with pytest.raises(UnsupportedError, match=r"lacks: library\.product; .*R\.call_tir"):
        compile(Library)


def test_what_tvm_refuses() -> None:
    """Its layer norm takes no doubles; the error is ours, TVM's own the cause."""

    @I.ir_module
    class Norm:
        @R.function
        def main(x: R.Tensor((2, 8), "float64"), w: R.Tensor((8,), "float64")) -> R.Tensor((2, 8), "float64"):
            return R.nn.layer_norm(x, w, w, axes=[-1])

    with pytest.raises(UnsupportedError, match="layer_norm: only support float32 and float16") as raised:
        compile(Norm)
    assert isinstance(raised.value.__cause__, tvm.error.InternalError)


@I.ir_module
class Chosen:
    """The elements above 0: how many there are is known when they are counted."""

    @R.function
    def main(x: R.Tensor((20,), "float32")) -> R.Tensor(ndim=1, dtype="float32"):
        k = T.int64()
        with R.dataflow():
            kept = R.astype(R.greater(x, R.const(0, "float32")), "int64")
            total = R.cumsum(kept, axis=0, dtype="int64")
            last = R.strided_slice(total, (0,), (19,), (20,))
            counted = R.tensor_to_shape(last)
            _: R.Shape([k]) = R.match_cast(counted, R.Shape([k]))
            places = R.bucketize(R.arange(1, k + 1, 1, "int64"), total)
            out = R.take(x, places, axis=0)
            R.output(out)
        return out


def late() -> tvm.IRModule:
    """The same, but what decides a shape stands behind all that it shapes, as FuseOps may leave it."""
    main = Chosen["main"]
    (block,) = main.body.blocks
    names = ("last", "counted", "_")
    chosen = [binding for binding in block.bindings if binding.var.name in names]
    others = [binding for binding in block.bindings if binding.var.name not in names]
    body = relax.SeqExpr([relax.DataflowBlock([*others, *chosen])], main.body.body)
    return tvm.IRModule({"main": relax.Function(main.params, body, main.ret_ty, attrs=main.attrs)})


def test_what_decides_a_shape_comes_first() -> None:
    (block,) = OrderSymbols()(late())["main"].body.blocks
    names = [binding.var.name for binding in block.bindings]
    assert names.index("total") < names.index("last") < names.index("_") < names.index("places") < names.index("out")
    x = values(20)
    with Executor(compile(Chosen)) as executor:
        np.testing.assert_array_equal(executor.run({"x": x})["output"], x[x > 0])
