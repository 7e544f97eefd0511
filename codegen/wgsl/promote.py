"""Loops that count in a variable of the function in; the same loops counting in a phi, as `counters` knows them, out.

Compilers that leave variables in memory (glslang, and most others without an optimiser) write

    store i, start; branch header        header: loop merge; branch test        test: if load i < n: body, else: merge
    body: ... load i ...                 next: store i, load i + step; branch header

Where nothing else touches the variable, its loads inside the loop are the phi, and the header takes the test in; the
latter also where a phi counts already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tvm_webgpu.codegen.wgsl import counters, structure, types
from tvm_webgpu.codegen.wgsl.module import Block, Function, Instruction, Module

_STEPS = ("IAdd", "ISub")


@dataclass
class _Uses:
    """The loads and stores of a variable that nothing else is done with, each with its block."""

    loads: list[tuple[Instruction, Block]]
    stores: list[tuple[Instruction, Block]]


def promote(module: Module, function: Function) -> None:
    """Changes the function's blocks in place."""
    if not any(block.merge is not None and block.merge.op == "LoopMerge" for block in function.blocks.values()):
        return
    variables = dict(_variables(module, function))
    preds = structure.predecessors(function)
    for block in list(function.blocks.values()):
        if block.merge is not None and block.merge.op == "LoopMerge" and block.label in preds:
            _loop(module, function, block, preds, variables)


def _variables(module: Module, function: Function) -> Iterator[tuple[int, _Uses]]:
    """The variables of 32-bit integers that are only loaded and stored as a whole."""
    found: dict[int, _Uses] = {}
    for inst in next(iter(function.blocks.values())).body:
        pointer = module.value_types.get(inst.id)
        if inst.op == "Variable" and isinstance(pointer, types.Pointer) and pointer.pointee in (types.I32, types.U32):
            found[inst.id] = _Uses([], [])
    for block in function.blocks.values():
        for inst in (*block.phis, *block.body, *([block.end] if block.end else [])):
            uses = found.get(inst.ids[0]) if inst.ids else None
            if uses is not None and inst.op == "Load" and len(inst.args) == 1:
                uses.loads.append((inst, block))
            elif uses is not None and inst.op == "Store" and len(inst.args) == 2 and inst.ids[1] not in found:
                uses.stores.append((inst, block))
            else:
                for id in inst.args[::2] if inst.op == "Phi" else inst.ids:
                    found.pop(id, None)
    yield from found.items()


def _loop(
    module: Module, function: Function, header: Block, preds: dict[int, list[int]], variables: dict[int, _Uses]
) -> None:
    test, inside = _test(function, header, preds), counters.loop_blocks(function, header)
    # They may be entered by the header only.
    closed = all(set(preds[label]) <= inside for label in inside if label != header.label)
    entries = [label for label in preds[header.label] if label not in inside]
    backs = [label for label in preds[header.label] if label in inside]
    if test is None or not closed or len(entries) != 1 or len(backs) != 1:
        return
    condition = next((inst for inst in test.body if inst.id == test.branch.ids[0]), None)
    if condition is not None and not {phi.id for phi in header.phis}.isdisjoint(condition.ids):
        _merge(function, header, test)
        return
    read = {inst.id: inst.args[0] for inst in test.body if inst.op == "Load" and inst.args[0] in variables}
    for id in condition.ids if condition is not None and condition.args == condition.ids else ():
        if id in read and _counts(function, variables[read[id]], inside, entries[0], _last(function, preds, backs[0])):
            assert condition is not None
            _merge(function, header, test)
            _replace(module, header, condition, variables.pop(read[id]), (entries[0], backs[0]))
            return


@dataclass
class _Test:
    """What a loop does up to its test: instructions, the branch with the loop's merge block as a target, the blocks."""

    body: list[Instruction]
    branch: Instruction
    blocks: list[int]


def _test(function: Function, header: Block, preds: dict[int, list[int]]) -> _Test | None:
    """From the header along blocks that only lead on; ``if test { body } else { break }`` counts as a test, too."""
    assert header.merge is not None
    leave, at, blocks, body = header.merge.args[0], header, list[int](), list(header.body)
    while at.end is not None and at.end.op == "Branch":
        target = at.end.args[0]
        outside = (*header.merge.args[:2], header.label)  # an unreachable loop may lead back without a test
        if preds[target] != [at.label] or target in outside or function.blocks[target].phis:
            return None
        at = function.blocks[target]
        blocks.append(target)
        body += at.body
    if at.end is None or at.end.op != "BranchConditional" or leave not in function.blocks:
        return None
    arms = []
    for label in at.end.args[1:3]:
        arm = function.blocks[label]
        empty = not arm.body and not arm.phis and preds[label] == [at.label]
        if empty and label != leave and arm.end is not None and arm.end.op == "Branch" and arm.end.args[0] == leave:
            blocks.append(label)
            label = leave
        arms.append(label)
    merges = [at.merge.args[0]] if at.merge is not None and at is not header else []
    if arms.count(leave) != 1 or function.blocks[leave].phis or not set(merges) <= set(arms):
        return None
    end = at.end
    return _Test(body, Instruction(end.op, 0, 0, (end.args[0], *arms), end.offset, end.ids), blocks)


def _last(function: Function, preds: dict[int, list[int]], back: int) -> int:
    """The last block of each turn that does anything."""
    while not function.blocks[back].body and len(preds[back]) == 1:
        end = function.blocks[preds[back][0]].end
        if end is None or end.op != "Branch":
            break
        back = preds[back][0]
    return back


def _counts(function: Function, uses: _Uses, inside: set[int], entry: int, back: int) -> bool:
    """Whether the variable starts before the loop, steps once at the end of each turn, and is read inside only."""
    if sorted(block.label for _, block in uses.stores) != sorted((entry, back)):
        return False
    if any(block.label not in inside for _, block in uses.loads):
        return False
    body = function.blocks[back].body
    step = next(inst for inst, block in uses.stores if block.label == back)
    made = next((inst for inst in body if inst.id == step.ids[1]), None)
    loads = {inst.id for inst, block in uses.loads if block.label == back}
    after = body[body.index(step) :]
    return (
        made is not None and made.op in _STEPS and not loads.isdisjoint(made.ids)
        and not any(inst.id in loads for inst in after)
    )  # fmt: skip


def _merge(function: Function, header: Block, test: _Test) -> None:
    """Puts what leads to the test into the header."""
    header.body, header.end = test.body, test.branch
    for label in test.blocks:
        del function.blocks[label]
    for block in function.blocks.values():
        for phi in block.phis:
            renamed = [header.label if i % 2 and arg in test.blocks else arg for i, arg in enumerate(phi.args)]
            phi.args = tuple(renamed)


def _replace(module: Module, header: Block, condition: Instruction, uses: _Uses, edges: tuple[int, int]) -> None:
    """Makes the phi. Test and step read it itself, the loads become copies."""
    first = uses.loads[0][0]
    variable, phi = first.args[0], max(module.value_types) + 1
    # The one before the loop comes from there, the other from the loop's end.
    starts = [inst.ids[1] for inst, block in uses.stores if block.label == edges[0]]
    steps = [inst.ids[1] for inst, block in uses.stores if block.label != edges[0]]
    args = starts[0], edges[0], steps[0], edges[1]
    header.phis.append(Instruction("Phi", first.type, phi, args, header.offset))
    module.value_types[phi] = module.value_types[first.id]
    if variable in module.names:
        module.names[phi] = module.names[variable]
    loads = {inst.id for inst, _ in uses.loads}
    made = [inst for _, block in uses.stores for inst in block.body if inst.id == steps[0]]
    for inst in (condition, *made):
        inst.args = inst.ids = tuple(phi if id in loads else id for id in inst.ids)
    for inst, _ in uses.loads:
        inst.op, inst.args, inst.ids = "CopyObject", (phi,), (phi,)
    for store, block in uses.stores:
        block.body.remove(store)
