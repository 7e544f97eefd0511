"""Compiles small TIR programs with `codegen.spirv` and runs them: tensor expressions and NumPy arrays in, arrays out.

The SPIR-V goes to wgpu (naga) as it is, scalars as immediates, on whatever Vulkan device there is.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Sequence

import numpy as np
import tvm
import wgpu
from tvm import s_tir, te, tirx
from tvm.s_tir import dlight
from tvm.sym import Analyzer
from tvm.tirx.build import split_host_device_mods
from tvm_webgpu.codegen import wgsl
from tvm_webgpu.codegen.spirv import KernelModule, emit, fold, lower
from tvm_webgpu.spirv_tools import validate

TARGET = tvm.target.Target({"kind": "webgpu", "host": "llvm"})
# What `launch` runs unless told: TVMW_TEST_SHADER=wgsl sends every test through the translation.
SHADER = os.environ.get("TVMW_TEST_SHADER", "spirv")
TARGET_F16 = tvm.target.Target({"kind": "webgpu", "host": "llvm", "feature.f16": True})


def i64(value: int) -> tirx.IntImm:
    return tirx.IntImm("int64", value)


def tensor(shape: Sequence[int | tirx.Var], dtype: str = "float32", name: str = "a") -> te.Tensor:
    return te.placeholder([i64(n) if isinstance(n, int) else n for n in shape], dtype, name)


def device_functions(mod: tvm.IRModule, target: tvm.target.Target = TARGET) -> dict[str, tirx.PrimFunc]:
    """The device functions of scheduled PrimFuncs, ready for `emit`."""
    mod = tirx.transform.BindTarget(target)(mod)
    pipeline, _, _ = s_tir.pipeline.default_s_tir_pipeline()
    _, devices = split_host_device_mods(pipeline(mod))
    functions = {}
    for device_target, device in devices.items():
        functions |= {g.name_hint: f for g, f in lower(device, device_target).functions_items()}
    return functions


def schedule(tensors: Sequence[te.Tensor], target: tvm.target.Target = TARGET) -> tvm.IRModule:
    """One PrimFunc of tensor expressions, scheduled by dlight."""
    rules = (dlight.gpu.Matmul(), dlight.gpu.Reduction(), dlight.gpu.GeneralReduction(), dlight.gpu.Fallback())
    with target:
        return dlight.ApplyDefaultSchedule(*rules)(tvm.IRModule({"main": te.create_prim_func(list(tensors))}))


@functools.cache
def device() -> wgpu.GPUDevice:
    adapter = wgpu.gpu.request_adapter_sync()
    wanted = [f for f in ("shader-f16", "immediates", "subgroup") if f in adapter.features]
    return adapter.request_device_sync(required_features=wanted, required_limits={"max-immediate-size": 128})


def checked(func: tirx.PrimFunc, name: str, target: tvm.target.Target = TARGET) -> KernelModule:
    """Emits and validates a kernel."""
    kernel = emit(func, name, target)
    validate(kernel.spirv)
    return kernel


def grid_of(func: tirx.PrimFunc, kernel: KernelModule, scalars: dict[str, int]) -> tuple[int, int, int]:
    """The extents of blockIdx that the host would pass."""
    from tvm_webgpu.codegen.spirv.scan import GRID_TAGS, scan

    analyzer = Analyzer()
    for param in func.params:
        if param.name in scalars:
            analyzer.bind(param, tirx.const(scalars[param.name], str(param.ty)))
    extents = scan(func, kernel.name).extents
    return tuple(int(analyzer.simplify(extents[t])) if t in extents else 1 for t in GRID_TAGS)  # type: ignore


def launch(func: tirx.PrimFunc, kernel: KernelModule, arrays: Sequence[np.ndarray],
           scalars: dict[str, int | float] | None = None, shader: str = SHADER) -> list[np.ndarray]:
    """Runs a kernel on copies of the arrays (one per binding) and gives them back as they are afterwards.

    `shader` is "spirv" for the module itself, or "wgsl" for its translation with the scalars in a uniform.
    """
    gpu, scalars = device(), scalars or {}
    grid = grid_of(func, kernel, scalars)  # type: ignore[arg-type]
    words = b""
    for s in kernel.scalars:
        value = grid[0] if s.name == "grid_x" else scalars[s.name]
        words += struct.pack({"int32": "<i", "uint32": "<I", "float32": "<f"}[s.dtype], value)
    usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
    buffers = []
    for array in arrays:
        data = np.ascontiguousarray(array).tobytes()
        data += b"\0" * max(-len(data) % 16, 16 - len(data))
        buffers.append(gpu.create_buffer_with_data(data=data, usage=usage))
    assert len(buffers) == len(kernel.bindings)
    translated = shader == "wgsl"
    uniform = []
    if translated and words:
        uniform = [{"binding": len(buffers), "visibility": wgpu.ShaderStage.COMPUTE, "buffer": {"type": "uniform"}}]
        buffers.append(gpu.create_buffer_with_data(data=words + b"\0" * (-len(words) % 16),
                                                   usage=wgpu.BufferUsage.UNIFORM))
    code = wgsl.translate(kernel.spirv).text if translated else kernel.spirv
    kinds = {"read": "read-only-storage", "read_write": "storage"}
    layout = gpu.create_bind_group_layout(entries=[
        {"binding": i, "visibility": wgpu.ShaderStage.COMPUTE, "buffer": {"type": kinds[b.access]}}
        for i, b in enumerate(kernel.bindings)] + uniform)
    group = gpu.create_bind_group(layout=layout, entries=[
        {"binding": i, "resource": {"buffer": b, "offset": 0, "size": b.size}} for i, b in enumerate(buffers)])
    pipeline = gpu.create_compute_pipeline(
        layout=gpu.create_pipeline_layout(bind_group_layouts=[layout], immediate_size=0 if translated else len(words)),
        compute={"module": gpu.create_shader_module(code=code), "entry_point": kernel.name})
    encoder = gpu.create_command_encoder()
    compute = encoder.begin_compute_pass()
    compute.set_pipeline(pipeline)
    compute.set_bind_group(0, group)
    if words and not translated:
        compute.set_immediates(0, words, 0, len(words))
    compute.dispatch_workgroups(*fold(grid, kernel.folds_grid))
    compute.end()
    gpu.queue.submit([encoder.finish()])
    return [np.frombuffer(gpu.queue.read_buffer(b), np.uint8)[:a.nbytes].view(a.dtype).reshape(a.shape).copy()
            for a, b in zip(arrays, buffers)]


def run(tensors: Sequence[te.Tensor], arrays: Sequence[np.ndarray], scalars: dict[str, int | float] | None = None,
        target: tvm.target.Target = TARGET) -> list[np.ndarray]:
    """Schedules, compiles and runs tensor expressions that make one kernel.

    `arrays` are the inputs in order; outputs start as zeros of the shape the scalars give.
    """
    (name, func), = device_functions(schedule(tensors, target), target).items()
    kernel = checked(func, name, target)
    given = {t.op.name: a for t, a in zip(tensors, arrays)}  # unused inputs are no parameters, and the order is TVM's
    names = [b.name for b in kernel.bindings]
    results = dict(zip(names, launch(func, kernel, [given[n] for n in names], scalars)))
    return [results.get(n, a) for n, a in given.items()]


def numpy_of(dtype: str) -> np.dtype:
    return np.dtype("bool" if dtype == "bool" else dtype)


def elementwise(function, inputs: Sequence[np.ndarray], out: str, target: tvm.target.Target = TARGET) -> np.ndarray:
    """function(*elements) -> element, over whole arrays of one length."""
    args = [tensor(a.shape, str(a.dtype), f"a{i}") for i, a in enumerate(inputs)]
    result = te.compute(args[0].shape, lambda *i: function(*[a(*i) for a in args]), name="out")
    assert result.dtype == out, (result.dtype, out)
    return run([*args, result], [*inputs, np.zeros(inputs[0].shape, numpy_of(out))], target=target)[-1]
