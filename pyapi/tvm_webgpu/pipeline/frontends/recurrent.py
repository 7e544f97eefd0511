"""A recurrent layer as Relax: one product for the inputs of all steps, and a call of the kernels that go over them."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import relax, s_tir, tirx
from tvm.relax import op

from tvm_webgpu.codegen.schedule.recurrent import Cell, Tensors, recurrent
from tvm_webgpu.pipeline.passes.kernel_calls import buffer_like, dtype_of, parameters
from tvm_webgpu.pipeline.passes.patterns import OPAQUE, PATTERN

ATTRIBUTES = {"tirx.is_scheduled": True, "tirx.noalias": True, "tvm_webgpu.schedule": "recurrent", PATTERN: OPAQUE}


@dataclass(frozen=True)
class Operands:
    """A layer's tensors, of T steps, a batch N, inputs I, D directions, G gates, H units.

    x [T, N, I]; weights [D, G * H, I]; recurrence [D, G * H, H]; the biases [D, G * H] of either product; the first
    state and memory [D, N, H]; peepholes [D, 3 * H]; lengths [N].
    """

    x: relax.Expr
    weights: relax.Expr
    recurrence: relax.Expr
    input_bias: relax.Expr | None = None
    state_bias: relax.Expr | None = None
    state: relax.Expr | None = None
    memory: relax.Expr | None = None
    peepholes: relax.Expr | None = None
    lengths: relax.Expr | None = None


@dataclass(frozen=True)
class Results:
    """outputs [T, D, N, H]; the last state and, of an LSTM, the last memory [D, N, H]."""

    outputs: relax.Expr
    state: relax.Expr
    memory: relax.Expr | None


def layer(bb: relax.BlockBuilder, cell: Cell, given: Operands) -> Results:
    """Emits a layer. Steps and batch may be open."""
    emit, dtype = bb.emit, dtype_of(given.x)
    steps, batch, _ = given.x.ty.shape
    units = int(given.recurrence.ty.shape[2])
    states = _shapes(cell, units, steps, batch)["first"]

    def first(value: relax.Expr | None) -> relax.Expr:
        return emit(op.zeros(relax.ShapeExpr(states), dtype)) if value is None else value

    recurrence = emit(op.reshape(given.recurrence, [len(cell.reverse), len(cell.gates), units, units]))
    read = {
        "inputs": _products(bb, cell, given, units),
        "recurrence": emit(op.permute_dims(recurrence, [0, 3, 1, 2])),
        "first": first(given.state),
        "bias": _bias_of_new(bb, cell, given.state_bias, units) if _resets_product(cell) else None,
        "peepholes": given.peepholes,
        "lengths": given.lengths,
        "first_memory": first(given.memory) if cell.kind == "LSTM" else None,
    }
    read = {name: value for name, value in read.items() if value is not None}
    made = ["outputs", "last", "states", *(["memory"] if cell.kind == "LSTM" else [])]
    made += ["scratch"] if cell.kind == "GRU" and not cell.reset_after else []

    # The function has symbols of its own, whatever the extents are computed from.
    shapes = _shapes(cell, units, *parameters([steps, batch]))
    dtypes = {name: dtype_of(value) for name, value in read.items()}
    buffers = {name: buffer_like(name, shapes[name], dtypes.get(name, dtype)) for name in (*read, *made)}
    function = recurrent(cell, Tensors(**buffers))
    # RewriteDataflowReshape insists on a block.
    root = s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "root", function.body))
    name = bb.add_func(function.with_body(root).with_attrs(ATTRIBUTES), cell.kind.lower())
    outside = _shapes(cell, units, steps, batch)
    types = [relax.TensorType(outside[result], dtype) for result in made]
    found = emit(relax.call_tir(name, list(read.values()), types))
    results = {result: emit(relax.TupleGetItem(found, place)) for place, result in enumerate(made)}
    return Results(results["outputs"], results["last"], results.get("memory"))


def _shapes(cell: Cell, units: int, steps: tirx.Expr, batch: tirx.Expr) -> dict[str, list[tirx.Expr | int]]:
    """Of the kernels' buffers."""
    ways, gates = len(cell.reverse), len(cell.gates)
    state = [ways, batch, units]
    return {
        "inputs": [steps, batch, ways, gates, units],
        "recurrence": [ways, units, gates, units],
        "bias": [ways, units],
        "peepholes": [ways, 3 * units],
        "lengths": [batch],
        "outputs": [steps, *state],
        **dict.fromkeys(("first", "last", "first_memory", "memory"), state),
        **{name: [2, *state] for name in ("states", "scratch")},
    }


def _resets_product(cell: Cell) -> bool:
    return cell.kind == "GRU" and cell.reset_after


def _products(bb: relax.BlockBuilder, cell: Cell, given: Operands, units: int) -> relax.Expr:
    """The inputs of all steps times their weights, with all biases that no gate comes before."""
    steps, batch, size = given.x.ty.shape
    count = len(cell.reverse) * len(cell.gates) * units
    weights = bb.emit(op.permute_dims(bb.emit(op.reshape(given.weights, [count, size])), [1, 0]))
    found = bb.emit(op.matmul(given.x, weights))
    later = given.state_bias
    if later is not None and _resets_product(cell):
        blank = relax.op.zeros([len(cell.reverse), units], dtype_of(later))
        parts = [blank if gate == "n" else _of_gate(bb, cell, later, gate, units) for gate in cell.gates]
        later = bb.emit(op.concat([bb.emit(part) for part in parts], axis=1))
    for bias in (given.input_bias, later):
        if bias is not None:
            found = bb.emit(op.add(found, bb.emit(op.reshape(bias, [count]))))
    return bb.emit(op.reshape(found, [steps, batch, len(cell.reverse), len(cell.gates), units]))


def _bias_of_new(bb: relax.BlockBuilder, cell: Cell, bias: relax.Expr | None, units: int) -> relax.Expr | None:
    return None if bias is None else bb.emit(_of_gate(bb, cell, bias, "n", units))


def _of_gate(bb: relax.BlockBuilder, cell: Cell, value: relax.Expr, gate: str, units: int) -> relax.Expr:
    start = cell.gates.index(gate) * units
    return op.strided_slice(value, [1], [start], [start + units])
