"""Lets the mean over all positions go into the kernel of the convolution before it.

FuseOps puts nothing that reduces behind a convolution. Where `schedule.can_pool` allows it (few positions: one tile
holds them all), the mean is marked as elementwise, which is all that FuseOps looks at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import tvm
from tvm import relax, tirx
from tvm.ir import GlobalVar
from tvm.target import Target

from tvm_webgpu.codegen import schedule
from tvm_webgpu.pipeline.passes.patterns import BROADCAST, CALL_TIR, ELEMENTWISE, PATTERN
from tvm_webgpu.pipeline.passes.uses import count_uses


def FusePools(target: Target) -> tvm.transform.Pass:
    """A pass between AnnotateTIROpPattern and FuseOps."""

    @tvm.transform.module_pass(opt_level=0, name="FusePools")
    def transform(mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        limits = schedule.Limits.of(target)
        fit: dict[GlobalVar, bool] = {}
        for func in mod.functions.values():
            if isinstance(func, relax.Function):
                calls = _calls(func)
                uses = count_uses(func)
                for call in calls.values():
                    gvar = call.args[0]
                    product = _producer(call, calls, uses, mod) if _pools(mod[gvar]) else None
                    can = product is not None and schedule.can_pool(product, mod[gvar], limits)
                    fit[gvar] = can and fit.get(gvar, True)
        marked = {gvar: mod[gvar].with_attr(PATTERN, ELEMENTWISE) for gvar, whether in fit.items() if whether}
        return tvm.IRModule({**mod.functions, **marked}, attrs=mod.attrs) if marked else mod

    return transform


def _calls(func: relax.Function) -> dict[relax.Var, relax.Call]:
    """The calls of TIR functions, by the variable that each is bound to."""
    return {
        binding.var: binding.value
        for block in func.body.blocks
        for binding in block.bindings
        if isinstance(binding, relax.VarBinding)
        and isinstance(binding.value, relax.Call)
        and binding.value.op == CALL_TIR
    }


def _pools(func: tvm.ir.BaseFunc) -> bool:
    """Whether a function takes one tensor of static shape [n, c, ...] and gives one number for each n and c."""
    if not isinstance(func, tirx.PrimFunc) or len(func.params) != 2:
        return False
    shapes = [list(param.ty.shape) if hasattr(param.ty, "shape") else [] for param in func.params]
    if not all(isinstance(dim, tirx.IntImm) for shape in shapes for dim in shape):
        return False
    taken, given = ([int(dim) for dim in shape] for shape in shapes)
    return math.prod(taken) > math.prod(given) == math.prod(taken[:2])


def _producer(
    call: relax.Call, calls: dict[relax.Var, relax.Call], uses: Mapping[relax.Var, int], mod: tvm.IRModule
) -> tirx.PrimFunc | None:
    """The first function that is not elementwise of those that the call's argument comes from, if nobody else does."""
    while True:
        source = call.args[1].fields[0]
        if source not in calls or uses[source] != 1:
            return None
        call = calls[source]
        func = mod[call.args[0]]
        if int(func.attrs.get(PATTERN, BROADCAST + 1)) > BROADCAST:
            return func
