"""PyTorch: a torch.export ExportedProgram or a .pt2 file in, a Relax module out, by TVM's importer with our table."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_webgpu.errors import InputError, UnsupportedError
from tvm_webgpu.pipeline.model import ImportOptions, Model, Signature, fingerprint

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def accepts(model: object) -> bool:
    """Whether this is a torch.export.ExportedProgram (without importing torch)."""
    return type(model).__name__ == "ExportedProgram" and type(model).__module__.startswith("torch.")


def load_file(path: object, options: ImportOptions) -> Model:
    """Reads a .pt2 file; InputError if torch is not installed, or the file is missing or no exported program."""
    try:
        import torch
    except ImportError as error:
        raise InputError(f"reading {path} needs PyTorch: pip install torch") from error
    if not Path(str(path)).is_file():
        raise InputError(f"can't read {path}: no such file")
    try:
        program = torch.export.load(str(path))
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{path} is not an exported program: {reason[0]}") from error
    return load(program, options.with_name(Path(str(path)).stem))


def load(program: ExportedProgram, options: ImportOptions) -> Model:
    """Imports an ExportedProgram; its dynamic dimensions stay symbolic, its parameters become constants."""
    if options.shapes:
        raise InputError("shapes of an exported program are fixed when it is exported")
    signature = program.graph_signature
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # TVM's importer imports torch, which is not there where only ONNX is used.
            from tvm_webgpu.pipeline.frontends.torch_decompose import decompose
            from tvm_webgpu.pipeline.frontends.torch_import import import_program

            plain = decompose(program)
            _refuse_state(plain)
            mod = import_program(plain)
    except UnsupportedError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UnsupportedError(f"PyTorch program can't be imported: {reason[-1]}") from error
    names = {
        fingerprint(tensor.detach().cpu().numpy()): name
        for name, tensor in program.state_dict.items()
        if "bfloat16" not in str(tensor.dtype)
    }
    return Model(options.name or "model", mod, {"main": Signature(tuple(signature.user_inputs))}, names)


def _refuse_state(program: ExportedProgram) -> None:
    """What a call changes would be lost: a package keeps nothing between calls."""
    from torch.export.graph_signature import OutputKind

    kinds = {OutputKind.BUFFER_MUTATION: "buffer", OutputKind.USER_INPUT_MUTATION: "input"}
    for spec in program.graph_signature.output_specs:
        if spec.kind in kinds:
            raise UnsupportedError(
                f"PyTorch program can't be imported: it changes its {kinds[spec.kind]} {spec.target!r}, which a "
                "package can't keep from call to call; take it as an input and return it as an output"
            )
