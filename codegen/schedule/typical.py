"""Typical values of sizes that are only known at run time: a function and an extent in, a number out.

Whoever makes a function's sizes symbolic may say for what sizes its schedule is to be chosen, in the attribute
`tvm_webgpu.typical`, by the symbols' names.
"""

from __future__ import annotations

import tvm
from tvm import tirx
from tvm.tirx.analysis import undefined_vars

from .builder import i64
from .nest import substitute

ATTRIBUTE = "tvm_webgpu.typical"


def is_bounded(func: tirx.PrimFunc, extent: tirx.Expr) -> bool:
    """Whether an extent is a number, or made of sizes of which typical values are known: others may be anything."""
    known = (func.attrs or {}).get(ATTRIBUTE, {})
    return all(var.name in known for var in undefined_vars(extent))


def typical(func: tirx.PrimFunc, extent: int | tirx.Expr, otherwise: int) -> int:
    """The extent's number, or what it comes to for typical sizes; `otherwise` where these aren't known."""
    if isinstance(extent, int):
        return extent
    known = {str(name): int(value) for name, value in (func.attrs or {}).get(ATTRIBUTE, {}).items()}
    values = {var: i64(known[var.name]) for var in undefined_vars(extent) if var.name in known}
    value = tvm.sym.Analyzer().simplify(substitute(extent, values))
    return int(value) if isinstance(value, tirx.IntImm) else otherwise
