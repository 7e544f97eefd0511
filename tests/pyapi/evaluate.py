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


def operators(mod: tvm.IRModule) -> list[str]:
    """The names of the operators that `main` calls, in order."""
    names: list[str] = []

    def visit(expr: relax.Expr) -> None:
        if isinstance(expr, relax.Call) and isinstance(expr.op, tvm.ir.Op):
            names.append(expr.op.name)

    relax.analysis.post_order_visit(mod["main"].body, visit)
    return names
