"""The rule for matmuls and convolutions: a PrimFunc in, a kernel with the table's plan out."""

from __future__ import annotations

from tvm import tirx

from . import gemm, matrix, split_k, straight, table, winograd
from .blocks import NotApplicable
from .limits import Limits
from .product import VECTOR, Product, recognise

Plan = table.Plan | straight.Straight | winograd.Winograd

# Below this many multiplications per result, staging costs more than it saves.
MIN_DEPTH = 8
# Convolutions in groups of few channels reuse little, depthwise ones nothing along y: a tile would be mostly padding,
# and one thread per result does better. 32 groups of 4 channels at 56x56 take 8.6 us so and 17.0 in tiles, of 8 at
# 28x28 16.7 and 11.8, of 32 at 7x7 39.2 and 9.7.
MIN_REUSE, MIN_DEPTH_WITHOUT_REUSE = 8, 128


def schedule(func: tirx.PrimFunc, limits: Limits) -> tirx.PrimFunc:
    """Raises NotApplicable where the function is not a product or too small to be worth a tile."""
    product, plan = choose(func, limits)
    return write(product, plan, limits).with_attr("tvm_webgpu.plan", str(plan))


def choose(func: tirx.PrimFunc, limits: Limits) -> tuple[Product, Plan]:
    """The product that the function is, and its plan. Raises NotApplicable as `schedule` does."""
    product = suitable(func)
    plan = _choose(product, limits)
    if plan is None:
        raise NotApplicable("no plan within the limits")
    return product, plan


def suitable(func: tirx.PrimFunc) -> Product:
    """The product that the function is, if sums as long as its are worth a tile. Raises NotApplicable."""
    product = recognise(func)
    if product.accumulator == "float64":
        raise NotApplicable("arithmetic of doubles is functions that take longer than loads")
    k = product.k.extent
    if isinstance(k, int) and k < MIN_DEPTH:
        raise NotApplicable("short sums")
    few = isinstance(product.y.extent, int) and product.y.extent < MIN_REUSE and product.s.extent != 1
    if few and isinstance(k, int) and k < MIN_DEPTH_WITHOUT_REUSE:
        raise NotApplicable("short sums without reuse")
    return product


def _choose(product: Product, limits: Limits) -> Plan | None:
    if not limits.software:
        return next(table.plans(product, limits), None)
    shape = table.Shape.of(product)
    steps = VECTOR if "k" in (shape.runs, shape.runs_x) else 1
    return winograd.choose(product) or straight.choose(shape.s, shape.y, shape.x, shape.k, steps)


def write(product: Product, plan: Plan, limits: Limits) -> tirx.PrimFunc:
    """The kernel of a plan. Raises NotApplicable where it does not fit."""
    if isinstance(plan, straight.Straight):
        return straight.write(product, plan, limits)
    if isinstance(plan, winograd.Winograd):
        return winograd.write(product, plan, limits)
    if isinstance(plan, gemm.Tile):
        return gemm.write(product, plan, limits)
    if isinstance(plan, matrix.MatrixTile):
        return matrix.write(product, plan, limits)
    return split_k.write(product, plan, limits)
