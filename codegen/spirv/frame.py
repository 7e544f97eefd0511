"""What surrounds a kernel's body: workgroup size, grid, scalar arguments and the thread's indices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm import ir
from tvm.ir.prim import expr as prim
from tvm_webgpu.codegen.spirv import arith
from tvm_webgpu.codegen.spirv.conversions import convert
from tvm_webgpu.codegen.spirv.dtypes import REPR
from tvm_webgpu.codegen.spirv.launch import MAX_GRID, Scalar
from tvm_webgpu.codegen.spirv.opcodes import BuiltIn, Op, Storage
from tvm_webgpu.codegen.spirv.scan import BLOCK_TAGS, GRID_TAGS
from tvm_webgpu.codegen.spirv.values import Val

if TYPE_CHECKING:
    from tvm_webgpu.codegen.spirv.emitter import Emitter


def workgroup_size(e: Emitter) -> tuple[int, int, int]:
    size = []
    for tag in BLOCK_TAGS:
        extent = e.scan.extents.get(tag)
        if extent is not None and not isinstance(extent, prim.IntImm):
            raise e.unsupported(f"{tag} has the extent {extent}, which is not a constant")
        size.append(extent.value if extent is not None else 1)
    if size[0] * size[1] * size[2] > e.limits.threads:
        raise e.unsupported(f"workgroup of {size[0]} x {size[1]} x {size[2]} threads, the target has "
                            f"{e.limits.threads}", "schedule with fewer threads or raise max_num_threads")
    return size[0], size[1], size[2]


def grid(e: Emitter) -> tuple[tuple[int | None, int | None, int | None], bool]:
    def static(tag: str) -> int | None:
        extent = e.scan.extents.get(tag)
        return 1 if extent is None else int(extent.value) if isinstance(extent, prim.IntImm) else None

    grid = (static("blockIdx.x"), static("blockIdx.y"), static("blockIdx.z"))
    folds = "blockIdx.z" not in e.scan.extents and (grid[0] is None or grid[0] > MAX_GRID)
    for tag, n in list(zip(GRID_TAGS, grid))[1 if folds else 0:]:
        if n is not None and n > MAX_GRID:
            raise e.unsupported(f"{tag} has {n} workgroups, more than {MAX_GRID}",
                                "bind fewer, or bind the large extent to blockIdx.x and leave blockIdx.z out")
    return grid, folds


def scalars(e: Emitter, folds: bool) -> list[Scalar]:
    scalars = []
    for param in e.func.params:
        if isinstance(param.ty, ir.PointerType):
            continue
        dtype = e.dtype(param)
        if dtype.name not in REPR or dtype.name == "float64":
            raise e.unsupported(f"scalar parameter {param.name} of dtype {dtype}")
        word = "float32" if dtype.is_float else "uint32" if dtype.name in ("uint32", "uint64") else "int32"
        scalars.append(Scalar(param.name, word))
    return [*scalars, Scalar("grid_x", "uint32")] if folds else scalars


def load_scalars(e: Emitter, scalars: list[Scalar]) -> Val | None:
    """Puts every scalar parameter's value in the environment; gives the value of the last scalar."""
    if not scalars:
        return None
    b = e.b
    types = [{"int32": b.i32, "uint32": b.u32, "float32": b.f32}[s.dtype] for s in scalars]
    struct = b.block_struct("scalars", [(t, 4 * i, s.name) for i, (t, s) in enumerate(zip(types, scalars))])
    variable = b.global_variable(Storage.PushConstant, struct, "args")
    b.kept.add(variable)
    params = [p for p in e.func.params if not isinstance(p.ty, ir.PointerType)]
    for i, (scalar, type) in enumerate(zip(scalars, types)):
        pointer = b.op(Op.AccessChain, b.pointer(Storage.PushConstant, type), variable, b.constant(b.i32, i))
        rep = {"int32": "i32", "uint32": "u32", "float32": "f32"}[scalar.dtype]
        value = Val(rep, (b.load(type, pointer),))
        b.name(value.id, scalar.name)
        if i < len(params):
            dtype = e.dtype(params[i])
            value = value if dtype.is_wide else convert(e, value, e.rep(dtype), dtype)
            e.bind(params[i], value)
    return value


def thread_indices(e: Emitter, folded: Val | None) -> None:
    """Loads the indices in use; leaves where a grid of `folded` workgroups overhangs (uniformly: barriers are safe)."""
    b = e.b
    vec3 = b.vector(b.u32, 3)
    indices: dict[str, Val] = {}
    for tags, which, label in ((GRID_TAGS, BuiltIn.WorkgroupId, "workgroup_id"),
                               (BLOCK_TAGS, BuiltIn.LocalInvocationId, "local_invocation_id")):
        if not any(tag in e.scan.extents for tag in tags):
            continue
        vector = b.load(vec3, b.builtin(which, label))
        for i, tag in enumerate(tags):
            indices[tag] = Val("u32", (b.op(Op.CompositeExtract, b.u32, vector, i),))
    if folded is not None:
        count = b.load(vec3, b.builtin(BuiltIn.NumWorkgroups, "num_workgroups"))
        width = Val("u32", (b.op(Op.CompositeExtract, b.u32, count, 0),))
        x = arith.binary(b, "Add", indices["blockIdx.x"], arith.binary(b, "Mul", indices["blockIdx.z"], width))
        outside = arith.binary(b, "GE", x, folded)
        with b.branch(outside.id, False) as arms:
            next(arms)
            b.terminate(Op.Return)
        indices["blockIdx.x"] = x
    for tag in e.scan.extents:
        index = arith.bitcast(b, "i32", indices[tag])
        b.name(index.id, tag.replace(".", "_"))
        e.indices[tag] = index
