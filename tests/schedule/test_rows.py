"""Rows: groups of every form, long rows in parts, and the choice by target."""

from __future__ import annotations

import pytest
from tvm_webgpu.codegen.schedule import Limits, Scheduler, rows
from tvm_webgpu.codegen.schedule.rows import Rows

from tests.schedule import cases
from tests.schedule.check import assert_same

PLANS = [
    ("softmax", Rows(8, 4)),
    ("softmax", Rows(64, 1, 4)),
    ("layer_norm", Rows(1, 8)),
    ("variance", Rows(16, 2, 16)),
    ("max_middle", Rows(32, 1, 2)),
]


@pytest.mark.parametrize(("name", "plan"), PLANS, ids=str)
def test_group(name: str, plan: Rows) -> None:
    (func,) = cases.functions(name).values()
    assert_same(func, rows.schedule(func, Limits(), plan))


@pytest.mark.parametrize("parts", [2, 7, 300])
def test_parts(parts: int) -> None:
    (func,) = cases.functions("sum_many").values()
    first, second = assert_same(func, rows.schedule(func, Limits(), Rows(64, 1, 8, parts)))
    assert (first.grid, second.grid) == ((parts, 1, 1), (1, 1, 1))


def test_a_long_row_occupies_all_cores() -> None:
    (func,) = cases.functions("sum_many").values()
    assert len(assert_same(func, Scheduler(Limits())(func, "sum"))) == 2


@pytest.mark.parametrize("name", ["layer_norm", "softmax_open", "sum_all", "sum_many"])
def test_software_gpus_do_without_barriers_where_rows_are_many(name: str) -> None:
    (func,) = cases.functions(name).values()
    (launch,) = assert_same(func, Scheduler(Limits(software=True))(func, name))
    assert launch.threads == ((8, 1, 1) if name.startswith("sum") else (1, 8, 1))
