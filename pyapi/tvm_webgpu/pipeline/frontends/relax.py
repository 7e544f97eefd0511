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
    after its inputs; InputError names those that are not given. What was set apart for a library (`Codegen`) is
    compiled like the rest, functions inside of functions become functions of the module.
    """
    if options.shapes:
        raise InputError("shapes of an IRModule are part of it")
    _check(mod)
    mod = relax.transform.LambdaLift()(_for_no_library(mod))
    given = {name: _tensor(name, value) for name, value in options.params.items()}
    entries: dict[str, Signature] = {}
    used: set[str] = set()
    for gvar in sorted(mod.get_global_vars(), key=lambda gvar: gvar.name_hint):
        func, name = mod[gvar], gvar.name_hint
        if not isinstance(func, relax.Function) or not func.attrs or "global_symbol" not in func.attrs:
            continue
        params = [param.name for param in func.params]
        bound = {param.name: given[param.name] for param in func.params if param.name in given}
        for param in func.params:
            if param.name in bound:
                _check_parameter(param, bound[param.name])
        count = func.attrs.get("num_input")
        if count is not None and (missing := [param for param in params[int(count) :] if param not in bound]):
            raise InputError(f"entry {name!r} needs parameters that were not given: {', '.join(missing)}")
        if bound:
            mod = relax.transform.BindParams(name, bound)(mod)
            used.update(bound)
        entries[name] = Signature(tuple(param for param in params if param not in bound))
    if not entries:
        raise InputError(
            "the IRModule has no public Relax function to use as an entry: one with the attribute global_symbol, which "
            "calls its TIR functions by R.call_tir"
        )
    if unused := set(given) - used:
        raise InputError(f"no entry has a parameter named {', '.join(sorted(unused))}")
    names = {fingerprint(tensor.numpy()): name for name, tensor in given.items() if str(tensor.dtype) != "bfloat16"}
    return Model(options.name or "model", mod, entries, names)


def _check(mod: tvm.IRModule) -> None:
    """InputError for modules that later passes would stumble over, or of which nothing would be left to compile."""
    try:
        relax.analysis.well_formed(mod)
    except Exception as error:
        reason = str(error).strip().splitlines() or ["relax.analysis.well_formed(mod) says where"]
        raise InputError(f"the IRModule is not well-formed: {reason[-1]}") from error
    if mod.global_infos and mod.global_infos.get("vdevice"):
        raise InputError("the IRModule places tensors on devices (vdevice); a package has one: leave them out")
    lowered = set()

    def visit(expr: relax.Expr) -> None:
        if isinstance(expr, relax.Call) and isinstance(expr.op, tvm.ir.Op) and expr.op.name.startswith("relax.vm."):
            lowered.add(expr.op.name)

    for func in mod.functions.values():
        if isinstance(func, relax.Function):
            relax.analysis.post_order_visit(func, visit)
    if lowered:
        raise InputError(
            f"the IRModule is lowered for TVM's virtual machine already ({', '.join(sorted(lowered))}); "
            "give it as it was before, scheduled or not"
        )


def _for_no_library(mod: tvm.IRModule) -> tvm.IRModule:
    """Functions that a library was to run (`relax.transform.FuseOpsByPattern`) as private functions like others."""
    functions = {
        gvar: func.without_attr("Codegen").without_attr("global_symbol")
        if isinstance(func, relax.Function) and func.attrs and "Codegen" in func.attrs
        else func
        for gvar, func in mod.functions.items()
    }
    return tvm.IRModule(functions, attrs=mod.attrs, global_infos=mod.global_infos)


def _check_parameter(param: relax.Var, value: tvm.runtime.Tensor) -> None:
    """InputError unless the array is what the function says that it takes."""
    ty = param.ty
    if not isinstance(ty, relax.TensorType):
        raise InputError(f"parameter {param.name!r} is no tensor but {ty}: it can only be an input")
    if ty.dtype and str(ty.dtype) != str(value.dtype):
        raise InputError(f"parameter {param.name!r} is {value.dtype}, the module takes {ty.dtype}: use .astype")
    dims = list(ty.shape.values) if isinstance(ty.shape, relax.ShapeExpr) else None
    fits = ty.ndim in (-1, len(value.shape)) and not any(
        isinstance(dim, tvm.tirx.IntImm) and int(dim) != size for dim, size in zip(dims or (), value.shape)
    )
    if not fits:
        raise InputError(f"parameter {param.name!r} has shape {list(value.shape)}, the module takes {ty}")


def _tensor(name: str, value: object) -> tvm.runtime.Tensor:
    if isinstance(value, tvm.runtime.Tensor):
        return value
    if type(value).__module__.startswith("torch"):  # NumPy has neither gradients nor bfloat16
        return tvm.runtime.from_dlpack(value.detach().cpu().contiguous())  # type: ignore[attr-defined]
    if isinstance(value, Mapping) or not hasattr(value, "__array__"):
        raise InputError(f"parameter {name!r} is a {type(value).__name__}, not an array")
    return tvm.runtime.tensor(np.asarray(value))
