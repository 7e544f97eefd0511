"""Every plan of the attention rule over shapes that it does not divide."""

from __future__ import annotations

import pytest
from tvm_webgpu.codegen.schedule import Limits, Scheduler, attention, attention_rows
from tvm_webgpu.codegen.schedule.blocks import NotApplicable

from tests.schedule import cases
from tests.schedule.check import assert_same

PLANS = [attention.MANY, *attention.PLANS, attention.Attention(16, 32, 128), attention.Attention(32, 8, 256)]


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_plan(plan: attention.Attention) -> None:
    (func,) = cases.functions("attention_bias").values()
    assert len(assert_same(func, attention.schedule(func, Limits(), plan))) == 1


@pytest.mark.parametrize("name", sorted(name for name in cases.CASES if name.startswith("attention")))
def test_software_gpus_do_without_barriers(name: str) -> None:
    (func,) = cases.functions(name).values()
    scheduled = Scheduler(Limits(software=True))(func, name)
    assert scheduled.attrs["tvm_webgpu.plan"].startswith("Rows")
    (launch,) = assert_same(func, scheduled)
    assert launch.threads == (16, 1, 1)
    assert "tvm_storage_sync" not in str(scheduled)


@pytest.mark.parametrize("queries", [1, 2])
def test_fewer_queries_of_a_thread(queries: int) -> None:
    (func,) = cases.functions("attention_bias").values()
    assert_same(func, attention_rows.write(func, attention.recognise(func), attention_rows.Rows(queries)))


def test_heads_that_fit_no_workgroup_are_left_to_other_rules() -> None:
    (func,) = cases.functions("attention_wide").values()
    with pytest.raises(NotApplicable, match="too wide"):
        attention.schedule(func, Limits(workgroup_bytes=2048))


def test_a_softmax_is_no_attention() -> None:
    (func,) = cases.functions("softmax").values()
    with pytest.raises(NotApplicable):
        attention.recognise(func)
