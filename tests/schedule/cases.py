"""Operators to schedule: a name and a Relax builder in, the fused TIR functions out, as the pipeline makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tvm
from tvm import relax
from tvm.relax import op as R
from tvm_webgpu.pipeline.passes.attention import LEGALIZE_ATTENTION
from tvm_webgpu.pipeline.passes.transposed_convolution import LEGALIZE_TRANSPOSED

F32, F16, I32, I64, BOOL = "float32", "float16", "int32", "int64", "bool"
N = tvm.tirx.Var("n", "int64")
N_VALUE = 5
"""What the symbolic extent is when a case runs."""

Build = Callable[..., relax.Expr]


class Case(NamedTuple):
    """The rule that must take the (last) function, how to build the operator, and (shape, dtype) of its inputs."""

    rule: str
    build: Build
    inputs: tuple[tuple[tuple, str], ...]


def case(rule: str, build: Build, *inputs: tuple) -> Case:
    """Inputs are shapes; a shape may end in a dtype, f32 else."""
    split = [(i[:-1], i[-1]) if i and isinstance(i[-1], str) else (i, F32) for i in inputs]
    return Case(rule, build, tuple(split))


def conv(stride: int = 1, pad: int = 1, groups: int = 1, residual: bool = False, packed: bool = False) -> Build:
    """Convolution, bias, optional residual, clip: one fused function. packed: weights as the pipeline stores them."""

    def build(bb: relax.BlockBuilder, x: relax.Var, w: relax.Var, b: relax.Var, *rest: relax.Var) -> relax.Expr:
        layout = "IHWO" if packed else "OIHW"
        y = bb.emit(R.nn.conv2d(x, w, strides=stride, padding=pad, groups=groups, kernel_layout=layout))
        y = bb.emit(R.add(y, b))
        if residual:
            y = bb.emit(R.add(y, rest[0]))
        return R.clip(y, 0.0, 6.0)

    return build


def matmul(bb: relax.BlockBuilder, a: relax.Var, b: relax.Var) -> relax.Expr:
    """Plain product."""
    return R.matmul(a, b)


def matmul_bias_gelu(bb: relax.BlockBuilder, a: relax.Var, b: relax.Var, c: relax.Var) -> relax.Expr:
    """Product with an epilogue."""
    return R.nn.gelu(bb.emit(R.add(bb.emit(R.matmul(a, b)), c)))


def matmul_wide_sums(bb: relax.BlockBuilder, a: relax.Var, b: relax.Var, c: relax.Var) -> relax.Expr:
    """float16 operands, float32 sums, and an epilogue."""
    return R.nn.relu(bb.emit(R.add(bb.emit(R.matmul(a, b, out_dtype=F32)), c)))


def attention(**options: object) -> Build:
    """Scaled dot-product attention over [batch, sequence, heads, width], perhaps with a bias."""

    def build(bb: relax.BlockBuilder, q: relax.Var, k: relax.Var, v: relax.Var, *bias: relax.Var) -> relax.Expr:
        return R.nn.attention(q, k, v, *bias, **options)

    return build


def second(bb: relax.BlockBuilder, pair: relax.Expr) -> relax.Expr:
    """The second of two results."""
    return bb.emit(pair)[1]


CASES: dict[str, Case] = {
    # Products
    "matmul": case("product", matmul, (33, 45), (45, 17)),
    "matmul_wide": case("product", matmul, (36, 64), (64, 68)),
    "matmul_transposed": case("product", lambda bb, a, b: R.einsum((a, b), "ik,jk->ij"), (33, 48), (20, 48)),
    "matmul_transposed_twice": case("product", lambda bb, a, b: R.einsum((a, b), "ki,jk->ij"), (48, 36), (20, 48)),
    "matmul_batched": case("product", matmul, (2, 3, 33, 45), (2, 3, 45, 17)),
    "matmul_broadcast": case("product", matmul, (2, 3, 33, 45), (45, 17)),
    "matmul_open": case("product", matmul, (N, 45), (45, 17)),
    "matmul_open_batch": case("product", matmul, (N, 7, 32), (32, 64)),
    "matmul_open_both": case("product", matmul, (2, N, 32), (2, 32, N)),
    "matmul_open_sum": case("product", matmul, (7, N), (N, 9)),
    "matmul_depth_1": case("direct", matmul_bias_gelu, (5, 1), (1, 7), (7,)),
    "matmul_epilogue": case("product", matmul_bias_gelu, (33, 45), (45, 20), (20,)),
    "matmul_cut": case(
        "direct", lambda bb, a, b: R.strided_slice(bb.emit(R.matmul(a, b)), [0], [0], [20]), (33, 45), (45, 20)
    ),
    "matmul_f16": case("product", matmul, (33, 64, F16), (64, 20, F16)),
    "matmul_int": case("product", matmul, (9, 20, I32), (20, 12, I32)),
    "vector_matrix": case("product", matmul, (1, 70), (70, 1000)),
    **{
        f"few_rows_{rows}": case("product", lambda bb, a, b: R.einsum((a, b), "ik,jk->ij"), (rows, 1028), (1030, 1028))
        for rows in (1, 2, 3, 7)
    },
    "few_rows_columns": case("product", matmul, (3, 1030), (1030, 1028)),
    "few_rows_columns_7": case("product", matmul, (7, 1030), (1030, 1028)),
    "vector_matrix_odd": case("product", matmul, (1, 45), (45, 37)),
    "conv1x1": case("product", conv(1, 0), (1, 24, 14, 14), (40, 24, 1, 1), (1, 40, 1, 1)),
    "conv1x1_49": case("product", conv(1, 0), (1, 100, 7, 7), (36, 100, 1, 1), (1, 36, 1, 1)),
    "conv1x1_stride": case("product", conv(2, 0), (1, 24, 15, 15), (40, 24, 1, 1), (1, 40, 1, 1)),
    "conv1x1_residual": case(
        "product", conv(1, 0, residual=True), (1, 24, 14, 14), (40, 24, 1, 1), (1, 40, 1, 1), (1, 40, 14, 14)
    ),
    "conv1x1_open": case("product", conv(1, 0), (N, 24, 14, 14), (40, 24, 1, 1), (1, 40, 1, 1)),
    "conv3x3": case("product", conv(), (2, 12, 9, 9), (20, 12, 3, 3), (1, 20, 1, 1)),
    "conv3x3_open": case("product", conv(), (N, 12, 9, 9), (20, 12, 3, 3), (1, 20, 1, 1)),
    "conv3x3_packed": case("product", conv(packed=True), (2, 16, 9, 9), (16, 3, 3, 20), (1, 20, 1, 1)),
    "conv3x3_packed_stride": case("product", conv(2, packed=True), (1, 32, 13, 8), (32, 3, 3, 17), (1, 17, 1, 1)),
    "conv3x3_packed_24": case("product", conv(1, 0, packed=True), (1, 24, 8, 11), (24, 3, 3, 36), (1, 36, 1, 1)),
    "conv5x5_packed_open": case("product", conv(1, 2, packed=True), (N, 48, 7, 7), (48, 5, 5, 36), (1, 36, 1, 1)),
    "conv_groups": case("product", conv(groups=4), (2, 40, 9, 9), (32, 10, 3, 3), (1, 32, 1, 1)),
    "conv_groups_packed": case("product", conv(2, groups=3, packed=True), (1, 24, 9, 9), (8, 3, 3, 36), (1, 36, 1, 1)),
    "conv_first": case("product", conv(2, 3), (1, 3, 31, 31), (40, 3, 7, 7), (1, 40, 1, 1)),
    "conv_nhwc": case(
        "product",
        lambda bb, x, w: R.nn.conv2d(x, w, padding=1, data_layout="NHWC", kernel_layout="HWIO"),
        (1, 9, 9, 6),
        (3, 3, 6, 5),
    ),
    "conv1d": case("product", lambda bb, x, w: R.nn.conv1d(x, w, padding=1), (2, 8, 19), (12, 8, 3)),
    "conv_transposed": case(
        "product", lambda bb, x, w: R.nn.conv2d_transpose(x, w, strides=2, padding=1), (1, 6, 7, 7), (6, 9, 4, 4)
    ),
    "conv_transposed_odd": case(
        "product",
        lambda bb, x, w: R.nn.conv2d_transpose(x, w, strides=(3, 2), padding=1, output_padding=(1, 1)),
        (2, 8, 5, 6),
        (8, 12, 3, 3),
    ),
    "conv_transposed_1d": case(
        "product", lambda bb, x, w: R.nn.conv1d_transpose(x, w, strides=4, padding=2), (1, 8, 9), (8, 12, 8)
    ),
    "conv_transposed_packed": case(
        "product",
        lambda bb, x, w: R.nn.conv2d_transpose(x, w, strides=2, kernel_layout="IHWO"),
        (1, 16, 6, 5),
        (16, 2, 3, 8),
    ),
    "conv_transposed_dilated": case(
        "product", lambda bb, x, w: R.nn.conv2d_transpose(x, w, strides=2, dilation=2), (1, 4, 5, 5), (4, 6, 3, 3)
    ),
    # Windows
    "conv_grouped": case("direct", conv(groups=8), (2, 80, 9, 9), (32, 10, 3, 3), (1, 32, 1, 1)),
    "conv_multiplied": case("windows", conv(groups=6), (1, 6, 9, 8), (12, 1, 3, 3), (1, 12, 1, 1)),
    "depthwise": case("windows", conv(groups=40), (2, 40, 14, 14), (40, 1, 3, 3), (1, 40, 1, 1)),
    "depthwise_rows_of_4": case("windows", conv(groups=32), (1, 32, 56, 56), (32, 1, 3, 3), (1, 32, 1, 1)),
    "depthwise_stride": case("windows", conv(2, 1, 30), (1, 30, 15, 15), (30, 1, 3, 3), (1, 30, 1, 1)),
    "depthwise_open": case("windows", conv(groups=40), (N, 40, 8, 8), (40, 1, 3, 3), (1, 40, 1, 1)),
    "max_pool": case("windows", lambda bb, x: R.nn.max_pool2d(x, (3, 3), (2, 2), (1, 1)), (1, 6, 15, 15)),
    "avg_pool": case("windows", lambda bb, x: R.nn.avg_pool2d(x, (3, 3), (2, 2), (1, 1)), (1, 6, 15, 15)),
    # Rows
    "softmax": case("rows", lambda bb, x: R.nn.softmax(x), (3, 5, 37)),
    "softmax_open": case("rows", lambda bb, x: R.nn.softmax(x), (3, N, N)),
    "log_softmax": case("rows", lambda bb, x: R.nn.log_softmax(x), (3, 130)),
    "layer_norm": case(
        "rows", lambda bb, x, g, b: R.nn.layer_norm(x, g, b, axes=[-1]), (N, 3, 384), (384,), (384,)
    ),
    "rms_norm_f16": case(
        "rows", lambda bb, x, g: R.nn.rms_norm(x, g, axes=[-1]), (3, 5, 96, F16), (96, F16)
    ),
    "global_average": case("rows", lambda bb, x: R.mean(x, [2, 3], keepdims=True), (N, 60, 7, 7)),
    "sum_all": case("rows", lambda bb, x: R.sum(x), (33, 45)),
    "sum_many": case("rows", lambda bb, x: R.sum(x), (99, 1001)),
    "max_long_rows": case("rows", lambda bb, x: R.nn.relu(bb.emit(R.max(x, [1]))), (3, 20001)),
    "max_middle": case("rows", lambda bb, x: R.max(x, [1]), (3, 45, 6)),
    "variance": case("rows", lambda bb, x: R.variance(x, [1]), (3, 45, 6)),
    # Attention
    "attention": case("attention", attention(), *(((1, 7, 2, 16),) * 3)),
    "attention_bias": case("attention", attention(), (2, 35, 3, 32), (2, 70, 3, 32), (2, 70, 3, 20), (2, 1, 35, 70)),
    "attention_mask": case("attention", attention(scale=0.3), *(((2, 64, 2, 64),) * 3), (1, 1, 1, 64)),
    "attention_causal": case("attention", attention(causal_mask="TopLeft"), *(((1, 40, 2, 8),) * 3)),
    "attention_open": case("attention", attention(), (1, N, 2, 16), (1, N, 2, 16), (1, N, 2, 16)),
    "attention_odd_heads": case("attention", attention(), *(((1, 9, 2, 18),) * 3)),
    "attention_wide": case("attention", attention(), *(((1, 9, 1, 128),) * 3)),
    # Reductions that rows do not fit
    "softmax_short": case("direct", lambda bb, x: R.nn.softmax(x), (3, 5, 7)),
    "mean_of_one": case("direct", lambda bb, x: R.mean(x, [2, 3]), (N, 60, 1, 1)),
    "group_norm": case("direct", lambda bb, x, g, b: R.nn.group_norm(x, g, b, 2, 1, [2, 3]), (2, 6, 7, 7), (6,), (6,)),
    "argmax": case("direct", lambda bb, x: R.argmax(x, 1), (3, 45, 6)),
    "product_of_all": case("direct", lambda bb, x: R.prod(x, [0]), (7, 45)),
    # Elementwise and data movement
    "add": case("direct", lambda bb, a, b: R.add(a, b), (3, 5, 7), (7,)),
    "relu_vector": case("direct", lambda bb, x: R.nn.relu(x), (64, 128, 4)),
    "relu_open": case("direct", lambda bb, x: R.nn.relu(x), (N, 60, 7, 7)),
    "bias_open": case("direct", lambda bb, x, b: R.nn.relu(bb.emit(R.add(x, b))), (N, 15, 8, 8), (15, 1, 1)),
    "where": case("direct", lambda bb, c, x, y: R.where(c, x, y), (5, 8, BOOL), (5, 8), (5, 8)),
    "greater": case("direct", lambda bb, x, y: R.greater(x, y), (5, 9), (5, 9)),
    "to_int64": case("direct", lambda bb, x: R.astype(x, I64), (5, 8)),
    "add_int64": case("direct", lambda bb, x, y: R.add(x, y), (5, 8, I64), (8, I64)),
    "transpose": case("direct", lambda bb, x: R.permute_dims(x, [0, 2, 1, 3]), (2, 7, 9, 12)),
    "transpose_large": case("transpose", lambda bb, x: R.permute_dims(x, [0, 2, 3, 1]), (2, 70, 23, 31)),
    "transpose_with_work": case(
        "transpose",
        lambda bb, x, y: R.nn.relu(bb.emit(R.add(bb.emit(R.permute_dims(x, [1, 0])), y))),
        (270, 301),
        (270,),
    ),
    "concat": case("direct", lambda bb, x, y: R.concat([x, y], 1), (2, 7, 9), (2, 3, 9)),
    "split": case("direct", lambda bb, x: second(bb, R.split(x, 2, 1)), (2, 8, 9)),
    "pad": case("direct", lambda bb, x: R.nn.pad(x, (1, 1, 2, 2)), (8, 9)),
    "take": case("direct", lambda bb, x, i: R.take(x, i, 0), (50, 8), (4, 6, I64)),
    "gather": case("direct", lambda bb, x, i: R.gather_elements(x, i, 1), (5, 9), (5, 4, I64)),
    "resize": case("direct", lambda bb, x: R.image.resize2d(x, (14, 14)), (1, 3, 7, 7)),
    "triangle": case("direct", lambda bb, x: R.tril(x), (5, 9)),
}


def functions(name: str) -> dict[str, tvm.tirx.PrimFunc]:
    """The case's TIR functions, unscheduled, by name."""
    return functions_of(CASES[name])


def functions_of(spec: Case) -> dict[str, tvm.tirx.PrimFunc]:
    """The TIR functions of an operator, unscheduled, by name."""
    bb = relax.BlockBuilder()
    params = [relax.Var(f"x{i}", relax.TensorType(shape, dtype)) for i, (shape, dtype) in enumerate(spec.inputs)]
    with bb.function("main", params):
        with bb.dataflow():
            out = bb.emit_output(bb.emit(spec.build(bb, *params)))
        bb.emit_func_output(out)
    passes = [
        relax.transform.LegalizeOps({**LEGALIZE_ATTENTION, **LEGALIZE_TRANSPOSED}),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FoldConstant(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(),
    ]
    with tvm.target.Target("webgpu"):
        mod = tvm.transform.Sequential(passes)(bb.get())
    return {g.name_hint: f for g, f in mod.functions_items() if isinstance(f, tvm.tirx.PrimFunc)}


def arrays(func: tvm.tirx.PrimFunc, seed: int = 0) -> list[np.ndarray]:
    """Random contents for every buffer parameter; symbolic extents are N_VALUE. Integers stay small, to be indices."""
    rng = np.random.default_rng(seed)
    out = []
    for param in func.params:
        shape = [N_VALUE if isinstance(d, tvm.tirx.Var) else int(d) for d in param.shape]
        dtype = str(param.dtype)
        if dtype.startswith("float"):
            out.append(rng.standard_normal(shape).astype(dtype))
        elif dtype == BOOL:
            out.append(rng.integers(0, 2, shape).astype(bool))
        else:
            out.append(rng.integers(0, 4, shape).astype(dtype))
    return out
