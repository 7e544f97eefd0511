"""Front ends: whatever a user calls a model in; an IRModule with named inputs and outputs out.

`FRONTENDS` is the table: the first row whose predicate accepts the model imports it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tvm_webgpu.errors import InputError
from tvm_webgpu.pipeline.frontends import onnx, relax, script, torch
from tvm_webgpu.pipeline.model import ImportOptions, Model


class Frontend(NamedTuple):
    """One kind of model; `load` takes the model as given and the options of the import."""

    kind: str
    accepts: Callable[[object], bool]
    load: Callable[[object, ImportOptions], Model]


def _has_suffix(*suffixes: str) -> Callable[[object], bool]:
    return lambda model: isinstance(model, str | os.PathLike) and str(model).endswith(suffixes)


def _is_function_of_file(model: object) -> bool:
    path, _, function = str(model).rpartition(":")
    return isinstance(model, str) and path.endswith(".py") and function.isidentifier()


def _load_script(model: object, options: ImportOptions) -> Model:
    result = script.call(str(model))
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
        result, params = result
        options = options.with_params(params)
    if isinstance(result, str | os.PathLike):
        raise InputError(f"{model} gave a path; return the model itself")
    return load_model(result, options.with_name(str(model).rpartition(":")[2]))


FRONTENDS: Sequence[Frontend] = (
    Frontend("Relax IRModule", relax.accepts, relax.load),
    Frontend("ONNX ModelProto", onnx.accepts, onnx.load),
    Frontend("torch ExportedProgram", torch.accepts, torch.load),
    Frontend("path.onnx", _has_suffix(".onnx"), onnx.load_file),
    Frontend("path.pt2", _has_suffix(".pt2"), torch.load_file),
    Frontend("module.py:function", _is_function_of_file, _load_script),
)


def load_model(model: object, options: ImportOptions) -> Model:
    """Imports a model by the first front end that accepts it; InputError if none does or the file is bad."""
    for frontend in FRONTENDS:
        if frontend.accepts(model):
            return frontend.load(model, options)
    kinds = ", ".join(frontend.kind for frontend in FRONTENDS)
    if isinstance(model, str | os.PathLike):
        where = "" if Path(str(model)).exists() else ", and there is no such file"
        raise InputError(f"don't know what kind of model {str(model)!r} is{where}; known are {kinds}")
    raise InputError(f"can't compile a {type(model).__module__}.{type(model).__qualname__}; known are {kinds}")
