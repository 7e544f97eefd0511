"""The passes of our own: the graph gets simpler, and its results stay."""

from collections.abc import Callable

import numpy as np
import pytest
import tvm
from tvm import relax, te, tirx
from tvm.relax import op, transform
from tvm_webgpu.pipeline.passes.decompose_batch_norm import DecomposeBatchNorm
from tvm_webgpu.pipeline.passes.fold_affine import FoldAffine
from tvm_webgpu.pipeline.passes.fold_constants import FoldConstantsOnHost, constant
from tvm_webgpu.pipeline.passes.fuse import FuseWithinLimit
from tvm_webgpu.pipeline.passes.lift_constants import lift_constants
from tvm_webgpu.pipeline.passes.limit_buffers import LimitConcat
from tvm_webgpu.pipeline.passes.pack_weights import PackWeights
from tvm_webgpu.pipeline.passes.separate_shapes import SeparateShapes

from tests.pyapi.evaluate import calls, evaluate, operators

RNG = np.random.default_rng(1)
Body = Callable[[relax.BlockBuilder, list[relax.Var]], relax.Expr]


def values(*shape: int) -> np.ndarray:
    return RNG.uniform(0.5, 1.5, shape).astype("float32")


def module(body: Body, *shapes: tuple) -> tvm.IRModule:
    """`main` over float32 tensors of these shapes."""
    builder = relax.BlockBuilder()
    params = [relax.Var(f"x{i}", relax.TensorType(shape, "float32")) for i, shape in enumerate(shapes)]
    with builder.function("main", params):
        with builder.dataflow():
            result = builder.emit_output(body(builder, params))
        builder.emit_func_output(result)
    return builder.get()


def run(mod: tvm.IRModule, *passes: tvm.transform.Pass) -> tvm.IRModule:
    with tvm.target.Target("webgpu"):
        return tvm.transform.Sequential(passes)(mod)


def check_same(before: tvm.IRModule, after: tvm.IRModule, *shapes: tuple[int, ...], rtol: float = 1e-5) -> None:
    inputs = [values(*shape) for shape in shapes]
    np.testing.assert_allclose(evaluate(after, inputs), evaluate(before, inputs), rtol, 1e-5)


def conv_norm(builder: relax.BlockBuilder, params: list[relax.Var]) -> relax.Expr:
    x = builder.emit(op.nn.conv2d(params[0], constant(values(6, 1, 3, 3)), padding=1, groups=3))
    x = builder.emit(op.add(x, constant(values(1, 6, 1, 1))))
    norm = [constant(values(6)) for _ in range(4)]
    x = builder.emit(op.nn.batch_norm(x, *norm, axis=1, epsilon=1e-3, training=False))
    x = builder.emit(relax.TupleGetItem(x, 0))
    return op.nn.relu(x)


FOLD = (
    DecomposeBatchNorm(),
    FoldConstantsOnHost(),
    transform.CanonicalizeBindings(),
    transform.DeadCodeElimination(),
    FoldAffine(),
    transform.DeadCodeElimination(),
)


def test_batch_norm_becomes_one_bias() -> None:
    before = module(conv_norm, (2, 3, 5, 5))
    after = run(before, *FOLD)
    assert operators(after) == ["relax.nn.conv2d", "relax.add", "relax.nn.relu"]
    check_same(before, after, (2, 3, 5, 5))


def test_batch_norm_in_training_is_left_alone() -> None:
    def body(builder: relax.BlockBuilder, params: list[relax.Var]) -> relax.Expr:
        x = builder.emit(op.nn.batch_norm(params[0], *[constant(values(3)) for _ in range(4)], axis=1, training=True))
        return relax.TupleGetItem(x, 0)

    before = module(body, (2, 3, 4))
    assert operators(run(before, *FOLD)) == operators(before) == ["relax.nn.batch_norm"]


def matmul_scale(builder: relax.BlockBuilder, params: list[relax.Var]) -> relax.Expr:
    x = builder.emit(op.matmul(params[0], constant(values(4, 6))))
    x = builder.emit(op.subtract(x, constant(values(6))))
    x = builder.emit(op.divide(x, constant(np.float32(3.0))))
    return op.add(constant(values(1, 6)), x)


def conv_transpose(builder: relax.BlockBuilder, params: list[relax.Var]) -> relax.Expr:
    x = builder.emit(op.nn.conv2d_transpose(params[0], constant(values(3, 4, 2, 2)), strides=2))
    return op.multiply(x, constant(values(4, 1, 1)))


@pytest.mark.parametrize(
    ("body", "shape", "expected"),
    [
        (matmul_scale, (5, 4), ["relax.matmul", "relax.add"]),
        (conv_transpose, (1, 3, 4, 4), ["relax.nn.conv2d_transpose"]),
    ],
)
def test_scales_fold_into_weights(body: Body, shape: tuple, expected: list[str]) -> None:
    before = module(body, shape)
    after = run(before, *FOLD)
    assert operators(after) == expected
    check_same(before, after, shape)


def used_twice(builder: relax.BlockBuilder, params: list[relax.Var]) -> relax.Expr:
    x = builder.emit(op.matmul(params[0], constant(values(4, 6))))
    return op.add(x, builder.emit(op.multiply(x, constant(values(6)))))


def scaled_along_rows(builder: relax.BlockBuilder, params: list[relax.Var]) -> relax.Expr:
    x = builder.emit(op.matmul(params[0], constant(values(4, 4))))
    return op.multiply(x, constant(values(4, 1)))


@pytest.mark.parametrize("body", [used_twice, scaled_along_rows])
def test_what_can_not_be_folded_stays(body: Body) -> None:
    before = module(body, (4, 4))
    after = run(before, *FOLD)
    assert operators(after) == operators(before)


def test_constants_fold_without_growing() -> None:
    def body(builder: relax.BlockBuilder, params: list[relax.Var]) -> relax.Expr:
        weight = builder.emit(op.permute_dims(constant(values(6, 4)), [1, 0]))
        scale = builder.emit(op.broadcast_to(builder.emit(op.reshape(constant(values(6)), (1, 6))), (4, 6)))
        weight = builder.emit(op.multiply(weight, builder.emit(op.sqrt(scale))))
        x = builder.emit(op.matmul(params[0], weight))
        large = builder.emit(op.broadcast_to(constant(values(1)), (512, 512)))
        return op.add(x, builder.emit(op.strided_slice(large, [0, 1], [0, 0], [5, 6])))

    before = module(body, (5, 4))
    after = run(before, FoldConstantsOnHost(), transform.CanonicalizeBindings(), transform.DeadCodeElimination())
    assert operators(after) == ["relax.matmul", "relax.broadcast_to", "relax.strided_slice", "relax.add"]
    check_same(before, after, (5, 4))


def test_no_kernel_is_wider_than_the_limit() -> None:
    n = tvm.tirx.Var("n", "int64")

    def body(builder: relax.BlockBuilder, params: list[relax.Var]) -> relax.Expr:
        total = params[0]
        for param in params[1:]:
            total = builder.emit(op.nn.relu(builder.emit(op.subtract(total, param))))
        return total

    before = module(body, *[(n, 4)] * 14)
    fused = run(
        before, transform.LegalizeOps(), transform.AnnotateTIROpPattern(), FuseWithinLimit(8), transform.FuseTIR()
    )
    kernels = [func for func in fused.functions.values() if isinstance(func, tvm.tirx.PrimFunc)]
    assert max(len(func.params) for func in kernels) <= 8
    check_same(before, fused, *[(3, 4)] * 14)


@pytest.mark.parametrize("count", [2, 7, 8, 60])
def test_concat_becomes_a_tree(count: int) -> None:
    before = module(lambda builder, params: op.concat(params, 1), *[(2, 3)] * count)
    after = run(before, LimitConcat(7))
    assert len(operators(after)) == {2: 1, 7: 1, 8: 2, 60: 12}[count]
    check_same(before, after, *[(2, 3)] * count)


def test_lifted_constants_are_shared_and_named() -> None:
    weight, bias = values(4, 4), values(4)

    def body(builder: relax.BlockBuilder, params: list[relax.Var]) -> relax.Expr:
        x = builder.emit(op.matmul(params[0], constant(weight)))
        x = builder.emit(op.add(x, constant(bias)))
        return op.matmul(x, constant(weight.copy()))

    from tvm_webgpu.pipeline.model import fingerprint

    mod = module(body, (2, 4))
    lifted = lift_constants(mod, {"main": mod["main"]}, {fingerprint(bias): "bias"})
    assert [(param.name, param.shape) for param in lifted.params] == [("constant_0", (4, 4)), ("bias", (4,))]
    assert lifted.used == {"main": (0, 1)}
    assert [param.name for param in lifted.mod["main"].params] == ["x0", "param_0", "param_1"]
    x = values(2, 4)
    np.testing.assert_allclose(evaluate(lifted.mod, [x, weight, bias]), evaluate(mod, [x]), 1e-6)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_weights_are_packed_with_the_output_channel_last(ndim: int) -> None:
    convolution = (op.nn.conv1d, op.nn.conv2d, op.nn.conv3d)[ndim - 1]
    spatial = (7, 6, 5)[:ndim]

    def body(_: relax.BlockBuilder, params: list[relax.Var]) -> relax.Expr:
        return convolution(params[0], constant(values(4, 3, *[3] * ndim)), strides=2, padding=1, dilation=1)

    before = module(body, (2, 3, *spatial))
    after = run(before, PackWeights())
    (weight,) = (call.args[1] for call in calls(after) if "conv" in call.op.name)
    assert [int(size) for size in weight.ty.shape] == [3, *[3] * ndim, 4]
    check_same(before, after, (2, 3, *spatial))


def test_weights_of_groups_stay_as_they_are() -> None:
    before = module(lambda _, params: op.nn.conv2d(params[0], constant(values(6, 1, 3, 3)), groups=3), (1, 3, 5, 5))
    tvm.ir.assert_structural_equal(run(before, PackWeights()), before)


@pytest.mark.parametrize("same_words", [True, False])
def test_shapes_in_other_words_are_not_fused(same_words: bool) -> None:
    """The rows of pairs are 2 * n to their function, and to its caller also m // 2 * 2."""
    rows = tirx.Var("m", "int64")

    def pairs(x: te.Tensor) -> te.Tensor:
        return te.compute((2 * x.shape[0], 4), lambda i, j: x[i // 2, j] * x[i // 2, j], name="pairs")

    def body(builder: relax.BlockBuilder, params: list[relax.Var]) -> relax.Expr:
        found = builder.emit_te(pairs, params[0])
        call = builder.lookup_binding(found)
        if not same_words:
            other = relax.TensorType((tirx.floordiv(rows * 4, 2), 4), "float32")
            found = builder.emit(relax.call_tir(call.args[0], call.args[1], other))
        return op.exp(found)

    fuse = (
        transform.LegalizeOps(),
        transform.AnnotateTIROpPattern(),
        SeparateShapes,
        transform.FuseOps(),
        transform.FuseTIR(),
    )
    mod = module(body, (rows, 4))
    after = run(mod, *fuse)
    assert len(calls(after)) == (1 if same_words else 2)
    check_same(mod, after, (3, 4))
