"""The general schedule: a PrimFunc of normal blocks in, one thread per output element out.

Every reduction accumulates in a register and stores once, together with the elementwise block behind it; padding and
other injective producers are inlined. It fits anything with spatial and reduction iterators and shapes of any kind,
so it is both the fallback and the schedule of choice for small windows (pools, depthwise convolutions).
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import s_tir, tirx
from tvm.s_tir.schedule import LoopRV, SBlockRV

from .blocks import (
    NotApplicable,
    inline_injective,
    is_injective,
    kinds,
    loops_of,
    open_schedule,
    same_volume,
    volume,
)
from .limits import Limits


@dataclass(frozen=True)
class Direct:
    """threads: invocations of a workgroup; unroll: reduction loops up to this trip count are unrolled."""

    threads: int = 256
    unroll: int = 0


def choose(outputs: int | None, limits: Limits) -> Direct:
    """Workgroup size for a number of output elements (None: not known at compile time)."""
    # A single result needs no guard, which `reverse_compute_at` would forget for a buffer without dimensions.
    if outputs == 1:
        return Direct(threads=1)
    # Few outputs: small workgroups, so that every core gets one. 64 is two warps, the least that hides latency.
    if outputs is not None and outputs < 128 * limits.cores:
        return Direct(threads=min(64, limits.threads))
    return Direct(threads=min(256, limits.threads))


def schedule(func: tirx.PrimFunc, limits: Limits, params: Direct | None = None) -> s_tir.Schedule:
    """Schedules every block of `func`; one kernel for each block that could not be attached to another."""
    sch, blocks = open_schedule(func)
    blocks = inline_injective(sch, blocks)
    while blocks:
        block = blocks.pop(0)
        if "O" in kinds(sch, block):
            raise NotApplicable("an iterator is neither spatial nor a reduction")
        constant, symbolic = volume(sch, block)
        outputs = None if symbolic else constant
        chosen = params if params and outputs != 1 else choose(outputs, limits)
        if is_injective(sch, block) or "R" not in kinds(sch, block):
            bind_outputs(sch, block, chosen.threads)
            continue
        consumers = sch.get_consumers(block)
        anchor = consumers[0] if len(consumers) == 1 else None
        if anchor is not None and "R" not in kinds(sch, anchor) and same_volume(sch, block, anchor):
            attach_to_consumer(sch, block, anchor, chosen.threads)
            name = sch.get(anchor).name_hint
            blocks = [b for b in blocks if sch.get(b).name_hint != name]
        else:
            accumulate_locally(sch, block, chosen.threads)
    return sch


def bind_outputs(sch: s_tir.Schedule, block: SBlockRV, threads: int) -> LoopRV:
    """Fuses the spatial loops, binds them to a one-dimensional grid, and returns the thread loop."""
    spatial, reduction = loops_of(sch, block, "S"), loops_of(sch, block, "R")
    if not spatial:
        spatial = [sch.add_unit_loop(block)]
    sch.reorder(*spatial, *reduction)
    outer, inner = sch.split(sch.fuse(*spatial), factors=[None, threads])
    sch.bind(outer, "blockIdx.x")
    sch.bind(inner, "threadIdx.x")
    return inner


def attach_to_consumer(sch: s_tir.Schedule, block: SBlockRV, anchor: SBlockRV, threads: int) -> None:
    """Computes a reduction in registers inside the thread of the only block that reads it."""
    reductions = kinds(sch, block).count("R")
    thread = bind_outputs(sch, anchor, threads)
    for i in range(len(sch.get(block).writes)):
        sch.set_scope(block, i, "local")
    sch.compute_at(block, thread, preserve_unit_loops=True)
    sch.decompose_reduction(block, sch.get_loops(block)[-reductions])


def accumulate_locally(sch: s_tir.Schedule, block: SBlockRV, threads: int) -> None:
    """Computes a reduction (of one or more results) in registers and stores the results once."""
    reductions = kinds(sch, block).count("R")
    stores = [sch.cache_write(block, i, "local") for i in range(len(sch.get(block).writes))]
    thread = bind_outputs(sch, block, threads)
    for store in stores:
        sch.reverse_compute_at(store, thread, preserve_unit_loops=True)
    sch.decompose_reduction(block, sch.get_loops(block)[-reductions])
