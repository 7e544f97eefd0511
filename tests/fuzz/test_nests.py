"""Random kernels of a workgroup with loops of open extent, branches, workgroup memory and barriers, against llvm.

The same program is written twice: once with threads and barriers, once with a serial loop over the threads in each of
the phases between barriers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tvm import tirx
from tvm_webgpu.codegen.schedule.builder import Kernel, i64

from tests.fuzz.expressions import Expr, Node, expression
from tests.fuzz.run import bounded, check
from tests.fuzz.values import array

KINDS = ("int32", "uint32", "float32", "int64", "int8", "bool", "float16")
PLAIN = {"i": "int32", "t": "int32"}


@dataclass(frozen=True)
class Phase:
    """`extent` times, where `guard` holds, the thread's own value becomes `body`; then all is published, or not.

    `stride` and `shift` choose the element of workgroup memory, and of the input, that is read.
    """

    extent: int | None
    stride: int
    shift: int
    guard: Node | None
    body: Node
    publish: bool


@dataclass(frozen=True)
class Program:
    threads: int
    groups: int
    given: str
    value: str
    phases: tuple[Phase, ...]
    n: int
    seed: int


@st.composite
def phases(draw: st.DrawFn, given_dtype: str, value: str) -> Phase:
    names = {"own": value, "input": given_dtype, "other": value, **PLAIN}
    guard = draw(st.one_of(st.none(), expression(names, "bool", 2)))
    extent = draw(st.sampled_from((None, 1, 2, 5)))
    return Phase(
        extent,
        draw(st.integers(1, 7)),
        draw(st.integers(0, 9)),
        guard,
        draw(expression(names, value, 3)),
        draw(st.booleans()),
    )


@st.composite
def programs(draw: st.DrawFn) -> Program:
    given_dtype, value = draw(st.sampled_from(KINDS)), draw(st.sampled_from(("int32", "uint32", "int64", "float32")))
    return Program(
        draw(st.sampled_from((1, 4, 32, 33))),
        draw(st.integers(1, 3)),
        given_dtype,
        value,
        tuple(draw(st.lists(phases(given_dtype, value), min_size=1, max_size=4))),
        draw(st.integers(0, 6)),
        draw(st.integers(0, 2**16)),
    )


def keep_small(dtype: str, value: Expr) -> Expr:
    """What a loop carries on may grow; this keeps floats exact and leaves integers as they are."""
    if dtype != "float32":
        return value
    return tirx.max(tirx.min(value, tirx.const(1024.0, dtype)), tirx.const(-1024.0, dtype))


class Writer:
    """Writes a program with threads, or serially."""

    def __init__(self, program: Program, parallel: bool) -> None:
        self.program, self.parallel, self.kernel = program, parallel, Kernel()
        size = program.threads * program.groups
        self.input = tirx.decl_buffer((size,), program.given, "input")
        self.out = tirx.decl_buffer((size,), program.value, "out")
        self.n = tirx.Var("n", "int32")

    def function(self) -> tirx.PrimFunc:
        program, kernel = self.program, self.kernel
        if self.parallel:
            with kernel.threads("blockIdx.x", program.groups) as g, kernel.threads("threadIdx.x", program.threads) as t:
                own = kernel.alloc("own", program.value, 1, "local")
                shared = kernel.alloc("shared", program.value, program.threads, "shared")
                self.group(g, own, shared, t)
        else:
            with kernel.loop(program.groups, "g") as g:
                own = kernel.alloc("own", program.value, program.threads, "global")
                shared = kernel.alloc("shared", program.value, program.threads, "global")
                self.group(g, own, shared, None)
        func = tirx.PrimFunc([self.input, self.out, self.n], kernel.finish())
        return func.with_attr({"tirx.noalias": True, "tirx.is_scheduled": True})

    def each(self, t: Expr | None, write: Callable[[Expr, Expr], None]) -> None:
        """`write(thread, index of its own value)` for the thread, or for all in turn."""
        if t is not None:
            write(t, i64(0))
            return
        with self.kernel.loop(self.program.threads, "t") as serial:
            write(serial, serial)

    def group(self, g: Expr, own: tirx.Buffer, shared: tirx.Buffer, t: Expr | None) -> None:
        kernel, program = self.kernel, self.program
        zero = tirx.const(0, program.value)

        def start(thread: Expr, at: Expr) -> None:
            kernel.store(own, at, zero)
            kernel.store(shared, thread, zero)

        self.each(t, start)
        self.sync(t)
        for phase in program.phases:
            self.each(t, lambda thread, at, phase=phase: self.work(phase, g, thread, at, own, shared))
            if phase.publish:
                self.sync(t)
                self.each(t, lambda thread, at: kernel.store(shared, thread, kernel.load(own, at)))
                self.sync(t)
        size = program.threads
        self.each(t, lambda thread, at: kernel.store(self.out, g * size + thread, kernel.load(own, at)))

    def sync(self, t: Expr | None) -> None:
        if t is not None:
            self.kernel.sync()

    def work(self, phase: Phase, g: Expr, t: Expr, at: Expr, own: tirx.Buffer, shared: tirx.Buffer) -> None:
        kernel, program = self.kernel, self.program
        extent = tirx.Cast("int64", self.n) if phase.extent is None else phase.extent
        with kernel.loop(extent, "i") as i:
            place = tirx.floormod(t * phase.stride + i + phase.shift, program.threads)
            operands = {
                "own": lambda: kernel.load(own, at),
                "input": lambda: kernel.load(self.input, g * program.threads + place),
                "other": lambda: kernel.load(shared, place),
                "i": lambda: tirx.Cast("int32", i),
                "t": lambda: tirx.Cast("int32", t),
            }

            def update() -> None:
                kernel.store(own, at, keep_small(program.value, phase.body.make(operands)))

            if phase.guard is None:
                update()
            else:
                # TVM's search for missing barriers refuses workgroup memory in a branch's condition itself.
                with kernel.when(kernel.let("guard", phase.guard.make(operands))):
                    update()


def run_one(program: Program) -> None:
    rng = np.random.default_rng(program.seed)
    size = program.threads * program.groups
    arguments = [array(rng, (size,), program.given), np.zeros(size, program.value), program.n]
    check(Writer(program, parallel=False).function(), Writer(program, parallel=True).function(), arguments)


@bounded(30)
@given(programs())
def test_kernels_of_a_workgroup(program: Program) -> None:
    run_one(program)
