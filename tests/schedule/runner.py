"""Runs a scheduled PrimFunc on a WebGPU device: PrimFunc and NumPy arrays in, NumPy arrays out.

The host part (allocations, launches, grid extents) is interpreted; the device part becomes WGSL through TVM's own
WebGPU code generator, so that a wrong result here points at the schedule and not at our emitters.
"""

from __future__ import annotations

import functools
import json
from typing import NamedTuple

import numpy as np
import tvm
import tvm_ffi
import wgpu
from tvm import s_tir, tirx

TARGET = tvm.target.Target({"kind": "webgpu", "host": "llvm"})
# Taken before this project takes the name over.
_BUILT_IN = tvm.get_global_func("target.build.webgpu")


class Kernel(NamedTuple):
    """One shader: WGSL text, launch tags in argument order, and per buffer whether it is written."""

    wgsl: str
    tags: tuple[str, ...]
    writes: tuple[int, ...]


class Launch(NamedTuple):
    """One dispatch as it was made: kernel name, grid, and threads of a workgroup."""

    kernel: str
    grid: tuple[int, int, int]
    threads: tuple[int, int, int]


class Outcome(NamedTuple):
    """All buffers after a run (inputs first), and the dispatches."""

    buffers: list[np.ndarray]
    launches: list[Launch]


def lower(func: tirx.PrimFunc) -> tvm.IRModule:
    """Lowers a scheduled PrimFunc to a host function named `main` and its kernels."""
    t, s = tirx.transform, s_tir.transform
    passes = [
        t.BindTarget(TARGET), s.CanonicalizeLoop(), s.LowerCrossThreadReduction(), s.LowerInitBlock(),
        s.PlanAndUpdateBufferAllocationLocation(), s.ConvertBlocksToOpaque(), s.LiftThreadBinding(),
        s.ManifestSharedMemoryLocalStage(), s.CompactBufferAllocation(), s.LowerAutoCopy(),
        s.UnifyThreadBinding(), s.LowerMatchBuffer(), s.StmtSimplify(), s.InjectSoftwarePipeline(),
        s.LowerOpaqueBlock(), t.FlattenBuffer(),
        t.NarrowDataType(32), s.LoopPartition(), t.VectorizeLoop(True), s.InjectVirtualThread(),
        s.HoistIfThenElse(), t.UnrollLoop(), s.RenormalizeSplitPattern(), t.StmtSimplify(), t.RemoveNoOp(),
        s.RewriteUnsafeSelect(), t.CommonSubexprElim(), t.VerifyMemory(), t.AnnotateEntryFunc(),
        s.ThreadSync("shared"), s.LowerThreadAllreduce(), s.MergeSharedMemoryAllocations(), t.SplitHostDevice(),
    ]  # fmt: skip
    mod = tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
    return tvm.transform.Sequential(passes)(mod)


def device_code(mod: tvm.IRModule) -> dict[str, Kernel]:
    """WGSL of every device function of a lowered module, by name."""
    captured = []

    def create(smap, _fmt, fmap, _source):
        captured.append((smap, fmap))
        return tvm.get_global_func("runtime.SourceModuleCreate")("", "wgsl")

    tvm.register_global_func("ffi.Module.create.webgpu", create, override=True)
    t = tirx.transform
    dev = tvm.IRModule({g: f for g, f in mod.functions_items() if f.attrs.get("calling_conv", 0) == 2})
    passes = [t.LowerWarpMemory(), t.PointerValueTypeRewrite(), t.ForceNarrowIndexToInt32(),
              t.StmtSimplify(), t.LowerIntrin()]  # fmt: skip
    dev = tvm.transform.Sequential(passes)(dev)
    _BUILT_IN(dev, TARGET)
    smap, fmap = captured[-1]
    kernels = {}
    for name, source in smap.items():
        tags = tuple(fmap[name].launch_param_tags)
        (write_tag,) = [x for x in tags if x.startswith("paramWriteAccess:")]
        kernels[str(name)] = Kernel(
            bytes(source).decode() if not isinstance(source, str) else source,
            tuple(x for x in tags if x != write_tag),
            tuple(json.loads(write_tag.split(":")[1])),
        )
    return kernels


@functools.cache
def device() -> wgpu.GPUDevice:
    """The software (or real) adapter's device; raises RuntimeError where there is none."""
    adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    return adapter.request_device_sync()


def _buffer(array: np.ndarray, uniform: bool = False) -> wgpu.GPUBuffer:
    data = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
    data = np.concatenate([data, np.zeros(-len(data) % 4, np.uint8)])
    kind = wgpu.BufferUsage.UNIFORM if uniform else wgpu.BufferUsage.STORAGE
    usage = kind | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
    return device().create_buffer_with_data(data=data, usage=usage)


def run(func: tirx.PrimFunc, arrays: list[np.ndarray]) -> Outcome:
    """Executes `func` on `arrays`, one for each buffer parameter in order (outputs included)."""
    lowered = lower(func)
    kernels = device_code(lowered)
    host = lowered["main"]
    env: dict[tirx.Var, int] = {}
    buffers: dict[tirx.Var, wgpu.GPUBuffer] = {}  # a TIR buffer is a variable
    analyzer = tvm.sym.Analyzer()

    def substitute(expr: tirx.Expr) -> tirx.Expr:
        return tvm_ffi.structural_map(expr, (tirx.Var, lambda v: env.get(v, v)))

    def evaluate(expr: tirx.Expr) -> int:
        value = analyzer.simplify(substitute(expr))
        return int(value)

    for param, array in zip(host.params, arrays, strict=True):
        for dim, extent in zip(param.shape, array.shape, strict=True):
            if isinstance(dim, tirx.Var):
                env[dim] = tirx.IntImm("int64", extent)
        buffers[param] = _buffer(array)
    launches: list[Launch] = []

    def visit(stmt: tirx.Stmt) -> None:
        match stmt:
            case tirx.SeqStmt():
                for item in stmt.seq:
                    visit(item)
            case tirx.Bind():
                env[stmt.var] = analyzer.simplify(substitute(stmt.value))
            case tirx.AllocBuffer():
                items = int(np.prod([evaluate(x) for x in stmt.buffer.shape]))
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
        count = len(args) - len(kernel.tags)
        extent = dict(zip(kernel.tags, (evaluate(x) for x in args[count:])))
        grid = tuple(extent.get(f"blockIdx.{x}", 1) for x in "xyz")
        threads = tuple(extent.get(f"threadIdx.{x}", 1) for x in "xyz")
        launches.append(Launch(name.value, grid, threads))
        bound, scalars = [], []
        for arg in args[:count]:
            if isinstance(arg, tvm.ir.Call) and arg.op.name == "tirx.buffer_data":
                bound.append(buffers[arg.args[0]])
            else:
                scalars.append(evaluate(arg))
        # The built-in generator's grid guard compares with `>`, hence the 1 less.
        bound.append(_buffer(np.array([*scalars, grid[0] - 1], np.int32), uniform=True))
        _dispatch(kernel, bound, grid)

    visit(host.body)
    out = []
    for param, array in zip(host.params, arrays, strict=True):
        data = np.frombuffer(device().queue.read_buffer(buffers[param]), np.uint8)[: array.nbytes]
        out.append(data.view(array.dtype).reshape(array.shape))
    return Outcome(out, launches)


def _dispatch(kernel: Kernel, bound: list[wgpu.GPUBuffer], grid: tuple[int, int, int]) -> None:
    pipeline = device().create_compute_pipeline(
        layout="auto", compute={"module": device().create_shader_module(code=kernel.wgsl)}
    )
    entries = [{"binding": i, "resource": {"buffer": b, "offset": 0, "size": b.size}} for i, b in enumerate(bound)]
    if "podArgs." not in kernel.wgsl:
        entries.pop()
    group = device().create_bind_group(layout=pipeline.get_bind_group_layout(0), entries=entries)
    encoder = device().create_command_encoder()
    compute = encoder.begin_compute_pass()
    compute.set_pipeline(pipeline)
    compute.set_bind_group(0, group)
    compute.dispatch_workgroups(*grid)
    compute.end()
    device().queue.submit([encoder.finish()])


def reference(func: tirx.PrimFunc, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The same PrimFunc, unscheduled, through TVM's LLVM target."""
    mod = tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
    built = tvm.compile(mod, target="llvm")
    tensors = [tvm.runtime.tensor(a) for a in arrays]
    built["main"](*tensors)
    return [t.numpy() for t in tensors]
