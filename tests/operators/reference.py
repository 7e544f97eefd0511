"""Reference forms, in NumPy, of operators that NumPy lacks: convolutions, pools, resizing, scatters, attention."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

Array = np.ndarray


def conv(
    x: Array, w: Array, stride: int = 1, pad: int = 0, dilation: int = 1, groups: int = 1, keep: bool = False
) -> Array:
    """Convolution of any dimension, NC... and OI...; every spatial axis has the same stride, padding and dilation."""
    axes = x.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0)] + [(pad, pad)] * axes)
    kernel = w.shape[2:]
    sizes = [(n - (k - 1) * dilation - 1) // stride + 1 for n, k in zip(x.shape[2:], kernel)]
    out = np.zeros((x.shape[0], w.shape[0], *sizes), x.dtype)
    per_in, per_out = w.shape[1], w.shape[0] // groups
    for group in range(groups):
        data = x[:, group * per_in : (group + 1) * per_in]
        weight = w[group * per_out : (group + 1) * per_out]
        for at in itertools.product(*map(range, kernel)):
            window = tuple(slice(a * dilation, a * dilation + (n - 1) * stride + 1, stride) for a, n in zip(at, sizes))
            part = np.einsum("nc...,oc->no...", data[(..., *window)], weight[(..., *at)])
            out[:, group * per_out : (group + 1) * per_out] += part
    return out


def conv_transpose(x: Array, w: Array, stride: int = 1, pad: int = 0, groups: int = 1, extra: int = 0) -> Array:
    """Transposed convolution, NC... and IO...; `extra` is the output padding."""
    kernel, axes = w.shape[2:], x.ndim - 2
    sizes = [(n - 1) * stride + k for n, k in zip(x.shape[2:], kernel)]
    per_in, per_out = x.shape[1] // groups, w.shape[1]
    out = np.zeros((x.shape[0], per_out * groups, *[n + extra for n in sizes]), x.dtype)
    for group in range(groups):
        data = x[:, group * per_in : (group + 1) * per_in]
        weight = w[group * per_in : (group + 1) * per_in]
        for at in itertools.product(*map(range, kernel)):
            window = tuple(slice(a, a + (n - 1) * stride + 1, stride) for a, n in zip(at, x.shape[2:]))
            channels = slice(group * per_out, (group + 1) * per_out)
            out[(slice(None), channels, *window)] += np.einsum("nc...,co->no...", data, weight[(..., *at)])
    inner = tuple(slice(pad, out.shape[2 + i] - pad) for i in range(axes))
    return out[(..., *inner)]


def windows(x: Array, size: int, stride: int, pad: int, fill: float) -> Array:
    """All windows over the last axes of NC...: their elements on a new last axis."""
    axes = x.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0)] + [(pad, pad)] * axes, constant_values=fill)
    sizes = [(n - size) // stride + 1 for n in x.shape[2:]]
    parts = []
    for at in itertools.product(range(size), repeat=axes):
        window = tuple(slice(a, a + (n - 1) * stride + 1, stride) for a, n in zip(at, sizes))
        parts.append(x[(..., *window)])
    return np.stack(parts, -1)


def max_pool(x: Array, size: int, stride: int = 1, pad: int = 0) -> Array:
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return windows(x, size, stride, pad, least).max(-1)


def avg_pool(x: Array, size: int, stride: int = 1, pad: int = 0, count_pad: bool = False) -> Array:
    total = windows(x, size, stride, pad, 0).sum(-1)
    count = windows(np.ones_like(x), size, stride, pad, 1 if count_pad else 0).sum(-1)
    return total / count


def adaptive_pool(x: Array, sizes: Sequence[int]) -> Array:
    """Means over windows of about equal size."""
    out = np.zeros((*x.shape[:2], *sizes), x.dtype)
    for at in itertools.product(*map(range, sizes)):
        window = tuple(slice(a * n // s, -(-(a + 1) * n // s)) for a, s, n in zip(at, sizes, x.shape[2:]))
        out[(..., *at)] = x[(..., *window)].mean(tuple(range(2, x.ndim)))
    return out


COORDINATES: dict[str, Callable[[Array, int, int], Array]] = {
    "half_pixel": lambda i, n, m: (i + 0.5) * n / m - 0.5,
    "align_corners": lambda i, n, m: i * (n - 1) / (m - 1) if m > 1 else i * 0.0,
    "asymmetric": lambda i, n, m: i * n / m,
}


def _weights(n: int, m: int, method: str, mode: str, alpha: float) -> Array:
    """The matrix [m, n] by which resizing along one axis multiplies."""
    at = COORDINATES[mode](np.arange(m, dtype="float64"), n, m)
    out = np.zeros((m, n))
    base = np.floor(at)
    t = at - base
    if method == "nearest_neighbor":
        taps = {0: np.ones(m)}
        base = np.floor(at + 1e-9)
    elif method == "linear":
        taps = {0: 1 - t, 1: t}
    else:
        a = alpha
        far = lambda d: a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a  # noqa: E731
        near = lambda d: (a + 2) * d**3 - (a + 3) * d**2 + 1  # noqa: E731
        taps = {-1: far(t + 1), 0: near(t), 1: near(1 - t), 2: far(2 - t)}
    for tap, weight in taps.items():
        np.add.at(out, (np.arange(m), np.clip(base + tap, 0, n - 1).astype(int)), weight)
    return out


def resize(x: Array, sizes: Sequence[int], method: str, mode: str, alpha: float = -0.5) -> Array:
    """Resizes the last axes of NC..., one after the other."""
    for axis, m in enumerate(sizes, start=2):
        matrix = _weights(x.shape[axis], m, method, mode, alpha)
        x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


SCATTERS: dict[str, Callable[[Array, Array], Array]] = {
    "update": lambda old, new: new,
    "add": np.add,
    "mul": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
}


def scatter_elements(x: Array, index: Array, update: Array, axis: int, kind: str) -> Array:
    """Updates one after the other, so the last of several to one place stays."""
    out = x.copy()
    for at in np.ndindex(*index.shape):
        place = list(at)
        place[axis] = int(index[at])
        out[tuple(place)] = SCATTERS[kind](out[tuple(place)], update[at])
    return out


def scatter_nd(x: Array, index: Array, update: Array, kind: str) -> Array:
    out = x.copy()
    for at in np.ndindex(*index.shape[:-1]):
        place = tuple(int(i) for i in index[at])
        out[place] = SCATTERS[kind](out[place], update[at])
    return out


def gather_nd(x: Array, index: Array, batch: int) -> Array:
    lead = index.shape[:-1]
    out = np.zeros((*lead, *x.shape[batch + index.shape[-1] :]), x.dtype)
    for at in np.ndindex(*lead):
        out[at] = x[(*at[:batch], *(int(i) for i in index[at]))]
    return out


def softmax(x: Array, axis: int = -1) -> Array:
    grown = np.exp(x - x.max(axis, keepdims=True))
    return grown / grown.sum(axis, keepdims=True)


def log_softmax(x: Array, axis: int = -1) -> Array:
    low = x - x.max(axis, keepdims=True)
    return low - np.log(np.exp(low).sum(axis, keepdims=True))


def normalise(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    centred = x - x.mean(axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axes, keepdims=True) + epsilon)


def attention(q: Array, k: Array, v: Array, bias: Array | None = None, causal: str | None = None) -> Array:
    """Batch, sequence, heads, head size."""
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])
    if bias is not None:
        scores = scores + bias
    if causal:
        rows, columns = scores.shape[-2:]
        offset = columns - rows if causal == "BottomRight" else 0
        scores = np.where(np.tri(rows, columns, offset, dtype=bool), scores, -np.inf)
    return np.einsum("bhqk,bkhd->bqhd", softmax(scores), v)


def one_hot(index: Array, depth: int, on: float, off: float) -> Array:
    return np.where(index[..., None] == np.arange(depth), on, off)


def order(x: Array, axis: int, descending: bool) -> Array:
    """Indices of a stable sort, NaN last (first when descending)."""
    if not descending:
        return np.argsort(x, axis, kind="stable")
    flipped = np.flip(x, axis)
    return x.shape[axis] - 1 - np.flip(np.argsort(flipped, axis, kind="stable"), axis)


def truncated(a: Array, b: Array) -> Array:
    """Integer division towards zero; the least integer by -1 wraps."""
    if a.dtype.kind == "f":
        return a / b
    q = np.floor_divide(a, b)
    inexact = (a - (q * b).astype(a.dtype) != 0) & ((a < 0) != (b < 0))
    return np.where(inexact, q + 1, q).astype(a.dtype)


def cast(x: Array, dtype: np.dtype) -> Array:
    """As C does where C says what it does; a float beyond a 32-bit integer's range gives the last float in it, beyond a
    64-bit integer's range its end, and NaN gives 0. Smaller integers keep the low bits of the 32-bit one.
    """
    if x.dtype.kind != "f" or dtype.kind not in "iu":
        return x.astype(dtype)
    wide = np.dtype("int32") if dtype.itemsize < 4 else dtype
    info = np.iinfo(wide)
    whole = np.trunc(np.where(np.isnan(x), 0, x))
    top = float(info.max) if wide.itemsize == 8 else float(np.nextafter(np.float32(info.max), np.float32(0)))
    inside = np.clip(whole, float(info.min), top)
    exact = np.array([min(max(int(v), info.min), info.max) for v in inside.ravel()], wide).reshape(x.shape)
    return exact.astype(dtype)
