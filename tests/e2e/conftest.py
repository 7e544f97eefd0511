"""Compiles each model once for all tests of a session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import onnx
import pytest

from tests.models import ONNX_MODELS

Compile = Callable[..., "Compiled"]


class Compiled(NamedTuple):
    model: onnx.ModelProto
    folder: Path


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """`compiled(name, dtype, **options of the model)`: the ONNX model and the folder of its package."""
    import tvm_webgpu

    @cache
    def compile(name: str, dtype: str = "float32", **options: object) -> Compiled:
        model = ONNX_MODELS[name](dtype=dtype, **options)
        features = ["f16"] if dtype == "float16" else []
        folder = tmp_path_factory.mktemp(name) / "package"
        tvm_webgpu.compile(model, target="webgpu", features=features).save(folder)
        return Compiled(model, folder)

    return compile
