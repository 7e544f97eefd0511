"""Relax: an IRModule and its parameters in, the same module with the parameters bound as constants out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tvm
from tvm import relax

from tvm_webgpu.errors import InputError
from tvm_webgpu.pipeline.model import ImportOptions, Model, Signature, fingerprint


def accepts(model: object) -> bool:
    """Whether this is a tvm.IRModule."""
    return isinstance(model, tvm.IRModule)


def load(mod: tvm.IRModule, options: ImportOptions) -> Model:
    """Takes every public Relax function as an entry and binds the parameters that `options.params` names.

    A function with the attribute `num_input` (from `nn.Module.export_tvm`, for example) has its parameters
    after its inputs; InputError names those that are not given.
    """
    if options.shapes:
        raise InputError("shapes of an IRModule are part of it")
    given = {name: _tensor(name, value) for name, value in options.params.items()}
    entries: dict[str, Signature] = {}
    used: set[str] = set()
    for gvar in sorted(mod.get_global_vars(), key=lambda gvar: gvar.name_hint):
        func, name = mod[gvar], gvar.name_hint
        if not isinstance(func, relax.Function) or not func.attrs or "global_symbol" not in func.attrs:
            continue
        params = [param.name for param in func.params]
        bound = {param: given[param] for param in params if param in given}
        count = func.attrs.get("num_input")
        if count is not None and (missing := [param for param in params[int(count) :] if param not in bound]):
            raise InputError(f"entry {name!r} needs parameters that were not given: {', '.join(missing)}")
        if bound:
            mod = relax.transform.BindParams(name, bound)(mod)
            used.update(bound)
        entries[name] = Signature(tuple(param for param in params if param not in bound))
    if not entries:
        raise InputError("the IRModule has no public Relax function to use as an entry")
    if unused := set(given) - used:
        raise InputError(f"no entry has a parameter named {', '.join(sorted(unused))}")
    names = {fingerprint(tensor.numpy()): name for name, tensor in given.items() if str(tensor.dtype) != "bfloat16"}
    return Model(options.name or "model", mod, entries, names)


def _tensor(name: str, value: object) -> tvm.runtime.Tensor:
    if isinstance(value, tvm.runtime.Tensor):
        return value
    if isinstance(value, Mapping) or not hasattr(value, "__array__"):
        raise InputError(f"parameter {name!r} is a {type(value).__name__}, not an array")
    return tvm.runtime.tensor(np.asarray(value))
