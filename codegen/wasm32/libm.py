"""Host TIR in; the same with functions of floats as calls of the libm that every model is linked with out.

TVM would write some of them out itself: its tanh by the exponential is off by up to 185 ulp.
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import tirx

# C's names; sigmoid and the like are left to TVM, which writes them with these.
NAMES = {
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "sin", "sinh", "tan", "tanh"),
    *("exp", "exp2", "log", "log10", "log1p", "log2", "pow", "hypot", "erf"),
}
SUFFIX = {"float32": "f", "float64": ""}


def _call(call: tvm.ir.Call) -> tirx.Expr:
    name = call.op.name.removeprefix("tirx.") if isinstance(call.op, tvm.ir.Op) else ""
    if name not in NAMES:
        return call
    dtype = str(call.ty.dtype)
    if dtype in ("float16", "bfloat16"):
        args = [tirx.Cast("float32", arg) for arg in call.args]
        return tirx.Cast(dtype, tirx.call_pure_extern("float32", f"{name}f", *args))
    if dtype not in SUFFIX:
        return call
    return tirx.call_pure_extern(dtype, name + SUFFIX[dtype], *call.args)


def call_libm(mod: tvm.IRModule) -> tvm.IRModule:
    """Rewrites every TIR function of the module; before TVM lowers intrinsics."""
    functions = {
        gvar: func.with_body(tvm_ffi.structural_map(func.body, (tvm.ir.Call, _call), order="post"))
        if isinstance(func, tirx.PrimFunc)
        else func
        for gvar, func in mod.functions.items()
    }
    return tvm.IRModule(functions, attrs=mod.attrs)
