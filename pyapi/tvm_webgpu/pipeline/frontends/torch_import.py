"""TVM's importer of exported programs, with conversions of our own, checked operator by operator against PyTorch.

What an operator gives has, in the exported program, a dtype and a shape. An importer that gives another shape has
misread its arguments, so that the model is refused; another dtype is cast.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import tvm
import tvm_ffi
from torch import fx
from tvm import relax
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter
from tvm.sym import detect_linear_equation
from tvm.tirx.analysis import undefined_vars

from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.pipeline.frontends.torch_convert import CONVERTERS, Scope

if TYPE_CHECKING:
    from torch.export import ExportedProgram

RANDOM = re.compile(
    r"^(rand|randn|randint|randperm|bernoulli|multinomial|normal|uniform|exponential|poisson)(_like)?\."
)


class Importer(ExportedProgramImporter):
    """The importer of one program."""

    def create_convert_map(self) -> dict[str, Callable[[fx.Node], Any]]:
        """TVM's table with ours over it, every conversion checked."""
        rules = dict(super().create_convert_map())
        rules = {name: rule for name, rule in rules.items() if not RANDOM.match(name)}
        rules.update({name: self._ours(rule) for name, rule in CONVERTERS.items()})
        return {name: self._checked(rule) for name, rule in rules.items()}

    @classmethod
    def known_operators(cls) -> set[str]:
        """The names of all operators that can be converted."""
        return set(cls().convert_map)

    def create_input_vars(self, exported_program: ExportedProgram) -> Any:
        """TVM's, but an extent such as 4 * h, of which h stands nowhere alone, is a symbol that is solved for h."""
        rest, inputs, bounds = super().create_input_vars(exported_program)
        extents = [extent for value in inputs.values() for extent in value.ty.shape]
        self.symbols = {symbol.name: symbol for extent in extents for symbol in undefined_vars(extent)}
        known = {extent.name for extent in extents if isinstance(extent, tvm.ir.Var)}
        self.solved: dict[tvm.ir.Var, tvm.ir.Expr] = {}
        self.derived: dict[str, relax.TensorType] = {}
        for name, value in inputs.items():
            shape = list(value.ty.shape)
            for axis, extent in enumerate(shape):
                unknown = [symbol for symbol in undefined_vars(extent) if symbol.name not in known]
                if not unknown:
                    continue
                shape[axis] = tvm.tirx.Var(f"{name}_{axis}", "int64")
                self.solved[unknown[0]] = _solve(extent, unknown, shape[axis])
                known.add(unknown[0].name)
            if not tvm_ffi.structural_equal(shape, list(value.ty.shape)):
                self.derived[name] = value.ty
                inputs[name] = relax.Var(name, relax.TensorType(shape, value.ty.dtype))
        return rest, inputs, bounds

    def _translate_fx_graph(self, graph_module: Any, nodes: Any, inputs_vars: Any, *custom: Any) -> Any:
        if inputs_vars and self.solved:
            bb, inputs_vars = self.block_builder, dict(inputs_vars)
            symbols, values = zip(*self.solved.items(), strict=True)
            bb.match_cast(bb.emit(relax.ShapeExpr(values)), relax.ShapeType(symbols))
            for name, kind in self.derived.items():
                inputs_vars[name] = bb.match_cast(inputs_vars[name], kind)
        return super()._translate_fx_graph(graph_module, nodes, inputs_vars, *custom)

    def _ours(self, rule: Callable[[Scope], Any]) -> Callable[[fx.Node], Any]:
        return lambda node: rule(Scope(self, node))

    def _checked(self, rule: Callable[[fx.Node], Any]) -> Callable[[fx.Node], Any]:
        def convert(node: fx.Node) -> Any:
            name = node.target.__name__
            try:
                return self._fit(node, rule(node))
            except UnsupportedError as error:
                raise UnsupportedError(
                    f"PyTorch operator {name} ({_where(node)}) can't be imported: {error}"
                ) from error
            except Exception as error:
                reason = str(error).strip().splitlines() or [type(error).__name__]
                raise UnsupportedError(
                    f"PyTorch operator {name} ({_where(node)}) can't be imported: {reason[-1]}"
                ) from error

        return convert

    def _fit(self, node: fx.Node, value: Any) -> Any:
        """The value in the dtype that PyTorch has; UnsupportedError where its shape is another."""
        meta = node.meta.get("val")
        if not isinstance(meta, torch.Tensor) or not isinstance(value, relax.Expr):
            return value
        value = value if hasattr(value, "ty") else self.block_builder.emit(value)
        if not isinstance(value.ty, relax.TensorType):
            return value
        if not _agrees(value.ty, meta):
            raise UnsupportedError(f"TVM's importer makes {value.ty.shape} of it where PyTorch has {tuple(meta.shape)}")
        wanted = self._convert_data_type(meta.dtype)
        return value if str(value.ty.dtype) == wanted else self.block_builder.emit(relax.op.astype(value, wanted))

    def _check_unsupported_func_type(self, nodes: Any) -> None:
        unknown = {
            (node.target.__name__, _where(node))
            for node in nodes
            if node.op == "call_function" and node.target.__name__ not in self.convert_map
        }
        if unknown:
            places = ", ".join(f"{name} ({where})" for name, where in sorted(unknown))
            if any(RANDOM.match(name) for name, _ in unknown):
                places += "; random numbers must be made outside: make them an input"
            raise UnsupportedError(f"PyTorch operators that can't be imported: {places}")


def import_program(program: ExportedProgram) -> tvm.IRModule:
    """The module, with the one function "main"; UnsupportedError names the operator and where the model calls it."""
    mod = Importer().from_exported_program(
        program,
        keep_params_as_input=False,
        unwrap_unit_return_tuple=True,
        no_bind_return_tuple=False,
        custom_convert_map=None,
    )
    for name, function in mod.functions.items():
        if name.name_hint != "main":  # a branch of torch.cond, which no user calls
            mod[name] = function.without_attr("global_symbol")
    return mod


def _agrees(kind: relax.TensorType, meta: torch.Tensor) -> bool:
    if kind.ndim != meta.ndim and kind.ndim != -1:
        return False
    if not isinstance(kind.shape, relax.ShapeExpr):
        return True
    pairs = zip(kind.shape, meta.shape, strict=True)
    return all(
        int(ours) == theirs for ours, theirs in pairs if isinstance(ours, tvm.tirx.IntImm) and isinstance(theirs, int)
    )


def _solve(extent: tvm.ir.Expr, unknown: list[tvm.ir.Var], value: tvm.ir.Var) -> tvm.ir.Expr:
    """The symbol's value, of an extent a * symbol + b."""
    symbol = unknown[0]
    terms = detect_linear_equation(extent, [symbol]) if len(unknown) == 1 else []
    if len(terms) != 2 or not all(isinstance(term, tvm.tirx.IntImm) for term in terms) or int(terms[0]) == 0:
        raise UnsupportedError(f"an input's extent {extent} can't be solved for {symbol.name}")
    return tvm.tirx.floordiv(value - terms[1], terms[0])


def _where(node: fx.Node) -> str:
    """The line of the model's source that made the node, else the node's name."""
    lines = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    return f"{lines[-1][0]}:{lines[-1][1]}" if lines else f"node {node.name}"
