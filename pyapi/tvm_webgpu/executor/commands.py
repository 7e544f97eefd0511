"""A command list (u32 words, docs/architecture.md) -> dispatches, copies and fills in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tvm_webgpu.errors import PackageError

DISPATCH, COPY, FILL = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A launch of kernel number `kernel`; `bindings` are buffer handles, `scalars` 4-byte words."""

    kernel: int
    grid: tuple[int, int, int]
    bindings: tuple[int, ...]
    scalars: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy from one buffer to another; offsets and size in bytes, multiples of 4."""

    source: int
    source_offset: int
    destination: int
    destination_offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Fill:
    """A fill of part of a buffer with a repeated 4-byte value."""

    buffer: int
    offset: int
    size: int
    value: int


Command = Dispatch | Copy | Fill


def decode(words: Sequence[int], binding_counts: Sequence[int]) -> Iterator[Command]:
    """The commands of `words`; `binding_counts` holds the number of buffers of each kernel."""
    at, end = 0, len(words)
    while at < end:
        opcode, length = words[at] & 255, words[at] >> 8
        body = words[at + 1 : at + length]
        if length == 0 or at + length > end:
            raise PackageError(f"model.wasm wrote a command list that breaks off at word {at}")
        if opcode == DISPATCH and len(body) >= 4 and body[0] < len(binding_counts):
            scalars_at = 4 + binding_counts[body[0]]
            yield Dispatch(body[0], (body[1], body[2], body[3]), tuple(body[4:scalars_at]), tuple(body[scalars_at:]))
        elif opcode == COPY and len(body) == 5:
            yield Copy(*body)
        elif opcode == FILL and len(body) == 4:
            yield Fill(*body)
        else:
            raise PackageError(f"model.wasm wrote an unknown command {opcode} of {length} words")
        at += length
