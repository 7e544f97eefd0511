"""Random elementwise programs and reductions, scheduled by our rules, against TVM's llvm target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from hypothesis import given, reject
from hypothesis import strategies as st
from tvm import te, tirx

from tests.fuzz.expressions import DTYPES, Node, expression
from tests.fuzz.run import bounded, check
from tests.fuzz.values import array

SIZES = st.sampled_from((1, 2, 3, 4, 5, 7, 8, 16, 17, 33))


@dataclass(frozen=True)
class Program:
    """out[...] = body(operands), or its sum, least or greatest over the last axis; operands may broadcast."""

    shape: tuple[int, ...]
    operands: dict[str, tuple[str, tuple[bool, ...], tuple[int, ...]]]
    """By name: dtype, which axes are 1, and the order of the axes."""
    body: Node
    reduce: str
    seed: int


@st.composite
def programs(draw: st.DrawFn) -> Program:
    shape = tuple(draw(st.lists(SIZES, min_size=1, max_size=3)))
    operands = {}
    for index in range(draw(st.integers(1, 3))):
        broadcast = tuple(draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape))))
        order = tuple(draw(st.permutations(range(len(shape)))))
        operands[f"p{index}"] = draw(st.sampled_from(DTYPES)), broadcast, order
    names = {name: dtype for name, (dtype, _, _) in operands.items()}
    dtype = draw(st.sampled_from((*names.values(), "int32", "float32", "bool")))
    reduce = draw(st.sampled_from(("", "", "", "sum", "min", "max")))
    if reduce and dtype in ("bool", "float16"):
        dtype = "int32"
    return Program(shape, operands, draw(expression(names, dtype)), reduce, draw(st.integers(0, 2**16)))


REDUCERS = {"sum": te.sum, "min": te.min, "max": te.max}


def build(program: Program) -> tuple[tirx.PrimFunc, list[np.ndarray]]:
    rng = np.random.default_rng(program.seed)
    placeholders, arrays, orders = [], [], {}
    for name, (dtype, broadcast, order) in program.operands.items():
        sizes = [1 if broadcast[axis] else program.shape[axis] for axis in order]
        placeholders.append(te.placeholder(sizes, dtype, name))
        arrays.append(array(rng, sizes, dtype))
        orders[name] = placeholders[-1], broadcast, order

    def element(*index: tirx.Expr) -> tirx.Expr:
        def read(name: str) -> tirx.Expr:
            tensor, broadcast, order = orders[name]
            return tensor(*(tirx.const(0, "int32") if broadcast[axis] else index[axis] for axis in order))

        return program.body.make({name: (lambda name=name: read(name)) for name in orders})

    out_shape = program.shape
    if program.reduce and program.body.dtype.startswith(("uint", "float32", "int")):
        axis = te.reduce_axis((0, program.shape[-1]), "r")
        out_shape = program.shape[:-1] or (1,)
        # Sums of signed integers may overflow, which TIR leaves undefined: theirs are small.
        wrap = program.reduce == "sum" and program.body.dtype.startswith("int")

        def reduced(*index: tirx.Expr) -> tirx.Expr:
            value = element(*index[: len(program.shape) - 1], axis)
            if wrap:
                value = tirx.truncmod(value, tirx.const(3, value.ty.dtype))
            return REDUCERS[program.reduce](value, axis=axis)

        out = te.compute(out_shape, reduced, name="out")
    else:
        out = te.compute(out_shape, element, name="out")
    arrays.append(np.zeros(out_shape, program.body.dtype))
    try:
        return te.create_prim_func([*placeholders, out]), arrays
    except (ValueError, tvm.error.InternalError):
        # TVM finds that an operand of a narrowing cast is constant, and makes no constant that wraps: no function.
        reject()


def run_one(program: Program) -> None:
    func, arrays = build(program)
    check(func, func, arrays)


@bounded(40)
@given(programs())
def test_elementwise_programs_and_reductions(program: Program) -> None:
    run_one(program)
