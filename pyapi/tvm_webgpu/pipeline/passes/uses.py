"""Counts how often each variable of a Relax function is read."""

from __future__ import annotations

from collections import Counter

from tvm import relax
from tvm.relax.expr_functor import PyExprVisitor, visitor


@visitor
class _Counter(PyExprVisitor):
    def __init__(self) -> None:
        self.uses: Counter[relax.Var] = Counter()

    def visit_var_(self, var: relax.Var) -> None:
        self.uses[var] += 1

    def visit_dataflow_var_(self, var: relax.Var) -> None:
        self.uses[var] += 1

    def visit_var_def_(self, var: relax.Var) -> None:
        pass

    def visit_dataflow_var_def_(self, var: relax.Var) -> None:
        pass


def count_uses(func: relax.Function) -> Counter[relax.Var]:
    """The number of reads of every variable in the function's body."""
    counter = _Counter()
    counter.visit_expr(func.body)
    return counter.uses
