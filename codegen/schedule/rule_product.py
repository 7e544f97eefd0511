"""The rule for matmuls and convolutions: a PrimFunc in, a kernel with the table's plan out."""

from __future__ import annotations

from tvm import tirx

from . import gemm, matrix, split_k, straight, table
from .blocks import NotApplicable
from .limits import Limits
from .product import Product, recognise

# Below this many multiplications per result, staging costs more than it saves.
MIN_DEPTH = 8
# Depthwise and grouped convolutions reuse no weight within a row of y; one thread per result does as well there.
MIN_DEPTH_WITHOUT_REUSE = 128


def schedule(func: tirx.PrimFunc, limits: Limits) -> tirx.PrimFunc:
    """Raises NotApplicable where the function is not a product or too small to be worth a tile."""
    product, plan = choose(func, limits)
    return write(product, plan, limits).with_attr("tvm_webgpu.plan", str(plan))


def choose(func: tirx.PrimFunc, limits: Limits) -> tuple[Product, table.Plan | straight.Straight]:
    """The product that the function is, and its plan. Raises NotApplicable as `schedule` does."""
    product = recognise(func)
    if product.accumulator == "float64":
        raise NotApplicable("arithmetic of doubles is functions that take longer than loads")
    k = product.k.extent
    if isinstance(k, int) and k < MIN_DEPTH:
        raise NotApplicable("short sums")
    if product.y.extent == 1 and product.s.extent != 1 and isinstance(k, int) and k < MIN_DEPTH_WITHOUT_REUSE:
        raise NotApplicable("short sums without reuse")
    plan = _choose(product, limits)
    if plan is None:
        raise NotApplicable("no plan within the limits")
    return product, plan


def _choose(product: Product, limits: Limits) -> table.Plan | straight.Straight | None:
    if not limits.software:
        return next(table.plans(product, limits), None)
    shape = table.Shape.of(product)
    return straight.choose(shape.s, shape.y, shape.x)


def write(product: Product, plan: table.Plan | straight.Straight, limits: Limits) -> tirx.PrimFunc:
    """The kernel of a plan. Raises NotApplicable where it does not fit."""
    if isinstance(plan, straight.Straight):
        return straight.write(product, plan, limits)
    if isinstance(plan, gemm.Tile):
        return gemm.write(product, plan, limits)
    if isinstance(plan, matrix.MatrixTile):
        return matrix.write(product, plan, limits)
    return split_k.write(product, plan, limits)
