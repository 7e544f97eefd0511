"""Non-maximum suppression: boxes and their scores in, those that no better box of the same class covers out."""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import relax, tirx
from tvm.script import tirx as T

from tvm_webgpu.errors import UnsupportedError


def _kernel(batch: int, classes: int, boxes: int, most: int) -> tirx.PrimFunc:
    """A thread for each class of each image: it walks the boxes from the best, and keeps up to `most`.

    `kept` has one column more, where a thread notes whether the box at hand is covered.
    """
    groups = batch * classes

    @T.prim_func(private=True, s_tir=True)
    def suppress(
        corners_: T.handle,
        scores_: T.handle,
        order_: T.handle,
        overlap_: T.handle,
        least_: T.handle,
        kept_: T.handle,
        count_: T.handle,
    ) -> None:
        T.func_attr({"tirx.noalias": True})
        corners = T.match_buffer(corners_, (batch * boxes * 4,), "float32")
        scores = T.match_buffer(scores_, (groups, boxes), "float32")
        order = T.match_buffer(order_, (groups, boxes), "int32")
        overlap = T.match_buffer(overlap_, (1,), "float32")
        least = T.match_buffer(least_, (1,), "float32")
        kept = T.match_buffer(kept_, (groups, most + 1), "int32")
        count = T.match_buffer(count_, (groups,), "int32")
        for group in T.parallel(groups):
            count[group] = 0
            for slot in range(most):
                kept[group, slot] = 0
            for rank in range(boxes):
                kept[group, most] = 0
                if count[group] == most or not scores[group, order[group, rank]] > least[0]:
                    kept[group, most] = 1
                for slot in range(count[group]):
                    if kept[group, most] == 0:
                        one: T.let = (group // classes * boxes + order[group, rank]) * 4
                        two: T.let = (group // classes * boxes + kept[group, slot]) * 4
                        both: T.let = T.max(
                            T.min(corners[one + 2], corners[two + 2]) - T.max(corners[one], corners[two]), T.float32(0)
                        ) * T.max(
                            T.min(corners[one + 3], corners[two + 3]) - T.max(corners[one + 1], corners[two + 1]),
                            T.float32(0),
                        )
                        first: T.let = (corners[one + 2] - corners[one]) * (corners[one + 3] - corners[one + 1])
                        second: T.let = (corners[two + 2] - corners[two]) * (corners[two + 3] - corners[two + 1])
                        if both > overlap[0] * (first + second - both):
                            kept[group, most] = 1
                if kept[group, most] == 0:
                    kept[group, count[group]] = order[group, rank]
                    count[group] = count[group] + 1

    return suppress


def _corners(emit: relax.BlockBuilder, boxes: relax.Expr, centres: bool) -> relax.Expr:
    """[batch, boxes, 4]: the lower coordinates before the higher ones, whatever corners were given."""
    if centres:  # x, y, width, height
        low, size = (emit.emit(relax.op.strided_slice(boxes, [2], [at], [at + 2])) for at in (0, 2))
        half = emit.emit(relax.op.multiply(size, relax.const(0.5, "float32")))
        return emit.emit(relax.op.concat([relax.op.subtract(low, half), relax.op.add(low, half)], axis=2))
    first, second = (emit.emit(relax.op.strided_slice(boxes, [2], [at], [at + 2])) for at in (0, 2))
    return emit.emit(relax.op.concat([relax.op.minimum(first, second), relax.op.maximum(first, second)], axis=2))


def suppress(
    bb: relax.BlockBuilder,
    boxes: relax.Expr,
    scores: relax.Expr,
    most: int,
    overlap: relax.Expr,
    least: relax.Expr,
    centres: bool,
) -> relax.Expr:
    """[selected, 3]: image, class and box, int64, the classes in order and each one's best boxes first.

    Boxes are [batch, boxes, 4], scores [batch, classes, boxes]; a box is covered by one with a higher score where they
    share more than `overlap` of what they cover together, and left out unless its score is above `least`.
    """
    batch, classes, number = _numbers(scores.ty.shape)
    most = min(most, number)
    if not most:
        return relax.op.zeros((0, 3), "int64")
    flat = bb.emit(relax.op.reshape(scores, [batch * classes, number]))
    order = bb.emit(relax.op.argsort(flat, axis=-1, descending=True, dtype="int32"))
    kernel = bb.add_func(_kernel(batch, classes, number, most), "non_max_suppression")
    both = bb.emit(
        relax.call_tir(
            kernel,
            [bb.emit(relax.op.reshape(_corners(bb, boxes, centres), [-1])), flat, order, overlap, least],
            [relax.TensorType((batch * classes, most + 1), "int32"), relax.TensorType((batch * classes,), "int32")],
        )
    )
    kept, count = (bb.emit(relax.TupleGetItem(both, i)) for i in (0, 1))
    kept = bb.emit(relax.op.strided_slice(kept, [1], [0], [most]))
    slots = relax.op.arange(0, most, 1, "int32")
    taken = bb.emit(relax.op.less(slots, relax.op.expand_dims(count, 1)))
    where = bb.emit(relax.op.nonzero(bb.emit(relax.op.reshape(taken, [batch, classes, most]))))
    places = bb.emit(relax.op.permute_dims(where))
    found = relax.op.gather_nd(bb.emit(relax.op.reshape(kept, [batch, classes, most])), places)
    column = bb.emit(relax.op.expand_dims(bb.emit(relax.op.astype(bb.emit(found), "int64")), 1))
    return relax.op.concat([bb.emit(relax.op.strided_slice(places, [1], [0], [2])), column], axis=1)


def _numbers(shape: Sequence[tirx.Expr]) -> list[int]:
    if not all(isinstance(extent, tvm.tirx.IntImm) for extent in shape):
        raise UnsupportedError(f"the scores' shape {list(shape)} must be numbers; fix the shapes of the inputs")
    return [int(extent) for extent in shape]
