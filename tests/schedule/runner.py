"""Runs a scheduled PrimFunc on a WebGPU device: PrimFunc and NumPy arrays in, NumPy arrays and launches out.

The host part (allocations, launches, grid extents) is interpreted; the device part goes through codegen/spirv and
codegen/wgsl to wgpu.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import tvm
import tvm_ffi
import wgpu
from tvm import s_tir, tirx
from tvm_webgpu.codegen import spirv, wgsl

TARGET = tvm.target.Target({"kind": "webgpu", "host": "llvm"})
TARGET_F16 = tvm.target.Target({"kind": "webgpu", "host": "llvm", "feature.f16": True})


class Launch(NamedTuple):
    """One dispatch as it was made: kernel name, grid, and threads of a workgroup."""

    kernel: str
    grid: tuple[int, int, int]
    threads: tuple[int, int, int]


class Outcome(NamedTuple):
    """All buffers after a run (inputs first), and the dispatches."""

    buffers: list[np.ndarray]
    launches: list[Launch]


def lower(func: tirx.PrimFunc, target: tvm.target.Target = TARGET) -> tvm.IRModule:
    """Lowers a scheduled PrimFunc to a host function named `main` and its kernels."""
    t, s = tirx.transform, s_tir.transform
    passes = [
        t.BindTarget(target), s.CanonicalizeLoop(), s.LowerCrossThreadReduction(), s.LowerInitBlock(),
        s.PlanAndUpdateBufferAllocationLocation(), s.ConvertBlocksToOpaque(), s.LiftThreadBinding(),
        s.ManifestSharedMemoryLocalStage(), s.CompactBufferAllocation(), s.LowerAutoCopy(),
        s.UnifyThreadBinding(), s.LowerMatchBuffer(), s.StmtSimplify(), s.InjectSoftwarePipeline(),
        s.LowerOpaqueBlock(), t.FlattenBuffer(), t.NarrowDataType(32), s.LoopPartition(), t.VectorizeLoop(True),
        s.InjectVirtualThread(), s.HoistIfThenElse(), t.UnrollLoop(), s.RenormalizeSplitPattern(),
        t.StmtSimplify(), t.RemoveNoOp(), s.RewriteUnsafeSelect(), t.VerifyMemory(), t.AnnotateEntryFunc(),
        s.ThreadSync("shared"), s.LowerThreadAllreduce(), t.SplitHostDevice(),
    ]  # fmt: skip
    mod = tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
    return tvm.transform.Sequential(passes)(mod)


def kernels_of(mod: tvm.IRModule, target: tvm.target.Target = TARGET) -> dict[str, spirv.KernelModule]:
    """The device functions of a lowered module as SPIR-V, by name."""
    device_part = tvm.IRModule({g: f for g, f in mod.functions_items() if f.attrs.get("calling_conv", 0) == 2})
    functions = spirv.lower(device_part, target)
    return {g.name_hint: spirv.emit(f, g.name_hint, target) for g, f in functions.functions_items()}


@functools.cache
def device() -> wgpu.GPUDevice:
    """The software (or real) adapter's device; raises RuntimeError where there is none."""
    adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    return adapter.request_device_sync(required_features=["shader-f16"] if has_f16() else [])


@functools.cache
def has_f16() -> bool:
    """Whether the adapter has 16-bit floats."""
    return "shader-f16" in wgpu.gpu.request_adapter_sync(power_preference="high-performance").features


def _buffer(array: np.ndarray, uniform: bool = False) -> wgpu.GPUBuffer:
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    data = np.concatenate([data, np.zeros(-len(data) % 4, np.uint8)])
    kind = wgpu.BufferUsage.UNIFORM if uniform else wgpu.BufferUsage.STORAGE
    usage = kind | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
    return device().create_buffer_with_data(data=data, usage=usage)


def run(func: tirx.PrimFunc, arrays: list[np.ndarray], target: tvm.target.Target = TARGET) -> Outcome:
    """Executes `func` on `arrays`, one for each buffer parameter in order (outputs included)."""
    lowered = lower(func, target)
    kernels = kernels_of(lowered, target)
    host = lowered["main"]
    env: dict[tirx.Var, tirx.Expr] = {}
    buffers: dict[tirx.Var, wgpu.GPUBuffer] = {}  # a TIR buffer is a variable
    analyzer = tvm.sym.Analyzer()
    launches: list[Launch] = []

    def value(expr: tirx.Expr) -> tirx.Expr:
        return analyzer.simplify(tvm_ffi.structural_map(expr, (tirx.Var, lambda v: env.get(v, v))))

    def visit(stmt: tirx.Stmt) -> None:
        match stmt:
            case tirx.SeqStmt():
                for item in stmt.seq:
                    visit(item)
            case tirx.Bind():
                env[stmt.var] = value(stmt.value)
            case tirx.AllocBuffer():
                items = int(np.prod([int(value(x)) for x in stmt.buffer.shape]))
                buffers[stmt.buffer] = _buffer(np.zeros(items * stmt.buffer.dtype.itemsize, np.uint8))
            case tirx.DeclBuffer():
                buffers[stmt.buffer] = buffers[stmt.data.args[0]]
            case tirx.AttrStmt():
                visit(stmt.body)
            case tirx.Evaluate(value=tvm.ir.Call()):
                launch(stmt.value)
            case tirx.Evaluate():
                pass
            case _:
                raise NotImplementedError(f"{type(stmt).__name__} in host code")

    def launch(call: tvm.ir.Call) -> None:
        name, *args = call.args
        kernel = kernels[name.value]
        count = len(args) - len(kernel.launch_tags)
        grid = [1, 1, 1]
        for tag, extent in zip(kernel.launch_tags, args[count:], strict=True):
            if tag.startswith("blockIdx."):
                grid["xyz".index(tag[-1])] = int(value(extent))
        bound = [buffers[a.args[0]] for a in args[: len(kernel.bindings)]]
        scalars = [int(value(a)) for a in args[len(kernel.bindings) : count]]
        if kernel.folds_grid:
            scalars.append(grid[0])
        folded = spirv.fold((grid[0], grid[1], grid[2]), kernel.folds_grid)
        launches.append(Launch(name.value, folded, kernel.workgroup_size))
        if scalars:
            bound.append(_buffer(np.array(scalars, np.int32), uniform=True))
        if all(folded):
            _dispatch(kernel, bound, folded)

    for param, array in zip(host.params, arrays, strict=True):
        for dim, extent in zip(param.shape, array.shape, strict=True):
            if isinstance(dim, tirx.Var):
                env[dim] = tirx.IntImm("int64", extent)
        buffers[param] = _buffer(array)
    visit(host.body)
    out = []
    for param, array in zip(host.params, arrays, strict=True):
        data = np.frombuffer(device().queue.read_buffer(buffers[param]), np.uint8)[: array.nbytes]
        out.append(data.view(array.dtype).reshape(array.shape))
    return Outcome(out, launches)


def _dispatch(kernel: spirv.KernelModule, bound: list[wgpu.GPUBuffer], grid: tuple[int, int, int]) -> None:
    types = ["storage" if b.access == "read_write" else "read-only-storage" for b in kernel.bindings]
    types += ["uniform"] * (len(bound) - len(types))
    layout = device().create_bind_group_layout(
        entries=[
            {"binding": i, "visibility": wgpu.ShaderStage.COMPUTE, "buffer": {"type": t}} for i, t in enumerate(types)
        ]
    )
    shader = device().create_shader_module(code=wgsl.translate(kernel.spirv).text)
    pipeline = device().create_compute_pipeline(
        layout=device().create_pipeline_layout(bind_group_layouts=[layout]),
        compute={"module": shader, "entry_point": kernel.name},
    )
    entries = [{"binding": i, "resource": {"buffer": b, "offset": 0, "size": b.size}} for i, b in enumerate(bound)]
    group = device().create_bind_group(layout=layout, entries=entries)
    encoder = device().create_command_encoder()
    compute = encoder.begin_compute_pass()
    compute.set_pipeline(pipeline)
    compute.set_bind_group(0, group)
    compute.dispatch_workgroups(*grid)
    compute.end()
    device().queue.submit([encoder.finish()])


def reference(func: tirx.PrimFunc, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """All buffers after the same PrimFunc, unscheduled, ran through TVM's LLVM target."""
    built = tvm.compile(tvm.IRModule({"main": func.with_attr("global_symbol", "main")}), target="llvm")
    tensors = [tvm.runtime.tensor(a) for a in arrays]
    built["main"](*tensors)
    return [t.numpy() for t in tensors]
