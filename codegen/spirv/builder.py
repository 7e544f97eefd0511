"""Structured control flow in, as `with` blocks; basic blocks with their merge instructions out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tvm_webgpu.codegen.spirv.body import Body
from tvm_webgpu.codegen.spirv.instructions import Block, Function, Id, Instruction, Loop, Region
from tvm_webgpu.codegen.spirv.opcodes import Op

Arm = Callable[[], tuple[Id, ...]]


class Builder(Body):
    """Builds one compute module with one entry point; `assembly.assemble` makes its bytes."""

    @contextmanager
    def function(self, result_type: Id, parameters: list[Id], name: str) -> Iterator[tuple[Id, list[Id]]]:
        """Builds a function; the one under construction before it goes on afterwards."""
        outer, fn_id = self.fn, self.new_id()
        params = [self.new_id() for _ in parameters]
        head = [Instruction(Op.Function, result_type, fn_id,
                            [0, self.declare(Op.TypeFunction, result_type, *parameters)])]
        head += [Instruction(Op.FunctionParameter, t, p, []) for t, p in zip(parameters, params)]
        self._types.update(zip(params, parameters))
        block = Block(self.new_id())
        self.fn = Function(head, [block], [Region(block, loop=False)])
        self.name(fn_id, name)
        yield fn_id, params
        self.functions.append(self.fn)
        self.fn = outer

    def block(self) -> Block:
        return Block(self.new_id())

    def terminate(self, op: Op, *operands: int, merge: Instruction | None = None) -> None:
        """Ends the current block; code that follows is unreachable and must not be emitted."""
        self.region.block.end = ([merge] if merge else []) + [Instruction(op, None, None, list(operands))]

    @property
    def open(self) -> bool:
        """Whether control reaches this place."""
        return not self.region.block.end

    def enter(self, block: Block, loop: bool = False) -> None:
        self.fn.blocks.append(block)
        self.fn.regions.append(Region(block, loop))

    def leave(self) -> Block:
        """Closes the innermost region; gives the block that control leaves it by."""
        return self.fn.regions.pop().block

    def resume(self, block: Block) -> None:
        """Code of the current region goes on in `block`."""
        self.fn.blocks.append(block)
        self.region.block = block

    def goto(self, block: Block) -> None:
        if self.open:
            self.terminate(Op.Branch, block.label)

    @contextmanager
    def branch(self, condition: Id, has_else: bool) -> Iterator[Iterator[None]]:
        """`with b.branch(c, True) as arms: next(arms); ...; next(arms); ...`: a selection with one or two arms."""
        then, other, merge = self.block(), self.block(), self.block()
        self.terminate(Op.BranchConditional, condition, then.label, (other if has_else else merge).label,
                       merge=Instruction(Op.SelectionMerge, None, None, [merge.label, 0]))
        exits = 0 if has_else else 1

        def arms() -> Iterator[None]:
            nonlocal exits
            for arm in [then, other][: 2 if has_else else 1]:
                self.enter(arm)
                yield
                exits += self.open
                self.goto(merge)
                self.leave()

        steps = arms()
        yield steps
        next(steps, None)
        self.resume(merge)
        if not exits:
            self.terminate(Op.Unreachable)

    def choose(self, condition: Id, then: Arm, otherwise: Arm) -> tuple[Id, ...]:
        """Values of the arm taken, computed lazily; each arm is a function that gives a tuple of ids."""
        results: list[tuple[tuple[Id, ...], Id]] = []
        with self.branch(condition, True) as arms:
            for make in (then, otherwise):
                next(arms)
                values = make()
                results.append((values, self.region.block.label))
        (a, from_a), (b, from_b) = results
        return tuple(self.raw(Op.Phi, self.type_of(x), x, from_a, y, from_b) for x, y in zip(a, b))

    @contextmanager
    def counted_loop(self, start: Id, bound: Id, step: int, type: Id) -> Iterator[Id]:
        """`for (i = start; i < bound; i += step)`; gives i.

        The header holds the phi, the test and the merge; the only phi is the counter's, the step is a constant, so that
        a translator can tell that the loop is bounded."""
        header, body, cont, merge = self.block(), self.block(), self.block(), self.block()
        before = self.region.block.label
        self.goto(header)
        self.enter(header, loop=True)
        i, following = self.new_id(), self.new_id()
        self._append(len(self.fn.regions) - 1,
                     Instruction(Op.Phi, type, i, [start, before, following, cont.label]))
        test = self.op(Op.SLessThan if type == self.i32 else Op.ULessThan, self.bool, i, bound)
        self.terminate(Op.BranchConditional, test, body.label, merge.label,
                       merge=Instruction(Op.LoopMerge, None, None, [merge.label, cont.label, 0]))
        self.resume(body)
        self.fn.loops.append(Loop(merge, cont))
        yield i
        self.fn.loops.pop()
        self.goto(cont)
        self.resume(cont)
        cont.code.append(Instruction(Op.IAdd, type, following, [i, self.constant(type, step)]))
        self.terminate(Op.Branch, header.label)
        self.leave()
        self.resume(merge)

    @contextmanager
    def while_loop(self) -> Iterator[None]:
        """An endless loop; its body leaves it by `break_unless` or `jump`."""
        header, body, cont, merge = self.block(), self.block(), self.block(), self.block()
        self.goto(header)
        self.enter(header, loop=True)
        self.terminate(Op.Branch, body.label, merge=Instruction(Op.LoopMerge, None, None, [merge.label, cont.label, 0]))
        self.resume(body)
        self.fn.loops.append(Loop(merge, cont))
        yield
        self.fn.loops.pop()
        self.goto(cont)
        self.resume(cont)
        self.terminate(Op.Branch, header.label)
        self.leave()
        self.resume(merge)

    def break_unless(self, condition: Id) -> None:
        """Leaves the innermost loop where the condition does not hold."""
        go_on = self.block()
        self.terminate(Op.BranchConditional, condition, go_on.label, self.fn.loops[-1].merge.label)
        self.resume(go_on)

    def jump(self, kind: str) -> None:
        """`break` or `continue` of the innermost loop."""
        loop = self.fn.loops[-1]
        self.goto(loop.merge if kind == "break" else loop.cont)
