"""Typical values of sizes that are only known at run time: a function and an extent in, a number out.

Whoever makes a function's sizes symbolic may say for what sizes its schedule is to be chosen, in the attribute
`tvm_webgpu.typical`, by the symbols' names.
"""

from __future__ import annotations

import tvm
from tvm import tirx

from .builder import i64
from .nest import substitute

ATTRIBUTE = "tvm_webgpu.typical"


def typical(func: tirx.PrimFunc, extent: int | tirx.Expr, otherwise: int) -> int:
    """The extent's number, or what it comes to for typical sizes; `otherwise` where these aren't known."""
    if isinstance(extent, int):
        return extent
    known = {str(name): int(value) for name, value in (func.attrs or {}).get(ATTRIBUTE, {}).items()}
    values = {var: i64(known[var.name]) for var in tvm.tirx.analysis.undefined_vars(extent) if var.name in known}
    value = tvm.sym.Analyzer().simplify(substitute(extent, values))
    return int(value) if isinstance(value, tirx.IntImm) else otherwise
