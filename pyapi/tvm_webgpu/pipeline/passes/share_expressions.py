"""Common subexpression elimination that leaves functions with calls of packed functions alone.

TVM's pass takes two calls that create a cache for one, as both are declared pure.
"""

from __future__ import annotations

import tvm
from tvm import relax

PACKED = ("relax.call_pure_packed", "relax.call_packed", "relax.call_inplace_packed", "relax.call_builtin_with_ctx")


def _calls_packed(func: relax.Function) -> bool:
    found: list[bool] = []

    def visit(expr: relax.Expr) -> None:
        if isinstance(expr, relax.Call):
            found.append(getattr(expr.op, "name", "") in PACKED or isinstance(expr.op, relax.ExternFunc))

    relax.analysis.post_order_visit(func.body, visit)
    return any(found)


@tvm.transform.module_pass(opt_level=0, name="ShareExpressions")
class ShareExpressions:
    """The pass; see the module's text."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        kept = {
            gvar: func
            for gvar, func in mod.functions.items()
            if isinstance(func, relax.Function) and _calls_packed(func)
        }
        shared = relax.transform.EliminateCommonSubexpr()(mod)
        return tvm.IRModule({**shared.functions, **kept}, attrs=mod.attrs)
