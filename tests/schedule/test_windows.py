"""Windows: patches of every form, over planes that they divide, and the choice by target."""

from __future__ import annotations

import pytest
from tvm_webgpu.codegen.schedule import Limits, Scheduler, windows
from tvm_webgpu.codegen.schedule.blocks import NotApplicable
from tvm_webgpu.codegen.schedule.windows import Window

from tests.schedule import cases
from tests.schedule.check import assert_same

PLANS = [
    ("depthwise", Window(64, 1, 1)),
    ("depthwise", Window(32, 2, 7)),
    ("depthwise_rows_of_4", Window(64, 4, 4)),
    ("depthwise_rows_of_4", Window(16, 1, 8)),
    ("depthwise_stride", Window(8, 4, 2)),
    ("max_pool", Window(8, 2, 4)),
    ("avg_pool", Window(8, 8, 1)),
]


@pytest.mark.parametrize(("name", "plan"), PLANS, ids=str)
def test_patch(name: str, plan: Window) -> None:
    (func,) = cases.functions(name).values()
    assert_same(func, windows.schedule(func, Limits(), plan))


def test_software_gpus_get_large_patches() -> None:
    (func,) = cases.functions("depthwise_rows_of_4").values()
    scheduled = Scheduler(Limits(software=True))(func, "depthwise")
    assert scheduled.attrs["tvm_webgpu.plan"] == str(Window(16, 4, 4))
    (launch,) = assert_same(func, scheduled)
    assert launch.grid == (-(-14 * 14 // 16), 32, 1)


@pytest.mark.parametrize("limits", [Limits(), Limits(software=True)], ids=["gpu", "software"])
def test_an_open_batch_is_along_x(limits: Limits) -> None:
    (func,) = cases.functions("depthwise_open").values()
    scheduled = windows.schedule(func, limits)
    (launch,) = assert_same(func, scheduled)
    assert launch.grid[1:] == (40, 1)


@pytest.mark.parametrize("name", ["conv_grouped", "softmax"])
def test_what_it_leaves_to_others(name: str) -> None:
    (func,) = cases.functions(name).values()
    with pytest.raises(NotApplicable):
        windows.schedule(func, Limits())
