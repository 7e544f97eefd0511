"""Who writes what: call order, the variables that are written or used atomically, and how pointers are made.

A pointer is a root (a variable or a function's parameter) and a path of index ids. Facts about parameters flow to the
arguments, callees first.
"""

from dataclasses import dataclass, field

from tvm_webgpu.codegen.wgsl import types
from tvm_webgpu.codegen.wgsl.module import Function, Instruction, Module, invalid, unsupported

# A path in a type: member numbers, and None for every element of an array.
MAX_INDICES = 64  # no type is nested deeper
TypePath = tuple[int | None, ...]
# The parts of a type that are atomic: True for the whole (a scalar), else subtrees by index; None for no part.
Tree = bool | tuple[tuple[int | None, "Tree"], ...] | None


@dataclass(frozen=True)
class Pointer:
    """``root`` is the id of a variable or parameter; ``indices`` are ids."""

    root: int
    indices: tuple[int, ...]


@dataclass
class Effects:
    """What a function does through its parameters and module variables, by root id."""

    written: set[int] = field(default_factory=set)
    atomic: dict[int, set[TypePath]] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)  # module variables used at all


class Memory:
    """The facts, for the functions that are called from ``entries``."""

    def __init__(self, module: Module, entries: list[Function]):
        self.module = module
        self.effects: dict[int, Effects] = {}
        self.pointers: dict[int, dict[int, Pointer]] = {}  # function id -> pointer id -> pointer
        self.order = call_order(module, entries)
        for function in self.order:
            self._scan(function)
        self.written: set[int] = set().union(*(self.effects[f.id].written for f in entries))
        self.trees: dict[int, Tree] = {}
        paths: dict[int, set[TypePath]] = {}
        for function in self.order:
            for root, found in self.effects[function.id].atomic.items():
                paths.setdefault(root, set()).update(found)
        for root, found in paths.items():
            self.trees[root] = _tree(found)

    def pointer(self, function: Function, id: int) -> Pointer:
        found = self.pointers[function.id].get(id)
        return found or Pointer(id, ())

    def _scan(self, function: Function) -> None:
        m, out = self.module, Effects()
        pointers = self.pointers[function.id] = {}
        self.effects[function.id] = out
        roots = {p.id for p in function.params}
        for block in function.blocks.values():
            for inst in (*block.phis, *block.body):
                if inst.id and isinstance(m.value_types.get(inst.id), types.Pointer):
                    self._pointer(inst, pointers, roots)
        for block in function.blocks.values():
            for inst in block.body:
                self._effect(inst, function, out)

    def _pointer(self, inst: Instruction, pointers: dict[int, Pointer], roots: set[int]) -> None:
        match inst.op:
            case "Variable":
                return
            case "AccessChain" | "InBoundsAccessChain":
                base = pointers.get(inst.args[0], Pointer(inst.args[0], ()))
                pointers[inst.id] = Pointer(base.root, base.indices + inst.args[1:])
            case "CopyObject":
                pointers[inst.id] = pointers.get(inst.args[0], Pointer(inst.args[0], ()))
            case "Undef":
                return
            case _:
                raise unsupported(inst, "a pointer that is computed at run time", "WGSL has no variable pointers")
        if len(pointers[inst.id].indices) > MAX_INDICES:
            raise invalid(inst, "an access chain longer than any type is deep")

    def type_path(self, pointer: Pointer, where: Instruction) -> TypePath:
        """The pointer's path in its root's type."""
        found: list[int | None] = []
        type = self.module.type_of(pointer.root, where)
        if not isinstance(type, types.Pointer):
            raise invalid(where, f"%{pointer.root} is not a pointer")
        at: types.Type | None = type.pointee
        for id in pointer.indices:
            step = None
            if isinstance(at, types.Struct):
                step = self.module.constant_int(id)
                if step is None:
                    raise invalid(where, f"%{id} does not name a member")
            at = types.child(at, step) if at is not None else None
            if at is None:
                raise invalid(where, f"%{id} indexes past the end of its type or into no composite")
            found.append(step)
        return tuple(found)

    def _effect(self, inst: Instruction, function: Function, out: Effects) -> None:
        m = self.module
        for id in inst.ids:
            root = self.pointer(function, id).root
            if root in m.variables:
                out.touched.add(root)
        if inst.op in ("Store", "CopyMemory", "CooperativeMatrixStoreKHR"):
            out.written.add(self.pointer(function, inst.args[0]).root)
        elif inst.op.startswith("Atomic"):
            pointer = self.pointer(function, inst.args[0])
            out.atomic.setdefault(pointer.root, set()).add(self.type_path(pointer, inst))
            if inst.op != "AtomicLoad":
                out.written.add(pointer.root)
        elif inst.op == "ExtInst" and inst.args[1] in (35, 51) and len(inst.ids) == 3:
            out.written.add(self.pointer(function, inst.ids[2]).root)
        elif inst.op == "FunctionCall":
            self._call(inst, function, out)

    def _call(self, inst: Instruction, function: Function, out: Effects) -> None:
        callee = self.module.functions.get(inst.args[0])
        if callee is None or len(inst.args) - 1 != len(callee.params):
            raise invalid(inst, "the callee is no function or takes another number of arguments")
        inner = self.effects[callee.id]
        out.touched |= inner.touched
        out.written |= {root for root in inner.written if root in self.module.variables}
        for param, argument in zip(callee.params, inst.args[1:]):
            pointer = self.pointer(function, argument)
            if param.id in inner.written:
                out.written.add(pointer.root)
            if param.id in inner.atomic:
                prefix = self.type_path(pointer, inst)
                out.atomic.setdefault(pointer.root, set()).update(prefix + p for p in inner.atomic[param.id])


def _tree(paths: set[TypePath]) -> Tree:
    if () in paths:
        return True
    groups: dict[int | None, set[TypePath]] = {}
    for path in paths:
        groups.setdefault(path[0], set()).add(path[1:])
    return tuple((key, _tree(rest)) for key, rest in sorted(groups.items(), key=lambda g: -1 if g[0] is None else g[0]))


def subtree(tree: Tree, index: int | None) -> Tree:
    """The part of a tree below a member number or, for None, below an array's elements."""
    if not isinstance(tree, tuple):
        return None
    return next((sub for key, sub in tree if key == index), None)


def call_order(module: Module, entries: list[Function]) -> list[Function]:
    """The functions reachable from the entries, callees first. Recursion is invalid."""
    order: list[Function] = []
    state: dict[int, int] = {}  # 1 on the path, 2 done
    for entry in entries:
        work = [(entry, iter(_callees(module, entry)))]
        if state.get(entry.id) == 2:
            continue
        state[entry.id] = 1
        while work:
            function, rest = work[-1]
            callee = next(rest, None)
            if callee is None:
                state[function.id] = 2
                order.append(function)
                work.pop()
            elif state.get(callee.id) == 1:
                raise invalid(Instruction("Function", 0, callee.id, (), callee.offset), "the function calls itself")
            elif callee.id not in state:
                state[callee.id] = 1
                work.append((callee, iter(_callees(module, callee))))
    return order


def _callees(module: Module, function: Function) -> list[Function]:
    if not function.blocks:
        raise invalid(Instruction("Function", 0, function.id, (), function.offset), "the function has no body")
    found = {}
    for block in function.blocks.values():
        for inst in block.body:
            if inst.op == "FunctionCall":
                callee = module.functions.get(inst.args[0])
                if callee is None:
                    raise invalid(inst, f"%{inst.args[0]} is not a function")
                found[callee.id] = callee
    return list(found.values())
