"""Random structured compute modules: a seed in, SPIR-V assembly out.

Control flow is any nest of selections, switches (with fall-through) and loops (tested above, below or inside, with
breaks, continues and early returns from anywhere that SPIR-V allows them); values flow through phis at every merge.
Each loop is bounded, nothing is undefined, so that every driver gives the same words.

    python tests/corpora/generate.py SEED > module.spvasm
"""

import random
import sys
from dataclasses import dataclass, field

INVOCATIONS = 8
WORDS = 4  # stored by each invocation
HEAD = """\
               OpCapability Shader
               OpMemoryModel Logical GLSL450
               OpEntryPoint GLCompute %main "main" %index
               OpExecutionMode %main LocalSize {invocations} 1 1
               OpDecorate %index BuiltIn LocalInvocationIndex
               OpDecorate %words ArrayStride 4
               OpDecorate %block Block
               OpMemberDecorate %block 0 Offset 0
               OpDecorate %input DescriptorSet 0
               OpDecorate %input Binding 0
               OpDecorate %output DescriptorSet 0
               OpDecorate %output Binding 1
       %void = OpTypeVoid
       %bool = OpTypeBool
       %uint = OpTypeInt 32 0
        %int = OpTypeInt 32 1
      %words = OpTypeRuntimeArray %uint
      %block = OpTypeStruct %words
  %ptr_block = OpTypePointer StorageBuffer %block
   %ptr_word = OpTypePointer StorageBuffer %uint
     %ptr_in = OpTypePointer Input %uint
  %ptr_local = OpTypePointer Function %uint
     %main_t = OpTypeFunction %void
    %input = OpVariable %ptr_block StorageBuffer
   %output = OpVariable %ptr_block StorageBuffer
    %index = OpVariable %ptr_in Input
"""
BINARY = ("IAdd", "ISub", "IMul", "BitwiseXor", "BitwiseAnd", "BitwiseOr")
COMPARE = ("ULessThan", "SLessThan", "IEqual", "INotEqual", "UGreaterThanEqual", "SGreaterThan")


@dataclass
class Target:
    """A block that jumps may go to: its label, and the (value, predecessor) pairs of its phis."""

    label: str
    incoming: list[tuple[list[str], str]] = field(default_factory=list)


@dataclass
class Generator:
    dice: random.Random
    lines: list[str] = field(default_factory=list)
    count: int = 0
    block: str = "entry"
    budget: int = 40  # constructs
    constants: set[int] = field(default_factory=set)

    def id(self, prefix: str = "v") -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def emit(self, line: str) -> None:
        self.lines.append(line)

    def constant(self, value: int) -> str:
        self.constants.add(value)
        return f"c{value}"

    def result(self, op: str, type: str, *operands: str) -> str:
        made = self.id()
        self.emit(f"%{made} = Op{op} %{type} {' '.join('%' + o for o in operands)}")
        return made

    def label(self, name: str) -> None:
        self.block = name
        self.emit(f"%{name} = OpLabel")

    def jump(self, target: Target, state: list[str]) -> None:
        """Goes to a target, with the values of the state."""
        target.incoming.append((list(state), self.block))
        self.emit(f"OpBranch %{target.label}")

    def arrive(self, target: Target) -> list[str] | None:
        """Begins a target's block: the state there, through phis; None if nothing jumps there."""
        self.label(target.label)
        if not target.incoming:
            self.emit("OpUnreachable")
            return None
        state = []
        for i in range(WORDS):
            values = [s[i] for s, _ in target.incoming]
            if len(set(values)) == 1:
                state.append(values[0])
                continue
            made = self.id("phi")
            pairs = " ".join(f"%{s[i]} %{block}" for s, block in target.incoming)
            self.emit(f"%{made} = OpPhi %uint {pairs}")
            state.append(made)
        return state

    # Values

    def value(self, state: list[str]) -> str:
        return self.dice.choice([*state, *state, self.constant(self.dice.choice((0, 1, 2, 3, 5, 7, 100, 0xFFFFFFFF)))])

    def compute(self, state: list[str]) -> list[str]:
        """A few instructions; the new state."""
        state = list(state)
        for _ in range(self.dice.randrange(1, 4)):
            a, b = self.value(state), self.value(state)
            match self.dice.randrange(9):
                case 0:
                    by = self.result("BitwiseAnd", "uint", b, self.constant(7))
                    op = self.dice.choice(("ShiftLeftLogical", "ShiftRightLogical", "ShiftRightArithmetic"))
                    made = self.result(op, "uint", a, by)
                case 1:
                    divisor = self.result("BitwiseOr", "uint", b, self.constant(1))
                    # Not SDiv of the smallest by -1: both are cleared of their top bit.
                    a, divisor = (self.result("BitwiseAnd", "uint", x, self.constant(0x7FFFFFFF)) for x in (a, divisor))
                    made = self.result(self.dice.choice(("UDiv", "UMod", "SDiv")), "uint", a, divisor)
                case 2:
                    made = self.result("Select", "uint", self.condition(state), a, b)
                case 3:
                    made = self.result("Bitcast", "uint", self.result("SNegate", "int", a))
                case 4:
                    self.emit(f"OpStore %local %{a}")
                    made = self.result("Load", "uint", "local")
                case 5:
                    made = self.result("Load", "uint", "local")
                case _:
                    made = self.result(self.dice.choice(BINARY), "uint", a, b)
            state[self.dice.randrange(WORDS)] = made
        if self.dice.random() < 0.2:  # a swap, for phi cycles
            state[0], state[1] = state[1], state[0]
        return state

    def condition(self, state: list[str]) -> str:
        mask = self.constant(self.dice.choice((1, 3, 7, 0xFFFFFFFF)))
        low = self.result("BitwiseAnd", "uint", self.value(state), mask)
        return self.result(self.dice.choice(COMPARE), "bool", low, self.constant(self.dice.choice((0, 1, 2, 3))))

    # Control flow

    def body(self, state: list[str], depth: int, leave: Target | None, again: Target | None) -> list[str] | None:
        """Statements; the state behind them, or None where control has left. ``leave`` and ``again`` take jumps."""
        for _ in range(self.dice.randrange(1, 4)):
            state = self.compute(state)
            self.budget -= 1
            if depth == 0 or self.budget < 0:
                continue
            made: list[str] | None
            match self.dice.randrange(8):
                case 0 | 1:
                    made = self.selection(state, depth - 1, leave, again)
                case 2 | 3:
                    made = self.loop(state, depth - 1)
                case 4:
                    made = self.switch(state, depth - 1, again)
                case _:
                    continue
            if made is None:
                return None
            state = made
        exits = [target for target in (leave, again) if target is not None]
        if exits and self.dice.random() < 0.15:
            self.jump(self.dice.choice(exits), state)
            return None
        if depth < 3 and self.dice.random() < 0.04:
            self.store(state)
            self.emit("OpReturn")
            return None
        return state

    def selection(self, state: list[str], depth: int, leave: Target | None, again: Target | None) -> list[str] | None:
        merge = Target(self.id("merge"))
        arms = [self.id("then"), self.id("else") if self.dice.random() < 0.6 else merge.label]
        if self.dice.random() < 0.5:
            arms.reverse()
        test = self.condition(state)
        self.emit(f"OpSelectionMerge %{merge.label} None")
        self.emit(f"OpBranchConditional %{test} %{arms[0]} %{arms[1]}")
        head = self.block
        for arm in arms:
            if arm == merge.label:
                merge.incoming.append((list(state), head))
                continue
            self.label(arm)
            end = self.body(state, depth, leave, again)
            if end is not None:
                self.jump(merge, end)
        return self.arrive(merge)

    def switch(self, state: list[str], depth: int, again: Target | None) -> list[str] | None:
        merge = Target(self.id("merge"))
        cases = [Target(self.id("case")) for _ in range(self.dice.randrange(1, 4))]
        default = self.dice.choice([merge, cases[-1], Target(self.id("default"))])
        selector = self.result("BitwiseAnd", "uint", self.value(state), self.constant(7))
        literals = " ".join(f"{i * 2 % 5} %{case.label}" for i, case in enumerate(cases))
        self.emit(f"OpSelectionMerge %{merge.label} None")
        self.emit(f"OpSwitch %{selector} %{default.label} {literals}")
        head = self.block
        if default not in (merge, *cases):
            cases.append(default)
        for case in cases:
            case.incoming.append((list(state), head))
        if default is merge:
            merge.incoming.append((list(state), head))
        for i, case in enumerate(cases):
            inner = self.arrive(case)
            assert inner is not None
            end = self.body(inner, depth, merge, again)
            if end is None:
                continue
            # The one before `default` may not fall into it unless it stands behind it in the list, as it does.
            falls = i + 1 < len(cases) and self.dice.random() < 0.3
            self.jump(cases[i + 1] if falls else merge, end)
        return self.arrive(merge)

    def loop(self, state: list[str], depth: int) -> list[str] | None:
        head, body = self.id("head"), self.id("body")
        merge, proceed = Target(self.id("done")), Target(self.id("next"))
        self.emit(f"OpBranch %{head}")
        entry = self.block
        at = len(self.lines) + 1
        self.label(head)
        counter, stepped = self.id("i"), self.id("i")
        phis = [self.id("phi") for _ in range(WORDS)]
        limit, style = self.constant(self.dice.randrange(1, 5)), self.dice.choice(("for", "while", "bottom", "endless"))
        inner: list[str] | None = list(phis)
        assert inner is not None
        if style == "while":
            inner = self.compute(inner)
        if style in ("for", "while"):
            test = self.result("ULessThan", "bool", counter, limit)
            self.emit(f"OpLoopMerge %{merge.label} %{proceed.label} None")
            self.emit(f"OpBranchConditional %{test} %{body} %{merge.label}")
            merge.incoming.append((list(inner), self.block))
        else:
            self.emit(f"OpLoopMerge %{merge.label} %{proceed.label} None")
            self.emit(f"OpBranch %{body}")
        self.label(body)
        if style == "endless":
            test = self.result("UGreaterThanEqual", "bool", counter, limit)
            go = self.id("go")
            if self.dice.random() < 0.5:
                # An exit in the middle that is no selection of its own.
                self.emit(f"OpBranchConditional %{test} %{merge.label} %{go}")
                merge.incoming.append((list(inner), self.block))
            else:
                out = self.id("out")
                self.emit(f"OpSelectionMerge %{go} None")
                self.emit(f"OpBranchConditional %{test} %{out} %{go}")
                self.label(out)
                self.jump(merge, self.compute(inner))
            self.label(go)
        end = self.body([*inner[:-1], counter] if self.dice.random() < 0.3 else inner, depth, merge, proceed)
        if end is not None:
            self.jump(proceed, end)
        after = self.arrive(proceed)
        back = None
        if after is not None:
            after = self.compute(after)
            self.emit(f"%{stepped} = OpIAdd %uint %{counter} %{self.constant(1)}")
            back = self.block
            if style == "bottom":
                test = self.result("ULessThan", "bool", stepped, limit)
                self.emit(f"OpBranchConditional %{test} %{head} %{merge.label}")
                merge.incoming.append((list(after), self.block))
            else:
                self.emit(f"OpBranch %{head}")
        else:
            # A continue block that nothing reaches still branches back.
            self.lines[-1] = f"OpBranch %{head}"
            back, stepped, after = self.block, counter, list(phis)
        opening = [f"%{counter} = OpPhi %uint %{self.constant(0)} %{entry} %{stepped} %{back}"]
        for phi, old, new in zip(phis, state, after):
            opening.append(f"%{phi} = OpPhi %uint %{old} %{entry} %{new} %{back}")
        self.lines[at:at] = opening
        return self.arrive(merge)

    def store(self, state: list[str]) -> None:
        base = self.result("IMul", "uint", "where", self.constant(WORDS))
        for i, value in enumerate(state):
            at = self.result("IAdd", "uint", base, self.constant(i))
            place = self.result("AccessChain", "ptr_word", "output", self.constant(0), at)
            self.emit(f"OpStore %{place} %{value}")

    def module(self) -> str:
        self.emit("%main = OpFunction %void None %main_t")
        self.label("entry")
        self.emit("%local = OpVariable %ptr_local Function %c7")
        self.constant(7)
        self.emit("%where = OpLoad %uint %index")
        state = []
        for i in range(WORDS):
            at = self.result("IAdd", "uint", "where", self.constant(i))
            place = self.result("AccessChain", "ptr_word", "input", self.constant(0), at)
            state.append(self.result("Load", "uint", place))
        end = self.body(state, 4, None, None)
        if end is not None:
            self.store(end)
            self.emit("OpReturn")
        self.emit("OpFunctionEnd")
        constants = [f"%c{value} = OpConstant %uint {value}" for value in sorted(self.constants)]
        return "\n".join([HEAD.format(invocations=INVOCATIONS).rstrip(), *constants, *self.lines, ""])


def generate(seed: int) -> str:
    """The assembly of the module with this seed."""
    return Generator(random.Random(seed)).module()


if __name__ == "__main__":
    print(generate(int(sys.argv[1])), end="")
