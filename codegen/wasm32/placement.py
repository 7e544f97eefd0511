"""TIR of compiled Relax functions -> nothing, or an UnsupportedError if a host function would compute on device data.

Tensors live in GPU buffers that the wasm can't read; only the shape heap lies in linear memory. So a function for the
host may work on shapes alone.
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import tirx
from tvm_webgpu.errors import UnsupportedError

HEAP = "vm.builtin.alloc_shape_heap"
SET, GET = "tirx.anylist_setitem_call_packed", "tirx.anylist_getitem"
DIRECT = {"tirx.tvm_call_cpacked": 0, "tirx.anylist_setitem_call_cpacked": 2}
"""Calls of PrimFuncs; the argument that holds the name."""


def _is_host(function: tirx.PrimFunc) -> bool:
    target = function.attrs.get("target")
    return bool(function.attrs.get("tirx.is_host_func")) or (target is not None and target.kind.name in ("llvm", "c"))


def _is_heap(value: object, heaps: set[int]) -> bool:
    return isinstance(value, tvm.ir.Call) and _op(value) == GET and int(value.args[1]) in heaps


def _op(call: tvm.ir.Call) -> str:
    return call.op.name if isinstance(call.op, tvm.ir.Op) else ""


def check_host_functions(module: tvm.IRModule) -> None:
    """`module` is what Relax's compiled code generation gives: `__vmtir__NAME` and the PrimFuncs they call."""
    host = {gvar.name_hint for gvar, function in module.functions.items() if _is_host(function)}
    for gvar, function in module.functions.items():
        if not gvar.name_hint.startswith("__vmtir__"):
            continue
        calls: list[tvm.ir.Call] = []
        tvm_ffi.structural_walk(function.body, (tvm.ir.Call, calls.append), order="pre")
        heaps = {int(call.args[1]) for call in calls if _op(call) == SET and call.args[2].value == HEAP}
        for call in calls:
            if (at := DIRECT.get(_op(call))) is None or (name := call.args[at].value) not in host:
                continue
            if not all(_is_heap(value, heaps) for value in call.args[at + 1 :]):
                caller = gvar.name_hint.removeprefix("__vmtir__")
                raise UnsupportedError(
                    f"{caller} calls {name}, which would compute on the CPU with data that lies on the GPU; "
                    "only shapes can be computed there"
                )
