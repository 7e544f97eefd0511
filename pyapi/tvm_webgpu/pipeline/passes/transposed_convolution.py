"""Transposed convolutions as sums over the taps that meet an element, and no others.

A result at y takes input i through tap r where y + padding = stride * i + r: every stride-th tap. TVM's own form
spreads the input out with zeros between its elements and multiplies all taps, `stride` times too many in each
dimension. Here a result names its taps, r = (y + padding) % stride + stride * t, which the schedule of products splits
into a product for each remainder. For that, results are computed up to a multiple of the stride, and cut off.
"""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import relax, te, tirx, topi

from tvm_webgpu.pipeline.passes.patterns import OPAQUE, PATTERN

AXES = "DHW"
NAMES = {f"relax.nn.conv{n}d_transpose": n for n in (1, 2, 3)}


def is_gathered(call: relax.Call) -> bool:
    """Whether the call is a transposed convolution that this module writes: one group, no dilation, channels first,
    every size but the batch known, and a stride, without which TVM's form does as well."""
    n = NAMES.get(getattr(call.op, "name", ""))
    if n is None:
        return False
    attrs, axes = call.attrs, AXES[3 - n :]
    data, weight = (arg.ty for arg in call.args)
    known = all(isinstance(size, tirx.IntImm) for size in [*list(data.shape)[1:], *weight.shape])
    plain = int(attrs.groups) == 1 and all(int(d) == 1 for d in attrs.dilation)
    strided = any(int(s) > 1 for s in attrs.strides)
    channels_first = str(attrs.data_layout) == str(attrs.out_layout) == f"NC{axes}"
    weights = set(str(attrs.kernel_layout)) == set(f"IO{axes}")
    dtypes = {str(data.dtype), str(weight.dtype)} == {str(call.ty.dtype)} and "float" in str(data.dtype)
    return known and plain and strided and channels_first and weights and dtypes


def legalize(block_builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """For LegalizeOps."""
    if not is_gathered(call):
        return tvm.ir.Op.get(call.op.name).get_attr("FLegalize")(block_builder, call)
    n, attrs = NAMES[call.op.name], call.attrs
    strides, padding = [int(s) for s in attrs.strides], [int(p) for p in attrs.padding]
    layout = str(attrs.kernel_layout)

    out = [int(size) for size in list(call.ty.shape)[2:]]

    def compute(data: te.Tensor, weight: te.Tensor) -> te.Tensor:
        return _gather(data, weight, layout, strides, padding[:n], [-(-size // s) * s for size, s in zip(out, strides)])

    name = call.op.name.rsplit(".", 1)[1]
    whole = block_builder.call_te(compute, *call.args, primfunc_name_hint=name)
    if all(size % s == 0 for size, s in zip(out, strides)):
        return whole
    axes = list(range(2, 2 + n))
    begin, steps = [0] * n, [1] * n
    # Fused with the sum it would make of it something else than a product.
    return block_builder.call_te(
        topi.strided_slice,
        block_builder.emit(whole),
        *(begin, out, steps, axes),
        primfunc_name_hint="cut",
        primfunc_attrs={PATTERN: OPAQUE},
    )


def _gather(
    data: te.Tensor,
    weight: te.Tensor,
    layout: str,
    strides: Sequence[int],
    padding: Sequence[int],
    out: Sequence[int],
) -> te.Tensor:
    """Results of the sizes `out`, in each dimension; `padding`: before the first."""
    n = len(strides)
    sizes = [int(data.shape[2 + d]) for d in range(n)]
    axes = AXES[3 - n :]
    kernel = {axis: int(size) for axis, size in zip(layout, weight.shape)}
    taps = [kernel[axis] for axis in axes]
    channels = te.reduce_axis((0, int(data.shape[1])), "c")
    steps = [te.reduce_axis((0, -(-tap // s)), f"t{axis}") for tap, s, axis in zip(taps, strides, axes)]
    zero = tirx.const(0, data.dtype)

    def value(batch: tirx.Expr, channel: tirx.Expr, *places: tirx.Expr) -> tirx.Expr:
        shifted = [y + p for y, p in zip(places, padding)]
        at = [tvm.tirx.floordiv(y, s) - t for y, s, t in zip(shifted, strides, steps)]
        tap = {a: tvm.tirx.floormod(y, s) + t * s for a, y, s, t in zip(axes, shifted, strides, steps)}
        element = data(batch, channels, *at)
        inside = [c for i, size in zip(at, sizes) for c in (i >= 0, i < size)]
        factor = weight(*({**tap, "I": channels, "O": channel}[axis] for axis in layout))
        within = [tap[a] < kernel[a] for a, s in zip(axes, strides) if kernel[a] % s]
        element = tvm.tirx.if_then_else(tvm.tirx.all(*inside), element, zero)
        return te.sum(
            element * (tvm.tirx.if_then_else(tvm.tirx.all(*within), factor, zero) if within else factor),
            axis=[channels, *steps],
        )

    return te.compute((data.shape[0], kernel["O"], *out), value, name="conv_transpose")


LEGALIZE_TRANSPOSED = dict.fromkeys(NAMES, legalize)
"""For LegalizeOps."""
