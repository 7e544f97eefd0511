"""Joins depthwise convolutions with the 1x1 convolution before or behind them: one kernel instead of two.

FuseOps never puts two reductions into one group. This pass looks at the groups that it made: where a group with small
windows (a depthwise convolution, a pool) takes what only it takes, or gives what only one takes, and
a joint of `schedule.JOINTS` pays, the two become one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tvm
from tvm import relax, tirx
from tvm.ir import GlobalVar
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm.target import Target

from tvm_webgpu.codegen import schedule
from tvm_webgpu.pipeline.passes.fuse import Inliner, tensors
from tvm_webgpu.pipeline.passes.patterns import CALL_TIR
from tvm_webgpu.pipeline.passes.uses import count_uses
from tvm_webgpu.pipeline.target import storage_buffers

PRIMITIVE = "Primitive"


def FuseWindows(target: Target) -> tvm.transform.Pass:
    """A pass between FuseOps and FuseTIR."""

    @tvm.transform.module_pass(opt_level=0, name="FuseWindows")
    def transform(mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        joiner = _Joiner(mod, schedule.Limits.of(target), storage_buffers(target))
        for gvar, func in mod.functions.items():
            if isinstance(func, relax.Function) and not _is_group(func):
                joiner.builder_.update_func(gvar, joiner.join(func))
        return joiner.builder_.get()

    return transform


def _is_group(func: tvm.ir.BaseFunc) -> bool:
    return isinstance(func, relax.Function) and bool(func.attrs and func.attrs.get(PRIMITIVE, 0))


@dataclass(frozen=True)
class _Step:
    """A call of a group, or of a TIR function that is in none."""

    gvar: GlobalVar
    args: tuple[relax.Expr, ...]
    kernels: tuple[tirx.PrimFunc, ...]
    out: tvm.ir.Type

    @staticmethod
    def of(value: relax.Expr, mod: tvm.IRModule) -> _Step | None:
        """None for everything else, and where shapes are arguments."""
        if not isinstance(value, relax.Call):
            return None
        if value.op == CALL_TIR and len(value.args) == 2:
            gvar = value.args[0]
            return _Step(gvar, tuple(value.args[1].fields), (mod[gvar],), value.ty_args[0])
        if isinstance(value.op, GlobalVar) and _is_group(mod[value.op]):
            calls = [binding.value for block in mod[value.op].body.blocks for binding in block.bindings]
            inner = [call.args[0] for call in calls if isinstance(call, relax.Call) and call.op == CALL_TIR]
            return _Step(value.op, tuple(value.args), tuple(mod[gvar] for gvar in inner), value.ty)
        return None

    def call(self, args: Sequence[relax.Expr], mod: tvm.IRModule) -> relax.Call:
        """The same call with other arguments."""
        if isinstance(mod[self.gvar], tirx.PrimFunc):
            return relax.call_tir(self.gvar, list(args), self.out)
        return relax.Call(self.gvar, list(args))


@mutator
class _Joiner(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, limits: schedule.Limits, buffers: int) -> None:
        super().__init__(mod)
        self.mod, self.limits, self.buffers = mod, limits, buffers
        self._groups: dict[tuple[str, str, int, str], GlobalVar | None] = {}
        self._instead: dict[relax.Var, relax.Call] = {}

    def join(self, func: relax.Function) -> relax.Function:
        """The function with pairs of its calls as one; the first of a pair stays behind, without use."""
        bindings = [binding for block in func.body.blocks for binding in block.bindings]
        found = {b.var: _Step.of(b.value, self.mod) for b in bindings if isinstance(b, relax.VarBinding)}
        steps = {var: step for var, step in found.items() if step is not None}
        uses = count_uses(func)
        taken: set[relax.Var] = set()
        for joint in schedule.JOINTS:
            for var, step in steps.items():
                for at, arg in enumerate(step.args):
                    if arg not in steps or uses[arg] != 1 or {var, arg} & taken:
                        continue
                    if (group := self._group(steps[arg], step, at, joint)) is not None:
                        args = [*steps[arg].args, *step.args[:at], *step.args[at + 1 :]]
                        self._instead[var] = relax.Call(group, args)
                        taken |= {var, arg}
        return self.visit_expr(func)

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        value = self._instead.get(binding.var, binding.value)
        super().visit_var_binding_(relax.VarBinding(binding.var, value))

    def _group(self, first: _Step, second: _Step, at: int, joint: schedule.Joint) -> GlobalVar | None:
        """A group that is `second` with the result of `first` as its argument `at`; None where they stay apart."""
        key = (first.gvar.name_hint, second.gvar.name_hint, at, joint.name)
        if key not in self._groups:
            joined = self._joined(first, second, at) if joint.may(first.kernels, second.kernels) else None
            if joined is not None and not joint.pays(_kernel(joined, self.mod), self.limits):
                joined = None
            name = f"{key[0]}_{key[1]}"
            self._groups[key] = self.builder_.add_func(joined, name) if joined is not None else None
        return self._groups[key]

    def _joined(self, first: _Step, second: _Step, at: int) -> relax.Function | None:
        """Both as one group, if it touches no more tensors than a kernel may bind."""
        ours, theirs = ([relax.Var(f"x{i}", arg.ty) for i, arg in enumerate(step.args)] for step in (first, second))
        params = [*ours, *theirs[:at], *theirs[at + 1 :]]
        if sum(tensors(param.ty) for param in params) + tensors(second.out) > self.buffers:
            return None
        builder = relax.BlockBuilder(self.mod)
        with builder.function("joined", params, attrs={PRIMITIVE: 1}, private=True):
            with builder.dataflow():
                theirs[at] = builder.emit(first.call(ours, self.mod))
                result = builder.emit_output(second.call(theirs, self.mod))
            gvar = builder.emit_func_output(result)
        names = {step.gvar.name_hint for step in (first, second) if _is_group(self.mod[step.gvar])}
        return Inliner(builder.get(), names).visit_expr(builder.get()[gvar])


def _kernel(group: relax.Function, mod: tvm.IRModule) -> tirx.PrimFunc:
    """The TIR function that a group becomes."""
    functions = {gvar: func for gvar, func in mod.functions.items() if isinstance(func, tirx.PrimFunc)}
    builder = relax.BlockBuilder(tvm.IRModule(functions))
    gvar = builder.add_func(group, "joined")
    params = [relax.Var(f"x{i}", param.ty) for i, param in enumerate(group.params)]
    with builder.function("main", params):
        with builder.dataflow():
            result = builder.emit_output(relax.Call(gvar, params))
        builder.emit_func_output(result)
    fused = relax.transform.FuseTIR()(builder.get())
    calls = [b.value for block in fused["main"].body.blocks for b in block.bindings if b.value.op == CALL_TIR]
    return fused[calls[0].args[0]]
