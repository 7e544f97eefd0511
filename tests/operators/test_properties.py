"""Operators on shapes and values that hypothesis draws: compiled once, with sizes that are chosen at run time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import tvm_webgpu
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from tvm import relax, tirx

from . import reference as ref
from .elementwise import shifted
from .runner import difference
from .spec import Case, In, Row

R = relax.op
SIZES = st.one_of(st.sampled_from([0, 1, 2, 3, 31, 32, 33, 63, 255, 256, 257, 1023, 1025]), st.integers(0, 2100))
SHORT = st.sampled_from([0, 1, 2, 3, 5, 17])


@dataclass(frozen=True)
class Property:
    """An operator on inputs of shapes of the symbols n and m."""

    name: str
    build: Callable[..., relax.Expr]
    reference: Callable[..., object]
    shapes: Sequence[str]
    dtype: str
    scaled: bool = False
    rounding: float = 4
    # Which floats are drawn: "all" with NaN and infinities, "normal" without denormal numbers, "tame" of modest size.
    floats: str = "all"
    # An axis of no elements has no largest, no mean.
    least: int = 0

    @property
    def divides(self) -> bool:
        """Whether the second input must not be 0."""
        return "div" in self.name or "mod" in self.name


PROPERTIES = (
    Property("add float32", R.add, np.add, ("n", "n"), "float32", floats="normal"),
    Property("multiply int32", R.multiply, np.multiply, ("n", "n"), "int32"),
    Property("multiply int64", R.multiply, np.multiply, ("n", "n"), "int64"),
    Property("add int64", R.add, np.add, ("n", "n"), "int64"),
    Property("add uint8", R.add, np.add, ("n", "n"), "uint8"),
    Property("divide int32", R.divide, ref.truncated, ("n", "n"), "int32"),
    Property("floor_divide int64", R.floor_divide, np.floor_divide, ("n", "n"), "int64"),
    Property("floor_mod int8", R.floor_mod, np.mod, ("n", "n"), "int8"),
    Property("left_shift int32", R.left_shift, shifted("left"), ("n", "n"), "int32"),
    Property("right_shift int64", R.right_shift, shifted("right"), ("n", "n"), "int64"),
    Property("minimum float32", R.minimum, np.minimum, ("n", "n"), "float32", floats="normal"),
    Property("less float32", R.less, np.less, ("n", "n"), "float32", floats="normal"),
    Property("less int64", R.less, np.less, ("n", "n"), "int64"),
    Property("equal float16", R.equal, np.equal, ("n", "n"), "float16", floats="normal"),
    Property(
        "where",
        lambda a, b: R.where(R.less(a, b), a, b),
        lambda a, b: np.where(a < b, a, b),
        ("n", "n"),
        "float32",
        floats="normal",
    ),
    Property("negative float32", R.negative, np.negative, ("n",), "float32"),
    Property("abs float16", R.abs, np.abs, ("n",), "float16"),
    Property("isnan", R.isnan, np.isnan, ("n",), "float32"),
    Property("exp", R.exp, np.exp, ("n",), "float32", rounding=400, floats="normal"),
    Property("tanh", R.tanh, np.tanh, ("n",), "float32", rounding=10, floats="normal"),
    Property("erf", R.erf, special.erf, ("n",), "float32", rounding=12, floats="normal"),
    Property(
        "cast to int32", lambda x: R.astype(x, "int32"), lambda x: ref.cast(x, np.dtype("int32")), ("n",), "float32"
    ),
    Property(
        "cast to int64", lambda x: R.astype(x, "int64"), lambda x: ref.cast(x, np.dtype("int64")), ("n",), "float32"
    ),
    Property("cast to float16", lambda x: R.astype(x, "float16"), lambda x: x, ("n",), "float32", rounding=1),
    Property("int64 to float32", lambda x: R.astype(x, "float32"), lambda x: x, ("n",), "int64", rounding=1.01),
    Property("sum", lambda x: R.sum(x, -1), lambda x: x.sum(-1), ("m n",), "float32", True, 4000, "tame"),
    Property("sum int64", lambda x: R.sum(x, -1), lambda x: x.sum(-1), ("m n",), "int64"),
    Property("max", lambda x: R.max(x, -1), lambda x: x.max(-1), ("m n",), "int32", least=1),
    Property(
        "argmax float32",
        lambda x: R.argmax(x, -1),
        lambda x: x.argmax(-1),
        ("m n",),
        "float32",
        floats="normal",
        least=1,
    ),
    Property("argmin int64", lambda x: R.argmin(x, -1), lambda x: x.argmin(-1), ("m n",), "int64", least=1),
    Property("cumsum int64", lambda x: R.cumsum(x, -1), lambda x: x.cumsum(-1), ("m n",), "int64"),
    Property("cumsum columns", lambda x: R.cumsum(x, 0), lambda x: x.cumsum(0, dtype="int32"), ("n m",), "int32"),
    Property("sort float32", lambda x: R.sort(x, -1), lambda x: np.sort(x, -1), ("m n",), "float32", floats="normal"),
    Property(
        "argsort int32", lambda x: R.argsort(x, -1, True, "int64"), lambda x: ref.order(x, -1, True), ("m n",), "int32"
    ),
    Property(
        "argsort columns",
        lambda x: R.argsort(x, 0, False, "int32"),
        lambda x: ref.order(x, 0, False),
        ("n m",),
        "uint8",
    ),
    Property("softmax", lambda x: R.nn.softmax(x, -1), ref.softmax, ("m n",), "float32", True, 200, "tame", 1),
    Property("matmul", R.matmul, np.matmul, ("m n", "n m"), "float32", True, 4000, "tame"),
    Property("transpose", R.permute_dims, np.transpose, ("m n",), "int8"),
    Property("concat", lambda a, b: R.concat([a, b], 0), lambda a, b: np.concatenate([a, b]), ("n", "m"), "int64"),
    Property(
        "scatter",
        lambda x, u: R.scatter_elements(x, R.bitwise_and(u, relax.const(0, "int32")), u, 0, "add"),
        lambda x, u: np.concatenate([x[:1] + u.sum(dtype="int32"), x[1:]]),
        ("n", "m"),
        "int32",
        least=1,
    ),
    Property(
        "take",
        lambda x, i: R.take(x, R.astype(R.bitwise_and(i, relax.const(0, "int32")), "int64"), 0),
        lambda x, i: np.take(x, i & 0),
        ("n", "m"),
        "int32",
        least=1,
    ),
)


@pytest.fixture(scope="module")
def executor():
    builder = relax.BlockBuilder()
    for index, prop in enumerate(PROPERTIES):
        symbols = {"n": tirx.Var("n", "int64"), "m": tirx.Var("m", "int64")}
        variables = [
            relax.Var(f"x{i}", relax.TensorType([symbols[s] for s in shape.split()], prop.dtype))
            for i, shape in enumerate(prop.shapes)
        ]
        with builder.function(f"property_{index}", variables):
            with builder.dataflow():
                output = builder.emit_output(builder.emit(prop.build(*variables)))
            builder.emit_func_output(output)
    with tvm_webgpu.load(tvm_webgpu.compile(builder.finalize())) as loaded:
        yield loaded


def drawn(prop: Property, shape: tuple[int, ...], seed: int, divisor: bool) -> np.ndarray:
    """Any bits at all, the ends of the range and special values among them; a divisor is not 0."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(prop.dtype)
    if dtype.kind != "f":
        info = np.iinfo(dtype)
        full = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
        out = np.where(rng.random(shape) < 0.3, full, full >> rng.integers(0, info.bits, shape).astype(dtype))
        ends = rng.choice(np.array([info.min, info.max, info.max - 1, 0, 1], dtype), shape)
        out = np.where(rng.random(shape) < 0.2, ends, out).astype(dtype)
        return np.where(out == 0, dtype.type(3), out) if divisor else out
    if prop.floats == "tame":
        return rng.uniform(-8, 8, shape).astype(dtype)
    out = rng.integers(0, 256, (*shape, dtype.itemsize), dtype="uint8").view(dtype).reshape(shape)
    out = np.where(rng.random(shape) < 0.5, rng.standard_normal(shape) * 4, out).astype(dtype)
    out = np.where(rng.random(shape) < 0.1, rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0], shape), out).astype(
        dtype
    )
    # WGSL may flush denormal numbers to zero, before as well as after: only where that changes nothing else.
    return out if prop.floats == "all" else np.where(np.abs(out) < np.finfo(dtype).tiny, dtype.type(0), out)


def check(executor, prop: Property, inputs: list[np.ndarray]) -> None:
    index = PROPERTIES.index(prop)
    got = executor.run({f"x{i}": x for i, x in enumerate(inputs)}, entry=f"property_{index}")
    exact = [x.astype("float64") if x.dtype.kind == "f" else x for x in inputs]
    with np.errstate(all="ignore"):
        want = np.asarray(prop.reference(*exact))
    row = Row(
        prop.name,
        prop.build,
        prop.reference,
        (prop.dtype,),
        tuple(In(x.shape) for x in inputs),
        prop.rounding,
        prop.scaled,
    )
    (result,) = got.values()
    problem = difference(Case(row, prop.dtype), result, want)
    assert not problem, f"{prop.name} {[x.shape for x in inputs]}: {problem}"


@pytest.mark.parametrize("prop", PROPERTIES, ids=lambda p: p.name)
@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_any_size_and_value(executor, prop, data):
    sizes = {"n": max(data.draw(SIZES), prop.least), "m": max(data.draw(SHORT), prop.least)}
    seed = data.draw(st.integers(0, 2**32 - 1))
    inputs = [
        drawn(prop, tuple(sizes[s] for s in shape.split()), seed + i, i == 1 and prop.divides)
        for i, shape in enumerate(prop.shapes)
    ]
    check(executor, prop, inputs)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("add uint8", (65535 * 256 + 3,)), ("argsort columns", (3, 70001)), ("argmax float32", (70001, 33))],
)
def test_more_workgroups_than_an_axis_takes(executor, name, shape):
    (prop,) = (p for p in PROPERTIES if p.name == name)
    rng = np.random.default_rng(0)
    check(executor, prop, [rng.integers(0, 200, shape).astype(prop.dtype) for _ in prop.shapes])
