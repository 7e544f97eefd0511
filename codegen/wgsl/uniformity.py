"""Barriers that WGSL would refuse: those that, as far as its uniformity analysis sees, only some invocations may reach.

SPIR-V leaves it to the author that all invocations of a workgroup reach a barrier; WGSL (specification, section 15.2)
wants to see it. This follows that analysis over the control-flow tree: control after a branch on a value that differs
between invocations differs, too, unless all its arms end where they began. Where the rules are unclear a value counts
as uniform, so that nothing is refused that a compiler might take.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tvm_webgpu.codegen.wgsl import structure
from tvm_webgpu.codegen.wgsl.grammar import BUILTINS
from tvm_webgpu.codegen.wgsl.memory import Memory
from tvm_webgpu.codegen.wgsl.module import Function, Instruction, Module, unsupported
from tvm_webgpu.codegen.wgsl.tree import (
    Edge,
    If,
    IfFlag,
    Jump,
    Loop,
    Node,
    Return,
    Seq,
    SetFlag,
    Straight,
    Switch,
)
from tvm_webgpu.codegen.wgsl.usage import edge_stores

BUDGET = 1 << 18  # instructions and nodes looked at; then the compilers have the last word
_UNIFORM_INPUTS = {"NumWorkgroups", "WorkgroupId", "SubgroupSize", "NumSubgroups"}
_VARYING = ("Atomic", "GroupNonUniform", "Subgroup", "CooperativeMatrix")
_BARRIERS = ("ControlBarrier", "MemoryBarrier")
_MEMORY = 0x140  # semantics of workgroup and storage memory: a MemoryBarrier is one of control in WGSL

State = frozenset[object]  # ids of values and variables, and flags, that may differ between invocations


class _Exhausted(Exception):
    """The budget is used up."""


@dataclass
class _Exits:
    """What leaves a loop or switch early: the states at its breaks and continues."""

    breaks: list[State] = field(default_factory=list)
    continues: list[State] = field(default_factory=list)


@dataclass
class _After:
    """Behind a statement: whether control differs, what does (None: not reached), and which jumps it may take."""

    varying: bool
    state: State | None
    jumps: frozenset[str] = frozenset()


def check(module: Module, memory: Memory, entry: Function) -> None:
    """Raises UnsupportedError for a barrier that not all invocations may reach."""
    blocks = (block for function in memory.order for block in function.blocks.values())
    if not any(inst.op in _BARRIERS for block in blocks for inst in block.body):
        return
    try:
        _Analysis(module, memory, entry).run(entry, False, {}, frozenset())
    except _Exhausted:
        return


class _Analysis:
    def __init__(self, module: Module, memory: Memory, entry: Function):
        self.m, self.memory, self.entry = module, memory, entry
        self.budget = BUDGET
        self.trees: dict[int, Seq] = {}
        self.results: dict[tuple, tuple[bool, State]] = {}

    def run(self, function: Function, varying: bool, roots: dict[int, int], state: State) -> tuple[bool, State]:
        """(whether the result differs, what of its parameters does afterwards) of a call; ``roots`` of its pointers."""
        key = (function.id, varying, tuple(sorted(roots.items())), state)
        if key not in self.results:
            if function.id not in self.trees:
                self.trees[function.id] = structure.build(function, lambda _: None)
            writer = _Function(self, function, roots)
            end = writer.sequence(self.trees[function.id], varying, state)
            ends = [*writer.ends, *([end.state] if end.state is not None else [])]
            self.results[key] = writer.result, frozenset().union(*ends)
        return self.results[key]

    def spend(self) -> None:
        self.budget -= 1
        if self.budget < 0:
            raise _Exhausted


class _Function:
    """One function, for one kind of arguments."""

    def __init__(self, analysis: _Analysis, function: Function, roots: dict[int, int]):
        self.a, self.function, self.roots = analysis, function, roots
        self.m, self.memory = analysis.m, analysis.memory
        self.pointers = analysis.memory.pointers[function.id]
        self.exits: list[_Exits] = []
        self.loops: list[_Exits] = []
        self.heads: dict[Node, tuple[bool, State]] = {}  # what has come to a loop's start so far
        self.result = False
        self.ends: list[State] = []

    # Values

    def varies(self, id: int, state: State) -> bool:
        """Whether a value, or what a pointer leads to, may differ."""
        pointer = self.pointers.get(id)
        if pointer is not None:
            return self.memory_varies(pointer.root, state) or any(i in state for i in pointer.indices)
        if id in self.m.variables or id in self.roots:
            return self.memory_varies(id, state)
        return id in state

    def memory_varies(self, root: int, state: State) -> bool:
        root = self.roots.get(root, root)
        variable = self.m.variables.get(root)
        if variable is None:
            return root in state
        match variable.args[0]:
            case 1:  # Input; other functions read copies in private variables
                builtin = BUILTINS.get(self.m.decoration(root, "BuiltIn") or 0, "")
                return builtin not in _UNIFORM_INPUTS or self.function is not self.a.entry
            case 4 | 6:  # Workgroup, Private
                return True
        return root in self.memory.written or root in self.memory.trees

    def store(self, id: int, varies: bool, state: State) -> State:
        pointer = self.pointers.get(id)
        root = pointer.root if pointer is not None else id
        if pointer is not None and pointer.indices:
            return state | {root} if varies or any(i in state for i in pointer.indices) else state
        return state | {root} if varies else state - {root}

    def instruction(self, inst: Instruction, varying: bool, state: State) -> State:
        self.a.spend()
        if varying and self.stops(inst):
            raise unsupported(
                inst, "a barrier that, as far as WGSL can see, not all invocations of a workgroup reach",
                "branch around it by uniform values only",
            )  # fmt: skip
        match inst.op:
            case "Variable" | "AccessChain" | "InBoundsAccessChain":
                return state
            case "Store":
                return self.store(inst.args[0], varying or self.varies(inst.args[1], state), state)
            case "CopyMemory":
                return self.store(inst.args[0], varying or self.varies(inst.args[1], state), state)
            case "ArrayLength":
                return state | {inst.id} if varying else state - {inst.id}
            case "FunctionCall":
                return self.call(inst, varying, state)
        differs = varying or inst.op.startswith(_VARYING) or any(self.varies(id, state) for id in inst.ids)
        if inst.op == "ExtInst" and inst.args[1] in (35, 51) and len(inst.ids) == 3:
            state = self.store(inst.ids[2], differs, state)
        if not inst.id:
            return state
        return state | {inst.id} if differs else state - {inst.id}

    def stops(self, inst: Instruction) -> bool:
        if inst.op == "MemoryBarrier":
            return bool((self.m.constant_int(inst.args[1]) or 0) & _MEMORY)
        return inst.op == "ControlBarrier"

    def call(self, inst: Instruction, varying: bool, state: State) -> State:
        callee = self.m.functions[inst.args[0]]
        roots: dict[int, int] = {}
        given: set[object] = set()
        arguments = list(zip(callee.params, inst.args[1:]))
        for param, id in arguments:
            root = self.memory.pointer(self.function, id).root
            root = self.roots.get(root, root)
            if root in self.m.variables:
                roots[param.id] = root
            elif self.varies(id, state):
                given.add(param.id)
        result, after = self.a.run(callee, varying, roots, frozenset(given))
        for param, id in arguments:
            if param.id in after and param.id in self.memory.effects[callee.id].written:
                state = self.store(id, True, state)
        return state | {inst.id} if result or varying else state - {inst.id}

    # Control flow

    def sequence(self, seq: Seq, varying: bool, state: State) -> _After:
        jumps: frozenset[str] = frozenset()
        for node in seq.items:
            self.a.spend()
            after = self.node(node, varying, state)
            jumps |= after.jumps
            if after.state is None:
                return _After(after.varying, None, jumps)
            varying, state = after.varying, after.state
        return _After(varying, state, jumps)

    def node(self, node: Node, varying: bool, state: State) -> _After:
        match node:
            case Straight(block=block):
                for inst in block.body:
                    state = self.instruction(inst, varying, state)
                return _After(varying, state)
            case Edge():
                stores = {phi.id: value for phi, value in edge_stores(self.function, node)}
                differing = {id for id, value in stores.items() if varying or self.varies(value, state)}
                return _After(varying, state - set(stores) | differing)
            case If():
                return self.branch(varying, state, node.condition in state, [node.then, node.orelse])
            case IfFlag(flag=flag):
                return self.branch(varying, state, flag in state, [node.then, Seq()])
            case SetFlag(flag=flag):
                return _After(varying, state | {flag} if varying else state)
            case Jump(kind=kind):
                exits = self.exits[-1] if kind == "break" else self.loops[-1]
                (exits.breaks if kind == "break" else exits.continues).append(state)
                return _After(varying, None, frozenset([kind]))
            case Return(end=end):
                self.result = self.result or varying or any(id in state for id in end.ids)
                self.ends.append(state)
                return _After(varying, None, frozenset(["return"]))
            case Switch():
                return self.switch(node, varying, state)
        return self.loop(node, varying, state)

    def branch(self, varying: bool, state: State, test: bool, arms: list[Seq]) -> _After:
        ends = [self.sequence(arm, varying or test, state) for arm in arms]
        states = [end.state for end in ends if end.state is not None]
        jumps = frozenset[str]().union(*(end.jumps for end in ends))
        after = frozenset[object]().union(*states) if states else None
        return _After(varying if not jumps else any(end.varying for end in ends), after, jumps)

    def switch(self, node: Switch, varying: bool, state: State) -> _After:
        exits = _Exits()
        self.exits.append(exits)
        bodies = [case.body for case in node.cases]
        inside = self.branch(varying, state - set(node.flags), node.selector in state, bodies)
        self.exits.pop()
        return self._left(varying, inside, exits, inside.jumps - {"break"})

    def loop(self, node: Loop, varying: bool, state: State) -> _After:
        known = self.heads.get(node, (False, frozenset()))
        head = varying or known[0], state - set(node.flags) | known[1]
        while True:
            self.heads[node] = head
            exits = _Exits()
            self.exits.append(exits)
            self.loops.append(exits)
            turn = self.sequence(node.body, *head)
            jumps = turn.jumps - {"break", "continue"}
            states = [*exits.continues, *([turn.state] if turn.state is not None else [])]
            end = _After(turn.varying, frozenset().union(*states) if states else None)
            if end.state is not None and node.continuing is not None:
                end = self.sequence(node.continuing, end.varying, end.state)
                if node.break_if is not None and end.state is not None:
                    exits.breaks.append(end.state)
                    end.varying = end.varying or node.break_if[0] in end.state
            self.exits.pop()
            self.loops.pop()
            grown = head[0] or end.varying, head[1] | (end.state or frozenset())
            if grown == head:
                return self._left(varying, _After(head[0], None), exits, jumps)
            head = grown

    @staticmethod
    def _left(varying: bool, inside: _After, exits: _Exits, jumps: frozenset[str]) -> _After:
        """Behind a loop or switch: control comes together again unless something leaves what is around it, too."""
        states = [*exits.breaks, *([inside.state] if inside.state is not None else [])]
        after = frozenset[object]().union(*states) if states else None
        return _After(varying if not jumps else varying or inside.varying, after, jumps)


