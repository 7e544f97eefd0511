"""What a kernel must compute and move at least, for profiles: a TIR function in, two amounts out.

Of a function that becomes one kernel the unscheduled form is counted: what the operator needs, whatever the tiles. Of
one that becomes several (slices of a sum, a turned operand, Winograd's transforms) each device function is: the
arithmetic of its threads and the buffers that it binds, padding of the last tiles included.

Amounts are numbers, or where they depend on symbols postfix lists as the manifest has them: `(2, "n", "*")`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import tvm
import tvm_ffi
from tvm import s_tir, tirx

from tvm_webgpu.package import Kernel, Postfix

OPERATIONS = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Min, tirx.Max)
"""One each and lane, as a call such as exp is; a fused multiply-add so counts as two."""

NO_OPERATIONS = ("tirx.if_then_else", "tirx.reinterpret")
"""Calls that give a number and compute none."""

POSTFIX = {
    tirx.Add: "+",
    tirx.Sub: "-",
    tirx.Mul: "*",
    tirx.FloorDiv: "//",
    tirx.FloorMod: "%",
    tirx.Min: "min",
    tirx.Max: "max",
}


@dataclass(frozen=True)
class Cost:
    """Operations on floating-point numbers, and bytes that have to be read and written at least; None: not in terms of
    the function's symbols."""

    flops: Postfix | None
    bytes: Postfix | None


def cost_of(func: tirx.PrimFunc) -> Cost:
    """The cost of one call: each parameter is moved once, or only as many elements of it as the loops touch.

    A loop that ends when data says so counts as one round.
    """
    counter = _Counter(func.params)
    counter.visit(func.body, _number(1))
    analyzer = tvm.sym.Analyzer()
    for size, _, _ in counter.traffic.values():
        for var in _symbols(size):
            analyzer.bind(var, tvm.ir.Range(_number(1), _number(1 << 31)))

    def smaller(a: tirx.Expr, b: tirx.Expr) -> tirx.Expr:
        if analyzer.can_prove(a <= b):
            return a
        return b if analyzer.can_prove(b <= a) else tirx.Min(a, b)

    moved = [smaller(size, accesses) * width for size, accesses, width in counter.traffic.values()]
    return Cost(*(_postfix(analyzer.simplify(_sum(terms))) for terms in (counter.flops, moved)))


def with_cost(kernel: Kernel, func: tirx.PrimFunc) -> Kernel:
    """The kernel with the cost of a function that it runs, as far as the kernel's scalars can tell it."""
    names = {scalar.name for scalar in kernel.scalars} | set(POSTFIX.values())
    cost = cost_of(func)

    def known(amount: Postfix | None) -> Postfix | None:
        texts = {item for item in amount if isinstance(item, str)} if isinstance(amount, tuple) else set()
        return amount if texts <= names else None

    return replace(kernel, flops=known(cost.flops), traffic=known(cost.bytes))


class _Counter:
    """Walks statements with the number of times that each is run.

    `traffic` has for each parameter its elements, the accesses to them, and bytes of one.
    """

    def __init__(self, parameters: Sequence[tirx.Var]) -> None:
        self.flops: list[tirx.Expr] = []
        self.traffic: dict[tirx.Var, tuple[tirx.Expr, tirx.Expr, int]] = {}
        self._parameter_of = {parameter: parameter for parameter in parameters}
        self._extents: dict[tirx.Var, tirx.Expr] = {}
        self._computed: list[set[int]] = []

    def visit(self, stmt: tirx.Stmt, times: tirx.Expr) -> None:
        """Counts a statement in a scope of its own: what was computed around it needs no arithmetic in it."""
        self._computed.append(set())
        self._statement(stmt, times)
        self._computed.pop()

    def _statement(self, stmt: tirx.Stmt, times: tirx.Expr) -> None:
        match stmt:
            case tirx.SeqStmt():
                for each in stmt.seq:
                    self._statement(each, times)
            case tirx.For():
                self._repeated(stmt.loop_var, stmt.extent, stmt.body, times)
            case tirx.AttrStmt(attr_key="thread_extent"):
                self._repeated(stmt.node.var, stmt.value, stmt.body, times)
            case tirx.AttrStmt() | tirx.While():
                self.visit(stmt.body, times)
            case s_tir.SBlockRealize():
                self.visit(stmt.block.body, times)
            case tirx.IfThenElse():
                self.visit(stmt.then_case, self._share(stmt.condition, times))
                if stmt.else_case is not None:
                    self.visit(stmt.else_case, times)
            case tirx.DeclBuffer():
                data = stmt.data.args[0] if isinstance(stmt.data, tvm.ir.Call) else stmt.data  # buffer_data(parameter)
                if data in self._parameter_of:
                    self._parameter_of[stmt.buffer] = self._parameter_of[data]
            case tirx.BufferStore():
                self._access(stmt.buffer, stmt.indices, times)
                for value in (stmt.value, *stmt.indices):
                    self._evaluate(value, times)
            case tirx.Bind():
                self._evaluate(stmt.value, times)

    def _repeated(self, var: tirx.Var, extent: tirx.Expr, body: tirx.Stmt, times: tirx.Expr) -> None:
        extent = extent.astype("int64")
        self._extents[var] = extent
        self.visit(body, times * extent)

    def _share(self, condition: tirx.Expr, times: tirx.Expr) -> tirx.Expr:
        """How often of so many times a branch is taken: for `thread < 32` and `thread == 0` it is known."""
        if isinstance(condition, (tirx.LT, tirx.EQ)) and isinstance(condition.b, tirx.IntImm):
            extent = self._extents.get(condition.a)
            if extent is not None:
                taken = condition.b.astype("int64") if isinstance(condition, tirx.LT) else _number(1)
                return tvm.tirx.floordiv(times * tvm.tirx.min(taken, extent), extent)
        return times

    def _evaluate(self, value: tirx.Expr, times: tirx.Expr) -> None:
        operations = 0

        def visit(node: tirx.Expr) -> None:
            nonlocal operations
            if isinstance(node, tvm.ir.TensorLoad):
                self._access(node.source, node.indices, times)
            elif _is_operation(node) and not self._is_known(node):
                operations += _lanes(node)

        tvm_ffi.structural_walk(value, (tvm.ir.Expr, visit), order="post")
        if operations:
            self.flops.append(times * operations)

    def _is_known(self, node: tirx.Expr) -> bool:
        """Whether the same was computed before. TVM's passes write the value of a name wherever it is used."""
        loads: list[tirx.Expr] = []
        tvm_ffi.structural_walk(node, (tvm.ir.TensorLoad, loads.append))
        if loads:  # what is read may have changed
            return False
        key = tvm_ffi.structural_hash(node)
        if any(key in computed for computed in self._computed):
            return True
        self._computed[-1].add(key)
        return False

    def _access(self, buffer: tirx.Buffer, indices: Sequence[tirx.Expr], times: tirx.Expr) -> None:
        parameter = self._parameter_of.get(buffer)
        if parameter is not None:
            accesses = times * math.prod(map(_lanes, indices))
            if parameter in self.traffic:
                accesses += self.traffic[parameter][1]
            self.traffic[parameter] = (_product(buffer.shape), accesses, _bytes(buffer.dtype))


def _is_operation(node: tirx.Expr) -> bool:
    call = isinstance(node, tvm.ir.Call) and getattr(node.op, "name", "") not in NO_OPERATIONS
    return _is_float(node) and (call or isinstance(node, OPERATIONS))


def _is_float(node: tirx.Expr) -> bool:
    return str(node.ty.dtype).startswith(("float", "bfloat"))


def _number(value: int) -> tirx.IntImm:
    return tirx.IntImm("int64", value)


def _symbols(size: tirx.Expr) -> set[tirx.Var]:
    found: set[tirx.Var] = set()
    tvm_ffi.structural_walk(size, (tirx.Var, found.add), order="post")
    return found


def _lanes(node: tirx.Expr) -> int:
    return int(tvm.runtime.DataType(str(node.ty.dtype)).lanes)


def _bytes(dtype: str) -> int:
    return math.ceil(tvm.runtime.DataType(str(dtype)).bits / 8)


def _product(shape: list[tirx.Expr]) -> tirx.Expr:
    return reduce(lambda a, b: a * b.astype("int64"), shape, _number(1))


def _sum(terms: list[tirx.Expr]) -> tirx.Expr:
    return reduce(lambda a, b: a + b, terms, _number(0))


def _postfix(expr: tirx.Expr) -> Postfix | None:
    """The expression as the manifest has it; None if something in it has no name there."""
    items: list[int | str] = []

    def visit(node: tirx.Expr) -> bool:
        match node:
            case tirx.IntImm():
                items.append(int(node))
            case tirx.Var():
                items.append(node.name)
            case tirx.Cast():
                return visit(node.value)
            case _ if type(node) in POSTFIX:
                if not (visit(node.a) and visit(node.b)):
                    return False
                items.append(POSTFIX[type(node)])
            case _:
                return False
        return True

    if not visit(expr):
        return None
    return items[0] if len(items) == 1 and isinstance(items[0], int) else tuple(items)
