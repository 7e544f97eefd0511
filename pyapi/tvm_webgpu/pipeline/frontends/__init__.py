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


HINTS: Mapping[str, str] = {
    "torch.nn.": "export it first: torch.export.export(model.eval(), (example,))",
    "torch.jit.": "TorchScript has no importer: torch.export.export(model.eval(), (example,)) of what it was made of",
    "tvm.relax.frontend.nn.": "export it first: mod, params = model.export_tvm({...}), then compile(mod, params=...)",
    "tvm.relax.expr.Function": 'tvm.IRModule({"main": function})',
    "tvm.tirx.function.PrimFunc": "call it from a Relax function: R.call_tir",
    "tvm.relax.vm_build.": "compile the IRModule that it was built from",
    ".pt": "weights or TorchScript; build the model, then torch.export.export(model.eval(), (example,))",
    ".pth": "weights; build the model, load them, then torch.export.export(model.eval(), (example,))",
    ".safetensors": "weights; build the model, load them, then torch.export.export(model.eval(), (example,))",
    ".gguf": "weights; export the model that they belong to as ONNX or by torch.export",
    ".tflite": "to ONNX first: python -m tf2onnx.convert --tflite m.tflite --output m.onnx",
    ".pb": "to ONNX first: python -m tf2onnx.convert",
    ".h5": 'to ONNX first: model.export("m.onnx", format="onnx") in Keras',
    ".keras": 'to ONNX first: model.export("m.onnx", format="onnx") in Keras',
    ".ort": "ONNX Runtime's own format; give the .onnx file that it was made of",
}
"""What to do with what is no model here, by the name of a type or base class (or its beginning), or a file's suffix."""


def _hint(model: object) -> str:
    if isinstance(model, str | os.PathLike):
        names = [Path(str(model)).suffix]
    else:
        names = [f"{base.__module__}.{base.__qualname__}" for base in type(model).__mro__]
    found = [
        hint
        for name in names
        for known, hint in HINTS.items()
        if name == known or (known.endswith(".") and name.startswith(known))
    ]
    return f" ({found[0]})" if found else ""


def load_model(model: object, options: ImportOptions) -> Model:
    """Imports a model by the first front end that accepts it; InputError if none does or the file is bad."""
    for frontend in FRONTENDS:
        if frontend.accepts(model):
            return frontend.load(model, options)
    kinds = ", ".join(frontend.kind for frontend in FRONTENDS)
    if isinstance(model, str | os.PathLike):
        where = "" if Path(str(model)).exists() else ", and there is no such file"
        raise InputError(f"don't know what kind of model {str(model)!r} is{where}{_hint(model)}; known are {kinds}")
    raise InputError(
        f"can't compile a {type(model).__module__}.{type(model).__qualname__}{_hint(model)}; known are {kinds}"
    )
