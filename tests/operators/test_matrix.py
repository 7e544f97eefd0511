"""A part of the operator table in every run of the tests: each operator once, its dtypes in turn; the whole by

python -m tests.operators
"""

from __future__ import annotations

import pytest

from .runner import in_node, run_cases
from .table import GROUPS, LARGE, sample

# Every so many of the sample run here, and every so many of those in Node too.
STEP, NODE_STEP = 5, 20


def problems(outcomes) -> str:
    return "\n".join(f"{o.case}: {o.problem}" for o in outcomes if o.problem)


@pytest.mark.parametrize("group", [group for group in GROUPS if group != LARGE])
def test_operators_give_what_numpy_gives(group):
    assert not problems(run_cases([case for case in sample()[::STEP] if case.row.group == group]))


def test_operators_in_node():
    cases = [case for case in sample() if case.dtype not in ("bfloat16", "float64")]
    assert not problems(run_cases(cases[::NODE_STEP], runner=in_node))


def test_half_precision_arithmetic_of_the_device():
    cases = [case for case in sample("float16") if case.dtype == "float16"]
    assert not problems(run_cases(cases[::14], {"kind": "webgpu", "feature.f16": True}))
