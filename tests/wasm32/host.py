"""A Relax module -> host code for `link`, as the compiler's pipeline makes it but without shaders."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import tvm
from tvm import relax
from tvm.tirx.build import codegen_build, split_host_device_mods
from tvm_webgpu.codegen.wasm32 import Entry, Kernel, check_host_functions, link

TARGET = {"kind": "webgpu", "host": {"kind": "llvm", "mtriple": "wasm32-unknown-unknown-wasm"}}
AXES = {"blockIdx.x": 0, "blockIdx.y": 1, "blockIdx.z": 2}


@dataclass(frozen=True)
class Host:
    """LLVM IR of the host functions, the executable that holds their constants, and the kernels they launch."""

    ir: str
    executable: relax.VMExecutable
    kernels: tuple[Kernel, ...]
    device: dict[str, tvm.tirx.PrimFunc]

    def link(self, *entries: Entry) -> bytes:
        return link(self.ir, self.executable, self.kernels, entries)


def kernel(index: int, name: str, function: tvm.tirx.PrimFunc) -> Kernel:
    types = [param.ty for param in function.params]
    scalars = tuple(str(ty.dtype).replace("int64", "int32") for ty in types if isinstance(ty, tvm.ir.PrimType))
    tags = function.attrs["tirx.kernel_launch_params"]
    return Kernel(name, index, len(types) - len(scalars), scalars, tuple(AXES.get(str(tag), 255) for tag in tags))


def lower_relax(module: tvm.IRModule) -> tvm.IRModule:
    target = tvm.target.Target(TARGET)
    with target:
        return relax.backend.gpu_generic.get_default_pipeline(target)(module)


def compile_host(module: tvm.IRModule) -> Host:
    """Lowers with dlight's schedules and TVM's own passes."""
    target = tvm.target.Target(TARGET)
    with tvm.transform.PassContext(config={"tirx.disable_assert": True}), target:
        builder = relax.ExecBuilder()
        lowered = relax.vm_build._vmcodegen(builder, lower_relax(module), "compiled")
        check_host_functions(lowered)
        functions = relax.vm_build._filter_tir(lowered).with_attr("system_lib_prefix", "")
        functions = tvm.tirx.transform.BindTarget(target.with_host(target.host))(functions)
        pipeline, finalize_host, _ = tvm.tirx.get_tir_pipeline("s_tir")
        host, device = split_host_device_mods(pipeline(functions))
        library = codegen_build(finalize_host()(host), target.host)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "host.ll"
        library.write_to_file(str(path))
        ir = path.read_text()
    functions = [function for part in device.values() for function in part.functions.values()]
    kernels = {str(function.attrs["global_symbol"]): function for function in functions}
    table = tuple(kernel(index, name, kernels[name]) for index, name in enumerate(sorted(kernels)))
    return Host(ir, builder.get(), table, kernels)
