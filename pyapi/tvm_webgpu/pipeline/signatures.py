"""The types of entries as a package states them: Relax functions and names in, entries with dtypes and shapes out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

import tvm
from tvm import relax

from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.package import Dim, TensorSpec
from tvm_webgpu.pipeline.model import Signature

DTYPES = {
    "bool",
    "float16",
    "float32",
    "float64",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e8m0fnu",
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
}
"""What executors take and give."""

UNKNOWN = "?"
"""An extent of an output that is known only after the values that decide it."""


def inputs_of(func: relax.Function, signature: Signature) -> tuple[TensorSpec, ...]:
    """The entry's inputs: its first parameters, named by the signature."""
    return tuple(_spec(name, param.ty) for name, param in zip(signature.inputs, func.params))


def outputs_of(func: relax.Function, signature: Signature) -> tuple[TensorSpec, ...]:
    """The entry's results, tuples flattened; without names of their own they are `output`, or `output_0`, ..."""
    types = list(_flatten(func.ret_ty))
    names = signature.outputs or (("output",) if len(types) == 1 else [f"output_{i}" for i in range(len(types))])
    if len(names) != len(types):
        raise UnsupportedError(f"the model names {len(names)} outputs, but gives {len(types)}")
    return tuple(_spec(name, ty) for name, ty in zip(names, types))


def storage_of(func: relax.Function) -> tuple[Dim, ...]:
    """The sizes in bytes of the blocks that memory planning gave the entry's intermediates and results, in order."""
    sizes: list[Dim] = []

    def visit(expr: relax.Expr) -> None:
        name = getattr(expr.op, "name", "") if isinstance(expr, relax.Call) else ""
        if name == "relax.memory.alloc_storage":
            sizes.extend(_dims(expr.args[0].values))
        elif name == "relax.builtin.alloc_tensor":
            sizes.extend(_bytes(expr))

    relax.analysis.post_order_visit(func.body, visit)
    return tuple(sizes)


def _bytes(alloc: relax.Call) -> tuple[Dim, ...]:
    """The size of a tensor with a block of its own, such as a result."""
    elements = math.prod(alloc.args[0].values, start=tvm.tirx.IntImm("int64", 1))
    bits = tvm.runtime.DataType(str(alloc.args[1].value)).bits
    return _dims([tvm.sym.Analyzer().simplify(elements * max(bits // 8, 1))])


def _flatten(ty: tvm.ir.Type) -> Iterator[tvm.ir.Type]:
    if isinstance(ty, relax.TupleType):
        for member in ty.fields:
            yield from _flatten(member)
    else:
        yield ty


def _spec(name: str, ty: tvm.ir.Type) -> TensorSpec:
    if isinstance(ty, relax.TensorType):
        if str(ty.dtype) not in DTYPES:
            raise UnsupportedError(f"{name!r} has dtype {ty.dtype}; packages have {', '.join(sorted(DTYPES))}")
        if ty.shape is None or not isinstance(ty.shape, relax.ShapeExpr):
            if ty.ndim < 0:
                raise UnsupportedError(f"{name!r} has a rank that is known only after its values: {ty}")
            return TensorSpec(name, str(ty.dtype), (UNKNOWN,) * ty.ndim)
        return TensorSpec(name, str(ty.dtype), _dims(ty.shape.values))
    if isinstance(ty, tvm.ir.PrimType):
        return TensorSpec(name, kind="int")
    if isinstance(ty, relax.ShapeType):
        if ty.values is None or len(ty.values) != 1:
            raise UnsupportedError(f"{name!r} is a {ty}; entries take shapes of one dimension only")
        return TensorSpec(name, shape=_dims(ty.values), kind="shape")
    return TensorSpec(name, kind="object")


def _dims(values: Sequence[tvm.tirx.Expr]) -> tuple[Dim, ...]:
    return tuple(int(value) if isinstance(value, tvm.tirx.IntImm) else _text(value) for value in values)


def _text(value: tvm.tirx.Expr) -> str:
    if isinstance(value, tvm.tirx.Var):
        return value.name
    return re.sub(r"T\.int64\((-?\d+)\)", r"\1", str(value).split("\n")[-1])
