"""What a function's schedule depends on, besides its text: a function in, something to compare out."""

from __future__ import annotations

from collections.abc import Hashable

from tvm import tirx

from . import planes, rule_product, start, windowed, windows
from .blocks import PRIMITIVE_ERRORS, NotApplicable
from .limits import Limits
from .product import Product
from .winograd import Winograd


def signature(func: tirx.PrimFunc, limits: Limits) -> Hashable | None:
    """Functions that differ in sizes only and agree in this get kernels that differ in numbers only.

    None where nothing is known of the function: its schedule may be another for every size.
    """
    for kind in (start.signature, _product, _planes, _windowed, _window):
        try:
            return kind(func, limits)
        except (NotApplicable, *PRIMITIVE_ERRORS):
            continue
    return None


def _product(func: tirx.PrimFunc, limits: Limits) -> Hashable:
    product, plan = rule_product.choose(func, limits)
    if isinstance(plan, Winograd):
        raise NotApplicable("its kernels are written for one size")
    return ("product", plan, *_layout(product))


def _layout(product: Product) -> tuple[Hashable, ...]:
    return product.operand_y.along, product.operand_x.along, product.vector_store


def _planes(func: tirx.PrimFunc, limits: Limits) -> Hashable:
    found, tile = planes.choose(func, limits)
    return ("planes", tile, found.inner.extent, *_layout(found.product))


def _windowed(func: tirx.PrimFunc, limits: Limits) -> Hashable:
    product, tile = windowed.choose(func, limits)
    return ("windowed", tile, *_layout(product))


def _window(func: tirx.PrimFunc, limits: Limits) -> Hashable:
    return ("window", windows.choose(func, limits)[1])
