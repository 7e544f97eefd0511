"""Rows of operators on images: sampling at given places, regions, affine grids, pixels shuffled."""

from __future__ import annotations

import itertools

import numpy as np
from tvm import relax

from .networks import LONG
from .spec import EVERY, In, Row

R = relax.op
Array = np.ndarray
PLAIN = ("float32", "float16")


def _inside(at: Array, size: int, padding: str, corners: bool) -> Array:
    """Coordinates as the padding mode moves them into an axis."""
    if padding == "border":
        return np.clip(at, 0, size - 1)
    if padding == "reflection":
        low, high = (0.0, size - 1.0) if corners else (-0.5, size - 0.5)
        span = high - low
        turned = np.abs(at - low) % (2 * span)
        return np.clip(np.where(turned > span, 2 * span - turned, turned) + low, 0, size - 1)
    return at


def _pixels(x: Array, y: Array, z: Array) -> Array:
    """x[:, :, y, z] for each batch, 0 outside."""
    within = (y >= 0) & (y < x.shape[2]) & (z >= 0) & (z < x.shape[3])
    rows, columns = (np.clip(a, 0, n - 1).astype(int) for a, n in zip((y, z), x.shape[2:]))
    batch = np.arange(x.shape[0])[:, None, None]
    return np.moveaxis(x[batch, :, rows, columns] * within[..., None], -1, 1)


def grid_sample(x: Array, grid: Array, method: str, padding: str, corners: bool) -> Array:
    """`grid` [n, 2, h, w] holds x and y from -1 to 1."""
    places = []
    for axis, size in ((1, x.shape[2]), (0, x.shape[3])):
        at = (grid[:, axis] + 1) / 2 * (size - 1) if corners else ((grid[:, axis] + 1) * size - 1) / 2
        places.append(_inside(at, size, padding, corners))
    if method == "nearest":
        return _pixels(x, *(np.round(at) for at in places))
    base = [np.floor(at) for at in places]
    total = 0
    for taps in itertools.product((0, 1), repeat=2):
        weight = 1.0
        for at, low, tap in zip(places, base, taps):
            weight = weight * (at - low if tap else 1 - (at - low))
        total = total + _pixels(x, *(low + tap for low, tap in zip(base, taps))) * weight[:, None]
    return np.asarray(total)


def affine_grid(theta: Array, height: int, width: int) -> Array:
    rows, columns = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    base = np.stack([columns, rows, np.ones_like(rows)])
    return np.einsum("bij,jhw->bihw", theta, base)


def _bilinear(image: Array, y: float, x: float) -> Array:
    height, width = image.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(len(image))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    down, right = min(top + 1, height - 1), min(left + 1, width - 1)
    b, a = y - top, x - left
    return (
        image[:, top, left] * (1 - b) * (1 - a)
        + image[:, top, right] * (1 - b) * a
        + image[:, down, left] * b * (1 - a)
        + image[:, down, right] * b * a
    )


def roi_align(x: Array, rois: Array, size: int, scale: float, samples: int) -> Array:
    out = np.zeros((len(rois), x.shape[1], size, size))
    for n, (batch, left, top, right, bottom) in enumerate(rois * np.array([1, scale, scale, scale, scale])):
        width, height = max(right - left, 1.0) / size, max(bottom - top, 1.0) / size
        for i, j, k, m in itertools.product(range(size), range(size), range(samples), range(samples)):
            y, z = top + (i + (k + 0.5) / samples) * height, left + (j + (m + 0.5) / samples) * width
            out[n, :, i, j] += _bilinear(x[int(batch)], y, z) / samples**2
    return out


def roi_pool(x: Array, rois: Array, size: int) -> Array:
    out = np.zeros((len(rois), x.shape[1], size, size))
    for n, (batch, left, top, right, bottom) in enumerate(np.round(rois).astype(int)):
        height, width = max(bottom - top + 1, 1), max(right - left + 1, 1)
        for i, j in itertools.product(range(size), repeat=2):
            rows = [min(max(v + top, 0), x.shape[2]) for v in (i * height // size, -(-(i + 1) * height // size))]
            columns = [min(max(v + left, 0), x.shape[3]) for v in (j * width // size, -(-(j + 1) * width // size))]
            window = x[batch, :, rows[0] : rows[1], columns[0] : columns[1]]
            out[n, :, i, j] = window.max((1, 2)) if window.size else 0
    return out


def _shuffled(x: Array) -> Array:
    n, c, h, w = x.shape
    return x.reshape(n, c // 4, 2, 2, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // 4, h * 2, w * 2)


# Sizes that 3 divides: a quotient may be an ulp off, and bins begin at whole numbers.
ROIS = np.array([[0, 1, 1, 6, 6], [1, 0, 2, 2, 7], [0, 3, 0, 8, 8]])

ROWS: tuple[Row, ...] = (
    *(Row(f"grid_sample {method} {padding}",
          lambda x, g, m=method, p=padding, c=corners: R.image.grid_sample(x, g, m, "NCHW", p, c),
          lambda x, g, m=method, p=padding, c=corners: grid_sample(x, g, m, p, c), ("float32",),
          (In((2, 3, 5, 7)), In((2, 2, 4, 6), "unit")), 256, True)
      for method in ("bilinear", "nearest")
      for padding in ("zeros", "border", "reflection") for corners in (True, False)),
    Row("affine_grid", lambda t: R.image.affine_grid(t, (4, 6)), lambda t: affine_grid(t, 4, 6), PLAIN,
        (In((2, 2, 3)),), **LONG),
    Row("roi_align", lambda x: R.vision.roi_align(x, relax.const(ROIS.astype("float32")), (3, 3), 0.5, 2),
        lambda x: roi_align(x, ROIS, 3, 0.5, 2), ("float32",), (In((2, 3, 9, 9)),), **LONG),
    Row("roi_pool", lambda x: R.vision.roi_pool(x, relax.const(ROIS.astype("float32")), (3, 3), 1.0),
        lambda x: roi_pool(x, ROIS, 3), ("float32",), (In((2, 3, 9, 9)),), 1),
    Row("pixel_shuffle", lambda x: R.nn.pixel_shuffle(x, 2), _shuffled, EVERY, (In((2, 8, 3, 4), "wide"),), 0),
    Row("batch_flatten", R.nn.batch_flatten, lambda x: x.reshape(x.shape[0], -1), EVERY, (In((3, 4, 5), "wide"),), 0),
)  # fmt: skip
