"""The pass: what it leaves alone, limits, errors, and sequential code that no rule knows."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm.script import ir as I
from tvm.script import tirx as T
from tvm_webgpu.codegen import schedule
from tvm_webgpu.codegen.schedule.blocks import NotApplicable
from tvm_webgpu.codegen.schedule.verify import verify
from tvm_webgpu.errors import UnsupportedError

from tests.schedule import cases, runner

TARGET = tvm.target.Target("webgpu")


def module(name: str) -> tvm.IRModule:
    """A case's functions as a module."""
    return tvm.IRModule(cases.functions(name))


def test_scheduled_functions_and_the_module_given_stay_as_they_are() -> None:
    before = module("add")
    (gvar,) = before.get_global_vars()
    untouched = before[gvar]
    once = schedule.apply(TARGET)(before)
    assert before[gvar].same_as(untouched)
    assert once[gvar].attrs["tirx.is_scheduled"]
    assert schedule.apply(TARGET)(once)[gvar].same_as(once[gvar])


def test_equal_functions_are_scheduled_once() -> None:
    scheduler = schedule.Scheduler(schedule.Limits())
    (a,), (b,) = cases.functions("conv1x1").values(), cases.functions("conv1x1").values()
    assert not a.same_as(b)
    assert scheduler(a, "a").same_as(scheduler(b, "b"))


def test_limits_come_from_the_target() -> None:
    target = tvm.target.Target({"kind": "webgpu", "max_num_threads": 64, "feature.workgroup_memory": 32768})
    assert schedule.Limits.of(target) == schedule.Limits(threads=64, workgroup_bytes=32768)


@pytest.mark.parametrize("name", ["conv3x3", "softmax", "relu_vector", "vector_matrix", "argmax"])
def test_small_limits_are_kept(name: str) -> None:
    limits = schedule.Limits(threads=32, workgroup_bytes=4096)
    for func in cases.functions(name).values():
        scheduled = schedule.Scheduler(limits)(func, name)
        verify(scheduled, limits)
        with pytest.raises(NotApplicable):
            verify(scheduled, schedule.Limits(threads=0))


@I.ir_module(s_tir=True)
class Sequential:
    @T.prim_func(private=True, s_tir=True)
    def running_sum(x: T.Buffer((4, 9), "float32"), y: T.Buffer((4, 9), "float32")):
        with T.sblock("running_sum"):
            T.reads(x[0:4, 0:9])
            T.writes(y[0:4, 0:9])
            for i in T.parallel(4):
                y[i, 0] = x[i, 0]
                for j in range(8):
                    y[i, j + 1] = y[i, j] + x[i, j + 1]


def test_sequential_code_gets_a_thread_for_each_parallel_round() -> None:
    scheduled = schedule.apply(TARGET)(Sequential)["running_sum"]
    assert scheduled.attrs["tvm_webgpu.schedule"] == "opaque"
    x = np.random.default_rng(0).standard_normal((4, 9)).astype("float32")
    outcome = runner.run(scheduled, [x, np.zeros_like(x)])
    np.testing.assert_allclose(outcome.buffers[1], np.cumsum(x, 1), rtol=1e-5, atol=1e-5)


@I.ir_module(s_tir=True)
class CallsTheHost:
    @T.prim_func(private=True, s_tir=True)
    def sort(x: T.Buffer((9,), "float32"), y: T.Buffer((9,), "float32")):
        with T.sblock("sort"):
            T.reads(x[0:9])
            T.writes(y[0:9])
            T.evaluate(T.tvm_call_packed("tvm.contrib.sort.sort", x.data, y.data))


def test_a_call_of_the_host_is_an_error_that_names_the_function() -> None:
    with pytest.raises(UnsupportedError, match="`sort`"):
        schedule.apply(TARGET)(CallsTheHost)
