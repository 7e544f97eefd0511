"""Checks a scheduled PrimFunc before it is accepted: raises NotApplicable where lowering fails or a limit is passed."""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx

from .blocks import NotApplicable
from .limits import MAX_BLOCK_Z, Limits

# The part of TVM's s_tir pipeline that can refuse a schedule, up to flat loops over flat buffers.
_LOWER = (
    s_tir.transform.CanonicalizeLoop,
    s_tir.transform.LowerCrossThreadReduction,
    s_tir.transform.LowerInitBlock,
    s_tir.transform.PlanAndUpdateBufferAllocationLocation,
    s_tir.transform.ConvertBlocksToOpaque,
    s_tir.transform.LiftThreadBinding,
    s_tir.transform.CompactBufferAllocation,
    s_tir.transform.UnifyThreadBinding,
    s_tir.transform.LowerMatchBuffer,
    # Without it FlattenBuffer can fail with a division by zero in TVM's analyzer.
    s_tir.transform.StmtSimplify,
    s_tir.transform.LowerOpaqueBlock,
    tirx.transform.FlattenBuffer,
)


def verify(func: tirx.PrimFunc, limits: Limits) -> tirx.PrimFunc:
    """Lowers `func` to flat loops and checks threads, workgroup memory, and that every store is inside a kernel.

    Gives the flat form, so that it need not be lowered again.
    """
    target = tvm.target.Target({"kind": "webgpu", "host": "llvm"})
    mod = tvm.IRModule({"main": func.with_attr("global_symbol", "main").with_attr("target", target)})
    lowered = tvm.transform.Sequential([p() for p in _LOWER])(mod)["main"]
    _Checker(limits).statement(lowered.body, {}, {"shared": 0})
    tirx.transform.VerifyMemory()(tvm.IRModule({"main": lowered}))
    return lowered.without_attr("target")


class _Checker:
    def __init__(self, limits: Limits):
        self.limits = limits

    def statement(self, stmt: tirx.Stmt, threads: dict[str, int], used: dict[str, int]) -> None:
        """Walks the statements; `threads` are the extents of the thread axes around it."""
        match stmt:
            case tirx.AttrStmt(attr_key="thread_extent"):
                axis = stmt.node.thread_tag
                inner = {**threads, axis: stmt.value}
                self.check_threads(inner)
                # A new kernel starts with its own workgroup memory.
                self.statement(stmt.body, inner, used if threads else {"shared": 0})
            case tirx.AttrStmt():
                self.statement(stmt.body, threads, used)
            case tirx.SeqStmt():
                for item in stmt.seq:
                    self.statement(item, threads, used)
            case tirx.AllocBuffer():
                self.allocation(stmt.buffer, threads, used)
            case tirx.BufferStore() if not threads:
                raise NotApplicable(f"a store to {stmt.buffer.name} is outside every kernel")
            case tirx.For():
                if stmt.thread_binding is not None:
                    axis = stmt.thread_binding.thread_tag
                    inner = {**threads, axis: stmt.extent}
                    self.check_threads(inner)
                    self.statement(stmt.body, inner, used if threads else {"shared": 0})
                else:
                    self.statement(stmt.body, threads, used)
            case tirx.While():
                self.statement(stmt.body, threads, used)
            case tirx.IfThenElse():
                self.statement(stmt.then_case, threads, used)
                if stmt.else_case is not None:
                    self.statement(stmt.else_case, threads, used)
            case tirx.Evaluate(value=tvm.ir.Call()):
                self.call(stmt.value)

    def check_threads(self, threads: dict[str, tirx.Expr]) -> None:
        total = 1
        for axis, size in threads.items():
            if axis.startswith("threadIdx"):
                if not isinstance(size, tirx.IntImm):
                    raise NotApplicable(f"{axis} has an extent that is not constant")
                total *= int(size)
            elif axis.startswith("blockIdx"):
                pass
        z = threads.get("threadIdx.z")
        if total > self.limits.threads or (z is not None and int(z) > MAX_BLOCK_Z):
            raise NotApplicable(f"{total} threads in a workgroup, at most {self.limits.threads} are allowed")

    def allocation(self, buffer: tirx.Buffer, threads: dict, used: dict[str, int]) -> None:
        scope = buffer.scope()
        sizes = list(buffer.shape)
        if scope.startswith("shared"):
            if not all(isinstance(s, tirx.IntImm) for s in sizes):
                raise NotApplicable(f"workgroup array {buffer.name} has no constant size")
            count = 1
            for s in sizes:
                count *= int(s)
            used["shared"] += count * buffer.dtype.itemsize
            if used["shared"] > self.limits.workgroup_bytes:
                raise NotApplicable(f"{used['shared']} bytes of workgroup memory")
        elif scope == "local" or scope.startswith("wmma."):
            if not all(isinstance(s, tirx.IntImm) for s in sizes):
                raise NotApplicable(f"register array {buffer.name} has no constant size")
        elif threads:
            raise NotApplicable(f"{buffer.name} in {scope} memory is allocated inside a kernel")

    def call(self, call: tvm.ir.Call) -> None:
        if isinstance(call.op, tvm.ir.Op) and call.op.name in ("tirx.tvm_call_packed", "tirx.call_packed"):
            raise NotApplicable(f"calls {call.args[0]}, which does not exist on a GPU")


