"""A function's blocks in; a tree of WGSL's control flow (if, loop, switch, break, continue, return) out.

Blocks are laid out from the entry along SPIR-V's structured control flow. ``region`` emits blocks until control
reaches the label ``follow``, where it falls off the end of its sequence. Jumps that WGSL lacks are rebuilt:

- a break or continue across an enclosing switch or loop sets a flag, and each level left tests it;
- a switch case that falls into another repeats the other's blocks;
- a break out of a selection that is no loop or switch makes the selection a one-armed switch;
- a continue construct with a jump that ``continuing`` forbids is repeated at each of its predecessors.

Every phi becomes stores on the edges into its block (``Edge``). Repeated blocks are bounded by a budget.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from tvm_webgpu.codegen.wgsl.module import Block, Function, Instruction, invalid, unsupported
from tvm_webgpu.codegen.wgsl.tree import (
    Case,
    Counter,
    Edge,
    Flag,
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

MAX_DEPTH = 100  # WGSL implementations accept 127 nested braces
BUDGET = 16  # blocks laid out per block of the input, plus a constant


@dataclass(eq=False)
class _Construct:
    """An enclosing construct while its inside is laid out."""

    kind: str  # loop, switch or selection
    merge: int
    node: Loop | Switch | None
    proceed: int = 0  # a loop's continue target
    header: int = 0
    repeat: bool = False  # the continue construct is repeated at each predecessor
    breaks: int = 0
    continues: int = 0
    targets: frozenset[int] = frozenset()
    flags: dict[tuple[str, int], Flag] = field(default_factory=dict)


class _Unfit(Exception):
    """The construct at ``label`` can't be laid out in the form tried first."""

    def __init__(self, label: int):
        self.label = label


def build(function: Function, find_counter: Callable[[Block], Counter | None]) -> Seq:
    """The control flow tree of a function. Raises InvalidModuleError, UnsupportedError."""
    plain: set[int] = set()
    while True:
        try:
            return _Layout(function, find_counter, plain).run()
        except _Unfit as unfit:
            # At most once per construct: each retry excludes one from its first form.
            plain.add(unfit.label)


def predecessors(function: Function) -> dict[int, list[int]]:
    """Of each block, the labels of the reachable blocks that branch to it."""
    found: dict[int, list[int]] = {}
    work, seen = [next(iter(function.blocks))], set()
    while work:
        label = work.pop()
        if label in seen:
            continue
        seen.add(label)
        block = function.blocks[label]
        for target in block.successors:
            if target not in function.blocks:
                assert block.end is not None
                raise invalid(block.end, f"%{target} is not a block of this function")
            found.setdefault(target, []).append(label)
            work.append(target)
    return found


class _Layout:
    def __init__(self, function: Function, find_counter: Callable[[Block], Counter | None], plain: set[int]):
        self.blocks = function.blocks
        self.find_counter = find_counter
        self.plain = plain
        self.preds = predecessors(function)
        self.stack: list[_Construct] = []
        self.reached: set[int] = set()
        self.budget = BUDGET * len(function.blocks) + 256
        self.entry = next(iter(function.blocks))

    def run(self) -> Seq:
        body = Seq()
        self.region(self.entry, -1, body)
        return body

    def region(self, label: int | None, follow: int, seq: Seq) -> None:
        """Lays out blocks from ``label`` until control reaches ``follow`` or leaves."""
        seen: set[int] = set()
        while label is not None:
            block = self.blocks.get(label)
            assert block is not None
            self.budget -= 1
            if label in seen or self.budget < 0:
                raise unsupported(
                    block.end or Instruction("Label", 0, label, (), block.offset),
                    "the control flow is not structured",
                    "run spirv-val, and spirv-opt --merge-return where it passes",
                )
            seen.add(label)
            inside = self.stack and self.stack[-1].kind == "loop" and self.stack[-1].header == label
            if block.merge is not None and block.merge.op == "LoopMerge" and not inside:
                label = self.loop(block, follow, seq)
            else:
                label = self.block(block, follow, seq)

    def push(self, construct: _Construct, where: Block) -> None:
        if len(self.stack) >= MAX_DEPTH:
            assert where.end is not None
            raise unsupported(where.end, f"control flow nested deeper than {MAX_DEPTH}")
        self.stack.append(construct)

    def block(self, block: Block, follow: int, seq: Seq) -> int | None:
        if block.body:
            seq.items.append(Straight(block))
        end = block.end
        assert end is not None
        match end.op:
            case "Branch":
                return self.go(block.label, end.args[0], follow, seq)
            case "BranchConditional":
                if end.args[1] == end.args[2]:
                    return self.go(block.label, end.args[1], follow, seq)
                if block.merge is not None and block.merge.op == "SelectionMerge":
                    return self.selection(block, follow, seq)
                return self.exit_test(block, follow, seq)
            case "Switch":
                return self.switch(block, follow, seq)
        if self.in_continuing():
            raise _Unfit(self.in_continuing())
        seq.items.append(Return(end))
        return None

    # Jumps

    def go(self, source: int, target: int, follow: int, seq: Seq) -> int | None:
        """Takes the edge to ``target``: the label to go on with in this sequence, or None where control left it."""
        if self.blocks[target].phis:
            seq.items.append(Edge(source, target))
        return self.reach(target, follow, seq)

    def reach(self, target: int, follow: int, seq: Seq) -> int | None:
        self.reached.add(target)
        if target == follow:
            return None
        crossed: list[_Construct] = []  # breakable constructs between here and the one that owns the target
        for construct in reversed(self.stack):
            if construct.kind == "loop":
                if target in (construct.proceed, construct.header) and not (
                    construct.repeat and target == construct.proceed
                ):
                    self.jump("continue", construct, crossed, seq)
                    return None
                if construct.repeat and target == construct.proceed:
                    return target
            if target == construct.merge:
                if construct.kind == "selection":
                    raise _Unfit(construct.header)
                self.jump("break", construct, crossed, seq)
                return None
            if construct.kind == "switch" and target in construct.targets and not crossed:
                return target
            if construct.kind not in ("selection", "continuing"):
                crossed.append(construct)
        if target == self.entry:
            end = self.blocks[target].end
            assert end is not None
            raise invalid(end, "a branch to the entry block")
        return target

    def jump(self, kind: str, owner: _Construct, crossed: list[_Construct], seq: Seq) -> None:
        if kind == "continue":
            owner.continues += 1
            # WGSL's continue leaves switches by itself.
            while crossed and crossed[-1].kind == "switch":
                crossed = crossed[:-1]
        else:
            owner.breaks += 1
        self.check_continuing(kind, owner, crossed)
        if crossed:
            key = (kind, owner.header)
            flag = None
            for construct in crossed:
                flag = construct.flags.setdefault(key, flag or Flag(key))
                construct.breaks += 1
            assert flag is not None
            # All levels share the flag that the outermost declares.
            for construct in crossed:
                construct.flags[key] = crossed[-1].flags[key]
            seq.items.append(SetFlag(crossed[-1].flags[key]))
            kind = "break"
        seq.items.append(Jump(kind))

    def in_continuing(self) -> int:
        """The header of the innermost loop whose ``continuing`` block is being laid out, or 0."""
        for construct in reversed(self.stack):
            if construct.kind == "continuing":
                return construct.header
        return 0

    def check_continuing(self, kind: str, owner: _Construct, crossed: list[_Construct]) -> None:
        """Of jumps out of ``continuing`` only a final break of its own loop has a form."""
        for construct in reversed(self.stack):
            if construct is owner:
                return
            if construct.kind == "continuing":
                own = owner.header == construct.header and self.stack[-1] is construct
                if kind != "break" or not own or crossed:
                    raise _Unfit(construct.header)
                return

    # Selections

    def arms(self, block: Block, follow: int) -> tuple[Seq, Seq]:
        end = block.end
        assert end is not None
        arms = Seq(), Seq()
        for seq, target in zip(arms, end.args[1:3]):
            self.region(self.go(block.label, target, follow, seq), follow, seq)
        return arms

    def selection(self, block: Block, follow: int, seq: Seq) -> int | None:
        assert block.merge is not None and block.end is not None
        merge = block.merge.args[0]
        if block.label in self.plain:
            # Some arm breaks out of this selection: give the break a switch to leave.
            node = Switch(None, [Case((), True, Seq())])
            construct = _Construct("switch", merge, node, header=block.label)
        else:
            node = None
            construct = _Construct("selection", merge, None, header=block.label)
        self.push(construct, block)
        then, orelse = self.arms(block, merge)
        self.stack.pop()
        if node is not None:
            self.branch(block.end.args[0], then, orelse, node.cases[0].body)
            self.close(construct, node, follow, seq)
        else:
            self.branch(block.end.args[0], then, orelse, seq)
        return self.after(merge, follow, seq)

    def branch(self, condition: int, then: Seq, orelse: Seq, seq: Seq) -> None:
        """Appends an if; what follows an arm that jumps away needs no else."""
        if not then.items and not orelse.items:
            return
        if not then.items:
            seq.items.append(If(condition, True, orelse, Seq()))
        elif then.ends_in_jump and orelse.items:
            seq.items.append(If(condition, False, then, Seq()))
            seq.items.extend(orelse.items)
        elif orelse.ends_in_jump:
            seq.items.append(If(condition, True, orelse, Seq()))
            seq.items.extend(then.items)
        else:
            seq.items.append(If(condition, False, then, orelse))

    def exit_test(self, block: Block, follow: int, seq: Seq) -> int | None:
        """A conditional branch without a merge block: usually one arm leaves the loop."""
        end = block.end
        assert end is not None
        then, orelse = Seq(), Seq()
        on_true = self.go(block.label, end.args[1], follow, then)
        on_false = self.go(block.label, end.args[2], follow, orelse)
        if then.ends_in_jump and on_true is None:
            seq.items.append(If(end.args[0], False, then, Seq()))
            seq.items.extend(orelse.items)
            return on_false
        if orelse.ends_in_jump and on_false is None:
            seq.items.append(If(end.args[0], True, orelse, Seq()))
            seq.items.extend(then.items)
            return on_true
        self.push(_Construct("selection", -1, None), block)
        self.region(on_true, follow, then)
        self.region(on_false, follow, orelse)
        self.stack.pop()
        self.branch(end.args[0], then, orelse, seq)
        return None

    def after(self, merge: int, follow: int, seq: Seq) -> int | None:
        """Where control goes after a construct: its merge block, if anything reaches that."""
        if merge not in self.reached:
            return None
        return self.reach(merge, follow, seq)

    def switch(self, block: Block, follow: int, seq: Seq) -> int | None:
        end = block.end
        assert end is not None
        if block.merge is None:
            raise unsupported(end, "a switch without a merge block", "run spirv-val")
        merge = block.merge.args[0]
        default = end.args[1]
        if len({value for value, _ in end.cases}) != len(end.cases):
            raise invalid(end, "the same literal twice")
        literals: dict[int, list[int]] = {}
        for value, label in end.cases:
            literals.setdefault(label, []).append(value)
        literals.setdefault(default, [])
        node = Switch(end.args[0], [])
        targets = frozenset(literals) - {merge}
        construct = _Construct("switch", merge, node, header=block.label, targets=targets)
        self.push(construct, block)
        for label, values in literals.items():
            body = Seq()
            self.region(self.go(block.label, label, merge, body), merge, body)
            if body.items or label == default:
                # Explicit values beside `default` say nothing more.
                node.cases.append(Case(() if label == default else tuple(values), label == default, body))
            else:
                node.cases.append(Case(tuple(values), False, body))
        self.stack.pop()
        self.close(construct, node, follow, seq)
        return self.after(merge, follow, seq)

    def close(self, construct: _Construct, node: Switch | Loop, follow: int, seq: Seq) -> None:
        """Appends a finished construct and the tests of the flags that its inside may have set."""
        outer = {key for c in self.stack for key in c.flags}
        node.flags = [flag for key, flag in construct.flags.items() if key not in outer]
        if isinstance(node, Switch) and not construct.breaks and len(node.cases) == 1 and not node.flags:
            seq.items.extend(node.cases[0].body.items)
            return
        seq.items.append(node)
        for (kind, header), flag in construct.flags.items():
            then = Seq()
            crossed: list[_Construct] = []
            for owner in reversed(self.stack):
                if owner.header == header and owner.kind in ("loop", "switch"):
                    break
                if owner.kind in ("loop", "switch"):
                    crossed.append(owner)
            while kind == "continue" and crossed and crossed[-1].kind == "switch":
                crossed = crossed[:-1]
            then.items.append(Jump("break" if crossed else kind))
            seq.items.append(IfFlag(flag, then))

    # Loops

    def loop(self, block: Block, follow: int, seq: Seq) -> int | None:
        assert block.merge is not None
        merge, proceed = block.merge.args[0], block.merge.args[1]
        if proceed not in self.blocks:
            raise invalid(block.merge, f"%{proceed} is not a block of this function")
        node = Loop(block.label)
        counter = self.find_counter(block)
        single = proceed == block.label or len(self.preds.get(proceed, ())) <= 1
        repeat = single or block.label in self.plain or counter is not None
        node.counter = counter
        construct = _Construct("loop", merge, node, proceed, block.label, repeat and proceed != block.label)
        self.push(construct, block)
        start: int | None = block.label
        if counter is not None:
            # The header's instructions and its exit test become the head of a `for`.
            assert block.end is not None
            self.reached.add(merge)
            start = self.go(block.label, block.end.args[2 if counter.negated else 1], block.label, node.body)
        self.region(start, block.label if repeat else proceed, node.body)
        self.stack.pop()
        if not repeat and proceed in self.reached:
            self.continuing(construct, node, block)
        if node.body.items and isinstance(node.body.items[-1], Jump) and node.body.items[-1].kind == "continue":
            node.body.items.pop()
        self.close(construct, node, follow, seq)
        return self.after(merge, follow, seq)

    def continuing(self, construct: _Construct, node: Loop, block: Block) -> None:
        """Lays out the continue construct, behind the body if nothing jumps to it, else as ``continuing``."""
        if not construct.continues:
            construct.repeat = True
            self.push(construct, block)
            if not node.body.ends_in_jump:
                self.region(construct.proceed, block.label, node.body)
            self.stack.pop()
            return
        tail = Seq()
        self.push(construct, block)
        self.push(_Construct("continuing", -1, None, header=block.label), block)
        self.region(construct.proceed, block.label, tail)
        self.stack.pop()
        self.stack.pop()
        last = tail.items[-1] if tail.items else None
        at = len(tail.items) - (2 if isinstance(last, Edge) else 1)
        test = tail.items[at] if at >= 0 else None
        if isinstance(test, If) and test.then.ends_in_jump:
            # Its stores come before the test of `break if`, so their phis need copies (see scopes).
            node.break_if = (test.condition, test.negated, at)
            tail.items[at : at + 1] = [*test.then.items[:-1], *test.orelse.items]
        if any(_has_break(item) for item in tail.items):
            raise _Unfit(block.label)
        node.continuing = tail


def _has_break(node: Node) -> bool:
    """Whether a break of the enclosing loop stands in a node."""
    match node:
        case Jump():
            return True
        case If(then=then, orelse=orelse):
            return any(_has_break(item) for item in [*then.items, *orelse.items])
        case IfFlag(then=then):
            return any(_has_break(item) for item in then.items)
    return False
