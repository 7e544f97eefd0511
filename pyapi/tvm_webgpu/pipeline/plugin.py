"""What plain `tvm.compile(mod, target="webgpu")` calls: pipelines and the device build, as TVM wants them."""

from __future__ import annotations

import tvm
from tvm.target import Target

from tvm_webgpu.codegen import schedule, spirv
from tvm_webgpu.pipeline import graph
from tvm_webgpu.pipeline.kernels import build_shader, distinct
from tvm_webgpu.pipeline.lower import PASS_CONFIG
from tvm_webgpu.pipeline.target import resolve_target


def relax_pipeline(target: Target) -> tvm.transform.Pass:
    """The default Relax pipeline for webgpu: kernels fused and scheduled by us, memory planned."""
    resolved = resolve_target(target)
    passes = [*graph.to_kernels(resolved, share=False), schedule.apply(resolved)]
    return tvm.transform.Sequential([*passes, *graph.plan_memory(resolved), *graph.to_runtime_calls(resolved)])


def tir_pipeline(target: Target) -> tuple:
    """TVM's TIR pipeline without storage rewriting, and our own finalisation of device functions."""
    pipeline, finalize_host, _ = tvm.tirx.get_tir_pipeline("default")

    @tvm.transform.module_pass(opt_level=0)
    def lower_tir(mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        with tvm.transform.PassContext(opt_level=context.opt_level, config={**context.config, **PASS_CONFIG}):
            return pipeline(mod)

    @tvm.transform.module_pass(opt_level=0)
    def finalize_device(mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        return spirv.lower(mod, resolve_target(target))

    return lower_tir, finalize_host, lambda: finalize_device


def build(mod: tvm.IRModule, target: Target) -> tvm.runtime.Module:
    """Device functions to one module whose source is the WGSL of every kernel, each under its name.

    It can't be run by TVM's native runtime, which has no WebGPU device: `tvm_webgpu.compile` makes packages that run.
    """
    resolved = resolve_target(target)
    kernels = distinct([build_shader(func, gvar.name_hint, resolved) for gvar, func in mod.functions.items()])
    texts = [f"// {kernel.name}: bindings {', '.join(kernel.bindings)}\n{kernel.wgsl}" for kernel in kernels.kernels]
    return tvm.get_global_func("runtime.SourceModuleCreate")("\n".join(texts), "wgsl")
