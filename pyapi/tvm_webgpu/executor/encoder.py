"""Launches -> a compute pass, all in one call of native code where that can be had, else one by one in Python.

wgpu's Python calls cost 5 to 10 us a launch, the C functions below them 1 us. The loop over them is a few instructions
that LLVM (llvmlite) compiles when first needed; wgpu-native's functions are passed to it by address.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import wgpu

LOG = logging.getLogger("tvm_webgpu")

STEP = np.dtype(
    [("pipeline", "u8"), ("group", "u8"), ("grid", "u4", 3), ("offset", "u4"), ("offsets", "u8")], align=True
)
"""A launch as the native loop reads it: `offsets` is how many dynamic offsets there are, 0 or 1."""

LOOP = """
%step = type { ptr, ptr, i32, i32, i32, i32, i64 }

define void @encode(ptr %pass, ptr %steps, i64 %count, ptr %set_pipeline, ptr %set_group, ptr %dispatch) {
entry:
  %none = icmp eq i64 %count, 0
  br i1 %none, label %done, label %body

body:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %step = getelementptr %step, ptr %steps, i64 %i
  %pipeline = load ptr, ptr %step
  %group_at = getelementptr %step, ptr %steps, i64 %i, i32 1
  %group = load ptr, ptr %group_at
  %x_at = getelementptr %step, ptr %steps, i64 %i, i32 2
  %x = load i32, ptr %x_at
  %y_at = getelementptr %step, ptr %steps, i64 %i, i32 3
  %y = load i32, ptr %y_at
  %z_at = getelementptr %step, ptr %steps, i64 %i, i32 4
  %z = load i32, ptr %z_at
  %offset_at = getelementptr %step, ptr %steps, i64 %i, i32 5
  %offsets_at = getelementptr %step, ptr %steps, i64 %i, i32 6
  %offsets = load i64, ptr %offsets_at
  call void %set_pipeline(ptr %pass, ptr %pipeline)
  call void %set_group(ptr %pass, i32 0, ptr %group, i64 %offsets, ptr %offset_at)
  call void %dispatch(ptr %pass, i32 %x, i32 %y, i32 %z)
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %body, label %done

done:
  ret void
}
"""


@dataclass(frozen=True, slots=True)
class Launch:
    """One dispatch; `offset` is that of its scalars in the uniform buffer, None without scalars."""

    pipeline: wgpu.GPUComputePipeline
    group: wgpu.GPUBindGroup
    grid: tuple[int, int, int]
    offset: int | None


Recorded = Callable[[wgpu.GPUComputePassEncoder], None]
"""Appends launches to a pass, again and again; it keeps what they use alive."""


def record(launches: Sequence[Launch]) -> Recorded:
    """Prepares launches for being appended to passes."""
    encode = _native()
    if encode is None:
        return functools.partial(_in_python, tuple(launches))
    steps = np.zeros(len(launches), STEP)
    for step, launch in zip(steps, launches):
        step["pipeline"], step["group"] = _address(launch.pipeline._internal), _address(launch.group._internal)
        step["grid"], step["offset"], step["offsets"] = launch.grid, launch.offset or 0, launch.offset is not None
    return functools.partial(_in_one_call, encode, steps, tuple(launches))


def _in_python(launches: Sequence[Launch], compute: wgpu.GPUComputePassEncoder) -> None:
    for launch in launches:
        compute.set_pipeline(launch.pipeline)
        compute.set_bind_group(0, launch.group, [] if launch.offset is None else [launch.offset])
        compute.dispatch_workgroups(*launch.grid)


def _in_one_call(
    encode: Callable[[int, int, int], None],
    steps: np.ndarray,
    _kept: Sequence[Launch],
    compute: wgpu.GPUComputePassEncoder,
) -> None:
    encode(_address(compute._internal), steps.ctypes.data, len(steps))


def _address(pointer: object) -> int:
    from wgpu.backends.wgpu_native._ffi import ffi

    return int(ffi.cast("uintptr_t", pointer))


@functools.cache
def _native() -> Callable[[int, int, int], None] | None:
    """The compiled loop, or None where it can't be had: without llvmlite, or with another wgpu than is known here."""
    try:
        import llvmlite.binding as llvm
        from wgpu.backends.wgpu_native._ffi import lib

        names = ("SetPipeline", "SetBindGroup", "DispatchWorkgroups")
        functions = [_address(getattr(lib, f"wgpuComputePassEncoder{name}")) for name in names]
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(opt=2)
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(LOOP), machine)
        engine.finalize_object()
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, ctypes.c_size_t, *[ctypes.c_void_p] * 3)
        function = kind(engine.get_function_address("encode"))
    except (ImportError, AttributeError, RuntimeError) as error:
        LOG.info("launches are encoded in Python, one by one: %s", error)
        return None
    owner = engine  # the code lives as long as it does

    def encode(compute: int, steps: int, count: int) -> None:
        function(compute, steps, count, *functions)
        assert owner

    return encode
