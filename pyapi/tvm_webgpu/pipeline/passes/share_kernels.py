"""Functions that differ in sizes only become one function that takes the sizes as arguments.

A driver takes tens of milliseconds to compile a kernel, however small, and a network has the same layer in many sizes.
Functions are taken together where they are equal but for numbers and get the same schedule (`schedule.signature`). The
numbers in which they differ become multiples of symbols, `16 * n` where 16 divides the number in all of them, so that
what has to be a multiple of 4 or of a tile's edge still is one for certain; numbers that follow others (the padded
height h + 2) are written by them. What is open (any number of images) stays so beside them.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence, Set
from dataclasses import dataclass
from math import gcd

import tvm
import tvm_ffi
from tvm import relax, tirx
from tvm.ir import GlobalVar
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm.target import Target
from tvm.tirx.analysis import undefined_vars

from tvm_webgpu.codegen import schedule, spirv
from tvm_webgpu.pipeline.passes.patterns import CALL_TIR
from tvm_webgpu.pipeline.passes.rewrite import rewrite_functions

KNOWN_DIVISOR = 64
"""Tiles have edges of at most this many results; more divisibility is of no use."""

MAX_SCALARS = 12
"""A function of more sizes is hardly one kernel in several sizes."""

Sizes = tuple[int, ...]
"""One number of a function, for each function of a group."""


@dataclass(frozen=True)
class Group:
    """Functions, the one that stands for all of them, and the sizes that make it each of them."""

    members: tuple[GlobalVar, ...]
    shared: tirx.PrimFunc
    sizes: tuple[Sizes, ...]


def ShareKernels(target: Target) -> tvm.transform.Pass:
    """A pass over modules whose operators are TIR functions, before memory planning."""

    @tvm.transform.module_pass(opt_level=0, name="ShareKernels")
    def transform(mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
        limits = schedule.Limits.of(target)
        outputs = _outputs_of_called(mod)
        alike: dict[tuple[int, int], list[GlobalVar]] = {}
        for gvar, func in sorted(mod.functions.items(), key=lambda item: item[0].name_hint):
            if gvar in outputs and _takes_buffers(func):
                key = (tvm_ffi.structural_hash(_skeleton(func), map_free_vars=True), outputs[gvar])
                alike.setdefault(key, []).append(gvar)
        # Looking at a schedule takes longer than all else, so only where there is something to share with.
        groups: dict[Hashable, list[GlobalVar]] = {}
        for (text, count), gvars in alike.items():
            for gvar in gvars if len(gvars) > 1 else ():
                if (kind := schedule.signature(mod[gvar], limits)) is not None:
                    groups.setdefault((text, count, kind), []).append(gvar)
        found = [_share(mod, members, outputs[members[0]], limits) for members in groups.values() if len(members) > 1]
        return _replace(mod, [group for group in found if group is not None])

    return transform


def _outputs_of_called(mod: tvm.IRModule) -> dict[GlobalVar, int]:
    """The functions that are only ever called by `call_tir` with tensors, and their number of outputs."""
    found: dict[GlobalVar, int] = {}
    others: set[GlobalVar] = set()

    def visit(call: tvm.ir.Call) -> None:
        if call.op == CALL_TIR and len(call.args) == 2:
            out = call.ty_args[0]
            found[call.args[0]] = len(out.fields) if isinstance(out, relax.TupleType) else 1
        else:
            others.update(arg for arg in call.args if isinstance(arg, GlobalVar))

    for func in mod.functions.values():
        if isinstance(func, relax.Function):
            tvm_ffi.structural_walk(func, (tvm.ir.Call, visit))
    return {gvar: count for gvar, count in found.items() if gvar not in others}


def _takes_buffers(func: tvm.ir.BaseFunc) -> bool:
    """Whether a TIR function takes buffers, of known or open sizes, and nothing else."""
    return isinstance(func, tirx.PrimFunc) and all(hasattr(param.ty, "shape") for param in func.params)


def _open_sizes(func: tirx.PrimFunc) -> set[str]:
    """The names of what is open in the sizes of a function's buffers."""
    return {var.name for param in func.params for dim in param.ty.shape for var in undefined_vars(dim)}


def _is_size(node: tirx.IntImm) -> bool:
    return node.value > 1 and str(node.ty.dtype) == "int64"


def _skeleton(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with all sizes the same."""
    two = tirx.IntImm("int64", 2)
    return tvm_ffi.structural_map(func, (tirx.IntImm, lambda node: two if _is_size(node) else node))


def _sizes(func: tirx.PrimFunc) -> list[int]:
    """All sizes in the function's text, in the order in which `structural_map` comes to them."""
    found: list[int] = []

    def visit(node: tirx.IntImm) -> tirx.IntImm:
        if _is_size(node):
            found.append(node.value)
        return node

    tvm_ffi.structural_map(func, (tirx.IntImm, visit))
    return found


class _Symbols:
    """Numbers that differ between functions, and the expressions of symbols that stand for them."""

    def __init__(self, taken: Set[str] = frozenset()) -> None:
        """`taken`: names that the symbols may not have."""
        self._names = (name for name in map("size{}".format, itertools.count()) if name not in taken)
        self.vars: list[tirx.Var] = []
        self.values: list[Sizes] = []
        self._known: list[tuple[Sizes, tirx.Expr]] = []

    def __call__(self, sizes: Sizes) -> tirx.Expr:
        for known, expr in self._known:
            if (line := _line(known, sizes)) is not None:
                factor, rest = line
                scaled = expr if factor == 1 else expr * tirx.IntImm("int64", factor)
                return scaled if rest == 0 else scaled + tirx.IntImm("int64", rest)
        divisor = gcd(KNOWN_DIVISOR, *sizes)
        var = tirx.Var(next(self._names), "int64")
        expr = var if divisor == 1 else var * tirx.IntImm("int64", divisor)
        self.vars.append(var)
        self.values.append(tuple(size // divisor for size in sizes))
        self._known.append((sizes, expr))
        return expr


def _line(known: Sizes, sizes: Sizes) -> tuple[int, int] | None:
    """(factor, rest) if each of `sizes` is factor * known + rest, with a factor of at least 1."""
    first, other = next(((a, b) for a, b in zip(known, sizes) if a != known[0]), (0, 0)), (known[0], sizes[0])
    run, rise = first[0] - other[0], first[1] - other[1]
    if run == 0 or rise % run or rise // run < 1:
        return None
    factor = rise // run
    rest = sizes[0] - factor * known[0]
    fits = all(size == factor * value + rest for value, size in zip(known, sizes))
    return (factor, rest) if fits and abs(rest) < KNOWN_DIVISOR else None


def _generalise(funcs: Sequence[tirx.PrimFunc], outputs: int) -> tuple[tirx.PrimFunc, list[Sizes]] | None:
    """One function with sizes as parameters before the outputs, and their values for each; None if there is none."""
    lists = [_sizes(func) for func in funcs]
    if len({len(sizes) for sizes in lists}) > 1:
        return None
    columns: list[Sizes] = list(zip(*lists))
    symbols = _Symbols(_open_sizes(funcs[0]))
    different = {column for column in columns if len(set(column)) > 1}
    # Those with large divisors first: what follows them (a padded height) is then written by them.
    names = {column: symbols(column) for column in sorted(different, key=lambda c: (-gcd(KNOWN_DIVISOR, *c), c))}
    if not 0 < len(symbols.vars) <= MAX_SCALARS:
        return None
    pending = iter(columns)
    body = tvm_ffi.structural_map(
        funcs[0], (tirx.IntImm, lambda node: names.get(next(pending), node) if _is_size(node) else node)
    )
    params = list(body.params)
    at = len(params) - outputs
    attributes = {
        schedule.TYPICAL_SIZES: {var.name: values[0] for var, values in zip(symbols.vars, symbols.values)},
        spirv.LARGEST_SCALARS: {var.name: max(values) for var, values in zip(symbols.vars, symbols.values)},
    }
    shared = tirx.PrimFunc([*params[:at], *symbols.vars, *params[at:]], body.body, body.ret_type, attrs=body.attrs)
    return shared.with_attr(attributes), list(zip(*symbols.values))


def _specialise(func: tirx.PrimFunc, sizes: Sizes) -> tirx.PrimFunc:
    """The function with its scalar parameters' values put in."""
    scalars = [param for param in func.params if not hasattr(param.ty, "shape")]
    values = {var: tirx.IntImm("int64", size) for var, size in zip(scalars, sizes)}
    bound = tvm_ffi.structural_map(
        tirx.PrimFunc([p for p in func.params if p not in values], func.body, func.ret_type, attrs=func.attrs),
        (tirx.Var, lambda var: values.get(var, var)),
    )

    def fold(node: tirx.Expr) -> tirx.Expr:
        if not (isinstance(node.a, tirx.IntImm) and isinstance(node.b, tirx.IntImm)):
            return node
        value = node.a.value * node.b.value if isinstance(node, tirx.Mul) else node.a.value + node.b.value
        return tirx.IntImm(node.ty.dtype, value)

    return tvm_ffi.structural_map(bound, [(tirx.Mul, fold), (tirx.Add, fold)])


def _share(mod: tvm.IRModule, members: Sequence[GlobalVar], outputs: int, limits: schedule.Limits) -> Group | None:
    """The functions as a group, if one function is each of them and has their schedule."""
    funcs = [mod[gvar] for gvar in members]
    made = _generalise(funcs, outputs)
    if made is None:
        return None
    shared, sizes = made
    if schedule.signature(shared, limits) != schedule.signature(funcs[0], limits):
        return None
    plain = shared.without_attr(schedule.TYPICAL_SIZES).without_attr(spirv.LARGEST_SCALARS)
    same = (_same(_specialise(plain, values), func) for func, values in zip(funcs, sizes))
    return Group(tuple(members), shared, tuple(sizes)) if all(same) else None


def _same(a: tirx.PrimFunc, b: tirx.PrimFunc) -> bool:
    return tvm_ffi.structural_equal(a, b, map_free_vars=True)


def _replace(mod: tvm.IRModule, groups: Sequence[Group]) -> tvm.IRModule:
    """The module with the groups' shared functions instead of their members."""
    if not groups:
        return mod
    gone = {gvar for group in groups for gvar in group.members}
    rest = {gvar: func for gvar, func in mod.functions.items() if gvar not in gone}
    return rewrite_functions(_Caller(tvm.IRModule(rest, attrs=mod.attrs), groups), mod)


@mutator
class _Caller(PyExprMutator):
    """Calls shared functions instead of those that they stand for."""

    def __init__(self, mod: tvm.IRModule, groups: Sequence[Group]) -> None:
        super().__init__(mod)
        self.targets: dict[GlobalVar, tuple[GlobalVar, Sizes]] = {}
        for group in groups:
            stand_in = self.builder_.add_func(group.shared, group.members[0].name_hint)
            self.targets |= {gvar: (stand_in, sizes) for gvar, sizes in zip(group.members, group.sizes)}

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        if call.op != CALL_TIR or call.args[0] not in self.targets:
            return call
        gvar, sizes = self.targets[call.args[0]]
        out = call.ty_args[0]
        outputs = list(out.fields) if isinstance(out, relax.TupleType) else out
        return relax.call_tir(gvar, [*call.args[1], *(tirx.IntImm("int64", size) for size in sizes)], outputs)
