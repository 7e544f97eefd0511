"""Products and convolutions of a float32 graph in float16, accumulated in float32."""

from __future__ import annotations

import functools

import tvm
from tvm.relax import transform

FOLLOW = 1
"""TVM's policy for operators that compute in float16 where their inputs are (include/tvm/relax/op_attr_types.h)."""

UNDECIDED = ("relax.clip", "relax.triu", "relax.tril", "relax.one_hot")
"""Operators that TVM gives no policy: it fails on those of their arguments that are no tensors."""


@functools.cache
def _decide() -> None:
    for name in UNDECIDED:
        if tvm.ir.Op.get(name).get_attr("TMixedPrecisionPolicy") is None:
            tvm.ir.register_op_attr(name, "TMixedPrecisionPolicy", FOLLOW)


def to_mixed_precision() -> tvm.transform.Pass:
    """The pass; interfaces and parameters keep their dtypes until constants are folded."""
    _decide()
    return transform.ToMixedPrecision(out_dtype="float32")
