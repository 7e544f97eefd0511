"""What a conversion of a PyTorch operator sees: its arguments, its result's extents, and the block to emit to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import sympy
import torch
from torch import fx
from torch.utils._sympy import functions
from tvm import relax, tirx

from tvm_webgpu.errors import UnsupportedError

if TYPE_CHECKING:
    from tvm_webgpu.pipeline.frontends.torch_import import Importer

Extent = Any  # a number or an expression


class Scope:
    """One node; `args` by position, `named` by the names of the operator's schema, defaults included."""

    def __init__(self, importer: Importer, node: fx.Node) -> None:
        self.importer, self.node = importer, node
        self.named: dict[str, Any] = {}
        schema = node.target._schema.arguments
        for place, argument in enumerate(schema):
            given = (
                node.args[place] if place < len(node.args) else node.kwargs.get(argument.name, argument.default_value)
            )
            self.named[argument.name] = importer._retrieve_args(given)
        self.args = list(self.named.values())

    def emit(self, value: relax.Expr) -> relax.Var:
        """Binds a value."""
        return self.importer.block_builder.emit(value)

    def compute(self, function: Callable, *args: Any, name: str) -> relax.Var:
        """Binds what a function of te.Tensors gives."""
        return self.importer.block_builder.emit_te(function, *args, primfunc_name_hint=name)

    def meta(self, place: int | None = None) -> torch.Tensor:
        """PyTorch's dtype and shape of an argument, or of the result."""
        value = (self.node if place is None else self.node.args[place]).meta["val"]
        return value[0] if isinstance(value, list | tuple) else value

    def dtype(self) -> str:
        """The result's."""
        return self.importer._convert_data_type(self.meta().dtype)

    def extents(self, shape: Sequence[int | torch.SymInt] | None = None) -> list[Extent]:
        """The result's shape, or another, of numbers and of the symbols of the inputs' shapes."""
        return [
            self._extent(dim.node.expr) if isinstance(dim, torch.SymInt) else int(dim)
            for dim in (self.meta().shape if shape is None else shape)
        ]

    def _extent(self, value: sympy.Expr) -> Extent:
        if isinstance(value, sympy.Integer):
            return int(value)
        if isinstance(value, sympy.Symbol):
            if value.name not in self.importer.symbols:
                raise UnsupportedError(f"its extent {value.name} depends on values")
            return self.importer.symbols[value.name]
        parts = [self._extent(part) for part in value.args]
        for kind, make in EXTENTS.items():
            if isinstance(value, kind):
                return make(*parts)
        raise UnsupportedError(f"its extent {value} is computed in a way that is not known here")

    def cast(self, value: Any, dtype: str) -> relax.Expr:
        """A tensor or a number as a tensor of this dtype."""
        if isinstance(value, bool | int | float):
            return relax.const(value, dtype)
        return value if str(value.ty.dtype) == dtype else self.emit(relax.op.astype(value, dtype))


def _fold(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def fold(first: Any, *rest: Any) -> Any:
        for other in rest:
            first = function(first, other)
        return first

    return fold


def _pair(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    wide = lambda value: tirx.IntImm("int64", value) if isinstance(value, int) else value  # noqa: E731
    return lambda a, b: function(wide(a), wide(b))


EXTENTS: dict[type, Callable[..., Any]] = {
    sympy.Add: _fold(_pair(lambda a, b: a + b)),
    sympy.Mul: _fold(_pair(lambda a, b: a * b)),
    functions.FloorDiv: _pair(tirx.floordiv),
    functions.CleanDiv: _pair(tirx.floordiv),
    functions.Mod: _pair(tirx.floormod),
    functions.PythonMod: _pair(tirx.floormod),
    functions.Max: _fold(_pair(tirx.max)),
    functions.Min: _fold(_pair(tirx.min)),
}
"""Expressions that PyTorch makes of extents."""
