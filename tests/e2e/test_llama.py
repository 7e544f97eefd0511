"""A Llama-like decoder with a KV cache: a prompt and tokens one by one, against NumPy in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.e2e.compare import TOLERANCE, relative_error
from tests.e2e.executors import EXECUTORS, Earlier, Run
from tests.models.llama import Config, Reference, Weights, llama

PROMPT = [5, 17, 300, 42, 9, 123, 77]
DECODED = [250, 3, 499, 0]


@pytest.fixture(scope="module", params=["float32", "float16"])
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Weights, Path]:
    import tvm_webgpu

    module, weights = llama(dtype=request.param)
    folder = tmp_path_factory.mktemp("llama") / "package"
    features = ["f16"] if request.param == "float16" else []
    tvm_webgpu.compile(module, target="webgpu", name="llama", params=weights, features=features).save(folder)
    return request.param, weights, folder


def steps() -> list[tuple[str, list[int]]]:
    return [("prefill", PROMPT), *(("decode", [token]) for token in DECODED)]


@pytest.mark.parametrize("executor", ["node", "wgpu"])
def test_decodes(executor: str, decoder: tuple[str, Weights, Path]) -> None:
    from tvm_webgpu.package import Package

    dtype, weights, folder = decoder
    package = Package.load(folder)
    create = package.entry("_initialize_effect")
    assert len(create.outputs) == 2 * Config().layers
    runs, total = [Run({}, create.name)], 0
    caches = [Earlier(0, output.name) for output in create.outputs]
    for name, tokens in steps():
        total += len(tokens)
        ids, length, *cache_inputs = package.entry(name).inputs
        inputs = {ids.name: np.array([tokens], "int32"), length.name: total}
        inputs |= {port.name: cache for port, cache in zip(cache_inputs, caches, strict=True)}
        runs.append(Run(inputs, name))
        caches = [Earlier(len(runs) - 1, output.name) for output in package.entry(name).outputs[1:]]
    _, *results = EXECUTORS[executor](folder, runs)
    reference = Reference(weights)
    for (_, tokens), result in zip(steps(), results, strict=True):
        (logits,) = result.values()
        assert relative_error(logits[0, 0], reference.step(tokens)) <= TOLERANCE[dtype]
