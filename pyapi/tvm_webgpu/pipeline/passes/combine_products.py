"""Joins matrix products of the same left operand with constant weights into one, as of queries, keys and values.

One product with three times the columns keeps three times as many cores busy as each of them, and is one launch. The
results are slices of its result; only products whose results are read by operators that take a slice into their own
kernel are joined.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relax
from tvm.relax import op
from tvm.relax.expr_functor import PyExprMutator, PyExprVisitor, mutator, visitor

from tvm_webgpu.pipeline.model import to_numpy
from tvm_webgpu.pipeline.passes.fold_constants import constant

MAX_COLUMNS = 8192
"""Wider products fill a GPU by themselves."""

MAX_ROWS = 1024

TAKES_SLICES = {
    *(f"relax.{name}" for name in ("reshape", "permute_dims", "expand_dims", "squeeze", "strided_slice", "split")),
    *(f"relax.{name}" for name in ("add", "subtract", "multiply", "divide", "sigmoid", "tanh", "erf", "exp")),
    *(f"relax.nn.{name}" for name in ("attention", "attention_bias", "relu", "gelu", "gelu_tanh", "silu")),
}
"""Operators that read through a slice at no cost."""


@dataclass
class _Branch:
    """One product: the call whose value is replaced (the product, or the addition behind it), weights and bias."""

    final: relax.Call
    weights: np.ndarray
    bias: np.ndarray | None


@visitor
class _Reader(PyExprVisitor):
    """What each variable is bound to, and which calls read it."""

    def __init__(self) -> None:
        self.readers: dict[relax.Var, list[tuple[relax.Var, relax.Expr]]] = {}
        self.products: list[tuple[relax.Var, relax.Call]] = []

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        value = binding.value
        fields = list(value.args) if isinstance(value, relax.Call) else [value]
        for arg in [x for a in fields for x in (a.fields if isinstance(a, relax.Tuple) else [a])]:
            if isinstance(arg, relax.Var):
                self.readers.setdefault(arg, []).append((binding.var, value))
        if isinstance(value, relax.Call) and getattr(value.op, "name", "") == "relax.matmul":
            self.products.append((binding.var, value))


def _array(expr: relax.Expr, rank: int) -> np.ndarray | None:
    if not isinstance(expr, tvm.ir.GenericConst) or len(expr.ty.shape) != rank:
        return None
    return to_numpy(expr.value)


def _branch(reader: _Reader, var: relax.Var, call: relax.Call) -> _Branch | None:
    weights = _array(call.args[1], 2)
    shape = call.ty.shape
    if weights is None or shape is None or not isinstance(call.args[0], relax.Var):
        return None
    rows = [int(d) for d in list(shape)[:-1] if isinstance(d, tvm.tirx.IntImm)]
    if weights.shape[1] > MAX_COLUMNS or int(np.prod(rows)) > MAX_ROWS:
        return None
    readers = reader.readers.get(var, [])
    branch = _Branch(call, weights, None)
    if len(readers) == 1 and (added := _added(readers[0][1], var, weights.shape[1])) is not None:
        branch = _Branch(readers[0][1], weights, added)
        readers = reader.readers.get(readers[0][0], [])
    takes = [isinstance(c, relax.Call) and getattr(c.op, "name", "") in TAKES_SLICES for _, c in readers]
    return branch if takes and all(takes) else None


def _added(call: relax.Expr, var: relax.Var, columns: int) -> np.ndarray | None:
    """The constant row that the call adds to the variable."""
    if not isinstance(call, relax.Call) or getattr(call.op, "name", "") != "relax.add":
        return None
    other = call.args[1] if call.args[0].same_as(var) else call.args[0]
    bias = _array(other, 1)
    return bias if bias is not None and bias.shape == (columns,) else None


@dataclass
class _Group:
    left: relax.Var
    branches: list[_Branch]
    joined: relax.Var | None = None
    offsets: list[int] = field(default_factory=list)


def _groups(func: relax.Function) -> list[_Group]:
    reader = _Reader()
    reader.visit_expr(func)
    found: dict[tuple[relax.Var, bool, str], _Group] = {}
    for var, call in reader.products:
        branch = _branch(reader, var, call)
        if branch is not None:
            key = (call.args[0], branch.bias is None, str(branch.weights.dtype))
            found.setdefault(key, _Group(call.args[0], [])).branches.append(branch)
    return [group for group in found.values() if len(group.branches) > 1]


@mutator
class _Joiner(PyExprMutator):
    def __init__(self, groups: list[_Group]):
        super().__init__(None)
        self.groups = groups

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        for group in self.groups:
            for index, branch in enumerate(group.branches):
                if branch.final.same_as(call):
                    return self._slice(group, index)
        return super().visit_call_(call)

    def _slice(self, group: _Group, index: int) -> relax.Expr:
        if group.joined is None:
            weights = constant(np.concatenate([b.weights for b in group.branches], axis=1))
            joined = self.builder_.emit(op.matmul(self.visit_expr(group.left), weights))
            biases = [b.bias for b in group.branches if b.bias is not None]
            if biases:
                joined = self.builder_.emit(op.add(joined, constant(np.concatenate(biases))))
            group.joined = joined
            group.offsets = [0, *np.cumsum([b.weights.shape[1] for b in group.branches]).tolist()]
        axis = int(group.joined.ty.ndim) - 1
        begin, end = group.offsets[index : index + 2]
        return op.strided_slice(group.joined, [axis], [begin], [end])


@tvm.transform.module_pass(opt_level=0, name="CombineProducts")
class CombineProducts:
    """The pass; see the module's text. Wants constants folded."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        functions = dict(mod.functions)
        for gvar, func in mod.functions.items():
            if isinstance(func, relax.Function) and (groups := _groups(func)):
                functions[gvar] = _Joiner(groups).visit_expr(func)
        return tvm.IRModule(functions, attrs=mod.attrs)
