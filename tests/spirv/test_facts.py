"""Random integer expressions: values lie in the interval, and are multiples of the divisor, that the facts say."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import tirx
from tvm.ir.prim import expr as prim
from tvm_webgpu.codegen.spirv.facts import Fact, Facts, truncated

RANGES = {"x": (0, 255), "y": (-40, 17), "z": (1, 9), "big": (0, 2**31 - 1)}
VARS = {name: tirx.Var(name, "int64") for name in RANGES}
NODES: dict[str, tuple[type, Callable[[int, int], int | None]]] = {
    "add": (prim.Add, lambda a, b: a + b),
    "sub": (prim.Sub, lambda a, b: a - b),
    "mul": (prim.Mul, lambda a, b: a * b),
    "floordiv": (prim.FloorDiv, lambda a, b: a // b if b else None),
    "floormod": (prim.FloorMod, lambda a, b: a % b if b else None),
    "div": (prim.Div, lambda a, b: truncated(a, b) if b else None),
    "mod": (prim.Mod, lambda a, b: a - truncated(a, b) * b if b else None),
    "min": (prim.Min, min),
    "max": (prim.Max, max),
    "and": (prim.BitwiseAnd, lambda a, b: a & b),
    "or": (prim.BitwiseOr, lambda a, b: a | b),
    "xor": (prim.BitwiseXor, lambda a, b: a ^ b),
    "shl": (prim.LShift, lambda a, b: a << b if 0 <= b < 20 else None),
    "shr": (prim.RShift, lambda a, b: a >> b if 0 <= b < 63 else None),
}
LEAVES = st.sampled_from(sorted(RANGES)) | st.integers(-70, 300)
TREES = st.recursive(LEAVES, lambda t: st.tuples(st.sampled_from(sorted(NODES)), t, t), max_leaves=6)


def build(tree):
    if isinstance(tree, str):
        return VARS[tree]
    if isinstance(tree, int):
        return tirx.IntImm("int64", tree)
    return NODES[tree[0]][0](build(tree[1]), build(tree[2]))


def evaluate(tree, values: dict[str, int]) -> int | None:
    if isinstance(tree, str):
        return values[tree]
    if isinstance(tree, int):
        return tree
    a, b = evaluate(tree[1], values), evaluate(tree[2], values)
    result = None if a is None or b is None else NODES[tree[0]][1](a, b)
    return result if result is not None and abs(result) < 2**63 else None


@settings(max_examples=400, deadline=None, derandomize=True)
@given(tree=TREES, data=st.data())
def test_facts_hold(tree, data):
    facts = Facts()
    for name, (lo, hi) in RANGES.items():
        facts.set(VARS[name], Fact(lo, hi))
    fact = facts(build(tree))
    for _ in range(4):
        values = {n: data.draw(st.sampled_from([lo, hi]) | st.integers(lo, hi)) for n, (lo, hi) in RANGES.items()}
        value = evaluate(tree, values)
        if value is not None:
            assert fact.within(-2**63, 2**63 - 1)
            assert fact.lo <= value <= fact.hi
            assert value == 0 if fact.multiple == 0 else value % fact.multiple == 0
