"""Kernels to begin with: a PrimFunc in; a small kernel that a driver compiles soon, however slowly it runs, out.

From nothing to a first result a model waits for the driver's compiler, which takes its time by the statement. So these
kernels have few: no workgroup memory, small tiles, loops instead of unrolled code, and the same form for every size, so
that all layers of a kind share one. Where no rule here fits, a function's usual kernel is the one to begin with, too.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import tvm
from tvm import tirx

from . import pooled, rule_product, straight, windows
from .axis import ceil_div, divides
from .blocks import PRIMITIVE_ERRORS, NotApplicable
from .builder import Kernel, i64
from .limits import Limits
from .product import VECTOR, Product
from .source import cast, result
from .straight import Straight

THREADS = 64
WINDOW = windows.Window(THREADS, 1, 1)


@dataclass(frozen=True)
class Choice:
    """What becomes of a function: functions that differ in sizes only and agree in `signature` share a kernel."""

    signature: Hashable
    write: Callable[[], tirx.PrimFunc]


def schedule(func: tirx.PrimFunc, limits: Limits) -> tirx.PrimFunc:
    """Raises NotApplicable where the limits ask for no such kernels, or no rule fits."""
    return _choose(func, limits).write()


def signature(func: tirx.PrimFunc, limits: Limits) -> Hashable:
    """What the kernel depends on, besides the function's text. Raises NotApplicable as `schedule` does."""
    return _choose(func, limits).signature


def _choose(func: tirx.PrimFunc, limits: Limits) -> Choice:
    if not limits.start:
        raise NotApplicable("kernels are to be fast")
    reasons = []
    for rule in (_product, _pooled, _window):
        try:
            return rule(func, limits)
        except (NotApplicable, *PRIMITIVE_ERRORS) as error:
            reasons.append(str(error))
    raise NotApplicable("; ".join(reasons))


def _product(func: tirx.PrimFunc, limits: Limits) -> Choice:
    product = rule_product.suitable(func)
    plan = _tile(product)
    vectors = plan.cols > 1 and product.vector_store
    return Choice(
        ("product", plan, product.operand_y.along == "own", vectors), lambda: straight.write(product, plan, limits)
    )


def _tile(product: Product) -> Straight:
    """As few loads as small code allows: a vector of the operand that has runs along its own axis.

    Weights of convolutions have them along y, for every size of image; images, along x, don't.
    """
    if product.operand_y.along != "own" and product.operand_x.along == "own":
        return Straight(1 if product.y.extent == 1 else VECTOR, VECTOR, THREADS)
    return Straight(1 if product.y.extent == 1 else VECTOR, 1, THREADS)


def _pooled(func: tirx.PrimFunc, _: Limits) -> Choice:
    found = pooled.recognise(func)
    return Choice(("pooled", found.product.operand_y.along == "own"), lambda: _write_pooled(found))


def _write_pooled(found: pooled.Pooled) -> tirx.PrimFunc:
    """Each thread sums a few rows, result by result."""
    kernel, product, plan = Kernel(), found.product, Straight(VECTOR, 1, THREADS)
    tiles = ceil_div(product.y.extent, plan.rows)
    whole = divides(plan.rows, product.y.extent)
    with straight.numbered(kernel, i64(tiles) * product.s.extent, plan.threads) as tile:
        s = kernel.let("s", tvm.tirx.floordiv(tile, i64(tiles)))
        rows = [kernel.let("y", tvm.tirx.floormod(tile, i64(tiles)) * plan.rows + i) for i in range(plan.rows)]
        inside = [True if whole else row < i64(product.y.extent) for row in rows]
        totals = [kernel.alloc("total", "float32", 1, "local") for _ in rows]
        for total in totals:
            kernel.store(total, 0, tirx.const(0, "float32"))
        with kernel.loop(product.x.extent, "x") as x:
            sums = straight.Body(kernel, product, plan, s, rows[0], x).sums()
            for y, fits, held, total in zip(rows, inside, sums, totals):
                with kernel.when(fits):
                    value = result(kernel, product, s, y, x, kernel.load(held, 0))
                    kernel.store(total, 0, kernel.load(total, 0) + cast(value, "float32"))
        for y, fits, total in zip(rows, inside, totals):
            with kernel.when(fits):
                pooled.store_total(kernel, found, s, y, kernel.load(total, 0))
    return product.func.with_body(kernel.finish())


def _window(func: tirx.PrimFunc, limits: Limits) -> Choice:
    work, _ = windows.choose(func, limits)

    def write() -> tirx.PrimFunc:
        kernel = Kernel()
        windows.write(kernel, func, work, WINDOW, unroll=0)
        return func.with_body(kernel.finish())

    return Choice(("window", WINDOW), write)
