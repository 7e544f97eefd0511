"""TIR expressions in, one node for all that are equal out: unrolled loops repeat most of their index arithmetic.

Equal means: of one form over the same variables and constants. Loads, calls and floating-point constants are equal only
to themselves. A node's fields cost microseconds through TVM's FFI, so each node is taken apart once.
"""

from __future__ import annotations

from tvm import ir
from tvm.ir.prim import expr as prim
from tvm_webgpu.codegen.spirv.dtypes import DType, dtype_of

BINARY = (
    prim.Add, prim.Sub, prim.Mul, prim.Div, prim.Mod, prim.FloorDiv, prim.FloorMod, prim.Min, prim.Max, prim.EQ,
    prim.NE, prim.LT, prim.LE, prim.GT, prim.GE, prim.And, prim.Or, prim.LShift, prim.RShift, prim.BitwiseAnd,
    prim.BitwiseOr, prim.BitwiseXor,
)  # fmt: skip
_BINARY = frozenset(BINARY)


class Terms:
    """The nodes of one kernel."""

    def __init__(self) -> None:
        self._same: dict[int, ir.Expr] = {}  # handle -> the node that stands for its equals
        self._known: dict[tuple, ir.Expr] = {}
        self._pure: set[int] = set()
        self._types: dict[int, DType] = {}  # by the type's handle
        self._dtypes: dict[int, DType] = {}  # by the node's
        self._keep: list[object] = []  # so that no handle is given to another node

    def __call__(self, expr: ir.Expr) -> ir.Expr:
        """The node that stands for this one."""
        handle = expr.__chandle__()
        found = self._same.get(handle)
        if found is None:
            key = self._key(expr)
            found = expr if key is None else self._known.setdefault(key, expr)
            self._same[handle] = found
            self._keep.append(expr)
            if key is not None:
                self._pure.add(handle)
        return found

    def pure(self, handle: int) -> bool:
        """Whether a node that was asked for depends on variables alone, so that it can be computed once."""
        return handle in self._pure

    def _key(self, expr: ir.Expr) -> tuple | None:
        kind = type(expr)
        if kind in _BINARY:
            a, b = self(expr.a).__chandle__(), self(expr.b).__chandle__()
            return (kind, a, b) if a in self._pure and b in self._pure else None
        if kind is prim.IntImm:
            return kind, self._type(expr), expr.value
        if kind is ir.Var:
            return kind, expr.__chandle__()
        if kind is prim.Cast:
            value = self(expr.value).__chandle__()
            return (kind, self._type(expr), value) if value in self._pure else None
        return None

    def _type(self, expr: ir.Expr) -> DType:
        type = expr.ty
        handle = type.__chandle__()
        found = self._types.get(handle)
        if found is None:
            found = self._types[handle] = dtype_of(expr)
            self._keep.append(type)
        return found

    def dtype(self, expr: ir.Expr) -> DType:
        """`dtype_of`, which asks TVM only once for each type."""
        handle = expr.__chandle__()
        found = self._dtypes.get(handle)
        if found is None:
            found = self._dtypes[handle] = self._type(expr)
            self._keep.append(expr)
        return found
