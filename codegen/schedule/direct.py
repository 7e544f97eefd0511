"""The general schedule: a PrimFunc of loop nests in; kernels with one thread per result, or per few of them, out.

Every reduction accumulates in registers and stores once, together with the elementwise nest behind it; padding and
other injective producers are inlined. It fits whatever has spatial and reduction iterators, shapes of any kind, so it
is both the fallback and the schedule of choice for elementwise work, data movement and small windows (pools, depthwise
convolutions), where a thread's results share their loads.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import tirx

from .axis import ceil_div
from .builder import Index, Kernel, i64
from .limits import Limits
from .nest import (
    Nest,
    Registers,
    declare_intermediates,
    emit,
    flatten,
    loads_of,
    nests_of,
    offset_of,
    reads_in_place,
    substitute,
    uses,
    without_branches,
)

VECTOR = 4
# dtypes that go in vectors; 64-bit integers are two words on WebGPU.
VECTOR_DTYPES = {"float32", "float16", "int32", "uint32", "bool", "int8", "uint8"}


@dataclass(frozen=True)
class Direct:
    """threads: invocations of a workgroup; results: of a thread, next to each other; unroll: reductions up to this many
    steps (times results) are written out, so that results share loads."""

    threads: int = 256
    results: int = 1
    unroll: int = 64


Values = dict[tirx.Var, tirx.Expr]
Place = Callable[[tirx.Expr, tirx.Expr | int], Values]
"""From a group of neighbouring results and a place in it to the iterators of the nest that is emitted there."""


@dataclass(frozen=True)
class Groups:
    """`count` groups of results, `own` the thread's: runs of `results` neighbours each, and where each run's are."""

    own: tirx.Expr
    count: Index
    results: int
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Consumer:
    """An elementwise nest that takes a reduction's results in registers, and its iterators in terms of those."""

    nest: Nest
    mapping: dict[tirx.Var, tirx.Expr]


@dataclass(frozen=True)
class Work:
    """A kernel: a nest, and what is done with its results before they are stored."""

    nest: Nest
    consumer: Consumer | None = None


def schedule(func: tirx.PrimFunc, limits: Limits, params: Direct | None = None) -> tirx.PrimFunc:
    """One kernel for each nest that could not be attached to another. Raises NotApplicable."""
    nests = nests_of(func)
    works, kept = attach(func, nests)
    kernel = Kernel()
    declare_intermediates(kernel, func, nests, kept)
    for work in works:
        write(kernel, work, params or choose(work, limits), limits)
    return func.with_body(kernel.finish())


def attach(func: tirx.PrimFunc, nests: list[Nest]) -> tuple[list[Work], set[tirx.Buffer]]:
    """Pairs each reduction with its only consumer where that reads result by result; also gives the buffers that
    thereby never reach memory."""
    works: dict[int, Work] = {}
    kept: set[tirx.Buffer] = set()
    attached: set[int] = set()
    for i, nest in enumerate(nests):
        if i in works or i in attached:
            continue
        readers = [j for j, other in enumerate(nests) if j != i and set(nest.writes) & set(other.reads)]
        if nest.reduces and len(readers) == 1 and readers[0] not in works and not set(nest.writes) & set(func.params):
            (j,) = readers
            read = [b for b in nest.writes if b in set(nests[j].reads)]
            mapping = reads_in_place(nests[j], read[0], nest) if len(read) == 1 and not nests[j].reduces else None
            if mapping is not None:
                works[j] = Work(nest, Consumer(nests[j], mapping))
                attached.add(i)
                kept.update(nest.writes)
                continue
        works[i] = Work(nest)
    return [works[i] for i in sorted(works)], kept


def choose(work: Work, limits: Limits) -> Direct:
    """Threads and results per thread by the number of results and the length of their rows."""
    # An open batch is taken for 1.
    space = work.nest.spatial
    total = space.extent if isinstance(space.extent, int) else space.factor
    if space.extent == 1:
        return Direct(threads=1)
    results = 1
    steps = work.nest.reduced.extent
    if not work.nest.reduces:
        # 16 bytes a thread is what a GPU loads best; a thread alone is worse only where there are few results.
        results = VECTOR if total % VECTOR == 0 else 1
    elif isinstance(steps, int):
        sizes = [e for _, e in space.iterators if not (isinstance(e, tirx.IntImm) and int(e) == 1)]
        row = int(sizes[-1]) if isinstance(sizes[-1], tirx.IntImm) else 1
        for candidate in (4, 2):
            # Sharing loads pays only while every core still has a few workgroups.
            if row % candidate == 0 and steps * candidate <= Direct.unroll and total // candidate >= 64 * limits.cores:
                results = candidate
                break
    # Few results: small workgroups, so that every core gets one. 64 is two warps, the least that hides latency.
    threads = 64 if total // results < 128 * limits.cores else 256
    return Direct(threads=min(threads, limits.threads), results=results)


def write(kernel: Kernel, work: Work, params: Direct, limits: Limits) -> None:
    """Emits one kernel."""
    total = work.nest.spatial.extent
    results = params.results
    space = work.nest.spatial

    def place(group: tirx.Expr, lane: tirx.Expr | int) -> Values:
        return space.decode(kernel.simplify(group * results + lane))

    groups = kernel.simplify(tvm.tirx.floordiv(i64(total), i64(results)))
    elementwise = results > 1 and not work.nest.reduces
    if elementwise and (space.factor % results or not _vectorizes(kernel, work.nest, place, groups, results, {})):
        results, groups = 1, i64(total)
    groups = int(groups) if isinstance(groups, tirx.IntImm) else groups
    threads = min(params.threads, limits.threads)
    whole = isinstance(groups, int) and groups % threads == 0
    blocks = ceil_div(groups, threads)
    with kernel.threads("blockIdx.x", blocks) as block, kernel.threads("threadIdx.x", threads) as thread:
        group = kernel.let("group", block * threads + thread)
        with kernel.when(True if whole else group < i64(groups)):
            kernel.know(group, groups)
            if work.nest.reduces:
                reduce(kernel, work, Groups(group, groups, results, (place,)), params.unroll)
            else:
                with kernel.vectorized(results) as lane:
                    emit(kernel, work.nest.body, place(group, lane), {})


def reduce(kernel: Kernel, work: Work, groups: Groups, unroll: int) -> None:
    """Emits what computes and stores the results of a thread's group."""
    nest, results = work.nest, groups.results
    sums = [
        {b: kernel.alloc(f"{b.name}_sum", str(b.dtype), results, "local") for b in nest.writes} for _ in groups.places
    ]
    lanes = range(results)
    spaces = [place(groups.own, lane) for place in groups.places for lane in lanes]
    registers: list[Registers] = [{b: (held, lane) for b, held in run.items()} for run in sums for lane in lanes]
    for space, held in zip(spaces, registers):
        emit(kernel, nest.init, {**space, **{v: i64(0) for v, _ in nest.reduced.iterators}}, held)
    steps = nest.reduced.extent
    if nest.single and isinstance(steps, int) and steps * len(spaces) <= unroll:
        _unrolled(kernel, nest, spaces, registers)
    else:
        for values in _loops(kernel, list(nest.reduced.iterators)):
            for space, held in zip(spaces, registers):
                emit(kernel, nest.body, {**space, **values}, held)
    if work.consumer is None:
        for space, held in zip(spaces, registers):
            _store_sums(kernel, nest, space, held)
        return
    for place, run in zip(groups.places, sums):
        _finish(kernel, work.consumer, groups, place, run)


def _loops(kernel: Kernel, iterators: list[tuple[tirx.Var, tirx.Expr]]) -> Iterator[dict[tirx.Var, tirx.Expr]]:
    """Nested serial loops over iterators; yields their values once, inside the innermost."""
    if not iterators:
        yield {}
        return
    (var, size), *rest = iterators
    count = int(size) if isinstance(size, tirx.IntImm) else size
    with kernel.loop(count, var.name) as value:
        for values in _loops(kernel, rest):
            yield {var: value, **values}


def _unrolled(kernel: Kernel, nest: Nest, spaces: list[dict], registers: list[Registers]) -> None:
    """Writes the reduction out; equal loads, guards included, happen once."""
    memo: dict[int, list[tuple[tirx.Expr, tirx.Expr]]] = {}

    def shared(node: tirx.Expr) -> tirx.Expr:
        entries = memo.setdefault(tvm_ffi.structural_hash(node), [])
        for known, name in entries:
            if tvm_ffi.structural_equal(known, node):
                return name
        name = kernel.let("loaded", without_branches(kernel, node))
        entries.append((node, name))
        return name

    def load(node: tvm.ir.TensorLoad) -> tirx.Expr:
        return shared(node) if kernel.is_flat(node.source) else node

    def guarded(node: tvm.ir.Call) -> tirx.Expr:
        lazy = isinstance(node.op, tvm.ir.Op) and node.op.name == "prim.if_then_else"
        return shared(node) if lazy and all(kernel.is_flat(x.source) for x in loads_of(node)) else node

    ranges = [range(int(size)) for _, size in nest.reduced.iterators]
    for step in itertools.product(*ranges):
        values = {var: i64(at) for (var, _), at in zip(nest.reduced.iterators, step)}
        for space, held in zip(spaces, registers):
            value = flatten(kernel, nest.store.value, {**space, **values}, held)
            value = tvm_ffi.structural_map(value, [(tvm.ir.Call, guarded), (tvm.ir.TensorLoad, load)], order="pre")
            kernel.store(*held[nest.store.buffer], value)


def _store_sums(kernel: Kernel, nest: Nest, space: dict, held: Registers) -> None:
    stores: list[tirx.BufferStore] = []
    tvm_ffi.structural_walk(nest.init, (tirx.BufferStore, stores.append), order="post")
    for store in stores:
        offset = kernel.simplify(substitute(offset_of(store.buffer, store.indices), space))
        kernel.store(kernel.flat(store.buffer), offset, kernel.load(*held[store.buffer]))


def _finish(
    kernel: Kernel, consumer: Consumer, groups: Groups, where: Place, sums: dict[tirx.Buffer, tirx.Buffer]
) -> None:
    """The consumer's work on the sums of a run: a vector at a time where memory allows."""
    group, results = groups.own, groups.results

    def place(group: tirx.Expr, lane: tirx.Expr | int) -> Values:
        space = where(group, lane)
        return {var: kernel.simplify(substitute(e, space)) for var, e in consumer.mapping.items()}

    if results > 1 and _vectorizes(kernel, consumer.nest, place, groups.count, results, sums):
        with kernel.vectorized(results) as lane:
            emit(kernel, consumer.nest.body, place(group, lane), {b: (s, lane) for b, s in sums.items()})
        return
    for r in range(results):
        emit(kernel, consumer.nest.body, place(group, r), {b: (s, r) for b, s in sums.items()})


def _vectorizes(
    kernel: Kernel, nest: Nest, place: Place, count: Index, lanes: int, sums: dict[tirx.Buffer, tirx.Buffer]
) -> bool:
    """Whether each of `count` groups of `lanes` neighbours of an elementwise nest is plain vector loads and stores."""
    if not nest.single or str(nest.store.buffer.dtype) not in VECTOR_DTYPES:
        return False
    store = nest.store
    group, lane = kernel.variable("g", count), kernel.variable("lane", lanes)
    values = place(group, lane)
    registers: Registers = {b: (s, lane) for b, s in sums.items()}

    def steady(expr: tirx.Expr) -> bool:
        return not uses(expr, lane)

    offset = kernel.simplify(substitute(offset_of(store.buffer, store.indices), values))
    if not steady(kernel.simplify(offset - lane)):
        return False
    value = flatten(kernel, store.value, values, registers)
    for node in loads_of(value):
        (index,) = node.indices
        along = steady(kernel.simplify(index - lane)) and str(node.source.dtype) in VECTOR_DTYPES
        if not (steady(index) or along):
            return False
    # Outside of loads a lane would be a vector of integers: iota, and conditions of padding.
    bare = tvm_ffi.structural_map(value, (tvm.ir.TensorLoad, lambda node: tirx.Var("x", node.ty)), order="pre")
    return steady(bare)
