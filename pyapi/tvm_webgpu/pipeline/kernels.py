"""Kernel functions to shaders: scheduled, lowered, TIR -> SPIR-V -> spirv-val -> spirv-opt -> WGSL, each on its own.

What is made of a function (`Compiled`) depends on nothing but the function and the target, and so is cached.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import tvm
import tvm_ffi
from tvm import tirx
from tvm.target import Target

from tvm_webgpu import spirv_tools
from tvm_webgpu.codegen import schedule, spirv, wgsl
from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.package import Kernel, Scalar
from tvm_webgpu.pipeline.cache import Cache
from tvm_webgpu.pipeline.cost import with_cost
from tvm_webgpu.pipeline.lower import split
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

OP_NAME, OP_MEMBER_NAME, OP_ENTRY_POINT = 5, 6, 15


@dataclass(frozen=True)
class Shader:
    """A device function's name, how it is launched (its `spirv` is empty), and the shader it became."""

    function: str
    module: spirv.KernelModule
    kernel: Kernel


@dataclass(frozen=True)
class Compiled:
    """What became of a kernel function: its launcher on the host, and its shaders."""

    host: tvm.IRModule
    shaders: tuple[Shader, ...]

    def to_bytes(self) -> bytes:
        shaders = [
            {
                "function": shader.function,
                "module": {**asdict(shader.module), "spirv": "", "features": sorted(shader.module.features)},
                "kernel": {**asdict(shader.kernel), "spirv": base64.b64encode(shader.kernel.spirv).decode()},
            }
            for shader in self.shaders
        ]
        return zlib.compress(json.dumps({"host": tvm.ir.save_json(self.host), "shaders": shaders}).encode(), 1)

    @staticmethod
    def from_bytes(data: bytes) -> Compiled:
        content = json.loads(zlib.decompress(data))
        # Not `tvm.ir.load_json`: it looks for what older versions wrote, for ten times as long.
        host = tvm_ffi.serialization.from_json_graph_str(content["host"])
        return Compiled(host, tuple(map(_shader_from_json, content["shaders"])))


def _shader_from_json(data: dict) -> Shader:
    module, kernel = data["module"], data["kernel"]
    module |= {
        "spirv": b"",
        "bindings": tuple(spirv.Binding(**binding) for binding in module["bindings"]),
        "scalars": tuple(spirv.Scalar(**scalar) for scalar in module["scalars"]),
        "features": frozenset(module["features"]),
        **{name: tuple(module[name]) for name in ("launch_tags", "workgroup_size", "grid")},
    }
    kernel |= {
        "spirv": base64.b64decode(kernel["spirv"]),
        "scalars": tuple(Scalar(**scalar) for scalar in kernel["scalars"]),
        **{name: tuple(kernel[name]) for name in ("workgroup_size", "bindings", "features")},
        **{name: tuple(kernel[name]) for name in ("flops", "traffic") if isinstance(kernel[name], list)},
    }
    return Shader(data["function"], spirv.KernelModule(**module), Kernel(**kernel))


@dataclass(frozen=True)
class Kernels:
    """The distinct kernels in package order; `index` gives a device function's kernel, `modules` how to launch it."""

    kernels: tuple[Kernel, ...]
    index: Mapping[str, int]
    modules: Mapping[str, spirv.KernelModule]


def compile_functions(
    functions: Mapping[str, tirx.PrimFunc], target: Target, cache: Cache | None = None, progress: Progress | None = None
) -> tuple[tvm.IRModule, Kernels]:
    """Compiles every function; gives the launchers as one host module, and the kernels.

    Equal kernels become one, named after the first of them. UnsupportedError names the kernel and what it holds that
    has no form in WebGPU; an invalid SPIR-V module is an error of ours and says so.
    """
    scheduler = schedule.Scheduler(schedule.Limits.of(target))
    cache = cache or Cache()
    host: dict[tvm.ir.GlobalVar, tvm.ir.BaseFunc] = {}
    shaders: list[Shader] = []
    for name, func in (progress or Progress()).steps("kernels", sorted(functions.items())):
        entry = cache.path("kernel", str(target), name, tvm.ir.save_json(func))
        kept = cache.get(entry)
        compiled = Compiled.from_bytes(kept) if kept is not None else _compile(func, name, scheduler, target)
        if kept is None:
            cache.put(entry, compiled.to_bytes())
        host |= dict(compiled.host.functions.items())
        shaders += compiled.shaders
    return tvm.IRModule(host), distinct(shaders)


def _compile(func: tirx.PrimFunc, name: str, scheduler: schedule.Scheduler, target: Target) -> Compiled:
    if func.attrs.get("tirx.is_scheduled", False):
        host, device = split(tvm.IRModule({name: func}), target)
    else:
        host, device = split(tvm.IRModule({name: scheduler.flat(func, name)}), target, flat=True)
    functions = sorted((gvar.name_hint, _with_facts(function, func)) for gvar, function in device.functions.items())
    shaders = []
    for device_name, function in functions:
        shader = build_shader(function, device_name, target)
        counted = func if len(functions) == 1 else function
        shaders.append(replace(shader, kernel=with_cost(shader.kernel, counted)))
    return Compiled(host, tuple(shaders))


def _with_facts(device: tirx.PrimFunc, func: tirx.PrimFunc) -> tirx.PrimFunc:
    """A device function with what is known of the scalars of the function that it was split from."""
    known = (func.attrs or {}).get(spirv.LARGEST_SCALARS)
    return device if known is None else device.with_attr(spirv.LARGEST_SCALARS, known)


def build_shader(func: tirx.PrimFunc, name: str, target: Target) -> Shader:
    """A lowered device function as a shader."""
    module = spirv.emit(func, short_name(name), target)
    return Shader(name, replace(module, spirv=b""), build_kernel(module, storage_buffers(target)))


def distinct(shaders: list[Shader]) -> Kernels:
    """Shaders that differ in names only become one kernel."""
    kernels: list[Kernel] = []
    index: dict[str, int] = {}
    known: dict[bytes, int] = {}
    for shader in sorted(shaders, key=lambda shader: shader.function):
        kernel = shader.kernel
        same = known.setdefault(_without_names(kernel), len(kernels))
        if same == len(kernels):
            kernels.append(kernel)
        index[shader.function] = same
    return Kernels(tuple(kernels), index, {shader.function: shader.module for shader in shaders})


def _without_names(kernel: Kernel) -> bytes:
    """A hash of the shader and its interface that does not depend on how things are called."""
    words = struct.unpack(f"<{len(kernel.spirv) // 4}I", kernel.spirv) if kernel.spirv else ()
    kept: list[int] = []
    at = 5
    while at < len(words):
        length, op = max(words[at] >> 16, 1), words[at] & 0xFFFF
        if op not in (OP_NAME, OP_MEMBER_NAME, OP_ENTRY_POINT):
            kept += words[at : at + length]
        at += length
    interface = (kernel.workgroup_size, kernel.bindings, [scalar.dtype for scalar in kernel.scalars], kernel.features)
    text = kernel.wgsl if not kernel.spirv else ""
    return hashlib.sha256(struct.pack(f"<{len(kept)}I", *kept) + repr((interface, text)).encode()).digest()


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
    # The uniform keeps its place where the last buffers turned out to be unused.
    shader = wgsl.translate(optimized, wgsl.Options(uniform_binding=len(module.bindings)))
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
