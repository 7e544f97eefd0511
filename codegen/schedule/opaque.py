"""The last resort: any PrimFunc in, each top-level statement in a kernel of its own out.

A statement that is a `parallel` loop gets one thread per iteration, anything else runs on one thread. Slow, but right
for whatever sequential code (sorting, scatter with duplicates, scans) the operator library writes.
"""

from __future__ import annotations

import tvm_ffi
from tvm import s_tir, tirx

from .limits import Limits

THREADS = 64


def schedule(func: tirx.PrimFunc, limits: Limits) -> tirx.PrimFunc:
    """Wraps the statements of `func` in threads; a part that has threads already stays as it is."""
    threads = min(THREADS, limits.threads)
    if not isinstance(func.body, s_tir.SBlockRealize):
        return func.with_body(_wrap_all(func.body, threads))
    realize = func.body
    block = realize.block
    body = _wrap_all(block.body, threads)
    root = s_tir.SBlock(
        block.iter_vars, block.reads, block.writes, block.name_hint, body, block.init,
        block.alloc_buffers, block.match_buffers, block.annotations,
    )  # fmt: skip
    return func.with_body(s_tir.SBlockRealize(realize.iter_values, realize.predicate, root))


def has_threads(stmt: tirx.Stmt) -> bool:
    """Whether the statement binds threads anywhere inside."""
    found = []

    def attr(node: tirx.AttrStmt) -> None:
        if node.attr_key in ("thread_extent", "virtual_thread"):
            found.append(node)

    def loop(node: tirx.For) -> None:
        if node.kind == tirx.ForKind.THREAD_BINDING:
            found.append(node)

    tvm_ffi.structural_walk(stmt, [(tirx.AttrStmt, attr), (tirx.For, loop)], order="post")
    return bool(found)


def _wrap_all(stmt: tirx.Stmt, threads: int) -> tirx.Stmt:
    if has_threads(stmt):
        if isinstance(stmt, tirx.SeqStmt):
            return tirx.SeqStmt([_wrap_all(s, threads) for s in stmt.seq])
        return stmt
    match stmt:
        case tirx.SeqStmt() if not any(isinstance(s, tirx.Bind | tirx.AllocBuffer) for s in stmt.seq):
            return tirx.SeqStmt([_wrap_all(s, threads) for s in stmt.seq])
        case tirx.For(kind=tirx.ForKind.PARALLEL):
            return _one_thread_per_iteration(stmt, threads)
        case _:
            return _bind(_serial(stmt), tirx.Var("block", "int32"), 1, tirx.Var("thread", "int32"), 1)


def _serial(stmt: tirx.Stmt) -> tirx.Stmt:
    """Parallel loops made serial."""

    def loop(node: tirx.For) -> tirx.For:
        if node.kind != tirx.ForKind.PARALLEL:
            return node
        return tirx.For(node.loop_var, node.min, node.extent, tirx.ForKind.SERIAL, node.body)

    return tvm_ffi.structural_map(stmt, (tirx.For, loop))


def _one_thread_per_iteration(loop: tirx.For, threads: int) -> tirx.Stmt:
    kind = loop.loop_var.ty.dtype
    block, thread = tirx.Var("block", kind), tirx.Var("thread", kind)
    index = block * threads + thread
    body = tvm_ffi.structural_map(
        _serial(loop.body), (tirx.Var, lambda v: loop.min + index if v.same_as(loop.loop_var) else v)
    )
    guarded = tirx.IfThenElse(index < loop.extent, body, None)
    blocks = (loop.extent + threads - 1) // threads
    return _bind(guarded, block, blocks, thread, threads)


def _bind(body: tirx.Stmt, block: tirx.Var, blocks: tirx.Expr | int, thread: tirx.Var, threads: int) -> tirx.Stmt:
    for var, size, axis in ((thread, threads, "threadIdx.x"), (block, blocks, "blockIdx.x")):
        iter_var = tirx.IterVar(None, tirx.Var("", var.ty), tirx.IterVar.ThreadIndex, axis)
        size = tirx.const(size, var.ty.dtype) if isinstance(size, int) else size
        body = tirx.For(var, tirx.const(0, var.ty.dtype), size, tirx.ForKind.THREAD_BINDING, body, iter_var)
    return body
