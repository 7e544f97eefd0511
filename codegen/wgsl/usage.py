"""A function and its tree in; liveness, uses, scopes of values, and where variables for them must stand, out.

A value whose uses all lie inside the scope of its definition can be a ``let`` or be inlined; any other needs a
variable at the innermost scope that spans definition and uses. A phi is always a variable, stored on its edges.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tvm_webgpu.codegen.wgsl import structure
from tvm_webgpu.codegen.wgsl.memory import Pointer
from tvm_webgpu.codegen.wgsl.module import Block, Function, Instruction, Module
from tvm_webgpu.codegen.wgsl.tree import Edge, If, IfFlag, Loop, Return, Seq, Straight, Switch

# Instructions that must run even if nothing uses their result.
EFFECTS = {
    "Store", "CopyMemory", "FunctionCall", "ControlBarrier", "MemoryBarrier", "AtomicStore", "AtomicExchange",
    "AtomicCompareExchange", "AtomicIIncrement", "AtomicIDecrement", "AtomicIAdd", "AtomicISub", "AtomicSMin",
    "AtomicUMin", "AtomicSMax", "AtomicUMax", "AtomicAnd", "AtomicOr", "AtomicXor", "AtomicLoad",
    "CooperativeMatrixStoreKHR",
}  # fmt: skip


def has_effect(inst: Instruction) -> bool:
    return inst.op in EFFECTS or inst.op.startswith("#") or (inst.op == "ExtInst" and inst.args[1] in (35, 51))


@dataclass
class Usage:
    """Facts by result id, over live instructions only."""

    live: set[int] = field(default_factory=set)
    count: dict[int, int] = field(default_factory=dict)
    defined_in: dict[int, Block] = field(default_factory=dict)
    used_in: dict[int, set[int]] = field(default_factory=dict)  # labels of the blocks (a phi uses in its predecessor)
    defs: dict[int, Instruction] = field(default_factory=dict)


def operands(inst: Instruction, pointers: dict[int, Pointer]) -> Iterator[int]:
    """The values an instruction uses; an access chain counts as its indices, since it is written out at each use."""
    for id in inst.ids:
        pointer = pointers.get(id)
        if pointer is None:
            yield id
        else:
            yield pointer.root
            yield from pointer.indices


def usage(module: Module, function: Function, pointers: dict[int, Pointer]) -> Usage:
    """Marks what is live from the effects on, and counts the uses by live instructions."""
    found = Usage()
    reachable = {next(iter(function.blocks)), *structure.predecessors(function)}
    work: list[tuple[Instruction, Block]] = []
    for label in reachable:
        block = function.blocks[label]
        for inst in (*block.phis, *block.body):
            if inst.id:
                found.defs[inst.id] = inst
                found.defined_in[inst.id] = block
            if has_effect(inst):
                work.append((inst, block))
        assert block.end is not None
        work.append((block.end, block))
    while work:
        inst, block = work.pop()
        if inst.id:
            if inst.id in found.live:
                continue
            found.live.add(inst.id)
        if inst.op == "Phi":
            pairs = [(v, p) for v, p in zip(inst.args[::2], inst.args[1::2]) if p in reachable]
        else:
            pairs = [(id, block.label) for id in operands(inst, pointers)]
        for id, label in pairs:
            found.count[id] = found.count.get(id, 0) + 1
            found.used_in.setdefault(id, set()).add(label)
            if id in found.defs and id not in found.live:
                work.append((found.defs[id], found.defined_in[id]))
    return found


@dataclass
class Scopes:
    """Where the tree's values live."""

    parent: dict[Seq, Seq | None] = field(default_factory=dict)
    depth: dict[Seq, int] = field(default_factory=dict)
    place: dict[Seq, int] = field(default_factory=dict)  # index of the node that holds a sequence in its parent
    # Of each value, the (sequence, item index) pairs where it is defined or used; under minus a phi's id, its stores.
    mentions: dict[int, list[tuple[Seq, int]]] = field(default_factory=dict)
    definitions: dict[int, list[Seq]] = field(default_factory=dict)
    copied: set[int] = field(default_factory=set)  # headers whose phis are stored before their last use

    def lift(self, at: tuple[Seq, int]) -> tuple[Seq, int]:
        parent = self.parent[at[0]]
        assert parent is not None
        return parent, self.place[at[0]]

    def common(self, places: list[tuple[Seq, int]]) -> tuple[Seq, int]:
        """The innermost sequence that spans all places, and the first of its items that holds one of them."""
        best = places[0]
        for place in places[1:]:
            while self.depth[best[0]] > self.depth[place[0]]:
                best = self.lift(best)
            while self.depth[place[0]] > self.depth[best[0]]:
                place = self.lift(place)
            while best[0] is not place[0]:
                best, place = self.lift(best), self.lift(place)
            best = min(best, place, key=lambda p: p[1])
        return best

    def visible(self, id: int) -> bool:
        """Whether every mention lies inside the scope of the one definition."""
        definitions = self.definitions.get(id, [])
        if len(definitions) != 1:
            return False
        home = definitions[0]
        for seq, _ in self.mentions[id]:
            at: Seq | None = seq
            while at is not None and at is not home:
                at = self.parent[at]
            if at is None:
                return False
        return True


def scopes(function: Function, tree: Seq, found: Usage, pointers: dict[int, Pointer]) -> Scopes:
    """Walks the tree once and notes every definition and use."""
    out = Scopes()

    def use(id: int, seq: Seq, index: int) -> None:
        out.mentions.setdefault(id, []).append((seq, index))

    def define(id: int, seq: Seq, index: int) -> None:
        out.definitions.setdefault(id, []).append(seq)
        use(id, seq, index)

    def straight(block: Block, seq: Seq, index: int) -> None:
        for inst in block.body:
            if inst.id and inst.id not in found.live:
                continue
            for id in operands(inst, pointers):
                use(id, seq, index)
            if inst.id:
                define(inst.id, seq, index)

    work: list[tuple[Seq, Seq | None, int]] = [(tree, None, 0)]
    while work:
        seq, parent, place = work.pop()
        out.parent[seq], out.place[seq] = parent, place
        out.depth[seq] = 0 if parent is None else out.depth[parent] + 1
        for index, node in enumerate(seq.items):
            match node:
                case Straight(block=block):
                    straight(block, seq, index)
                case Edge():
                    for phi, value in edge_stores(function, node):
                        if phi.id in found.live:
                            use(-phi.id, seq, index)
                            use(value, seq, index)
                case If():
                    use(node.condition, seq, index)
                    work += [(node.then, seq, index), (node.orelse, seq, index)]
                case IfFlag():
                    work.append((node.then, seq, index))
                case Switch():
                    if node.selector is not None:
                        use(node.selector, seq, index)
                    work += [(case.body, seq, index) for case in node.cases]
                case Loop():
                    work.append((node.body, seq, index))
                    if node.counter is not None:
                        # Evaluated in the head of the `for`, inside the loop.
                        define(node.counter.phi.id, node.body, 0)
                        use(node.counter.initial, seq, index)
                        straight(function.blocks[node.header], node.body, 0)
                        use(node.counter.condition, node.body, 0)
                    if node.continuing is not None:
                        work.append((node.continuing, seq, index))
                        if node.break_if is not None:
                            use(node.break_if[0], node.continuing, node.break_if[2])
                            out.copied.add(node.header)
                            for phi in function.blocks[node.header].phis:
                                define(phi.id, node.body, 0)
                                use(-phi.id, seq, index)
                case Return(end=end):
                    for id in end.ids:
                        use(id, seq, index)
    return out


def edge_stores(function: Function, edge: Edge) -> Iterator[tuple[Instruction, int]]:
    """(phi, value) for each phi of the edge's target."""
    for phi in function.blocks[edge.target].phis:
        for value, label in zip(phi.args[::2], phi.args[1::2]):
            if label == edge.source:
                yield phi, value
                break
