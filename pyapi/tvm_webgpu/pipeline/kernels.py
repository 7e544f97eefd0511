"""Device functions to shaders: TIR -> SPIR-V -> spirv-val -> spirv-opt -> WGSL, each distinct kernel once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import tvm_ffi
from tvm import tirx
from tvm.target import Target

from tvm_webgpu import spirv_tools
from tvm_webgpu.codegen import spirv, wgsl
from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.package import Kernel, Scalar
from tvm_webgpu.pipeline.progress import Progress
from tvm_webgpu.pipeline.target import storage_buffers

OPTIMIZER_PASSES = (
    "--eliminate-local-single-block",
    "--eliminate-local-single-store",
    "--eliminate-dead-branches",
    "--ccp",
    "--simplify-instructions",
    "--redundancy-elimination",
    "--eliminate-dead-code-aggressive",
    "--compact-ids",
)
"""Passes of spirv-opt that keep the structure of loops; `--merge-blocks` and loop passes would not."""

MAX_NAME = 56
"""TVM names a kernel after all operators fused in it; shaders and manifests are better off without hundreds of them."""


@dataclass(frozen=True)
class Kernels:
    """The distinct kernels in package order; `index` gives a device function's kernel, `modules` how to launch it."""

    kernels: tuple[Kernel, ...]
    index: Mapping[str, int]
    modules: Mapping[str, spirv.KernelModule]


def build_kernels(functions: Mapping[str, tirx.PrimFunc], target: Target, progress: Progress | None = None) -> Kernels:
    """Compiles every function; equal functions become one kernel, named after the first of them.

    UnsupportedError names the kernel and what it holds that has no form in WebGPU; an invalid SPIR-V module is
    an error of ours and says so.
    """
    kernels: list[Kernel] = []
    index: dict[str, int] = {}
    modules: dict[str, spirv.KernelModule] = {}
    known: dict[int, list[tuple[tirx.PrimFunc, str]]] = {}
    for name, func in (progress or Progress()).steps("kernels", functions.items()):
        anonymous = func.without_attr("global_symbol")
        same = known.setdefault(tvm_ffi.structural_hash(anonymous), [])
        original = next((other for candidate, other in same if tvm_ffi.structural_equal(candidate, anonymous)), None)
        if original is None:
            same.append((anonymous, name))
            modules[name] = spirv.emit(func, short_name(name), target)
            index[name] = len(kernels)
            kernels.append(build_kernel(modules[name], storage_buffers(target)))
        else:
            modules[name], index[name] = modules[original], index[original]
    return Kernels(tuple(kernels), index, modules)


def short_name(name: str) -> str:
    """A name of at most MAX_NAME characters: a long one ends in a hash of the whole."""
    if len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{name[: MAX_NAME - 7].rstrip('_')}_{digest}"


def build_kernel(module: spirv.KernelModule, max_buffers: int) -> Kernel:
    """Validates, optimises and translates one SPIR-V module."""
    if len(module.bindings) > max_buffers:
        raise UnsupportedError(
            f"kernel {module.name!r} needs {len(module.bindings)} storage buffers; the target has {max_buffers}"
        )
    spirv_tools.validate(module.spirv)
    optimized = spirv_tools.optimize(module.spirv, OPTIMIZER_PASSES)
    shader = wgsl.translate(optimized)
    # What optimisation left: a buffer that is never written is "read", one that is never used is absent.
    access = {binding.binding: binding.access for binding in shader.bindings if binding.kind == "storage"}
    return Kernel(
        name=module.name,
        wgsl=shader.text,
        workgroup_size=module.workgroup_size,
        bindings=tuple(access.get(index, "read") for index in range(len(module.bindings))),
        scalars=tuple(Scalar(scalar.name, scalar.dtype) for scalar in module.scalars),
        features=tuple(sorted(shader.features | module.features)),
        spirv=optimized,
    )
