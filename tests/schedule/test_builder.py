"""Names of values in a kernel that is being written: one for each value, wherever it can be seen and stays the same."""

from __future__ import annotations

import tvm_ffi
from tvm import tirx
from tvm_webgpu.codegen.schedule.builder import Kernel


def names(stmt: tirx.Stmt) -> list[str]:
    """What the statement names, in order."""
    found: list[str] = []
    tvm_ffi.structural_walk(stmt, (tirx.Bind, lambda bind: found.append(bind.var.name)))
    return found


def test_a_value_has_one_name() -> None:
    kernel = Kernel()
    x = kernel.variable("x", 100)
    first = kernel.let("first", x * 3 + 1)
    assert kernel.let("second", x * 3 + 1).same_as(first)
    with kernel.when(x < 50):
        assert kernel.let("inside", x * 3 + 1).same_as(first)
        assert not kernel.let("other", x * 3 + 2).same_as(first)
    assert names(kernel.finish()) == ["first", "other"]


def test_a_name_within_a_guard_is_not_seen_behind_it() -> None:
    kernel = Kernel()
    x = kernel.variable("x", 100)
    with kernel.when(x < 50):
        inside = kernel.let("inside", x * 3)
    assert not kernel.let("behind", x * 3).same_as(inside)
    assert names(kernel.finish()) == ["inside", "behind"]


def test_what_memory_holds_gets_a_name_each_time() -> None:
    kernel = Kernel()
    held = kernel.alloc("held", "float32", 1, "local")
    kernel.store(held, 0, tirx.const(1, "float32"))
    before = kernel.let("before", kernel.load(held, 0))
    kernel.store(held, 0, tirx.const(2, "float32"))
    assert not kernel.let("after", kernel.load(held, 0)).same_as(before)
    index = kernel.alloc("index", "int64", 1, "local")
    at = kernel.let("at", kernel.load(index, 0) * 2)
    kernel.store(index, 0, tirx.const(2, "int64"))
    assert not kernel.let("later", kernel.load(index, 0) * 2).same_as(at)


def test_behind_a_guard_nothing_is_known_of_a_value_that_it_bounds() -> None:
    kernel = Kernel()
    x = kernel.variable("x", 100)
    own = kernel.let("own", x * 3)
    with kernel.when(own < 4):
        kernel.know(own, 4)
        assert isinstance(kernel.simplify(own < 4), tirx.IntImm)
        kernel.sync()
    assert not isinstance(kernel.simplify(kernel.let("behind", x * 3) < 4), tirx.IntImm)


def test_floats_are_arithmetic_too() -> None:
    kernel = Kernel()
    x = tirx.Var("x", "float32")
    assert kernel.let("a", x * x).same_as(kernel.let("b", x * x))
    called = tirx.exp(x)
    assert not kernel.let("c", called).same_as(kernel.let("d", called))
