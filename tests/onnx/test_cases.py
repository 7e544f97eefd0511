"""A case of each family of operators, and of each that needed a pass of ours; the whole is `python -m tests.onnx`."""

from __future__ import annotations

from functools import cache

import pytest

from .cases import Case, collect
from .judge import judge

FAMILIES = {
    "batch_normalization": ["batchnorm_example"],
    "cast": ["cast_FLOAT_to_BFLOAT16", "cast_FLOAT16_to_FLOAT"],
    "celu": ["celu"],  # a plain function
    "compress": ["compress_0"],  # as many results as values are true
    "concat": ["concat_3d_axis_1"],
    "conv": ["conv_with_strides_padding"],
    "convtranspose": ["convtranspose_group_2"],
    "expand": ["expand_dim_unchanged"],  # a shape that is an input
    "gathernd": ["gathernd_example_int32"],
    "gemm": ["gemm_all_attributes"],
    "if_": ["if"],
    "layernormalization": ["layer_normalization_3d_axis1_epsilon"],
    "lstm": ["lstm_with_peepholes"],
    "matmul": ["matmul_4d"],
    "maxpool": ["maxpool_2d_ceil"],
    "mod": ["mod_int64_fmod"],
    "negativeloglikelihoodloss": ["nllloss_NCd1d2_with_weight"],  # a function that depends on its inputs
    "nonmaxsuppression": ["nonmaxsuppression_two_classes"],
    "nonzero": ["nonzero_example"],
    "optionalhaselement": ["optional_has_element_tensor_input"],
    "pad": ["constant_pad"],
    "quantizelinear": ["quantizelinear_axis"],
    "reduce_log_sum": ["reduce_log_sum_desc_axes_expanded"],  # shapes of shapes, and axes that are an input
    "relu": ["relu"],
    "resize": ["resize_upsample_sizes_nearest"],
    "scatterelements": ["scatter_elements_with_axis"],
    "slice": ["slice"],
    "softmax": ["softmax_large_number"],
    "split": ["split_equal_parts_2d"],
    "squeeze": ["squeeze"],
    "tile": ["tile"],
    "topk": ["top_k"],
    "trilu": ["tril_neg"],
    "unique": ["unique_not_sorted_without_axis", "unique_sorted_with_axis_3d"],
    "where": ["where_long_example"],
}
"""Modules of `onnx.backend.test.case.node`, and their cases."""


@cache
def _cases() -> dict[str, Case]:
    return {case.name: case for case in collect(FAMILIES)}


@pytest.mark.parametrize("name", [name for names in FAMILIES.values() for name in names])
def test_case(name: str) -> None:
    result = judge(_cases()[f"test_{name}"], "wgpu")
    assert result.passed, f"{result.status}: {result.reason}"
