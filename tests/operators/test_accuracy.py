"""Functions of floats keep within their bounds on this device and on the wasm host, at infinities and NaN too."""

from __future__ import annotations

import pytest

from . import accuracy
from .host import host_results
from .runner import compile_cases, in_python


@pytest.fixture(scope="module")
def on_device():
    return accuracy.measure_all(in_python(compile_cases(accuracy.cases()), accuracy.inputs()))


@pytest.mark.parametrize("name", [f.name for f in accuracy.FUNCTIONS])
def test_device(on_device, name):
    measured = on_device[name]
    assert measured.share <= 1, f"{measured.ulps:.1f} ulp at {measured.at}"
    assert not measured.wrong


@pytest.fixture(scope="module")
def on_host():
    return accuracy.measure_all(host_results())


@pytest.mark.parametrize("name", [f.name for f in accuracy.FUNCTIONS])
def test_host(on_host, name):
    measured = on_host[name]
    assert measured.share <= 1, f"{measured.ulps:.1f} ulp at {measured.at}"
    assert not measured.wrong
