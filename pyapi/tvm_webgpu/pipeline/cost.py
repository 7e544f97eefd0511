"""What a kernel function must compute and move, for profiles: an unscheduled TIR function in, two amounts out.

Amounts are numbers, or where they depend on symbols postfix lists as the manifest has them: `(2, "n", "*")`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import reduce

import tvm
import tvm_ffi
from tvm import s_tir, tirx

from tvm_webgpu.package import Kernel, Postfix

OPERATIONS = (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Min, tirx.Max)
"""One each, as a call such as exp is; a fused multiply-add so counts as two."""

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
    """Operations on floating-point numbers, and bytes that have to be read and written at least; None: unknown."""

    flops: Postfix | None
    bytes: Postfix | None


def cost_of(func: tirx.PrimFunc) -> Cost:
    """The cost of one call: each parameter is moved once, or only as many elements of it as the loops touch."""
    counter = _Counter(set(func.params))
    counter.visit(func.body, _number(1))
    if counter.unknown:
        return Cost(None, None)
    analyzer = tvm.sym.Analyzer()
    for buffer in counter.accesses:
        for var in _symbols(buffer):
            analyzer.bind(var, tvm.ir.Range(_number(1), _number(1 << 31)))

    def smaller(a: tirx.Expr, b: tirx.Expr) -> tirx.Expr:
        if analyzer.can_prove(a <= b):
            return a
        return b if analyzer.can_prove(b <= a) else tirx.Min(a, b)

    moved = [
        smaller(_product(buffer.shape), accesses) * _bytes(buffer.dtype)
        for buffer, accesses in counter.accesses.items()
    ]
    return Cost(*(_postfix(analyzer.simplify(_sum(terms))) for terms in (counter.flops, moved)))


def with_cost(kernel: Kernel, func: tirx.PrimFunc) -> Kernel:
    """The kernel that the function became, with its cost as far as the kernel's scalars can tell it."""
    names = {scalar.name for scalar in kernel.scalars} | set(POSTFIX.values())
    cost = cost_of(func)

    def known(amount: Postfix | None) -> Postfix | None:
        texts = {item for item in amount if isinstance(item, str)} if isinstance(amount, tuple) else set()
        return amount if texts <= names else None

    return replace(kernel, flops=known(cost.flops), traffic=known(cost.bytes))


class _Counter:
    """Walks statements with the number of times that each is run."""

    def __init__(self, parameters: set[tirx.Var]) -> None:
        self.parameters = parameters
        self.flops: list[tirx.Expr] = []
        self.accesses: dict[tirx.Buffer, tirx.Expr] = {}
        self.unknown = False

    def visit(self, stmt: tirx.Stmt, times: tirx.Expr) -> None:
        match stmt:
            case tirx.SeqStmt():
                for each in stmt.seq:
                    self.visit(each, times)
            case tirx.For():
                self.visit(stmt.body, times * stmt.extent.astype("int64"))
            case s_tir.SBlockRealize():
                self.visit(stmt.block.body, times)
            case tirx.AttrStmt():
                extent = stmt.value.astype("int64") if stmt.attr_key == "thread_extent" else 1
                self.visit(stmt.body, times * extent)
            case tirx.IfThenElse():
                self.visit(stmt.then_case, times)
                if stmt.else_case is not None:
                    self.visit(stmt.else_case, times)
            case tirx.BufferStore():
                self._access(stmt.buffer, times)
                self._evaluate(stmt.value, times)
            case tirx.AllocBuffer() | tirx.DeclBuffer() | tirx.Bind() | tirx.Evaluate():
                pass
            case _:  # a loop that ends when data says so
                self.unknown = True

    def _evaluate(self, value: tirx.Expr, times: tirx.Expr) -> None:
        operations = 0

        def visit(node: tirx.Expr) -> None:
            nonlocal operations
            if isinstance(node, tvm.ir.TensorLoad):
                self._access(node.source, times)
            elif _is_float(node) and isinstance(node, (*OPERATIONS, tvm.ir.Call)):
                choice = isinstance(node, tvm.ir.Call) and getattr(node.op, "name", "").endswith("if_then_else")
                operations += 0 if choice else 1

        tvm_ffi.structural_walk(value, (tvm.ir.Expr, visit), order="post")
        if operations:
            self.flops.append(times * operations)

    def _access(self, buffer: tirx.Buffer, times: tirx.Expr) -> None:
        if buffer in self.parameters:
            before = self.accesses.get(buffer)
            self.accesses[buffer] = times if before is None else before + times


def _is_float(node: tirx.Expr) -> bool:
    return str(node.ty.dtype).startswith(("float", "bfloat"))


def _number(value: int) -> tirx.IntImm:
    return tirx.IntImm("int64", value)


def _symbols(buffer: tirx.Buffer) -> set[tirx.Var]:
    found: set[tirx.Var] = set()
    for extent in buffer.shape:
        tvm_ffi.structural_walk(extent, (tirx.Var, found.add), order="post")
    return found


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
