"""What a SPIR-V module is made of while it is built: ids, instructions, blocks, structured scopes, functions.

An operand that is an id is an `Id`, a literal a plain int: that is all the assembler has to know about an
instruction, so dead-code removal and the final numbering need no table of operand kinds.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from tvm_webgpu.codegen.spirv.opcodes import Op


class Id(int):
    """A result id: an int that knows that it is not a literal."""

    __slots__ = ()


@dataclass(slots=True)
class Instruction:
    """One instruction; `type` and `result` are absent where the opcode has none."""

    op: Op
    type: Id | None
    result: Id | None
    operands: list[int]


@dataclass(slots=True)
class Block:
    """A basic block; its terminator (with the merge instruction before it) is kept apart so that it stays open."""

    label: Id
    code: list[Instruction] = field(default_factory=list)
    end: list[Instruction] = field(default_factory=list)


@dataclass(slots=True)
class Region:
    """A structured scope: where its code goes at the moment, and the values known in it."""

    block: Block
    loop: bool
    values: dict[tuple, Id] = field(default_factory=dict)
    hoisted: int = 0


@dataclass(slots=True)
class Loop:
    """Targets of break and continue."""

    merge: Block
    cont: Block


@dataclass(slots=True)
class Function:
    """A function under construction."""

    head: list[Instruction]
    blocks: list[Block]
    regions: list[Region]
    variables: list[Instruction] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)


def text_words(text: str) -> list[int]:
    data = text.encode() + b"\0"
    data += b"\0" * (-len(data) % 4)
    return list(struct.unpack(f"<{len(data) // 4}I", data))


def float_bits(value: float, bits: int) -> int:
    """IEEE bits of a float, rounded to nearest even; too large a value becomes infinity."""
    formats = {64: ("<d", "<Q"), 32: ("<f", "<I"), 16: ("<e", "<H")}
    fmt, raw = formats[bits]
    try:
        return struct.unpack(raw, struct.pack(fmt, value))[0]
    except OverflowError:
        infinity = struct.pack(fmt, float("inf") if value > 0 else float("-inf"))
        return struct.unpack(raw, infinity)[0]
