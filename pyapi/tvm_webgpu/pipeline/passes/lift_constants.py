"""Turns every constant tensor of the entries into a parameter appended to their inputs.

Constants of the same dtype, shape and bytes are one parameter, over all entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_webgpu.package import Param
from tvm_webgpu.pipeline.model import fingerprint, to_numpy


@dataclass
class Lifted:
    """The module without constants, the parameters in order, and for each entry the indices of those it takes."""

    mod: tvm.IRModule
    params: list[Param] = field(default_factory=list)
    used: dict[str, tuple[int, ...]] = field(default_factory=dict)


@mutator
class _Lifter(PyExprMutator):
    def __init__(self, pool: _Pool):
        super().__init__(None)
        self.pool = pool
        self.vars: dict[int, relax.Var] = {}

    def visit_constant_(self, const: tvm.ir.GenericConst) -> relax.Expr:
        if not isinstance(const.ty, relax.TensorType):
            return const
        index = self.pool.index_of(const)
        if index not in self.vars:
            self.vars[index] = relax.Var(f"param_{index}", const.ty)
        return self.vars[index]

    visit_generic_const_ = visit_constant_


class _Pool:
    def __init__(self, names: Mapping[str, str]):
        self.names = names
        self.params: list[Param] = []
        self.indices: dict[str, int] = {}
        self.seen: dict[tvm.ir.GenericConst, int] = {}

    def index_of(self, const: tvm.ir.GenericConst) -> int:
        if const in self.seen:
            return self.seen[const]
        array, dtype = to_numpy(const.value), str(const.ty.dtype)
        key = fingerprint(array, dtype)
        if key not in self.indices:
            self.indices[key] = len(self.params)
            name = self.names.get(key, f"constant_{len(self.params)}")
            data = np.ascontiguousarray(array).tobytes()
            self.params.append(Param(name, dtype, tuple(map(int, array.shape)), data))
        self.seen[const] = self.indices[key]
        return self.seen[const]


def lift_constants(mod: tvm.IRModule, entries: Mapping[str, relax.Function], names: Mapping[str, str]) -> Lifted:
    """Lifts the constants of the entries; `names` maps fingerprints to the names that parameters shall have."""
    pool = _Pool(names)
    functions = dict(mod.functions)
    used: dict[str, tuple[int, ...]] = {}
    for name, func in entries.items():
        lifter = _Lifter(pool)
        body = lifter.visit_expr(func.body)
        order = sorted(lifter.vars)
        params = [*func.params, *(lifter.vars[index] for index in order)]
        functions[mod.get_global_var(name)] = relax.Function(params, body, func.ret_ty, func.is_pure, func.attrs)
        used[name] = tuple(order)
    return Lifted(tvm.IRModule(functions, attrs=mod.attrs), pool.params, used)
