"""RNN, GRU and LSTM of ONNX (https://onnx.ai/onnx/operators) as kernels that loop over steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from tvm import relax, tirx
from tvm.relax import op

from tvm_webgpu.codegen.schedule.recurrent import Cell, Function
from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.pipeline.frontends.recurrent import Operands, layer

Value: TypeAlias = relax.Expr | None
Activation: TypeAlias = Callable[[tirx.Expr, float, float], tirx.Expr]


def _number(like: tirx.Expr, value: float) -> tirx.Expr:
    return tirx.const(value, str(like.ty.dtype))


def _hard_sigmoid(x: tirx.Expr, alpha: float, beta: float) -> tirx.Expr:
    line = _number(x, alpha) * x + _number(x, beta)
    return tirx.max(tirx.min(line, _number(x, 1)), _number(x, 0))


ACTIVATIONS: dict[str, tuple[Activation, float | None, float | None]] = {
    "affine": (lambda x, a, b: _number(x, a) * x + _number(x, b), 1.0, 0.0),
    "elu": (lambda x, a, b: tirx.Select(x > 0, x, _number(x, a) * (tirx.exp(x) - 1)), 1.0, None),
    "hardsigmoid": (_hard_sigmoid, 0.2, 0.5),
    "leakyrelu": (lambda x, a, b: tirx.Select(x > 0, x, _number(x, a) * x), 0.01, None),
    "relu": (lambda x, a, b: tirx.max(x, _number(x, 0)), None, None),
    "scaledtanh": (lambda x, a, b: _number(x, a) * tirx.tanh(_number(x, b) * x), 1.0, 1.0),
    "sigmoid": (lambda x, a, b: tirx.sigmoid(x), None, None),
    "softplus": (lambda x, a, b: tirx.max(x, _number(x, 0)) + tirx.log(tirx.exp(-tirx.abs(x)) + 1), None, None),
    "softsign": (lambda x, a, b: x / (tirx.abs(x) + 1), None, None),
    "tanh": (lambda x, a, b: tirx.tanh(x), None, None),
    "thresholdedrelu": (lambda x, a, b: tirx.Select(x > _number(x, a), x, _number(x, 0)), 1.0, None),
}
"""By lower-case name: how it is written, and the defaults of alpha and beta; None where it has none."""

CELLS = {"RNN": ("h", ("Tanh",)), "GRU": ("zrn", ("Sigmoid", "Tanh")), "LSTM": ("iofg", ("Sigmoid", "Tanh", "Tanh"))}
"""The gates in the order of ONNX's weights, and the activations unless others are named."""

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def recurrent(kind: str) -> Callable[[relax.BlockBuilder, Sequence[Value], dict], relax.Expr]:
    """The conversion of a layer: X, W, R, B, sequence_lens, initial_h, initial_c, P in; Y, Y_h, Y_c out."""
    gates, activations = CELLS[kind]

    def convert(bb: relax.BlockBuilder, inputs: Sequence[Value], attrs: dict) -> relax.Expr:
        x, weights, recurrence, bias, lengths, state, memory, peepholes = [*inputs, *[None] * 8][:8]
        if recurrence is None or not isinstance(recurrence.ty.shape, relax.ShapeExpr):
            raise UnsupportedError("the recurrence's weights must have a shape that is known")
        batch_first = bool(attrs.get("layout"))

        def swap(value: relax.Expr) -> relax.Expr:
            return bb.emit(op.permute_dims(value, [1, 0, 2])) if batch_first else value

        reverse = DIRECTIONS[_text(attrs.get("direction", "forward"))]
        cell = Cell(
            kind,
            gates,
            reverse,
            _functions(attrs, activations, len(reverse)),
            reset_after=bool(attrs.get("linear_before_reset", 0)),
            input_forget=bool(attrs.get("input_forget", 0)),
        )
        of_inputs, of_states = _halves(bb, bias, len(gates) * int(recurrence.ty.shape[2]))
        given = Operands(
            swap(x),
            weights,
            recurrence,
            of_inputs,
            of_states,
            state=None if state is None else swap(state),
            memory=None if memory is None else swap(memory),
            peepholes=peepholes,
            lengths=lengths,
        )
        made = layer(bb, cell, given)
        outputs = bb.emit(op.permute_dims(made.outputs, [2, 0, 1, 3])) if batch_first else made.outputs
        return relax.Tuple([outputs, swap(made.state), *([] if made.memory is None else [swap(made.memory)])])

    return convert


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _halves(bb: relax.BlockBuilder, bias: Value, width: int) -> tuple[Value, Value]:
    """The biases of the inputs' product and of the states'."""
    if bias is None:
        return None, None
    first, second = (bb.emit(op.strided_slice(bias, [1], [start], [start + width])) for start in (0, width))
    return first, second


def _functions(attrs: dict, usual: Sequence[str], ways: int) -> tuple[tuple[Function, ...], ...]:
    """The activations of every direction: names, alphas and betas lie one after the other for all directions."""
    names = [_text(name).lower() for name in attrs.get("activations", ())] or [name.lower() for name in usual] * ways
    if unknown := [name for name in names if name not in ACTIVATIONS]:
        raise UnsupportedError(f"activation {unknown[0]!r}; there are {', '.join(ACTIVATIONS)}")
    alphas, betas = iter(attrs.get("activation_alpha", ())), iter(attrs.get("activation_beta", ()))
    bound = float(attrs.get("clip", 0))
    functions: list[Function] = []
    for name in names:
        write, alpha, beta = ACTIVATIONS[name]
        # The values given are of the activations that want one, in order.
        alpha = 0.0 if alpha is None else float(next(alphas, alpha))
        beta = 0.0 if beta is None else float(next(betas, beta))

        def activate(
            x: tirx.Expr, write: Activation = write, alpha: float = alpha, beta: float = beta
        ) -> tirx.Expr:
            clipped = tirx.max(tirx.min(x, _number(x, bound)), _number(x, -bound)) if bound else x
            return write(clipped, alpha, beta)

        functions.append(activate)
    each = len(usual)
    return tuple(tuple(functions[way * each : (way + 1) * each]) for way in range(ways))
