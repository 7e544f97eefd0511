"""Helpers over `s_tir.Schedule`: a schedule and block handles in, facts about blocks and simpler blocks out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.dlight.analysis import normalize_prim_func
from tvm.s_tir.schedule import SBlockRV

# What a schedule primitive raises when it does not apply. InternalError is TVM's failed check.
PRIMITIVE_ERRORS = (s_tir.ScheduleError, tvm.error.InternalError, ValueError, TypeError, RuntimeError)

Extent = int | tirx.Expr

FLOATS = {"float32", "float16"}
"""What may be between two reductions that become one kernel: sums are float32 in registers."""


class NotApplicable(Exception):
    """The rule does not fit the function; the next rule is tried."""


def open_schedule(func: tirx.PrimFunc) -> tuple[s_tir.Schedule, list[SBlockRV]]:
    """A schedule of `func` in which every leaf block has one loop per iterator, and its leaf blocks in order.

    Raises NotApplicable where a block has loops of its own, threads already, or is shared between loop nests.
    """
    sch = s_tir.Schedule(func, error_render_level="none")
    infos = normalize_prim_func(sch)
    if not infos:
        raise NotApplicable("not in the normal form of blocks")
    return sch, [info.block_rv for info in infos]


def kinds(sch: s_tir.Schedule, block: SBlockRV) -> str:
    """One letter per block iterator: S spatial, R reduction, O anything else."""
    letters = {tirx.IterVar.DataPar: "S", tirx.IterVar.CommReduce: "R"}
    return "".join(letters.get(it.iter_type, "O") for it in sch.get(block).iter_vars)


def is_injective(sch: s_tir.Schedule, block: SBlockRV) -> bool:
    """Whether the block has only spatial iterators and writes with one plain store.

    A reduction over extents of 1 has lost its iterators, but not its initial value.
    """
    node = sch.get(block)
    return set(kinds(sch, block)) <= {"S"} and node.init is None and isinstance(node.body, tirx.BufferStore)


def _attempt(step: Callable[[SBlockRV], object], block: SBlockRV) -> bool:
    try:
        step(block)
    except PRIMITIVE_ERRORS:
        return False
    return True


def inline_injective(sch: s_tir.Schedule, blocks: Iterable[SBlockRV]) -> list[SBlockRV]:
    """Inlines every injective block that can go into its consumers or its producer; returns the blocks that remain.

    Padding, reshapes and activations disappear this way. A block that reads a reduction stays; rules attach it to the
    reduction themselves. TVM would put it into the initial value, too, where all reduced extents are 1.
    """
    remaining = list(blocks)
    changed = True
    while changed:
        changed = False
        for block in list(remaining):
            if not is_injective(sch, block):
                continue
            plain = all(sch.get(producer).init is None for producer in sch.get_producers(block))
            if _attempt(sch.compute_inline, block) or (plain and _attempt(sch.reverse_compute_inline, block)):
                remaining.remove(block)
                changed = True
    return remaining


def two_reductions(func: tirx.PrimFunc) -> tuple[s_tir.Schedule, SBlockRV, SBlockRV, SBlockRV | None]:
    """A function that is two reductions of floats and at most one block of elementwise work behind them.

    Raises NotApplicable where it is anything else.
    """
    sch, blocks = open_schedule(func)
    blocks = inline_injective(sch, blocks)
    letters = [kinds(sch, block) for block in blocks]
    if not 2 <= len(blocks) <= 3 or not all("R" in sort for sort in letters[:2]) or "R" in "".join(letters[2:]):
        raise NotApplicable("not two reductions and elementwise work")
    if not {str(sch.get(block).writes[0].source.dtype) for block in blocks[:2]} <= FLOATS:
        raise NotApplicable("neither float32 nor float16")
    return sch, blocks[0], blocks[1], blocks[2] if len(blocks) == 3 else None
