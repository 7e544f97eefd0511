"""A case of each kind of import, and of each operator that needed a pass of ours; all by `python -m tests.onnx`."""

from __future__ import annotations

from functools import cache

import pytest

from .cases import Case, collect
from .judge import judge

FAMILIES = {
    "batch_normalization": ["batchnorm_example"],
    "cast": ["cast_FLOAT_to_BFLOAT16"],
    "celu": ["celu"],  # a plain function
    "compress": ["compress_0"],  # as many results as values are true
    "conv": ["conv_with_strides_padding"],
    "convtranspose": ["convtranspose_group_2"],
    "expand": ["expand_dim_unchanged"],  # a shape that is an input
    "if_": ["if"],
    "lstm": ["lstm_with_peepholes"],
    "maxpool": ["maxpool_2d_ceil"],
    "mod": ["mod_int64_fmod"],
    "negativeloglikelihoodloss": ["nllloss_NCd1d2_with_weight"],  # a function that depends on its inputs
    "nonmaxsuppression": ["nonmaxsuppression_two_classes"],
    "nonzero": ["nonzero_example"],
    "optionalhaselement": ["optional_has_element_tensor_input"],
    "pad": ["constant_pad"],
    "quantizelinear": ["quantizelinear_axis"],
    "reduce_log_sum": ["reduce_log_sum_desc_axes_expanded"],  # shapes of shapes, and axes that are an input
    "resize": ["resize_upsample_sizes_nearest"],
    "scatterelements": ["scatter_elements_with_axis"],
    "slice": ["slice"],
    "split": ["split_equal_parts_2d"],
    "topk": ["top_k"],
    "unique": ["unique_sorted_with_axis_3d"],
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
