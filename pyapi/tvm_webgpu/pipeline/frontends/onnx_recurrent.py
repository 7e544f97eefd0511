"""RNN, GRU and LSTM as steps over a sequence of known length (https://onnx.ai/onnx/operators)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tvm_webgpu.pipeline.frontends.onnx_body import Body, Definition

MAX_STEPS = 1024
"""The longest sequence: every step is a few kernels' launches of its own."""

Activation = Callable[[Body, str, float, float], str]



def _scaled(body: Body, x: str, factor: float) -> str:
    return body.Mul(x, body.scalar(factor, 0))


ACTIVATIONS: dict[str, tuple[Activation, float | None, float | None]] = {
    "affine": (lambda b, x, alpha, beta: b.Add(_scaled(b, x, alpha), b.scalar(beta, 0)), 1.0, 0.0),
    "elu": (lambda b, x, alpha, beta: b.Elu(x, alpha=alpha), 1.0, None),
    "hardsigmoid": (lambda b, x, alpha, beta: b.HardSigmoid(x, alpha=alpha, beta=beta), 0.2, 0.5),
    "leakyrelu": (lambda b, x, alpha, beta: b.LeakyRelu(x, alpha=alpha), 0.01, None),
    "relu": (lambda b, x, alpha, beta: b.Relu(x), None, None),
    "scaledtanh": (lambda b, x, alpha, beta: _scaled(b, b.Tanh(_scaled(b, x, beta)), alpha), 1.0, 1.0),
    "sigmoid": (lambda b, x, alpha, beta: b.Sigmoid(x), None, None),
    "softplus": (lambda b, x, alpha, beta: b.Softplus(x), None, None),
    "softsign": (lambda b, x, alpha, beta: b.Softsign(x), None, None),
    "tanh": (lambda b, x, alpha, beta: b.Tanh(x), None, None),
    "thresholdedrelu": (lambda b, x, alpha, beta: b.ThresholdedRelu(x, alpha=alpha), 1.0, None),
}
"""By lower-case name: how it is written, and the defaults of alpha and beta; None where it has none."""


@dataclass(frozen=True)
class Direction:
    """What one direction of a layer works with; biases and peepholes are [gates * hidden], or empty without."""

    recurrence: str
    """[hidden, gates * hidden]"""
    bias: str
    hidden: int
    peepholes: str
    activations: Sequence[Callable[[str], str]]


def _gate(body: Body, value: str, index: int, hidden: int, count: int = 1) -> str:
    return body.Slice(value, starts=[index * hidden], ends=[(index + count) * hidden], axes=[-1])


def _rnn_step(body: Body, at: Direction, x: str, h: str, c: str) -> tuple[str, str]:
    (f,) = at.activations
    total = body.Add(x, body.MatMul(h, at.recurrence))
    return f(body.Add(total, at.bias) if at.bias else total), c


def _gru_step(body: Body, at: Direction, x: str, h: str, c: str) -> tuple[str, str]:
    f, g = at.activations
    n = at.hidden

    def projected(value: str, first: int, count: int) -> str:
        result = body.MatMul(value, _gate(body, at.recurrence, first, n, count))
        return body.Add(result, _gate(body, at.bias, first, n, count)) if at.bias else result

    update_reset = f(body.Add(_gate(body, x, 0, n, 2), projected(h, 0, 2)))
    update, reset = _gate(body, update_reset, 0, n), _gate(body, update_reset, 1, n)
    if body.attr("linear_before_reset", 0):
        inner = body.Mul(reset, projected(h, 2, 1))
    else:
        inner = projected(body.Mul(reset, h), 2, 1)
    new = g(body.Add(_gate(body, x, 2, n), inner))
    return body.Add(new, body.Mul(update, body.Sub(h, new))), c


def _lstm_step(body: Body, at: Direction, x: str, h: str, c: str) -> tuple[str, str]:
    f, g, last = at.activations
    n = at.hidden
    total = body.Add(x, body.MatMul(h, at.recurrence))
    gates = body.Add(total, at.bias) if at.bias else total

    def peeped(index: int, state: str) -> str:
        gate = _gate(body, gates, index, n)
        return body.Add(gate, body.Mul(_gate(body, at.peepholes, index, n), state)) if at.peepholes else gate

    let_in = f(peeped(0, c))
    # The peepholes lie in the order input, output, forget, as the gates do.
    keep = body.Sub(body.scalar(1.0, 0), let_in) if body.attr("input_forget", 0) else f(peeped(2, c))
    state = body.Add(body.Mul(keep, c), body.Mul(let_in, g(_gate(body, gates, 3, n))))
    return body.Mul(f(peeped(1, state)), last(state)), state


@dataclass(frozen=True)
class Cell:
    """How many gates' weights it has, its activations, and its step."""

    gates: int
    activations: tuple[str, ...]
    step: Callable[[Body, Direction, str, str, str], tuple[str, str]]


CELLS = {
    "RNN": Cell(1, ("Tanh",), _rnn_step),
    "GRU": Cell(3, ("Sigmoid", "Tanh"), _gru_step),
    "LSTM": Cell(4, ("Sigmoid", "Tanh", "Tanh"), _lstm_step),
}


def recurrent(cell: Cell) -> Definition:
    """The definition of a layer: X, W, R, B, sequence_lens, initial_h, initial_c, P in; Y, Y_h, Y_c out."""

    def define(body: Body) -> Sequence[str]:
        batch_first = bool(body.attr("layout", 0))
        steps = body.extent(0, 1 if batch_first else 0)
        if steps > MAX_STEPS:
            raise body.unsupported(f"{steps} steps; at most {MAX_STEPS}")
        x = body.Transpose(body.input(0), perm=[1, 0, 2]) if batch_first else body.input(0)
        ways = {"forward": ["forward"], "reverse": ["reverse"], "bidirectional": ["forward", "reverse"]}
        layers = [
            _direction(body, cell, x, index, way == "reverse", steps)
            for index, way in enumerate(ways[body.attr("direction", "forward")])
        ]
        y = body.Concat(*(layer[0] for layer in layers), axis=1)  # [steps, directions, batch, hidden]
        finals = [body.Concat(*(layer[i] for layer in layers), axis=0) for i in (1, 2)]
        if batch_first:
            y = body.Transpose(y, perm=[2, 0, 1, 3])
            finals = [body.Transpose(final, perm=[1, 0, 2]) for final in finals]
        return [y, *finals]

    return define


def _direction(body: Body, cell: Cell, x: str, index: int, reverse: bool, steps: int) -> tuple[str, str, str]:
    hidden = body.extent(2, 2)
    at = _of_direction(body, cell, index, hidden)
    weights = body.Transpose(_row(body, body.input(1), index), perm=[1, 0])
    # All steps' inputs at once, in one product.
    inputs = body.MatMul(x, weights)
    if body.has(3):
        inputs = body.Add(inputs, _gate(body, _row(body, body.input(3), index), 0, cell.gates * hidden))
    h, c = _initial(body, 5, index, hidden), _initial(body, 6, index, hidden)
    outputs: dict[int, str] = {}
    for t in reversed(range(steps)) if reverse else range(steps):
        # A step's number is an operand, not an attribute, so that all steps share their kernels.
        new_h, new_c = cell.step(body, at, _row(body, inputs, t), h, c)
        out = new_h
        if body.has(4):
            lengths = body.Unsqueeze(body.Cast(body.input(4), to=7), axes=[1])
            running = body.Less(np.array(t, np.int64), lengths)
            out = body.Where(running, new_h, body.scalar(0.0, 0))
            new_h, new_c = body.Where(running, new_h, h), body.Where(running, new_c, c) if new_c != c else c
        h, c = new_h, new_c
        outputs[t] = body.Unsqueeze(out, axes=[0, 1])
    y = body.Concat(*(outputs[t] for t in range(steps)), axis=0)
    return y, body.Unsqueeze(h, axes=[0]), body.Unsqueeze(c, axes=[0])


def _row(body: Body, value: str, index: int) -> str:
    return body.Gather(value, np.array(index, np.int64), axis=0)


def _initial(body: Body, position: int, index: int, hidden: int) -> str:
    """[batch, hidden]; zeros unless given."""
    if body.has(position):
        value = body.Transpose(body.input(position), perm=[1, 0, 2]) if body.attr("layout", 0) else body.input(position)
        return _row(body, value, index)
    batch = body.dims(0)[0 if body.attr("layout", 0) else 1]
    return body.name(np.zeros((batch or 1, hidden), body.scalar(0.0, 0).dtype))  # broadcasts


def _of_direction(body: Body, cell: Cell, index: int, hidden: int) -> Direction:
    count = cell.gates * hidden
    return Direction(
        recurrence=body.Transpose(_row(body, body.input(2), index), perm=[1, 0]),
        bias=body.Slice(_row(body, body.input(3), index), starts=[count], ends=[2 * count], axes=[0])
        if body.has(3)
        else "",
        hidden=hidden,
        peepholes=_row(body, body.input(7), index) if body.has(7) else "",
        activations=_activations(body, cell, index),
    )


def _activations(body: Body, cell: Cell, index: int) -> list[Callable[[str], str]]:
    """Those of a direction: names, alphas and betas lie one after the other for all directions."""
    each = len(cell.activations)
    names = [name.decode().lower() for name in body.attr("activations", ())] or [
        name.lower() for name in cell.activations * (index + 1)
    ]
    if unknown := [name for name in names if name not in ACTIVATIONS]:
        raise body.unsupported(f"activation {unknown[0]!r}; there are {', '.join(ACTIVATIONS)}")
    alphas, betas = iter(body.attr("activation_alpha", ())), iter(body.attr("activation_beta", ()))
    bound = body.attr("clip")
    result: list[Callable[[str], str]] = []
    for name in names:
        write, alpha, beta = ACTIVATIONS[name]
        # The values given are of the activations that want one, in order.
        alpha = 0.0 if alpha is None else next(alphas, alpha)
        beta = 0.0 if beta is None else next(betas, beta)

        def activate(x: str, write: Activation = write, alpha: float = alpha, beta: float = beta) -> str:
            if bound:
                x = body.Min(body.Max(x, body.scalar(-bound, 0)), body.scalar(bound, 0))
            return write(body, x, alpha, beta)

        result.append(activate)
    return result[index * each : (index + 1) * each]
