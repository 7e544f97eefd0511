"""The kernels that TVM's own WebGPU code generator makes of our scheduled functions, in our package's form.

Import this before `tvm_webgpu`, which takes the generator's place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import tvm
from tvm import tirx
from tvm.target import Target

_BUILTIN = tvm.get_global_func("target.build.webgpu")

from tvm_webgpu.codegen.spirv import Scalar as Word  # noqa: E402
from tvm_webgpu.package import Scalar  # noqa: E402
from tvm_webgpu.pipeline import kernels as ours  # noqa: E402
from tvm_webgpu.pipeline.progress import Progress  # noqa: E402


def build_kernels(
    functions: Mapping[str, tirx.PrimFunc], target: Target, progress: Progress | None = None
) -> ours.Kernels:
    """Like `pipeline.kernels.build_kernels`, with the WGSL of TVM's generator.

    The interface is the same but for one thing: TVM's kernels always take the folded grid's extent as last scalar.
    """
    built = ours.build_kernels(functions, target, progress)
    sources = _generate(functions)
    kernels = []
    modules = dict(built.modules)
    for kernel in built.kernels:
        module = modules[kernel.name]
        words = module.scalars[:-1] if module.folds_grid else module.scalars
        folded = replace(module, scalars=(*words, Word("grid_x", "uint32")), folds_grid=True)
        modules.update((name, folded) for name in functions if modules[name] is module)
        text, written = sources[kernel.name]
        kernels.append(
            replace(
                kernel,
                wgsl=text,
                spirv=b"",
                workgroup_size=tuple(map(int, re.search(r"@workgroup_size\((\d+), (\d+), (\d+)\)", text).groups())),
                bindings=tuple("read_write" if flag else "read" for flag in written),
                scalars=tuple(Scalar(word.name, word.dtype) for word in folded.scalars),
            )
        )
    return ours.Kernels(tuple(kernels), built.index, modules)


def _generate(functions: Mapping[str, tirx.PrimFunc]) -> dict[str, tuple[str, list[bool]]]:
    """The WGSL of each function, and which of its buffers it writes, as TVM's runtime would receive them."""
    received: dict[str, tuple[str, list[bool]]] = {}

    def receive(sources: Mapping[str, bytes], _format: str, infos: Mapping[str, object], _source: object) -> object:
        for name, text in sources.items():
            (access,) = (tag for tag in infos[name].launch_param_tags if tag.startswith("paramWriteAccess:"))
            received[str(name)] = bytes(text).decode(), [flag == "1" for flag in re.findall(r"[01]", access)]
        return tvm.get_global_func("runtime.SourceModuleCreate")("", "wgsl")

    tvm.register_global_func("ffi.Module.create.webgpu", receive, override=True)
    module = tvm.IRModule({tvm.ir.GlobalVar(name): func for name, func in functions.items()})
    finalize = tvm.tirx.get_tir_pipeline("default")[2]()
    _BUILTIN(finalize(module), Target("webgpu"))
    return received
