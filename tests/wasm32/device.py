"""A fake device: the imports of the module `webgpu` on NumPy memory, with every command list on record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from tvm_webgpu.executor.commands import Copy, Dispatch, Fill, decode

Body = Callable[..., None]


class FakeDevice:
    """`bodies` may give kernels an effect by index, called with (grid, scalars, *buffers as float32)."""

    def __init__(self, bindings: Sequence[int], bodies: Mapping[int, Body] | None = None, limit: int = 1 << 62) -> None:
        self.bindings, self.bodies, self.limit = bindings, bodies or {}, limit
        self.buffers: dict[int, np.ndarray] = {}
        self.next = 64
        self.allocated = self.reads = 0
        self.lists: list[list[Dispatch | Copy | Fill]] = []

    def alloc(self, size: int) -> int:
        if sum(buffer.nbytes for buffer in self.buffers.values()) + size > self.limit:
            return 0
        handle, self.next = self.next, self.next + 64
        self.buffers[handle] = np.zeros(size, np.uint8)
        self.allocated += 1
        return handle

    def free(self, handle: int) -> None:
        del self.buffers[handle]

    def write(self, handle: int, offset: int, data: bytes | bytearray) -> None:
        self.buffers[handle][offset : offset + len(data)] = np.frombuffer(data, np.uint8)

    def read(self, ranges: Sequence[tuple[int, int, int]]) -> list[memoryview]:
        self.reads += 1
        return [memoryview(self.buffers[handle][start : start + size].tobytes()) for handle, start, size in ranges]

    def flush(self, words: memoryview) -> None:
        commands = list(decode(words.tolist(), self.bindings))
        self.lists.append(commands)
        for command in commands:
            if isinstance(command, Copy):
                data = self.buffers[command.source][command.source_offset :][: command.size].copy()
                self.buffers[command.destination][command.destination_offset :][: command.size] = data
            elif isinstance(command, Dispatch) and command.kernel in self.bodies:
                buffers = (self.buffers[handle].view(np.float32) for handle in command.bindings)
                self.bodies[command.kernel](command.grid, command.scalars, *buffers)

    @property
    def last(self) -> list[Dispatch | Copy | Fill]:
        return self.lists[-1]

    def put(self, array: np.ndarray) -> int:
        handle = self.alloc(array.nbytes)
        self.write(handle, 0, array.tobytes())
        return handle

    def get(self, handle: int, shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.buffers[handle][:count].view(dtype).reshape(shape)
