"""Device memory by handle: buffers in and out, and bytes to and from them; what there is no room for is named.

wgpu-native loses the device when a write finds no room for its staging buffer, and a submit to a lost device ends the
process. Making a buffer only fails, so room is asked for that way first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import wgpu

from tvm_webgpu.errors import DeviceError, DeviceLostError, OutOfMemoryError, PackageError

from .device import NO_MEMORY

HANDLE_STEP = 64
SMALLEST = 16
"""Bytes of the smallest buffer: a binding must hold one element of the shader's array, and none is larger."""

PIECE = 16 << 20
"""Bytes written at once, so that what is brought to the device does not lie in staging buffers as a whole."""

TENSOR_USAGE = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
READ_USAGE = wgpu.BufferUsage.MAP_READ | wgpu.BufferUsage.COPY_DST
WRITE_USAGE = wgpu.BufferUsage.MAP_WRITE | wgpu.BufferUsage.COPY_SRC


def typed(error: wgpu.GPUError, adapter: str) -> DeviceError:
    """A wgpu error as one of ours, told by its words."""
    text = " ".join(str(error).split())
    if isinstance(error, wgpu.GPUOutOfMemoryError) or NO_MEMORY in text:
        return OutOfMemoryError(f"{adapter}: out of device memory: {text}")
    if "device is lost" in text:
        return DeviceLostError(f"{adapter}: the device was lost: {text}")
    return DeviceError(f"{adapter}: {text}")


class Buffers:
    """Buffers of one device, by handles that are multiples of 64."""

    def __init__(self, device: wgpu.GPUDevice) -> None:
        self._device = device
        self._buffers: dict[int, wgpu.GPUBuffer] = {}
        self._next = HANDLE_STEP
        self._spare: list[int] = []

    def create(self, size: int, usage: int, what: str) -> wgpu.GPUBuffer:
        """A buffer without a handle. OutOfMemoryError says that there was no room for `what`."""
        most = self._device.limits["max-buffer-size"]
        if size > most:
            raise OutOfMemoryError(f"{what} takes {size} bytes; a buffer of this device has at most {most}")
        try:
            return self._device.create_buffer(size=size, usage=usage)
        except wgpu.GPUError as error:
            found = typed(error, "")
            if not isinstance(found, OutOfMemoryError):
                raise
            raise OutOfMemoryError(
                f"out of device memory for {what} of {size} bytes, beside {self.size} bytes that this model has: "
                + OutOfMemoryError.ADVICE
            ) from error

    def make(self, size: int, what: str) -> int:
        """The handle of a new zeroed buffer of at least `size` bytes; raises as `create` does."""
        buffer = self.create(max(size + -size % 4, SMALLEST), TENSOR_USAGE, what)
        if self._spare:
            handle = self._spare.pop()
        else:
            handle, self._next = self._next, self._next + HANDLE_STEP
        self._buffers[handle] = buffer
        return handle

    def free(self, handle: int) -> None:
        """Destroys a buffer, once all submitted work is done."""
        self[handle].destroy()
        del self._buffers[handle]
        self._spare.append(handle)

    def __getitem__(self, handle: int) -> wgpu.GPUBuffer:
        try:
            return self._buffers[handle]
        except KeyError:
            raise PackageError(f"model.wasm names buffer {handle}, which does not exist") from None

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._buffers))

    def __len__(self) -> int:
        return len(self._buffers)

    @property
    def size(self) -> int:
        """Device memory of all buffers with a handle."""
        return sum(buffer.size for buffer in self._buffers.values())

    def write(self, buffer: wgpu.GPUBuffer, offset: int, data: bytes | bytearray | memoryview, what: str) -> None:
        """Writes bytes, after all submitted work; raises as `create` does."""
        data = memoryview(data).cast("B")
        if tail := len(data) % 4:
            data = memoryview(bytes(data) + bytes(4 - tail))
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            self.create(len(piece), WRITE_USAGE, f"a copy of {what}").destroy()
            self._device.queue.write_buffer(buffer, offset + start, piece)
            if len(piece) == PIECE:
                self._device.queue.submit([])  # lets the copy go

    def read(self, ranges: Sequence[tuple[int, int, int]]) -> list[memoryview]:
        """The bytes of each (handle, offset, size) once all work is done, through one mapping; raises as `create`."""
        starts = np.cumsum([0, *((size + 3) // 4 * 4 for _, _, size in ranges)]).tolist()
        if not starts[-1]:
            return [memoryview(b"") for _ in ranges]
        staging = self.create(starts[-1], READ_USAGE, "a copy of the results")
        encoder = self._device.create_command_encoder()
        for (handle, offset, size), start in zip(ranges, starts):
            if size:
                encoder.copy_buffer_to_buffer(self[handle], offset, staging, start, (size + 3) // 4 * 4)
        self._device.queue.submit([encoder.finish()])
        staging.map_sync(wgpu.MapMode.READ)
        data = memoryview(bytes(staging.read_mapped()))
        staging.unmap()
        staging.destroy()
        return [data[start : start + size] for (_, _, size), start in zip(ranges, starts)]
