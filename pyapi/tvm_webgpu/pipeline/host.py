"""Host functions to WebAssembly: TIR -> LLVM IR by TVM's code generator -> linked with the C runtime."""

from __future__ import annotations

from collections.abc import Sequence

from tvm.target import Target
from tvm.tirx.build import codegen_build

from tvm_webgpu.codegen import wasm32
from tvm_webgpu.codegen.wasm32.executable import load as load_executable
from tvm_webgpu.package import Entry, TensorSpec
from tvm_webgpu.pipeline.cache import Cache
from tvm_webgpu.pipeline.kernels import Kernels
from tvm_webgpu.pipeline.lower import Lowered

GRID_AXES = {"blockIdx.x": 0, "blockIdx.y": 1, "blockIdx.z": 2}
FIXED_IN_SHADER = 255


def build_host(
    lowered: Lowered, kernels: Kernels, entries: Sequence[Entry], param_count: int, target: Target, cache: Cache
) -> bytes:
    """The bytes of model.wasm; UnsupportedError names a function that the C runtime does not have."""
    text = codegen_build(lowered.host, target.host).inspect_source("ll")
    executable = load_executable(lowered.executable)
    launches = [_launch(name, kernels) for name in sorted(kernels.index)]
    functions = [wasm32.Entry(entry.name, tuple(map(_input, entry.inputs)), entry.params) for entry in entries]
    entry = cache.path("host", text, repr((executable, launches, functions, param_count)))
    kept = cache.get(entry)
    if kept is None:
        kept = wasm32.link(text, executable, launches, functions, param_count)
        cache.put(entry, kept)
    return kept


def _launch(name: str, kernels: Kernels) -> wasm32.Kernel:
    module = kernels.modules[name]
    scalars = module.scalars[:-1] if module.folds_grid else module.scalars
    return wasm32.Kernel(
        name,
        kernels.index[name],
        len(module.bindings),
        tuple(scalar.dtype for scalar in scalars),
        tuple(GRID_AXES.get(tag, FIXED_IN_SHADER) for tag in module.launch_tags),
        module.folds_grid,
    )


def _input(spec: TensorSpec) -> wasm32.Input:
    return wasm32.Input(spec.name, spec.kind, spec.dtype, None if spec.kind == "object" else spec.shape)
