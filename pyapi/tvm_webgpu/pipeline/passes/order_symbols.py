"""Puts what is shaped by a symbol behind the binding that gives the symbol its value.

FuseOps orders bindings by the tensors that they read; that a `match_cast` decides the shapes of others it does not see.
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import relax


@tvm.transform.module_pass(opt_level=0, name="OrderSymbols")
class OrderSymbols:
    """The pass, for Relax functions in normal form."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        functions = {
            gvar: _ordered(func) if isinstance(func, relax.Function) else func for gvar, func in mod.functions.items()
        }
        return tvm.IRModule(functions, attrs=mod.attrs)


def _ordered(func: relax.Function) -> relax.Function:
    body = func.body
    if not isinstance(body, relax.SeqExpr):
        return func
    if not any(isinstance(binding, relax.MatchCast) for block in body.blocks for binding in block.bindings):
        return func
    given = {symbol for param in func.params for symbol in _variables(param.ty)}
    blocks = [type(block)(_in_order(list(block.bindings), given)) for block in body.blocks]
    return relax.Function(func.params, relax.SeqExpr(blocks, body.body), func.ret_ty, func.is_pure, func.attrs)


def _in_order(bindings: list[relax.Binding], given: set[tvm.ir.Var]) -> list[relax.Binding]:
    """The same, each behind what it needs and otherwise in the order in which they stand.

    Symbols that are `given` have their values already: a `match_cast` only compares with these.
    """
    makers: dict[tvm.ir.Var, int] = {}
    for place, binding in enumerate(bindings):
        makers[binding.var] = place
        if isinstance(binding, relax.MatchCast):
            for symbol in _variables(binding.ty):
                if symbol not in given:
                    makers.setdefault(symbol, place)
    ordered: dict[int, relax.Binding] = {}
    met: set[int] = set()

    def put(place: int) -> bool:
        """Whether the binding, with all that it needs before it, could be put behind the others."""
        if place in met:
            return place in ordered
        met.add(place)
        binding = bindings[place]
        own = [] if isinstance(binding, relax.MatchCast) else _variables(binding.var.ty)
        needs = {makers[needed] for needed in (*_variables(binding.value), *own) if needed in makers}
        if not all(put(needed) for needed in sorted(needs)):
            return False
        ordered[place] = binding
        return True

    fits = len(makers) > len(bindings) and all(put(place) for place in range(len(bindings)))
    return list(ordered.values()) if fits else bindings


def _variables(value: object) -> list[tvm.ir.Var]:
    """The variables of the graph, and those of shapes, in an expression or type."""
    found: list[tvm.ir.Var] = []
    tvm_ffi.structural_walk(value, (tvm.ir.Var, found.append))
    return found
