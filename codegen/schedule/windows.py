"""Reductions over small windows (depthwise convolutions, pools): a PrimFunc in; one kernel, a patch to a thread, out.

Neighbouring windows overlap, so a thread computes a patch of results in registers and loads once what they share. The
grid has a plane (a channel of an image) along y, so that no index is divided by a plane's size, and sizes may be
symbols. An open batch, of who knows how many images, is along x, which alone may pass the limit of a grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tvm
from tvm import tirx

from . import direct
from .axis import Axis, ceil_div, divides, number
from .blocks import NotApplicable
from .builder import Kernel, i64
from .limits import Limits
from .nest import Nest, nests_of
from .typical import is_bounded, typical

# Steps of a reduction that are written out.
MAX_STEPS = 64
# https://www.w3.org/TR/webgpu/#limits: maxComputeWorkgroupsPerDimension; only blockIdx.x is folded where it passes it.
MAX_PLANES = 65535


@dataclass(frozen=True)
class Window:
    """threads of a workgroup, all in one plane; rows x cols results of a thread, divisors of the plane's sizes."""

    threads: int
    rows: int
    cols: int


@dataclass(frozen=True)
class Sizes:
    """Of the space of results, as the choice sees them: planes, rows and columns of each, and steps of a reduction."""

    planes: int
    height: int
    width: int
    steps: int


@dataclass(frozen=True)
class Row:
    """rows x cols results of a thread, and the sizes that they are meant for."""

    rows: int
    cols: int
    fits: Callable[[Sizes, Limits], bool]


def _occupied(results: int) -> Callable[[Sizes, Limits], bool]:
    """Whether every core still has a few workgroups, without which sharing loads doesn't pay."""
    return lambda s, limits: s.planes * s.height * s.width // results >= 64 * limits.cores and s.steps * results <= 64


def _software(results: int) -> Callable[[Sizes, Limits], bool]:
    """Loads are what costs on software GPUs: as many results as share them, if vectors and processors are occupied."""
    return lambda s, limits: (
        limits.software and s.planes * s.height * s.width // results >= 64 and s.steps * results <= 448
    )


# The first that fits and divides the plane. 3x3 windows load 2.8 values a result for patches of 4x4, 6.8 for 1x4: 15 ms
# instead of 31 for 32x112x112 on lavapipe, 5 instead of 17 for 7x1 at 576x14x14.
PATCHES: tuple[Row, ...] = (
    *(Row(r, c, _software(r * c)) for r, c in ((4, 4), (2, 4), (4, 2), (7, 1), (2, 2), (1, 4), (1, 7), (3, 1))),
    Row(1, 4, _occupied(4)),
    Row(1, 2, _occupied(2)),
    Row(1, 1, lambda _, __: True),
)


def schedule(func: tirx.PrimFunc, limits: Limits, params: Window | None = None) -> tirx.PrimFunc:
    """Raises NotApplicable where the function is not one reduction over small windows of planes."""
    work, chosen = choose(func, limits)
    kernel = Kernel()
    write(kernel, func, work, params or chosen)
    return func.with_body(kernel.finish()).with_attr("tvm_webgpu.plan", str(params or chosen))


def choose(func: tirx.PrimFunc, limits: Limits) -> tuple[direct.Work, Window]:
    """The work that the function is, and its plan. Raises NotApplicable as `schedule` does."""
    works, _ = direct.attach(func, nests_of(func))
    if len(works) != 1 or not (works[0].nest.reduces and works[0].nest.single):
        raise NotApplicable("not one reduction")
    (work,) = works
    space = _space(func, work.nest)
    height, width = space.height, space.width
    steps = work.nest.reduced.extent
    if not isinstance(steps, int) or not 1 < steps <= MAX_STEPS:
        raise NotApplicable("not a small window")
    sizes = Sizes(
        typical(func, space.planes.extent, 1), typical(func, number(height), 1), typical(func, number(width), 1), steps
    )
    if not 0 < sizes.planes <= MAX_PLANES:
        raise NotApplicable("no planes, or too many for the grid")
    if sizes.height * sizes.width == 0:
        raise NotApplicable("planes without results")
    for row in PATCHES:
        if row.fits(sizes, limits) and divides(row.rows, number(height)) and divides(row.cols, number(width)):
            tiles = sizes.height * sizes.width // (row.rows * row.cols)
            # Two warps hide latency where a plane has work for them; less in steps of a software GPU's vectors. There
            # two vectors for every size, so that layers share a kernel.
            threads = 16 if limits.software else 64 if tiles >= 64 else -(-tiles // 8) * 8
            return work, Window(min(threads, limits.threads), row.rows, row.cols)
    raise NotApplicable("no patch")


@dataclass(frozen=True)
class Space:
    """Where results are: images, of whose number nothing is known, planes of each, and the sizes of a plane."""

    images: Axis
    planes: Axis
    height: tirx.Expr
    width: tirx.Expr


def _space(func: tirx.PrimFunc, nest: Nest) -> Space:
    iterators = nest.spatial.iterators
    long = [i for i, (_, extent) in enumerate(iterators) if not (isinstance(extent, tirx.IntImm) and int(extent) == 1)]
    if len(long) < 2:
        raise NotApplicable("no planes")
    outer, (_, height), (_, width) = iterators[: long[-2]], iterators[long[-2]], iterators[long[-1]]
    bounded = [is_bounded(func, extent) for _, extent in outer]
    first = bounded.index(True) if True in bounded else len(outer)
    if not all(bounded[first:]) or (first and not all(is_bounded(func, e) for e in (height, width))):
        raise NotApplicable("who knows how many planes, or how large")
    return Space(Axis(outer[:first]), Axis(outer[first:]), height, width)


def write(
    kernel: Kernel, func: tirx.PrimFunc, work: direct.Work, plan: Window, unroll: int = MAX_STEPS * 64
) -> None:
    """Emits the kernel; sums of up to `unroll` steps, times results, are written out."""
    space = _space(func, work.nest)
    images, planes = space.images, space.planes
    inner = work.nest.spatial.iterators[len(images.iterators) + len(planes.iterators) :]
    across = kernel.simplify(tvm.tirx.floordiv(space.width, i64(plan.cols)))
    tiles = kernel.simplify(tvm.tirx.floordiv(space.height, i64(plan.rows)) * across)
    blocks = ceil_div(number(tiles), plan.threads)
    whole = divides(plan.threads, number(tiles))
    with (
        kernel.threads("blockIdx.y", planes.extent) as plane,
        kernel.threads("blockIdx.x", blocks * i64(images.extent) if images.iterators else blocks) as block,
        kernel.threads("threadIdx.x", plan.threads) as thread,
    ):
        outer = planes.decode(plane)
        if images.iterators:
            outer |= images.decode(kernel.let("image", tvm.tirx.floordiv(block, i64(blocks))))
            block = kernel.let("block", tvm.tirx.floormod(block, i64(blocks)))
        own = kernel.let("tile", block * plan.threads + thread)
        with kernel.when(True if whole else own < i64(tiles)):
            kernel.know(own, tiles)

            def run(i: int) -> direct.Place:
                def place(tile: tirx.Expr, lane: tirx.Expr | int) -> direct.Values:
                    row = tvm.tirx.floordiv(tile, across) * plan.rows + i
                    column = tvm.tirx.floormod(tile, across) * plan.cols + lane
                    wide = iter((row, column))
                    ones = {v: i64(0) for v, e in inner if isinstance(e, tirx.IntImm) and int(e) == 1}
                    values = {v: ones[v] if v in ones else kernel.simplify(next(wide)) for v, _ in inner}
                    return {**outer, **values}

                return place

            places = tuple(run(i) for i in range(plan.rows))
            direct.reduce(kernel, work, direct.Groups(own, tiles, plan.cols, places), unroll)
