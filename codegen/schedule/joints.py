"""A function with small windows (a depthwise convolution, a pool) and a product beside it as one: when it pays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tvm_ffi
from tvm import s_tir, tirx

from . import planes, windowed
from .blocks import PRIMITIVE_ERRORS, NotApplicable
from .limits import Limits


@dataclass(frozen=True)
class Joint:
    """A rule, which of two functions has the windows (0 or 1), and what says that the two as one are for this rule."""

    name: str
    windows: int
    choose: Callable[[tirx.PrimFunc, Limits], object]

    def may(self, first: Sequence[tirx.PrimFunc], second: Sequence[tirx.PrimFunc]) -> bool:
        """Whether two groups of TIR functions, the second behind the first, are worth looking at as one: each has one
        reduction, that of the windows is short."""
        sums = [[steps for func in group for steps in _sums(func)] for group in (first, second)]
        if [len(group) for group in sums] != [1, 1]:
            return False
        steps = sums[self.windows][0]
        return steps is not None and steps <= windowed.MAX_STEPS

    def pays(self, joined: tirx.PrimFunc, limits: Limits) -> bool:
        """Whether the two as one function are a kernel of this rule, and not slower than apart."""
        if limits.software or limits.start:  # a launch costs little there beside barriers, and beside compiling
            return False
        try:
            self.choose(joined, limits)
        except (NotApplicable, *PRIMITIVE_ERRORS):
            return False
        return True


def _sums(func: tirx.PrimFunc) -> list[int | None]:
    """The number of steps of each reduction in a function, None where it is not known."""
    found: list[int | None] = []

    def visit(block: s_tir.SBlock) -> None:
        extents = [it.dom.extent for it in block.iter_vars if it.iter_type == tirx.IterVar.CommReduce]
        if extents:
            known = all(isinstance(extent, tirx.IntImm) for extent in extents)
            found.append(math.prod(int(extent) for extent in extents) if known else None)

    tvm_ffi.structural_walk(func.body, (s_tir.SBlock, visit))
    return found


JOINTS = (Joint("planes", 1, planes.choose), Joint("windowed", 0, windowed.choose))
"""In the order in which they are tried: what is recomputed comes last."""
