"""Elementwise work on a permuted tensor: a PrimFunc in; one kernel that is contiguous in what it reads and writes out.

Where neighbours in the result are no neighbours in memory of what is read, a thread for each result reads a word of
each line of the cache. A workgroup takes a square instead: it reads the square along the operand's contiguous axis into
workgroup memory, and writes it along that of the result. On an H100 4096x4096 takes 49 us so (2735 GB/s) and 139 by a
thread for each result, 8x112x112x64 to channels first 18.5 and 54.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import tirx

from .axis import Axis, ceil_div, divides, wide
from .blocks import NotApplicable
from .builder import Kernel, i64
from .limits import Limits
from .nest import Nest, emit, flatten, loads_of, nests_of, offset_of, substitute

DTYPES = {"float32", "float16", "int32", "uint32"}
# Below so many results, or along shorter axes, caches serve the overlap as well.
MIN_RESULTS, MIN_AXIS = 65536, 16
# https://www.w3.org/TR/webgpu/#limits: maxComputeWorkgroupsPerDimension; only blockIdx.x is folded where it passes it.
MAX_SQUARES = 65535


@dataclass(frozen=True)
class Transpose:
    """side: results of a square's edge; rows: of them a workgroup handles at once, with side * rows threads."""

    side: int = 32
    rows: int = 8


@dataclass(frozen=True)
class _Found:
    """The nest, the load that is permuted, and axes: contiguous in the load, contiguous in the store, all others."""

    nest: Nest
    load: tvm.ir.TensorLoad
    read: Axis
    written: Axis
    rest: Axis


def schedule(func: tirx.PrimFunc, limits: Limits, params: Transpose | None = None) -> tirx.PrimFunc:
    """Raises NotApplicable where the function is not elementwise work on one large tensor read across its rows."""
    found = _recognise(func)
    plan = params or Transpose()
    extents = [found.read.extent, found.written.extent]
    known = all(isinstance(e, int) for e in (*extents, found.nest.spatial.extent))
    small = known and (min(extents) < MIN_AXIS or found.nest.spatial.extent < MIN_RESULTS)
    if limits.software or (params is None and (small or not known)):
        raise NotApplicable("small, or no memory of a workgroup to go through")
    if plan.side * plan.rows > limits.threads or extents[0] > MAX_SQUARES * plan.side:
        raise NotApplicable("too many threads, or workgroups along an axis that is not folded")
    kernel = Kernel()
    _write(kernel, found, plan)
    return func.with_body(kernel.finish()).with_attr("tvm_webgpu.plan", str(plan))


def _recognise(func: tirx.PrimFunc) -> _Found:
    nests = nests_of(func)
    if len(nests) != 1 or nests[0].reduces or not nests[0].single or len(nests[0].writes) != 1:
        raise NotApplicable("not one elementwise nest")
    (nest,) = nests
    if str(nest.store.buffer.dtype) not in DTYPES:
        raise NotApplicable("a dtype that is packed, or two words")
    candidates = [_axes(nest, load) for load in loads_of(nest.store.value) if _is_plain(nest, load)]
    found = [one for one in candidates if one is not None]
    if len(found) != 1:
        raise NotApplicable("not one operand is read across its rows")
    return found[0]


def _is_plain(nest: Nest, load: tvm.ir.TensorLoad) -> bool:
    """Whether a load happens whatever the condition, and can be kept in workgroup memory."""
    conditional: list[tvm.ir.Call] = []

    def visit(node: tvm.ir.Call) -> None:
        if isinstance(node.op, tvm.ir.Op) and node.op.name == "prim.if_then_else":
            conditional.append(node)

    tvm_ffi.structural_walk(nest.store.value, (tvm.ir.Call, visit), order="post")
    return not conditional and str(load.source.dtype) in DTYPES


def _axes(nest: Nest, load: tvm.ir.TensorLoad) -> _Found | None:
    """The nest's iterators as axes, neighbours together where they are so in both memories."""
    kernel = Kernel()
    for var, extent in nest.spatial.iterators:
        kernel.know(var, extent)
    offsets = [offset_of(load.source, load.indices), offset_of(nest.store.buffer, nest.store.indices)]

    def steps(var: tirx.Var) -> tuple[int, int] | None:
        read, written = (kernel.simplify(substitute(offset, {var: var + 1}) - offset) for offset in offsets)
        known = isinstance(read, tirx.IntImm) and isinstance(written, tirx.IntImm)
        return (int(read), int(written)) if known else None

    groups: list[tuple[list[tuple[tirx.Var, tirx.Expr]], tuple[int, int]]] = []
    for var, extent in wide(nest.spatial):
        own = steps(var)
        if own is None or not isinstance(extent, tirx.IntImm):
            return None
        if groups and groups[-1][1] == tuple(s * int(extent) for s in own):
            groups[-1] = ([*groups[-1][0], (var, extent)], own)
        else:
            groups.append(([(var, extent)], own))
    read = [Axis(tuple(iters)) for iters, (step, _) in groups if step == 1]
    written = [Axis(tuple(iters)) for iters, (_, step) in groups if step == 1]
    if len(read) != 1 or len(written) != 1 or read == written:
        return None
    rest = [item for iters, own in groups if 1 not in own for item in iters]
    ones = [item for item in nest.spatial.iterators if item not in wide(nest.spatial)]
    return _Found(nest, load, read[0], written[0], Axis((*ones, *rest)))


def _write(kernel: Kernel, found: _Found, plan: Transpose) -> None:
    read, written, side = found.read, found.written, plan.side
    across = ceil_div(written.extent, side)
    with (
        kernel.threads("blockIdx.y", ceil_div(read.extent, side)) as block_y,
        kernel.threads("blockIdx.x", across * found.rest.extent) as block_x,
        kernel.threads("threadIdx.y", plan.rows) as thread_y,
        kernel.threads("threadIdx.x", side) as thread_x,
    ):
        first = {
            "written": kernel.let("first", tvm.tirx.floormod(block_x, i64(across)) * side),
            "read": block_y * side,
        }
        others = found.rest.decode(kernel.let("rest", tvm.tirx.floordiv(block_x, i64(across))))
        # A row more than a square has, so that threads along a column meet different banks.
        square = kernel.alloc("square", str(found.load.source.dtype), side * (side + 1), "shared")
        for reading in (True, False):
            for row in range(0, side, plan.rows):
                down = thread_y + row
                at_read, at_written = (thread_x, down) if reading else (down, thread_x)
                r = kernel.let("r", first["read"] + at_read)
                w = kernel.let("w", first["written"] + at_written)
                inside = [
                    position < i64(axis.extent)
                    for position, axis in ((r, read), (w, written))
                    if not divides(side, axis.extent)
                ]
                values = {**others, **read.decode(r), **written.decode(w)}
                place = at_written * (side + 1) + at_read
                with kernel.when(tvm.tirx.all(*inside) if inside else True):
                    if reading:
                        kernel.store(square, place, flatten(kernel, found.load, values))
                    else:
                        _store(kernel, found, values, kernel.load(square, place))
            if reading:
                kernel.sync()


def _store(kernel: Kernel, found: _Found, values: dict, loaded: tirx.Expr) -> None:
    """The nest's statement, with the value that was read."""
    marker = tirx.Var("loaded", found.load.ty)

    def load(node: tvm.ir.TensorLoad) -> tirx.Expr:
        return marker if tvm_ffi.structural_equal(node, found.load) else node

    body = tvm_ffi.structural_map(found.nest.body, (tvm.ir.TensorLoad, load))
    emit(kernel, body, {**values, marker: loaded}, {})
