"""A TIR function and arrays in; what TVM's llvm target and what our kernels make of them out.

    TVMW_FUZZ_EXAMPLES=5000 PYTHONPATH=pyapi:. python -m pytest tests/fuzz     # a long run with random programs
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Sequence

import numpy as np
import tvm
import wgpu
from hypothesis import HealthCheck, Phase, settings
from tvm import tirx
from tvm_webgpu.codegen.spirv import fold
from tvm_webgpu.pipeline.kernels import Shader, compile_functions
from tvm_webgpu.pipeline.target import resolve_target

EXAMPLES = int(os.environ.get("TVMW_FUZZ_EXAMPLES", "0"))
"""How many programs a test makes; by default few, and always the same ones."""


def bounded(examples: int) -> settings:
    """Settings of a test: a few fixed programs, or as many random ones as the environment asks for."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    common = {"deadline": None, "suppress_health_check": checks, "database": None}
    if EXAMPLES:
        return settings(max_examples=EXAMPLES, print_blob=True, **common)
    return settings(max_examples=examples, derandomize=True, phases=(Phase.explicit, Phase.generate), **common)


@functools.cache
def device() -> wgpu.GPUDevice:
    return wgpu.gpu.request_adapter_sync().request_device_sync()


def on_cpu(func: tirx.PrimFunc, arguments: Sequence[np.ndarray | int]) -> list[np.ndarray]:
    """The arrays after a call of the function compiled for llvm; a bool travels as int8's bits."""
    built = tvm.compile(tvm.IRModule({"main": func.with_attr("global_symbol", "main")}), target="llvm")
    given = [tvm.runtime.tensor(a) if isinstance(a, np.ndarray) else a for a in arguments]
    built["main"](*given)
    return [g.numpy() for g in given if not isinstance(g, int)]


def on_gpu(func: tirx.PrimFunc, arguments: Sequence[np.ndarray | int]) -> list[np.ndarray]:
    """The arrays after a run of the function's one kernel, through SPIR-V and WGSL, on whatever GPU there is."""
    target = resolve_target("webgpu")
    with target:
        _, kernels = compile_functions({"main": func.with_attr("global_symbol", "main")}, target)
    ((name, module),) = kernels.modules.items()
    shader = Shader(name, module, kernels.kernels[0])
    arrays = [a for a in arguments if isinstance(a, np.ndarray)]
    numbers = [a for a in arguments if not isinstance(a, np.ndarray)]
    by_name = {str(param.name): a for param, a in zip(func.params, arguments)}
    _launch(shader, [by_name[binding.name.removesuffix("_flat")] for binding in module.bindings], numbers)
    return arrays


def _launch(shader: Shader, arrays: list[np.ndarray], numbers: list[int]) -> None:
    """Runs the shader and writes the buffers' contents back to the arrays."""
    gpu, kernel, module = device(), shader.kernel, shader.module
    grid = tuple(1 if extent is None else extent for extent in module.grid)
    words = b"".join(
        struct.pack("<i" if s.dtype == "int32" else "<I", grid[0] if s.name == "grid_x" else numbers[0])
        for s in module.scalars
    )
    usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
    datas = [np.ascontiguousarray(array).tobytes() for array in arrays]
    buffers = [gpu.create_buffer_with_data(data=data + bytes(-len(data) % 4), usage=usage) for data in datas]
    types = [{"type": "storage" if access == "read_write" else "read-only-storage"} for access in kernel.bindings]
    if words:
        data = words + bytes(-len(words) % 16)
        buffers.append(gpu.create_buffer_with_data(data=data, usage=wgpu.BufferUsage.UNIFORM))
        types.append({"type": "uniform"})
    layout = gpu.create_bind_group_layout(
        entries=[
            {"binding": i, "visibility": wgpu.ShaderStage.COMPUTE, "buffer": type} for i, type in enumerate(types)
        ]
    )
    group = gpu.create_bind_group(
        layout=layout,
        entries=[{"binding": i, "resource": {"buffer": b, "offset": 0, "size": b.size}} for i, b in enumerate(buffers)],
    )
    pipeline = gpu.create_compute_pipeline(
        layout=gpu.create_pipeline_layout(bind_group_layouts=[layout]),
        compute={"module": gpu.create_shader_module(code=kernel.wgsl), "entry_point": kernel.name},
    )
    encoder = gpu.create_command_encoder()
    compute = encoder.begin_compute_pass()
    compute.set_pipeline(pipeline)
    compute.set_bind_group(0, group)
    compute.dispatch_workgroups(*fold(grid, module.folds_grid))
    compute.end()
    gpu.queue.submit([encoder.finish()])
    for array, buffer in zip(arrays, buffers):
        content = np.frombuffer(gpu.queue.read_buffer(buffer), np.uint8)[: array.nbytes]
        array[...] = content.view(array.dtype).reshape(array.shape)


def check(cpu: tirx.PrimFunc, gpu: tirx.PrimFunc, arguments: Sequence[np.ndarray | int]) -> None:
    """Fails unless both give the same bits (for floats: the same values)."""

    def copies() -> list[np.ndarray | int]:
        return [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]

    for index, (want, have) in enumerate(zip(on_cpu(cpu, copies()), on_gpu(gpu, copies()), strict=True)):
        np.testing.assert_array_equal(have, want, err_msg=f"argument {index}")
