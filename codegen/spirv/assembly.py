"""A built module in, its bytes out: dead instructions dropped, ids numbered in order of appearance."""

from __future__ import annotations

import struct

from tvm_webgpu.codegen.spirv.declarations import Declarations
from tvm_webgpu.codegen.spirv.instructions import Function, Id, Instruction, text_words
from tvm_webgpu.codegen.spirv.opcodes import (
    ADDRESSING_LOGICAL,
    EXECUTION_GLCOMPUTE,
    MAGIC,
    MEMORY_MODEL_GLSL450,
    MODE_LOCAL_SIZE,
    VERSION_1_3,
    Op,
)

# Instructions that stay although nothing uses their result.
EFFECTS = frozenset({Op.AtomicCompareExchange, Op.AtomicIAdd, Op.AtomicSMin, Op.AtomicUMin, Op.AtomicSMax,
                     Op.AtomicUMax, Op.AtomicAnd, Op.AtomicOr, Op.Function, Op.FunctionParameter, Op.Label})


def assemble(module: Declarations, functions: list[Function], name: str, entry: Id,
             workgroup_size: tuple[int, int, int]) -> bytes:
    """A module of one entry point, without what nothing uses; ids are numbered in order of appearance."""
    code: list[Instruction] = []
    for fn in functions:
        code += fn.head
        for i, block in enumerate(fn.blocks):
            code.append(Instruction(Op.Label, None, block.label, []))
            code += (fn.variables if i == 0 else []) + block.code + block.end
        code.append(Instruction(Op.FunctionEnd, None, None, []))
    code = drop_unused(code)
    globals_ = _used_globals(module, entry, code)
    defined = {ins.result for ins in globals_ + code if ins.result is not None}
    about = [ins for ins in module.names + module.decorations if ins.operands[0] in defined]
    preamble = [Instruction(Op.Capability, None, None, [c]) for c in sorted(module.capabilities)]
    preamble += [Instruction(Op.Extension, None, None, text_words(e)) for e in sorted(module.extensions)]
    preamble += [
        Instruction(Op.ExtInstImport, None, module.glsl, text_words("GLSL.std.450")),
        Instruction(Op.MemoryModel, None, None, [ADDRESSING_LOGICAL, MEMORY_MODEL_GLSL450]),
        Instruction(Op.EntryPoint, None, None, [EXECUTION_GLCOMPUTE, entry, *text_words(name), *module.interface]),
        Instruction(Op.ExecutionMode, None, None, [entry, MODE_LOCAL_SIZE, *workgroup_size]),
    ]
    return _encode(preamble + about + globals_ + code)


def _used_globals(module: Declarations, entry: Id, code: list[Instruction]) -> list[Instruction]:
    used = {entry, module.glsl, *module.interface, *module.kept}
    used.update(w for ins in code for w in (ins.type, *ins.operands) if type(w) is Id)
    kept: list[Instruction] = []
    for ins in reversed(module.globals):
        if ins.result in used:
            kept.append(ins)
            used.update(w for w in (ins.type, *ins.operands) if type(w) is Id)
    return kept[::-1]


def _encode(instructions: list[Instruction]) -> bytes:
    number: dict[int, int] = {}
    words = [MAGIC, VERSION_1_3, 0, 0, 0]
    for ins in instructions:
        head = len(words)
        words.append(0)
        for w in (ins.type, ins.result, *ins.operands):
            if type(w) is Id:
                words.append(number.setdefault(w, len(number) + 1))
            elif w is not None:
                words.append(w & 0xFFFFFFFF)
        words[head] = (len(words) - head) << 16 | ins.op
    words[3] = len(number) + 1
    return struct.pack(f"<{len(words)}I", *words)


def drop_unused(code: list[Instruction]) -> list[Instruction]:
    """Removes instructions whose result nothing uses and that have no effect, until there are none left."""
    uses: dict[int, int] = {}
    for ins in code:
        for w in ins.operands:
            if type(w) is Id:
                uses[w] = uses.get(w, 0) + 1
    by_result = {ins.result: ins for ins in code if ins.result is not None}

    def droppable(ins: Instruction) -> bool:
        return ins.result is not None and not uses.get(ins.result) and ins.op not in EFFECTS

    pending = [ins for ins in code if droppable(ins)]
    dropped: set[int] = set()
    while pending:
        ins = pending.pop()
        if ins.result in dropped:
            continue
        dropped.add(ins.result)  # type: ignore[arg-type]
        for w in ins.operands:
            if type(w) is Id and w in by_result:
                uses[w] -= 1
                if droppable(by_result[w]):
                    pending.append(by_result[w])
    return [ins for ins in code if ins.result is None or ins.result not in dropped]
