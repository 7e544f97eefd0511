"""DFT and STFT as products with matrices of cosines and sines, of lengths that are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvm_webgpu.pipeline.frontends.onnx_body import Body


def matrix(taken: int, parts: int, length: int, inverse: bool, onesided: bool) -> np.ndarray:
    """[taken * parts, results * parts of a result]: what each number of a sequence adds to each of its transform.

    Sequences have `taken` numbers of one part (real) or two; with `onesided` the half of a real signal's transform is
    left out, from the results or, of the inverse, from the sequence.
    """
    back = inverse and onesided
    results = length // 2 + 1 if onesided and not inverse else length
    angle = 2 * np.pi / length * np.outer(np.arange(taken), np.arange(results))
    if back:
        # The numbers that are left out are the conjugates of those between the first and the middle.
        twice = np.where((np.arange(taken) == 0) | (2 * np.arange(taken) == length), 1, 2)[:, None]
        whole = np.stack([twice * np.cos(angle), -twice * np.sin(angle)])[:, None]
    else:
        sine = np.sin(angle) if inverse else -np.sin(angle)
        whole = np.array([[np.cos(angle), sine], [-sine, np.cos(angle)]])
    whole = whole[:parts] / (length if inverse else 1)  # [part, part of the result, taken, results]
    return whole.transpose(2, 0, 3, 1).reshape(taken * parts, -1)


def _transform(body: Body, x: str, rank: int, taken: int, parts: int, table: np.ndarray, after: int) -> str:
    """Transforms the last axis but one, of `taken` numbers of `parts`; `after` parts has a result."""
    flat = body.Reshape(x, np.array([*[0] * (rank - 2), taken * parts]))
    product = body.MatMul(flat, table.astype(body.scalar(0, 0).dtype))
    return body.Reshape(product, np.array([*[0] * (rank - 2), table.shape[1] // after, after]))


def _number(body: Body, index: int, default: int) -> int:
    return int(body.value(index).reshape(())) if body.has(index) else default


def dft(body: Body) -> Sequence[str]:
    """Of an axis of real numbers ([..., 1]) or complex ones ([..., 2])."""
    rank = len(body.dims(0))
    axis = (_number(body, 2, -2) if body.opset >= 20 else body.attr("axis", 1)) % rank
    inverse, onesided = bool(body.attr("inverse", 0)), bool(body.attr("onesided", 0))
    own, parts = body.extent(0, axis), body.extent(0, rank - 1)
    length = _number(body, 1, 2 * (own - 1) if inverse and onesided else own)
    taken = min(own, length // 2 + 1 if inverse and onesided else length)
    x = body.input(0)
    if taken < own:
        x = body.Slice(x, starts=[0], ends=[taken], axes=[axis])
    order = [*(i for i in range(rank - 1) if i != axis), axis, rank - 1]
    moved = body.Transpose(x, perm=order)
    table = matrix(taken, parts, length, inverse, onesided)
    result = _transform(body, moved, rank, taken, parts, table, 1 if inverse and onesided else 2)
    return [body.Transpose(result, perm=[int(i) for i in np.argsort(order)])]


def stft(body: Body) -> Sequence[str]:
    """Of frames of a signal, [batch, samples, parts], weighted by a window."""
    samples, parts = body.extent(0, 1), body.extent(0, 2) if len(body.dims(0)) > 2 else 1
    step = _number(body, 1, 1)
    length = _number(body, 3, body.extent(2, 0) if body.has(2) else samples)
    frames = np.arange(0, samples - length + 1, step)[:, None] + np.arange(length)
    signal = body.input(0) if len(body.dims(0)) > 2 else body.Unsqueeze(body.input(0), axes=[2])
    x = body.Gather(signal, frames, axis=1)
    if body.has(2):
        x = body.Mul(x, body.Unsqueeze(body.input(2), axes=[1]))
    table = matrix(length, parts, length, False, bool(body.attr("onesided", 1)))
    return [_transform(body, x, 4, length, parts, table, 2)]
