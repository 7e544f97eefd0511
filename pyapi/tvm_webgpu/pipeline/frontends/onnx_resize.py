"""Resize and Upsample, axis by axis, from positions and weights that are known when the model is compiled.

Positions computed on a GPU may be rounded to a neighbour's, since divisions there are not exact, so nearest neighbours
are always found here; of the rest, what TVM's importer leaves out: antialiasing, extents that are rounded, other axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tvm_webgpu.pipeline.frontends.onnx_body import Body

BY_TVM = {"half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"}
"""Coordinate modes of linear and cubic resizing that TVM's importer has."""


@dataclass(frozen=True)
class Axis:
    """One axis that changes: its number, extents before and after, scale, and where its region of interest lies."""

    number: int
    before: int
    after: int
    scale: float
    region: tuple[float, float] = (0.0, 1.0)

    @property
    def whole(self) -> bool:
        """Whether nothing was rounded."""
        return math.isclose(self.before * self.scale, self.after, rel_tol=1e-6)


def positions(axis: Axis, mode: str) -> np.ndarray:
    """Where in the axis each result lies, in elements."""
    at, width = np.arange(axis.after, dtype=np.float64), axis.scale * axis.before
    half_pixel = (at + 0.5) / axis.scale - 0.5
    start, end = axis.region
    last = axis.before - 1
    return {
        "half_pixel": lambda: half_pixel,
        "pytorch_half_pixel": lambda: half_pixel if width > 1 else np.full_like(at, -0.5),
        "half_pixel_symmetric": lambda: half_pixel + axis.before / 2 * (1 - axis.after / width),
        "align_corners": lambda: at * last / (width - 1) if width != 1 else 0 * at,
        "asymmetric": lambda: at / axis.scale,
        "tf_half_pixel_for_nn": lambda: (at + 0.5) / axis.scale,
        "tf_crop_and_resize": lambda: start * last
        + ((end - start) * last * (at / (width - 1) if width != 1 else 0 * at + 0.5)),
    }[mode]()


def nearest(at: np.ndarray, rounding: str) -> np.ndarray:
    """The element that is taken for each position."""
    rounded = {
        "round_prefer_floor": lambda: np.ceil(at - 0.5),
        "round_prefer_ceil": lambda: np.floor(at + 0.5),
        "floor": lambda: np.floor(at),
        "ceil": lambda: np.ceil(at),
    }[rounding]()
    return rounded.astype(np.int64)


def _linear(distance: np.ndarray, _: float) -> np.ndarray:
    return np.maximum(0, 1 - np.abs(distance))


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


Weights = Callable[[np.ndarray, float], np.ndarray]
KERNELS: dict[str, tuple[int, Weights]] = {"linear": (1, _linear), "cubic": (2, _cubic)}
"""How far each reaches, and its weights by distance."""


def taps(
    axis: Axis, at: np.ndarray, mode: str, cubic: float, antialias: bool, inside: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Elements and weights, [results, taps]; `inside` leaves out what lies beyond the axis."""
    reach, kernel = KERNELS[mode]
    scale = min(axis.scale, 1.0) if antialias else 1.0
    width = math.ceil(reach / scale)
    elements = np.floor(at)[:, None] + np.arange(1 - width, width + 1)
    weights = kernel((elements - at[:, None]) * scale, cubic)
    if inside:
        weights = np.where((elements >= 0) & (elements < axis.before), weights, 0)
    if inside or antialias:
        weights = weights / weights.sum(axis=1, keepdims=True)
    return np.clip(elements, 0, axis.before - 1).astype(np.int64), weights


def resize(body: Body) -> Sequence[str] | None:
    """The definition."""
    old = body.node.op_type == "Upsample" or body.opset < 11
    coordinates = "asymmetric" if old else body.attr("coordinate_transformation_mode", "half_pixel")
    mode, antialias = body.attr("mode", "nearest"), bool(body.attr("antialias", 0))
    inside = bool(body.attr("exclude_outside", 0))
    axes = _axes(body, old)
    if axes is None:
        return None
    value = body.input(0)
    if mode != "nearest" and body.node.op_type == "Resize":
        plain = coordinates in BY_TVM and not antialias and not inside and "axes" not in body.attrs
        spatial = all(axis.whole and axis.number >= 2 for axis in axes) and 3 <= len(body.dims(0)) <= 5
        if plain and spatial and "keep_aspect_ratio_policy" not in body.attrs:
            return None
    for axis in axes:
        at = positions(axis, coordinates)
        if mode == "nearest":
            rounding = "floor" if old else body.attr("nearest_mode", "round_prefer_floor")
            elements = np.clip(nearest(at, rounding), 0, axis.before - 1)
            value = body.Gather(value, elements, axis=axis.number)
        else:
            elements, weights = taps(axis, at, mode, body.attr("cubic_coeff_a", -0.75), antialias, inside)
            value = _weighted(body, value, axis.number, elements, weights)
        if coordinates == "tf_crop_and_resize":
            outside = ((at < 0) | (at > axis.before - 1)).reshape(-1, *[1] * (len(body.dims(0)) - 1 - axis.number))
            value = body.Where(outside, body.scalar(body.attr("extrapolation_value", 0.0), 0), value)
    return [value]


def _weighted(body: Body, value: str, axis: int, elements: np.ndarray, weights: np.ndarray) -> str:
    """The sum over the taps of elements times weights, in float32 where the type is narrower."""
    from onnx import TensorProto

    after = len(body.dims(0)) - 1 - axis
    kind = body.dtype(0)
    wide = TensorProto.DOUBLE if kind == TensorProto.DOUBLE else TensorProto.FLOAT
    gathered = body.Gather(value, elements, axis=axis)
    if kind != wide:
        gathered = body.Cast(gathered, to=wide)
    shaped = weights.reshape(*weights.shape, *[1] * after).astype(np.float64 if wide == kind != 1 else np.float32)
    total = body.ReduceSum(body.Mul(gathered, shaped), axes=[axis + 1], keepdims=0)
    return body.Cast(total, to=kind) if kind != wide else total


def _axes(body: Body, old: bool) -> list[Axis] | None:
    """The axes that change; None where shapes or operands are not known."""
    dims = body.dims(0)
    numbers = [axis % len(dims) for axis in body.attr("axes", range(len(dims)))]
    scales_at, sizes_at = (1, 3) if old else (2, 3)
    if "scales" in body.attrs:
        scales: list[float] | None = list(body.attr("scales"))
    else:
        scales = _given(body, scales_at)
    sizes = None if old else _given(body, sizes_at)
    region = (None if old else _given(body, 1)) or [*[0.0] * len(numbers), *[1.0] * len(numbers)]
    if scales is None and sizes is None:
        return None
    found = []
    for i, number in enumerate(numbers):
        before = dims[number]
        if scales is not None and scales[i] == 1 and tuple(region[i :: len(numbers)]) == (0.0, 1.0):
            continue
        if before is None:
            return None
        if scales is not None:
            scale = float(scales[i])
            after = math.floor(before * scale + 1e-9)
        else:
            assert sizes is not None
            after, scale = int(sizes[i]), int(sizes[i]) / before
        found.append(Axis(number, before, after, scale, (region[i], region[len(numbers) + i])))
    policy = body.attr("keep_aspect_ratio_policy", "stretch")
    if sizes is not None and policy != "stretch":
        scale = (min if policy == "not_larger" else max)(axis.scale for axis in found)
        found = [
            Axis(axis.number, axis.before, math.floor(axis.before * scale + 0.5), scale, axis.region) for axis in found
        ]
    crops = body.attr("coordinate_transformation_mode", "") == "tf_crop_and_resize"
    return [axis for axis in found if axis.before != axis.after or axis.scale != 1 or crops]


def _given(body: Body, index: int) -> list[float] | None:
    if not body.has(index) or not body.is_constant(index):
        return None
    return list(map(float, body.value(index))) or None
