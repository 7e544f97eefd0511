"""Every plan of the attention rule over shapes that it does not divide."""

from __future__ import annotations

import pytest
from tvm_webgpu.codegen.schedule import Limits, attention
from tvm_webgpu.codegen.schedule.blocks import NotApplicable

from tests.schedule import cases
from tests.schedule.check import assert_same

PLANS = [attention.MANY, *attention.PLANS, attention.Attention(16, 32, 128), attention.Attention(32, 8, 256)]


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_plan(plan: attention.Attention) -> None:
    (func,) = cases.functions("attention_bias").values()
    assert len(assert_same(func, attention.schedule(func, Limits(), plan))) == 1


def test_heads_that_fit_no_workgroup_are_left_to_other_rules() -> None:
    (func,) = cases.functions("attention_wide").values()
    with pytest.raises(NotApplicable, match="too wide"):
        attention.schedule(func, Limits(workgroup_bytes=2048))


def test_a_softmax_is_no_attention() -> None:
    (func,) = cases.functions("softmax").values()
    with pytest.raises(NotApplicable):
        attention.recognise(func)
