"""Every rule over odd shapes: the scheduled functions on a WebGPU device against the unscheduled ones through LLVM."""

from __future__ import annotations

import pytest
from tvm_webgpu.codegen import schedule

from tests.schedule import cases
from tests.schedule.check import assert_same

SCHEDULER = schedule.Scheduler(schedule.Limits())


@pytest.mark.parametrize("name", cases.CASES)
def test_case(name: str) -> None:
    scheduled = {}
    for function, func in cases.functions(name).items():
        scheduled[function] = SCHEDULER(func, function)
        assert_same(func, scheduled[function])
    rules = [f.attrs["tvm_webgpu.schedule"] for f in scheduled.values()]
    assert cases.CASES[name].rule in rules


@pytest.mark.parametrize("name", ["conv1x1", "conv3x3", "depthwise", "matmul_epilogue", "softmax", "layer_norm"])
def test_everything_fuses_into_one_launch(name: str) -> None:
    (func,) = cases.functions(name).values()
    assert len(assert_same(func, SCHEDULER(func, name))) == 1
