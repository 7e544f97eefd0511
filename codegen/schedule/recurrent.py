"""Recurrent layers: a loop over steps on the host, each of which launches the same kernel with the step's number.

What does not depend on the step before, the product of all inputs with their weights, is done for all steps at once
before; a kernel here adds the product with the last state, one thread for each unit, and applies the gates.
Lengths and batches may be open, and no code grows with them.

Shapes, where T is steps, N the batch, D directions, G gates, H units:

    inputs      [T, N, D, G, H]   products with their weights, biases added
    recurrence  [D, H, G, H]      the unit of the last state first
    states      [D, N, H]
    outputs     [T, D, N, H]
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tvm_ffi
from tvm import tirx

from .axis import ceil_div, number
from .builder import Kernel, i64

THREADS = 64
UNROLLED = 4

Function = Callable[[tirx.Expr], tirx.Expr]


@dataclass(frozen=True)
class Cell:
    """What a layer computes at each step.

    `gates` has a letter for each gate, in the order of the weights: h (RNN); update z, reset r, new n (GRU); in i,
    forget f, new g, out o (LSTM). `functions` has for each direction the activations: of the new state (RNN); of gates,
    of the new state (GRU); of gates, of the new memory, of the memory that is put out (LSTM). `reset_after` says that a
    GRU resets the product with the last state, not the state; `input_forget` that an LSTM keeps what it lets not in.
    """

    kind: str
    gates: str
    reverse: tuple[bool, ...]
    functions: tuple[tuple[Function, ...], ...]
    reset_after: bool = True
    input_forget: bool = False


@dataclass(frozen=True)
class Tensors:
    """The buffers of a layer; `states` [2, D, N, H] is read and written in turn.

    Optional are `bias` [D, H] of the product that a GRU resets, `peepholes` [D, 3, H] in the order in, out, forget,
    `lengths` [N] of integers, `first_memory` and `memory` [D, N, H] of an LSTM, `scratch` [2, D, N, H] of a GRU that
    resets the state.
    """

    inputs: tirx.Buffer
    recurrence: tirx.Buffer
    first: tirx.Buffer
    outputs: tirx.Buffer
    last: tirx.Buffer
    states: tirx.Buffer
    bias: tirx.Buffer | None = None
    peepholes: tirx.Buffer | None = None
    lengths: tirx.Buffer | None = None
    first_memory: tirx.Buffer | None = None
    memory: tirx.Buffer | None = None
    scratch: tirx.Buffer | None = None

    def parameters(self) -> list[tirx.Buffer]:
        """Those of the function: what is read, then what is written."""
        read = (self.inputs, self.recurrence, self.first, self.bias, self.peepholes, self.lengths, self.first_memory)
        written = (self.outputs, self.last, self.states, self.memory, self.scratch)
        return [buffer for buffer in (*read, *written) if buffer is not None]


def recurrent(cell: Cell, tensors: Tensors) -> tirx.PrimFunc:
    """The function of one layer, of two kernels, or of three where a GRU resets the state."""
    kernel = Kernel()
    layer = _Layer(kernel, cell, tensors)
    layer.begin()
    with kernel.loop(number(tensors.inputs.shape[0]), "step") as step:
        if tensors.scratch is not None:
            layer.reset(step, tensors.scratch)
        layer.advance(step)
    return tirx.PrimFunc(tensors.parameters(), kernel.finish())


@dataclass(frozen=True)
class _Unit:
    """What a thread works on: the step of the launch, the input's step, and where in a state of [D, N, H]."""

    launch: tirx.Expr
    step: tirx.Expr
    direction: tirx.Expr
    row: tirx.Expr
    unit: tirx.Expr
    place: tirx.Expr


class _Layer:
    def __init__(self, kernel: Kernel, cell: Cell, tensors: Tensors):
        self.kernel, self.cell, self.tensors = kernel, cell, tensors
        steps, batch, directions, _, units = tensors.inputs.shape
        self.steps, self.batch, self.directions, self.units = steps, batch, int(directions), int(units)
        self.dtype = str(tensors.inputs.dtype)
        self.kind = self.dtype if self.dtype == "float64" else "float32"
        self.size = kernel.simplify(i64(self.directions * self.units) * batch)

    def begin(self) -> None:
        """The first states."""
        with self._threads() as index:
            self._put(self.tensors.states, index, self._read(self.tensors.first, index))
            if self.tensors.memory is not None and self.tensors.first_memory is not None:
                self._put(self.tensors.memory, index, self._read(self.tensors.first_memory, index))

    def reset(self, step: tirx.Expr, scratch: tirx.Buffer) -> None:
        """A GRU's update gate, and the state that it does not reset, for `advance`."""
        with self._threads() as index:
            at = self._unit(index, step)
            sums = self._sums(at, "zr", self._state)
            self._put(scratch, at.place, self._function(at, 0, sums["z"]))
            left = self._function(at, 0, sums["r"]) * self._state(at, at.unit)
            self._put(scratch, self.size + at.place, left)

    def advance(self, step: tirx.Expr) -> None:
        """The next state of every unit."""
        with self._threads() as index:
            at = self._unit(index, step)
            before = self._hold("before", self._state(at, at.unit))
            state = self._hold("state", STEPS[self.cell.kind](self, at, before))
            put = state
            if self.tensors.lengths is not None:
                running = self._running(at)
                put, state = tirx.Select(running, state, self._zero()), tirx.Select(running, state, before)
            self._put(self.tensors.outputs, at.step * self.size + at.place, put)
            self._put(self.tensors.last, at.place, state)
            self._put(self.tensors.states, (i64(1) - tirx.floormod(step, i64(2))) * self.size + at.place, state)

    def rnn(self, at: _Unit, _: tirx.Expr) -> tirx.Expr:
        return self._function(at, 0, self._sums(at, "h", self._state)["h"])

    def gru(self, at: _Unit, before: tirx.Expr) -> tirx.Expr:
        if self.tensors.scratch is not None:
            scratch = self.tensors.scratch
            sums = self._sums(at, "n", lambda at, unit: self._read(scratch, self.size + self._of_row(at, unit)))
            update, total = self._read(scratch, at.place), sums["n"]
        else:
            sums = self._sums(at, "zrn", self._state)
            product = sums["n"]
            if self.tensors.bias is not None:
                product = product + self._read(self.tensors.bias, at.direction * self.units + at.unit)
            update, reset = (self._hold(name, self._function(at, 0, sums[name])) for name in "zr")
            total = self._input(at, "n") + reset * product
        new = self._hold("new", self._function(at, 1, total))
        return new + update * (before - new)

    def lstm(self, at: _Unit, _: tirx.Expr) -> tirx.Expr:
        sums = self._sums(at, "ifgo", self._state)
        assert self.tensors.memory is not None
        memory = self._hold("memory", self._read(self.tensors.memory, at.place))
        let_in = self._hold("let_in", self._function(at, 0, sums["i"] + self._peephole(at, 0, memory)))
        one = tirx.const(1, self.kind)
        forgotten = sums["f"] + self._peephole(at, 2, memory)
        keep = one - let_in if self.cell.input_forget else self._function(at, 0, forgotten)
        new = self._hold("new", keep * memory + let_in * self._function(at, 1, sums["g"]))
        let_out = self._function(at, 0, sums["o"] + self._peephole(at, 1, new))
        state = self._hold("put", let_out * self._function(at, 2, new))
        kept = tirx.Select(self._running(at), new, memory) if self.tensors.lengths is not None else new
        self._put(self.tensors.memory, at.place, kept)
        return state

    @contextlib.contextmanager
    def _threads(self) -> Iterator[tirx.Expr]:
        """A thread for each element of a state."""
        kernel = self.kernel
        with (
            kernel.threads("blockIdx.x", ceil_div(number(self.size), THREADS)) as block,
            kernel.threads("threadIdx.x", THREADS) as thread,
        ):
            index = kernel.let("index", block * THREADS + thread)
            with kernel.when(index < self.size):
                kernel.know(index, self.size)
                yield index

    def _unit(self, index: tirx.Expr, step: tirx.Expr) -> _Unit:
        let = self.kernel.let
        rows = let("rows", tirx.floordiv(index, i64(self.units)))
        direction = let("direction", tirx.floordiv(rows, self.batch))
        back = self.steps - 1 - step
        if all(self.cell.reverse):
            at = back
        elif any(self.cell.reverse):
            at = tirx.Select(direction == self.cell.reverse.index(True), back, step)
        else:
            at = step
        row, unit = tirx.floormod(rows, self.batch), tirx.floormod(index, i64(self.units))
        return _Unit(step, let("at", at), direction, let("row", row), let("unit", unit), index)

    def _of_row(self, at: _Unit, unit: tirx.Expr) -> tirx.Expr:
        return (at.direction * self.batch + at.row) * self.units + unit

    def _state(self, at: _Unit, unit: tirx.Expr) -> tirx.Expr:
        """The last state of a unit of the same row."""
        return self._read(self.tensors.states, tirx.floormod(at.launch, i64(2)) * self.size + self._of_row(at, unit))

    def _input(self, at: _Unit, gate: str) -> tirx.Expr:
        gates, index = len(self.cell.gates), self.cell.gates.index(gate)
        place = (at.step * self.batch + at.row) * self.directions + at.direction
        return self._read(self.tensors.inputs, (place * gates + index) * self.units + at.unit)

    def _sums(
        self, at: _Unit, gates: str, state: Callable[[_Unit, tirx.Expr], tirx.Expr]
    ) -> dict[str, tirx.Expr]:
        """Of each gate the input and the product with the state; of a new one that is reset the product alone."""
        kernel, count = self.kernel, len(self.cell.gates)
        sums = kernel.alloc("sums", self.kind, len(gates), "local")
        for index, gate in enumerate(gates):
            alone = gate == "n" and self.tensors.scratch is None
            kernel.store(sums, index, self._zero() if alone else self._input(at, gate))
        each = UNROLLED if self.units % UNROLLED == 0 else 1
        with kernel.loop(self.units // each, "k") as k:
            for part in range(each):
                source = kernel.let("source", k * each + part)
                value = self._hold("value", state(at, source))
                for index, gate in enumerate(gates):
                    column = (at.direction * self.units + source) * count + self.cell.gates.index(gate)
                    weight = self._read(self.tensors.recurrence, column * self.units + at.unit)
                    kernel.store(sums, index, kernel.load(sums, index) + value * weight)
        return {gate: kernel.load(sums, index) for index, gate in enumerate(gates)}

    def _peephole(self, at: _Unit, gate: int, memory: tirx.Expr) -> tirx.Expr:
        if self.tensors.peepholes is None:
            return self._zero()
        return memory * self._read(self.tensors.peepholes, (at.direction * 3 + gate) * self.units + at.unit)

    def _function(self, at: _Unit, place: int, value: tirx.Expr) -> tirx.Expr:
        """An activation; directions may have different ones."""
        value = self._hold("total", value)
        first, *others = (functions[place](value) for functions in self.cell.functions)
        for other in others:
            if not tvm_ffi.structural_equal(first, other):
                return tirx.Select(at.direction == 0, first, other)
        return first

    def _running(self, at: _Unit) -> tirx.Expr:
        return at.step < tirx.Cast("int64", self.kernel.load(self.kernel.flat(self.tensors.lengths), at.row))

    def _zero(self) -> tirx.Expr:
        return tirx.const(0, self.kind)

    def _hold(self, name: str, value: tirx.Expr) -> tirx.Expr:
        return self.kernel.hold(name, value)

    def _read(self, buffer: tirx.Buffer, index: tirx.Expr) -> tirx.Expr:
        loaded = self.kernel.load(self.kernel.flat(buffer), self.kernel.simplify(index))
        return loaded if self.dtype == self.kind else tirx.Cast(self.kind, loaded)

    def _put(self, buffer: tirx.Buffer | None, index: tirx.Expr, value: tirx.Expr) -> None:
        assert buffer is not None
        value = value if self.dtype == self.kind else tirx.Cast(self.dtype, value)
        self.kernel.store(self.kernel.flat(buffer), self.kernel.simplify(index), value)


STEPS: dict[str, Callable[[_Layer, _Unit, tirx.Expr], tirx.Expr]] = {
    "RNN": _Layer.rnn,
    "GRU": _Layer.gru,
    "LSTM": _Layer.lstm,
}
