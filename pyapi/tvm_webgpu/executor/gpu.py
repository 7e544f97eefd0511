"""Buffers by handle, and command lists -> work on a wgpu device: one compute pass per list, copies aside.

A list is prepared once: calls of a static model give the same words, and its launches are recorded (`encoder`), to be
appended to each call's pass as they are. Bind groups are cached by kernel and buffers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import wgpu

from tvm_webgpu.errors import OutOfMemoryError, PackageError
from tvm_webgpu.package import Kernel

from .buffers import Buffers
from .commands import Copy, Dispatch, Fill, decode
from .encoder import Launch, Recorded, record
from .profile import LaunchTimer

CACHED_LISTS = 8
CACHED_GROUPS = 4096
NOT_FOR_NAGA = re.compile(r"^(enable subgroups|diagnostic\(off, subgroup_uniformity\));\n", re.MULTILINE)
"""Lines that WGSL asks for and wgpu's compiler does not take: it needs neither."""

BINDING_TYPES = {"read": "read-only-storage", "read_write": "storage"}


Placed = tuple[Dispatch, int | None]
"""A launch, and the offset of its scalars in the uniform buffer."""


@dataclass
class Prepared:
    """A command list: scalar blocks for the uniform buffer, and its launches between copies and fills."""

    uniforms: bytes
    parts: tuple[tuple[Placed, ...] | Copy | Fill, ...]
    recorded: tuple[int, tuple[Recorded, ...]] = (-1, ())
    """The launches of each run of them, and the generation of bind groups that they were recorded with."""


class Gpu:
    """The device's side of the imports `webgpu` (instance.Device), and access for the executor."""

    def __init__(self, device: wgpu.GPUDevice, kernels: Sequence[Kernel]) -> None:
        self._device = device
        self._kernels = kernels
        self._binding_counts = [len(kernel.bindings) for kernel in kernels]
        self._align = max(device.limits["min-uniform-buffer-offset-alignment"], 16)
        self.buffers = Buffers(device)
        self._pipelines: dict[int, wgpu.GPUComputePipeline] = {}
        self._layouts: dict[tuple[tuple[str, ...], int], wgpu.GPUBindGroupLayout] = {}
        self._groups: dict[tuple[int, tuple[int, ...]], wgpu.GPUBindGroup] = {}
        self._prepared: dict[bytes, Prepared] = {}
        self._uniform: wgpu.GPUBuffer | None = None
        self._uniform_size = 0
        self._uniform_of: Prepared | None = None
        self._generation = 0
        self.launches = 0
        """Dispatches so far."""
        self.timer: LaunchTimer | None = None
        """Takes the times of launches while it is set."""

    # Buffers

    def alloc(self, size: int) -> int:
        try:
            return self.buffers.make(size, "a tensor of the model")
        except OutOfMemoryError:
            return 0

    def free(self, handle: int) -> None:
        self.buffers.free(handle)
        kept = {key: group for key, group in self._groups.items() if handle not in key[1]}
        self._generation += len(kept) < len(self._groups)
        self._groups = kept

    def write(
        self, handle: int, offset: int, data: bytes | bytearray | memoryview, what: str = "what the model writes"
    ) -> None:
        self.buffers.write(self.buffers[handle], offset, data, what)

    def read(self, ranges: Sequence[tuple[int, int, int]]) -> list[memoryview]:
        return self.buffers.read(ranges)

    def close(self) -> None:
        """Destroys every buffer."""
        for handle in self.buffers:
            self.free(handle)
        if self._uniform is not None:
            self._uniform.destroy()

    # Command lists

    def flush(self, words: memoryview) -> None:
        prepared = self._prepare(words)
        if prepared.uniforms:
            self._reserve_uniform(len(prepared.uniforms))
            if self._uniform_of is not prepared:
                self.buffers.write(self._uniform, 0, prepared.uniforms, "scalars of launches")
                self._uniform_of = prepared
        runs = iter(self._recorded(prepared))
        encoder = self._device.create_command_encoder()
        for part in prepared.parts:
            if isinstance(part, tuple):
                launches = next(runs)
                if self.timer:
                    self._timed(encoder, part, self.timer)
                else:
                    compute = encoder.begin_compute_pass()
                    launches(compute)
                    compute.end()
                self.launches += len(part)
            else:
                self._transfer(encoder, part)
        self._device.queue.submit([encoder.finish()])

    def _timed(self, encoder: wgpu.GPUCommandEncoder, part: Sequence[Placed], timer: LaunchTimer) -> None:
        for one, offset in part:
            compute = encoder.begin_compute_pass(timestamp_writes=timer.writes(one))
            record([Launch(self._pipeline(one.kernel), self._group(one), one.grid, offset)])(compute)
            compute.end()

    def _recorded(self, prepared: Prepared) -> tuple[Recorded, ...]:
        """The launches of a list, recorded anew where a bind group that it used is gone."""
        if prepared.recorded[0] != self._generation:
            runs = [
                [Launch(self._pipeline(one.kernel), self._group(one), one.grid, offset) for one, offset in part]
                for part in prepared.parts
                if isinstance(part, tuple)
            ]
            prepared.recorded = self._generation, tuple(map(record, runs))
        return prepared.recorded[1]

    def _transfer(self, encoder: wgpu.GPUCommandEncoder, command: Copy | Fill) -> None:
        if isinstance(command, Copy):
            source, destination = self.buffers[command.source], self.buffers[command.destination]
            offsets = command.source_offset, command.destination_offset
            encoder.copy_buffer_to_buffer(source, offsets[0], destination, offsets[1], command.size)
        elif command.value == 0:
            encoder.clear_buffer(self.buffers[command.buffer], command.offset, command.size)
        else:
            usage = wgpu.BufferUsage.COPY_SRC
            data = np.full(command.size // 4, command.value, np.uint32)
            filled = self._device.create_buffer_with_data(data=data, usage=usage)
            encoder.copy_buffer_to_buffer(filled, 0, self.buffers[command.buffer], command.offset, command.size)

    def _prepare(self, words: memoryview) -> Prepared:
        key = bytes(words)
        if prepared := self._prepared.get(key):
            return prepared
        offsets: dict[tuple[int, ...], int | None] = {(): None}
        blocks = bytearray()
        parts: list[tuple[Placed, ...] | Copy | Fill] = []
        run: list[Placed] = []
        for command in decode(words.tolist(), self._binding_counts):
            if not isinstance(command, Dispatch):
                parts += [tuple(run), command]
                run = []
                continue
            if command.scalars not in offsets:
                offsets[command.scalars] = len(blocks)
                blocks += np.array(command.scalars, np.uint32).tobytes()
                blocks += bytes(-len(blocks) % self._align)
            run.append((command, offsets[command.scalars]))
        parts = [part for part in (*parts, tuple(run)) if part]
        # A binding that starts at the last block must fit behind it.
        prepared = Prepared(bytes(blocks + bytes(self._align)) if blocks else b"", tuple(parts))
        while len(self._prepared) >= CACHED_LISTS:
            del self._prepared[next(iter(self._prepared))]
        self._prepared[key] = prepared
        return prepared

    def _reserve_uniform(self, size: int) -> None:
        if self._uniform is not None and size <= self._uniform_size:
            return
        if self._uniform is not None:
            self._uniform.destroy()
        self._uniform_size = max(2 * size, 4096)
        usage = wgpu.BufferUsage.UNIFORM | wgpu.BufferUsage.COPY_DST
        self._uniform_of, self._uniform = None, None
        self._uniform = self.buffers.create(self._uniform_size, usage, "scalars of launches")
        self._groups.clear()
        self._generation += 1

    # Kernels

    def _uniform_block(self, kernel: Kernel) -> int:
        return (4 * len(kernel.scalars) + 15) // 16 * 16

    def _layout(self, kernel: Kernel) -> wgpu.GPUBindGroupLayout:
        block = self._uniform_block(kernel)
        key = (kernel.bindings, block)
        if key not in self._layouts:
            buffers: Iterable[dict[str, object]] = [{"type": BINDING_TYPES[access]} for access in kernel.bindings]
            if block:
                buffers = [*buffers, {"type": "uniform", "has_dynamic_offset": True, "min_binding_size": block}]
            entries = [
                {"binding": index, "visibility": wgpu.ShaderStage.COMPUTE, "buffer": buffer}
                for index, buffer in enumerate(buffers)
            ]
            self._layouts[key] = self._device.create_bind_group_layout(entries=entries)
        return self._layouts[key]

    def _pipeline(self, index: int) -> wgpu.GPUComputePipeline:
        if index not in self._pipelines:
            kernel = self._kernels[index]
            try:
                code = NOT_FOR_NAGA.sub("", kernel.wgsl)
                module = self._device.create_shader_module(code=code, label=kernel.name)
                layout = self._device.create_pipeline_layout(bind_group_layouts=[self._layout(kernel)])
                compute = {"module": module, "entry_point": kernel.name}
                self._pipelines[index] = self._device.create_compute_pipeline(layout=layout, compute=compute)
            except wgpu.GPUError as error:
                raise PackageError(f"the device does not take kernel {kernel.name}: {error}") from error
        return self._pipelines[index]

    def _group(self, command: Dispatch) -> wgpu.GPUBindGroup:
        key = (command.kernel, command.bindings)
        if key not in self._groups:
            kernel = self._kernels[command.kernel]
            resources: list[dict[str, object]] = [{"buffer": self.buffers[handle]} for handle in command.bindings]
            if kernel.scalars:
                if self._uniform is None or len(command.scalars) != len(kernel.scalars):
                    raise PackageError(f"a launch of {kernel.name} has {len(command.scalars)} scalars")
                resources.append({"buffer": self._uniform, "offset": 0, "size": self._uniform_block(kernel)})
            entries = [{"binding": index, "resource": resource} for index, resource in enumerate(resources)]
            if len(self._groups) >= CACHED_GROUPS:
                self._groups.clear()
            self._groups[key] = self._device.create_bind_group(layout=self._layout(kernel), entries=entries)
        return self._groups[key]

    @property
    def device(self) -> wgpu.GPUDevice:
        return self._device

    @cached_property
    def adapter_name(self) -> str:
        info = self._device.adapter_info
        return str(info.get("device") or info.get("description"))
