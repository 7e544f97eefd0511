"""TIR functions in a graph: the operator that calls them, and TVM's OpPatternKind, by which FuseOps joins them."""

from __future__ import annotations

import tvm

CALL_TIR = tvm.ir.Op.get("relax.call_tir")

PATTERN = "op_pattern"
"""The attribute of a function that holds one of these."""

ELEMENTWISE, BROADCAST, INJECTIVE = 0, 1, 2
"""Injective ones join what comes before and behind them, the others besides what reduces or multiplies."""

OPAQUE = 8
"""Fused with nothing, and not to be analysed."""
