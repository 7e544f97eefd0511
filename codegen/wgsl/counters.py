"""A loop in; the counter out that makes it a ``for`` which both compilers see to be finite, if it has one."""

from tvm_webgpu.codegen.wgsl import types
from tvm_webgpu.codegen.wgsl.module import Block, Function, Instruction, Module
from tvm_webgpu.codegen.wgsl.tree import Counter
from tvm_webgpu.codegen.wgsl.usage import Usage, has_effect


def find_counter(module: Module, function: Function, found: Usage, block: Block) -> Counter | None:
    """The loop variable of a loop that counts: its test in the header, its step a constant, unused afterwards."""
    merge, end = block.merge, block.end
    if merge is None or end is None or end.op != "BranchConditional" or merge.args[1] == block.label:
        return None
    exit, proceed = merge.args[0], function.blocks.get(merge.args[1])
    if exit not in end.args[1:3] or proceed is None or end.args[1] == end.args[2]:
        return None
    if exit not in function.blocks or function.blocks[exit].phis:
        return None
    negated = end.args[1] == exit
    condition = end.args[0]
    # Everything in the header must end up inside the condition's text.
    for inst in block.body:
        if inst.id in found.live and (
            has_effect(inst) or found.count[inst.id] != 1 or found.used_in[inst.id] != {block.label}
        ):
            return None
        if not inst.id:
            return None
    test = found.defs.get(condition)
    if test is None or found.defined_in[condition] is not block:
        return None
    for phi in block.phis:
        if phi.id in test.ids and (counter := _counts(module, function, found, block, phi, condition, negated)):
            return counter
    return None


def _counts(
    module: Module, function: Function, found: Usage, block: Block, phi: Instruction, condition: int, negated: bool
) -> Counter | None:
    type = module.value_types[phi.id]
    if type not in (types.I32, types.U32) or len(phi.args) != 4:
        return None
    assert block.merge is not None
    inside = loop_blocks(function, block)
    for value, label, initial, entry in (phi.args, (*phi.args[2:], *phi.args[:2])):
        step_inst = found.defs.get(value)
        if label not in inside or entry in inside or step_inst is None or step_inst.op not in ("IAdd", "ISub"):
            continue
        a, b = step_inst.args
        if step_inst.op == "IAdd" and b == phi.id:
            a, b = b, a
        step = module.constant_int(b)
        if a != phi.id or not step or module.value_types.get(b) not in (types.I32, types.U32):
            continue
        if module.value_types[value] != type or module.value_types.get(initial) != type:
            continue
        if not found.used_in.get(phi.id, set()) <= inside:
            continue
        step = step - (1 << 32) if step >> 31 else step
        return Counter(phi, initial, condition, negated, step if step_inst.op == "IAdd" else -step)
    return None


def loop_blocks(function: Function, block: Block) -> set[int]:
    """The blocks of a loop: reachable from its header without passing its merge block."""
    assert block.merge is not None
    inside, work = {block.merge.args[0]}, [block.label]
    while work:
        label = work.pop()
        if label not in inside:
            inside.add(label)
            work.extend(function.blocks[label].successors)
    return inside - {block.merge.args[0]}
