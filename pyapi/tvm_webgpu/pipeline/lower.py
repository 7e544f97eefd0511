"""From the planned graph to code: a host module for wasm32 and one device function per kernel.

Relax's compiled mode turns each entry into a TIR function that calls the kernels' launchers and `vm.builtin.*`.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax, tirx
from tvm.relax.vm_build import VMExecutable, _vmcodegen
from tvm.target import Target
from tvm.tirx.build import split_host_device_mods

from tvm_webgpu.codegen import spirv, wasm32

PASS_CONFIG = {
    # Reusing one intermediate's memory for another makes a buffer read and read_write in one dispatch.
    "tirx.disable_storage_rewrite": True,
    # It lifts products of shapes to host scalars, of which the emitter then does not know that they are small.
    "tirx.disable_cse_tir": True,
}


@dataclass(frozen=True)
class Lowered:
    """`host` holds `__vmtir__ENTRY`, the launchers and shape functions; `device` the kernels by name, sorted."""

    host: tvm.IRModule
    device: dict[str, tirx.PrimFunc]
    executable: VMExecutable


def split(mod: tvm.IRModule, target: Target) -> tuple[tvm.IRModule, tvm.IRModule]:
    """Scheduled TIR functions to (host functions, device functions), both finalised for code generation."""
    pipeline, finalize_host, _ = tvm.tirx.get_tir_pipeline("default")
    with tvm.transform.PassContext(opt_level=3, config=PASS_CONFIG):
        mod = pipeline(tirx.transform.BindTarget(target)(mod))
        host, devices = split_host_device_mods(mod)
        host = tirx.transform.SkipAssert()(finalize_host()(host))
        functions = {gvar: func for device in devices.values() for gvar, func in device.functions.items()}
        return host, spirv.lower(tvm.IRModule(functions, attrs=mod.attrs), target)


def lower(mod: tvm.IRModule, target: Target) -> Lowered:
    """Compiles the graph's control flow to TIR and splits everything into host and device code.

    UnsupportedError names a function that would have to read the device's data on the host.
    """
    builder = relax.ExecBuilder()
    tir = _vmcodegen(builder, mod, "compiled")
    wasm32.check_host_functions(tir)
    functions = {gvar: func for gvar, func in tir.functions.items() if isinstance(func, tirx.PrimFunc)}
    host, device = split(tvm.IRModule(functions).with_attr("system_lib_prefix", ""), target)
    kernels = {gvar.name_hint: func for gvar, func in device.functions.items()}
    return Lowered(host, dict(sorted(kernels.items())), builder.get())
