"""The control flow of a WGSL function as a tree: sequences of statements, branches, loops and jumps."""

from __future__ import annotations

from dataclasses import dataclass, field

from tvm_webgpu.codegen.wgsl.module import Block, Instruction


@dataclass(eq=False)
class Seq:
    """A brace-enclosed list of nodes: one WGSL scope."""

    items: list[Node] = field(default_factory=list)

    @property
    def ends_in_jump(self) -> bool:
        """Whether control never falls off the end."""
        return bool(self.items) and isinstance(self.items[-1], (Jump, Return))


@dataclass(eq=False)
class Straight:
    """The instructions of a block, less phis and terminator."""

    block: Block


@dataclass(eq=False)
class Edge:
    """The phi stores of the control-flow edge from one block to another."""

    source: int
    target: int


@dataclass(eq=False)
class If:
    condition: int  # the value's id
    negated: bool
    then: Seq
    orelse: Seq


@dataclass(eq=False)
class Flag:
    """A variable that says that a jump across several constructs is under way."""

    key: tuple[str, int]


@dataclass(eq=False)
class SetFlag:
    flag: Flag


@dataclass(eq=False)
class IfFlag:
    flag: Flag
    then: Seq


@dataclass(eq=False)
class Counter:
    """A loop variable that a ``for`` header can hold: ``for (var phi = initial; condition; phi += step)``."""

    phi: Instruction
    initial: int
    condition: int
    negated: bool  # the loop goes on while the condition is false
    step: int  # signed


@dataclass(eq=False)
class Loop:
    header: int
    body: Seq = field(default_factory=Seq)
    continuing: Seq | None = None  # present only where the body has a continue of its own
    # (condition, negated, place in ``continuing`` where it is evaluated); the break itself comes last.
    break_if: tuple[int, bool, int] | None = None
    flags: list[Flag] = field(default_factory=list)
    counter: Counter | None = None


@dataclass(eq=False)
class Case:
    literals: tuple[int, ...]
    default: bool
    body: Seq


@dataclass(eq=False)
class Switch:
    """``selector`` is None for the one-armed switch that only gives a break a target."""

    selector: int | None
    cases: list[Case]
    flags: list[Flag] = field(default_factory=list)


@dataclass(eq=False)
class Jump:
    kind: str  # break or continue


@dataclass(eq=False)
class Return:
    end: Instruction


Node = Straight | Edge | If | SetFlag | IfFlag | Loop | Switch | Jump | Return
