"""From the planned graph to code: host functions for wasm32, and device functions ready for emission.

Relax's compiled mode turns each entry into a TIR function that calls the kernels' launchers and `vm.builtin.*` by name,
so kernels can be lowered apart from it.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import tvm
from tvm import relax, s_tir, tirx
from tvm.relax.vm_build import VMExecutable, _vmcodegen
from tvm.target import Target
from tvm.tirx.build import split_host_device_mods

from tvm_webgpu.codegen import spirv, wasm32
from tvm_webgpu.codegen.wasm32.libm import call_libm

PASS_CONFIG = {
    # Reusing one intermediate's memory for another makes a buffer read and read_write in one dispatch.
    "tirx.disable_storage_rewrite": True,
    # It lifts products of shapes to host scalars, of which the emitter then does not know that they are small.
    "tirx.disable_cse_tir": True,
}

# What TVM's default pipeline does up to flat loops over flat buffers.
TO_FLAT = (
    s_tir.transform.CanonicalizeLoop,
    s_tir.transform.LowerCrossThreadReduction,
    s_tir.transform.LowerInitBlock,
    s_tir.transform.PlanAndUpdateBufferAllocationLocation,
    s_tir.transform.ConvertBlocksToOpaque,
    s_tir.transform.LiftThreadBinding,
    s_tir.transform.ManifestSharedMemoryLocalStage,
    s_tir.transform.CompactBufferAllocation,
    s_tir.transform.UnifyThreadBinding,
    s_tir.transform.LowerMatchBuffer,
    s_tir.transform.StmtSimplify,
    s_tir.transform.AnnotateIrregularLoop,
    s_tir.transform.InjectSoftwarePipeline,
    s_tir.transform.LowerOpaqueBlock,
    tirx.transform.FlattenBuffer,
    s_tir.transform.InjectVirtualThread,  # schedules of others, dlight's for products among them, have these two
    s_tir.transform.InjectDoubleBuffer,
)
# What it does from there on, without what PASS_CONFIG turns off, what is for other devices, and NarrowDataType, which
# takes 64-bit values for indices (`int64(x) >> 32`); the emitter narrows by facts.
FROM_FLAT = (
    s_tir.transform.LoopPartition,
    tirx.transform.VectorizeLoop,
    tirx.transform.UnrollLoop,
    s_tir.transform.RenormalizeSplitPattern,
    tirx.transform.StmtSimplify,
    s_tir.transform.RewriteUnsafeSelect,
    tirx.transform.VerifyMemory,
    tirx.transform.AnnotateEntryFunc,
    lambda: s_tir.transform.ThreadSync("shared"),
    lambda: s_tir.transform.ThreadSync("shared.dyn"),
    lambda: s_tir.transform.ThreadSync("warp"),
    s_tir.transform.InferFragment,
    s_tir.transform.LowerThreadAllreduce,
    s_tir.transform.MergeSharedMemoryAllocations,
    tirx.transform.SplitHostDevice,
    tirx.transform.MakePackedAPI,
)


@dataclass(frozen=True)
class Lowered:
    """`host` holds `__vmtir__ENTRY` and shape functions, `kernels` the functions to compile for the device by name."""

    host: tvm.IRModule
    kernels: dict[str, tirx.PrimFunc]
    executable: VMExecutable


def split(mod: tvm.IRModule, target: Target, flat: bool = False) -> tuple[tvm.IRModule, tvm.IRModule]:
    """Scheduled TIR functions to (host functions, device functions), both finalised for code generation.

    `flat` says that they are flat loops over flat buffers already.
    """
    passes = FROM_FLAT if flat else (*TO_FLAT, *FROM_FLAT)
    return _split(mod, target, tvm.transform.Sequential([make() for make in passes]))


def _split(mod: tvm.IRModule, target: Target, pipeline: tvm.transform.Pass) -> tuple[tvm.IRModule, tvm.IRModule]:
    _, finalize_host, _ = tvm.tirx.get_tir_pipeline("default")
    mod = mod.with_attr("system_lib_prefix", "")
    with tvm.transform.PassContext(opt_level=3, config=PASS_CONFIG):
        mod = pipeline(tirx.transform.BindTarget(target)(mod))
        host, devices = split_host_device_mods(mod)
        # Device code keeps bfloat16, which its emitter knows.
        host = tirx.transform.BF16StorageLegalize()(host)
        host = tirx.transform.SkipAssert()(finalize_host()(call_libm(host)))
        functions = {gvar: func for device in devices.values() for gvar, func in device.functions.items()}
        return host, spirv.lower(tvm.IRModule(functions, attrs=mod.attrs), target)


def kernel_names(mod: tvm.IRModule) -> set[str]:
    """The functions of a fused graph that are to run on the device: all in TIR, so far."""
    return {gvar.name_hint for gvar, func in mod.functions.items() if isinstance(func, tirx.PrimFunc)}


def lower(mod: tvm.IRModule, kernels: Container[str], target: Target) -> Lowered:
    """Compiles the graph's control flow to TIR and lowers it; the functions named in `kernels` are only set apart.

    UnsupportedError names a function that would have to read the device's data on the host.
    """
    builder = relax.ExecBuilder()
    tir = _vmcodegen(builder, mod, "compiled")
    wasm32.check_host_functions(tir)
    functions = {gvar: func for gvar, func in tir.functions.items() if isinstance(func, tirx.PrimFunc)}
    host = {gvar: func for gvar, func in functions.items() if gvar.name_hint not in kernels}
    pipeline, _, _ = tvm.tirx.get_tir_pipeline("default")
    host_mod, _ = _split(tvm.IRModule(host), target, pipeline)
    device = {gvar.name_hint: func for gvar, func in functions.items() if gvar.name_hint in kernels}
    return Lowered(host_mod, device, builder.get())
