"""What passes that call finished kernels share: how a kernel takes the shapes of its tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tvm import relax, tirx

from tvm_webgpu.codegen.schedule import Limits

Shape = Sequence[tirx.Expr]


class Dispatcher(Protocol):
    """The pass that a rewrite works for."""

    limits: Limits

    def emit(self, value: relax.Expr) -> relax.Var:
        """A name for a value."""

    def kernel(self, func: tirx.PrimFunc, name: str, args: list[relax.Expr], out: object) -> relax.Expr:
        """A call of a finished kernel; `out` is the type of what it gives."""

    def places(self, keys: relax.Expr) -> relax.Expr:
        """The order, of int32, in which the elements of a vector rise; equal ones keep theirs."""


def parameters(shape: Shape) -> list[tirx.Expr]:
    """The dimensions as a kernel takes them: what is not a number becomes a variable of its own."""
    return [dim if isinstance(dim, tirx.IntImm) else tirx.Var(f"n{i}", "int64") for i, dim in enumerate(shape)]


def buffer_like(name: str, shape: Shape, dtype: str) -> tirx.Buffer:
    """A tensor of a kernel."""
    return tirx.decl_buffer(tuple(shape), dtype, name)


def dtype_of(expr: relax.Expr) -> str:
    """A tensor's dtype."""
    return str(expr.ty.dtype)
