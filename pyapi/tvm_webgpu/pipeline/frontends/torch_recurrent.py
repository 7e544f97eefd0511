"""Recurrent layers of PyTorch, kept whole: a definition by other operators would repeat them for every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import relax, tirx
from tvm.relax import op

from tvm_webgpu.codegen.schedule.recurrent import Cell, Function
from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.pipeline.frontends.recurrent import Operands, layer
from tvm_webgpu.pipeline.frontends.torch_scope import Scope


def _relu(x: tirx.Expr) -> tirx.Expr:
    return tirx.max(x, tirx.const(0, str(x.ty.dtype)))


def _layers(kind: str, gates: str, functions: Sequence[Function]) -> Callable[[Scope], Any]:
    """A stack of layers of one kind: outputs and last states (of an LSTM memories, too), those of all layers joined."""

    def convert(scope: Scope) -> Any:
        named, bb = scope.named, scope.importer.block_builder
        first = named["hx"] if isinstance(named["hx"], list | tuple) else (named["hx"],)
        biased, stack, ways = bool(named["has_biases"]), int(named["num_layers"]), 1 + bool(named["bidirectional"])
        weights = list(named["params"])
        each = 4 if biased else 2
        if len(weights) != stack * ways * each:
            raise UnsupportedError("proj_size: project the outputs behind the layer")
        if named["train"] and named["dropout"]:
            raise UnsupportedError("dropout while training: export the module after .eval()")
        cell = Cell(kind, gates, (False, True)[:ways], (tuple(functions),) * ways)
        swap = lambda value: scope.emit(op.permute_dims(value, [1, 0, 2]))  # noqa: E731
        value = swap(named["input"]) if named["batch_first"] else named["input"]
        states: list[list[relax.Expr]] = [[], []]
        for place in range(stack):
            own = weights[place * ways * each : (place + 1) * ways * each]
            joined = [_joined(scope, own[index::each]) for index in range(each)]
            begin = [_rows(scope, tensor, place * ways, ways) for tensor in first]
            given = Operands(value, *joined, *[None] * (4 - each), *begin)
            made = layer(bb, cell, given)
            for found, state in zip(states, (made.state, made.memory)):
                found.extend([] if state is None else [state])
            steps, _, batch, units = made.outputs.ty.shape
            beside = scope.emit(op.permute_dims(made.outputs, [0, 2, 1, 3]))
            value = scope.emit(op.reshape(beside, [steps, batch, ways * int(units)]))
        ends = [scope.emit(op.concat(found, axis=0)) if stack > 1 else found[0] for found in states if found]
        return (swap(value) if named["batch_first"] else value, *ends)

    return convert


def _joined(scope: Scope, tensors: Sequence[relax.Expr]) -> relax.Expr:
    """One tensor of those of all directions."""
    rows = [scope.emit(op.expand_dims(tensor, 0)) for tensor in tensors]
    return rows[0] if len(rows) == 1 else scope.emit(op.concat(rows, axis=0))


def _rows(scope: Scope, tensor: relax.Expr, start: int, count: int) -> relax.Expr:
    if tensor.ty.shape[0] == count:
        return tensor
    return scope.emit(op.strided_slice(tensor, [0], [start], [start + count]))


RECURRENT: dict[str, Callable[[Scope], Any]] = {
    "lstm.input": _layers("LSTM", "ifgo", (tirx.sigmoid, tirx.tanh, tirx.tanh)),
    "gru.input": _layers("GRU", "rzn", (tirx.sigmoid, tirx.tanh)),
    "rnn_tanh.input": _layers("RNN", "h", (tirx.tanh,)),
    "rnn_relu.input": _layers("RNN", "h", (_relu,)),
}
