"""Device functions as TVM's host/device split leaves them in; device functions ready for `emit` out.

None of TVM's own finalisation is used but the lowering of warp-level memory: its LowerIntrin maps `round` and
`nearbyint` to one function and expands tanh and erf, its simplifier undoes the common subexpressions, and its
ForceNarrowIndexToInt32 narrows without proof. The emitter does these by facts about ranges instead.
"""

from __future__ import annotations

import tvm
from tvm import tirx


def lower(mod: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """Runs the passes that emission needs on a module of device functions."""
    with target:
        return tvm.ir.transform.Sequential([tirx.transform.LowerWarpMemory()])(mod)
