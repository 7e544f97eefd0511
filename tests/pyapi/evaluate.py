"""Runs a Relax module on the CPU with TVM's own code: the reference that a pass must not change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tvm
from tvm import relax


def evaluate(mod: tvm.IRModule, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The result of `main` for these inputs."""
    executable = tvm.compile(mod, target="llvm")
    machine = relax.VirtualMachine(executable, tvm.cpu())
    return machine["main"](*map(tvm.runtime.tensor, inputs)).numpy()


def calls(mod: tvm.IRModule) -> list[relax.Call]:
    """The operator calls in `main`, in order."""
    found: list[relax.Call] = []

    def visit(expr: relax.Expr) -> None:
        if isinstance(expr, relax.Call) and isinstance(expr.op, tvm.ir.Op):
            found.append(expr)

    relax.analysis.post_order_visit(mod["main"].body, visit)
    return found


def operators(mod: tvm.IRModule) -> list[str]:
    """The names of the operators that `main` calls, in order."""
    return [call.op.name for call in calls(mod)]
