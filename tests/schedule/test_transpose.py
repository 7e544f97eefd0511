"""Transpositions through workgroup memory: squares that do not divide the axes, and what is left to others."""

from __future__ import annotations

import pytest
from tvm.relax import op as R
from tvm_webgpu.codegen.schedule import Limits, Scheduler, transpose
from tvm_webgpu.codegen.schedule.blocks import NotApplicable
from tvm_webgpu.codegen.schedule.transpose import Transpose

from tests.schedule import cases
from tests.schedule.check import assert_same

SHAPES = {
    "plain": (lambda bb, x: R.permute_dims(x, [1, 0]), (70, 45)),
    "to_channels_last": (lambda bb, x: R.permute_dims(x, [0, 2, 3, 1]), (2, 18, 7, 9)),
    "to_channels_first": (lambda bb, x: R.permute_dims(x, [0, 3, 1, 2]), (2, 7, 9, 18)),
    "tokens": (lambda bb, x: R.permute_dims(bb.emit(R.reshape(x, (2, 18, 63))), [0, 2, 1]), (2, 18, 7, 9)),
    "half": (lambda bb, x: R.permute_dims(x, [1, 0]), (33, 20, cases.F16)),
}


@pytest.mark.parametrize("plan", [Transpose(), Transpose(16, 4)], ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_square(name: str, plan: Transpose, monkeypatch: pytest.MonkeyPatch) -> None:
    build, shape = SHAPES[name]
    monkeypatch.setitem(cases.CASES, name, cases.case("transpose", build, shape))
    (func,) = cases.functions(name).values()
    assert len(assert_same(func, transpose.schedule(func, Limits(), plan))) == 1


@pytest.mark.parametrize("name", ["add", "relu_vector", "pad", "softmax", "transpose"])
def test_what_it_leaves_to_others(name: str) -> None:
    for func in cases.functions(name).values():
        with pytest.raises(NotApplicable):
            transpose.schedule(func, Limits())


def test_software_gpus_have_no_use_for_it() -> None:
    (func,) = cases.functions("transpose_large").values()
    scheduled = Scheduler(Limits(software=True))(func, "transpose")
    assert scheduled.attrs["tvm_webgpu.schedule"] == "direct"
