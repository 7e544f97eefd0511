"""A module with SPV_KHR_cooperative_matrix in, the same as SPV_NV_cooperative_matrix out, and back.

SPIRV-Tools before 2023.4 know the vendor's extension only, which says the same but for a matrix's use (left, right or
accumulator): it travels in the name of the type. Numbers are those of the two extensions' specifications.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tvm_webgpu.errors import UnsupportedError

CAPABILITY = {6022: 5357}
EXTENSION = {"SPV_KHR_cooperative_matrix": "SPV_NV_cooperative_matrix"}
TYPE, LOAD, STORE, MULADD, LENGTH = 4456, 4457, 4458, 4459, 4460
NV = {TYPE: 5358, LOAD: 5359, STORE: 5360, MULADD: 5361, LENGTH: 5362}
KHR = {new: old for old, new in NV.items()}
OP_NAME, OP_EXTENSION, OP_CAPABILITY, OP_FUNCTION = 5, 10, 17, 54
OP_TYPE_BOOL, OP_TYPE_INT, OP_TRUE, OP_FALSE, OP_CONSTANT = 20, 21, 41, 42, 43
MARK = "tvmw.use."
LAYOUT_OPERAND = {LOAD: (3, 4), STORE: (2, 3)}
"""Where layout and stride stand among the operands; the vendor's form has them the other way round."""

Instruction = tuple[int, list[int]]


def uses_khr(module: bytes) -> bool:
    """Whether the module declares the capability CooperativeMatrixKHR."""
    words = struct.unpack(f"<{len(module) // 4}I", module)
    at = 5
    while at < len(words) and words[at] & 0xFFFF == OP_CAPABILITY:
        if words[at + 1] in CAPABILITY:
            return True
        at += max(words[at] >> 16, 1)
    return False


def _text(text: str) -> list[int]:
    data = text.encode() + b"\0"
    data += bytes(-len(data) % 4)
    return list(struct.unpack(f"<{len(data) // 4}I", data))


def _string(words: list[int]) -> str:
    return struct.pack(f"<{len(words)}I", *words).split(b"\0")[0].decode(errors="replace")


class _Module:
    """Instructions as (opcode, operands), and fresh ids."""

    def __init__(self, module: bytes) -> None:
        words = list(struct.unpack(f"<{len(module) // 4}I", module))
        self.head, self.code = words[:5], list(self._split(words))
        self.constants = {operands[1]: operands for op, operands in self.code if op == OP_CONSTANT}

    def _split(self, words: list[int]) -> Iterator[Instruction]:
        at = 5
        while at < len(words):
            length = words[at] >> 16
            yield words[at] & 0xFFFF, words[at + 1 : at + max(length, 1)]
            at += max(length, 1)

    def fresh(self) -> int:
        self.head[3] += 1
        return self.head[3] - 1

    def declared(self, op: int, operands: list[int]) -> int | None:
        """The id of the type with these operands."""
        return next((words[0] for kind, words in self.code if kind == op and words[1:] == operands), None)

    def bytes(self, code: list[Instruction]) -> bytes:
        words = list(self.head)
        for op, operands in code:
            words += [(len(operands) + 1) << 16 | op, *operands]
        return struct.pack(f"<{len(words)}I", *words)


def _renamed(op: int, operands: list[int], capability: dict[int, int], extension: dict[str, str]) -> list[int]:
    if op == OP_CAPABILITY:
        return [capability.get(operands[0], operands[0])]
    if op == OP_EXTENSION and (name := extension.get(_string(operands))):
        return _text(name)
    return operands


def to_nv(module: bytes) -> bytes:
    """The vendor's form; UnsupportedError for what it can't say."""
    old = _Module(module)
    names: list[Instruction] = []
    declarations: list[Instruction] = []
    true, false, boolean = old.fresh(), old.fresh(), old.declared(OP_TYPE_BOOL, [])
    if boolean is None:
        boolean = old.fresh()
        declarations.append((OP_TYPE_BOOL, [boolean]))
    declarations += [(OP_TRUE, [boolean, true]), (OP_FALSE, [boolean, false])]
    body: list[Instruction] = []
    for op, operands in old.code:
        operands = _renamed(op, operands, CAPABILITY, EXTENSION)
        if op == TYPE:
            result, component, scope, rows, columns, use = operands
            kind, _, count = old.constants[rows]
            own = old.fresh()  # types that differ in their use only would be the same type
            body.append((OP_CONSTANT, [kind, own, count]))
            names.append((OP_NAME, [result, *_text(f"{MARK}{old.constants[use][2]}")]))
            operands = [result, component, scope, own, columns]
        elif op in LAYOUT_OPERAND:
            at, stride = LAYOUT_OPERAND[op]
            layout = old.constants.get(operands[at], [0, 0, 2])[2]
            if layout > 1 or stride >= len(operands):
                raise UnsupportedError("a cooperative matrix whose layout is neither row- nor column-major")
            operands = [*operands[:at], operands[stride], (false, true)[layout], *operands[stride + 1 :]]
        elif op == MULADD and any(operands[5:]):
            raise UnsupportedError("a product of cooperative matrices of signed integers")
        elif op == MULADD:
            operands = operands[:5]
        body.append((NV.get(op, op), operands))
    first = next(i for i, (op, _) in enumerate(body) if op == OP_FUNCTION)
    body[first:first] = declarations
    at = next(i for i, (op, _) in enumerate(body) if op == OP_NAME or (op > OP_CAPABILITY + 1 and op != 331))
    body[at:at] = names
    return old.bytes(body)


def to_khr(module: bytes) -> bytes:
    """What `to_nv` gave, perhaps optimised since, as it was."""
    old = _Module(module)
    use = {
        operands[0]: int(_string(operands[1:]).removeprefix(MARK))
        for op, operands in old.code
        if op == OP_NAME and _string(operands[1:]).startswith(MARK)
    }
    layouts = {operands[1]: op == OP_TRUE for op, operands in old.code if op in (OP_TRUE, OP_FALSE)}
    row, column, word = old.fresh(), old.fresh(), old.declared(OP_TYPE_INT, [32, 0])
    declarations: list[Instruction] = []
    if word is None:
        word = old.fresh()
        declarations.append((OP_TYPE_INT, [word, 32, 0]))
    declarations += [(OP_CONSTANT, [word, row, 0]), (OP_CONSTANT, [word, column, 1])]
    body: list[Instruction] = []
    for op, operands in old.code:
        if op == OP_NAME and operands[0] in use and _string(operands[1:]).startswith(MARK):
            continue
        operands = _renamed(
            op, operands, {n: k for k, n in CAPABILITY.items()}, {n: k for k, n in EXTENSION.items()}
        )
        op = KHR.get(op, op)
        if op == TYPE:
            own = old.fresh()
            body.append((OP_CONSTANT, [old.constants[operands[3]][0], own, use[operands[0]]]))
            operands = [*operands, own]
        elif op in LAYOUT_OPERAND:
            at, stride = LAYOUT_OPERAND[op]
            layout = column if layouts[operands[stride]] else row
            operands = [*operands[:at], layout, operands[at], *operands[stride + 1 :]]
        body.append((op, operands))
    first = next(i for i, (op, _) in enumerate(body) if op == OP_FUNCTION)
    body[first:first] = declarations
    return old.bytes(body)
