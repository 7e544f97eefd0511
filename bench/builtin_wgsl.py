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

_build_shader = ours.build_shader


def build_shader(func: tirx.PrimFunc, name: str, target: Target) -> ours.Shader:
    """Like `pipeline.kernels.build_shader`, with the WGSL of TVM's generator; wants compilation without a cache.

    The interface is the same but for one thing: TVM's kernels always take the folded grid's extent as last scalar.
    """
    shader = _build_shader(func, name, target)
    module = shader.module
    words = module.scalars[:-1] if module.folds_grid else module.scalars
    folded = replace(module, scalars=(*words, Word("grid_x", "uint32")), folds_grid=True)
    text, written = _generate(func, name)
    size = re.search(r"@workgroup_size\((\d+), (\d+), (\d+)\)", text)
    assert size is not None
    kernel = replace(
        shader.kernel,
        name=name,
        wgsl=text,
        spirv=b"",
        workgroup_size=tuple(map(int, size.groups())),
        bindings=tuple("read_write" if flag else "read" for flag in written),
        scalars=tuple(Scalar(word.name, word.dtype) for word in folded.scalars),
    )
    return ours.Shader(name, folded, kernel)


def _generate(func: tirx.PrimFunc, name: str) -> tuple[str, list[bool]]:
    """The WGSL of a function, and which of its buffers it writes, as TVM's runtime would receive them."""
    received: list[tuple[str, list[bool]]] = []

    def receive(sources: Mapping[str, bytes], _format: str, infos: Mapping[str, object], _source: object) -> object:
        for key, text in sources.items():
            (access,) = (tag for tag in infos[key].launch_param_tags if tag.startswith("paramWriteAccess:"))
            received.append((bytes(text).decode(), [flag == "1" for flag in re.findall(r"[01]", access)]))
        return tvm.get_global_func("runtime.SourceModuleCreate")("", "wgsl")

    tvm.register_global_func("ffi.Module.create.webgpu", receive, override=True)
    finalize = tvm.tirx.get_tir_pipeline("default")[2]()
    _BUILTIN(finalize(tvm.IRModule({tvm.ir.GlobalVar(name): func})), Target("webgpu"))
    return received[0]
