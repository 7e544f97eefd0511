"""Rows of operators that work element by element: arithmetic, comparisons, bits, functions of floats, casts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import special
from tvm import relax

from . import reference as ref
from .spec import EVERY, FLOATS, INTEGERS, NUMBERS, STORED, In, Row, dtype_of

R = relax.op
Build = Callable[..., relax.Expr]
PAIRS = (In((731,), "left"), In((731,), "right"))
# In vectors of 4, where PAIRS go one by one.
VECTORS = (In((96, 8), "left"), In((96, 8), "right"))
WHOLE = (*INTEGERS, "int16", "uint16", "uint64")
SIGNED_NUMBERS = (*FLOATS, "int32", "int8", "int64")


def binary(name: str, build: Build, reference: Callable, dtypes: Sequence[str], rounding: float = 1.01) -> list[Row]:
    """Every pair of edge values, vectors, broadcasting, a scalar, one element, and NaN and infinities."""
    floats = [d for d in dtypes if d in FLOATS]
    rows = [
        Row(name, build, reference, dtypes, PAIRS, rounding),
        Row(name, build, reference, dtypes, VECTORS, rounding),
        Row(name, build, reference, dtypes, (In((3, 1, 5), "wide"), In((4, 1), "wide")), rounding),
        Row(name, build, reference, dtypes, (In((), "wide"), In((7,), "wide")), rounding),
        Row(name, build, reference, dtypes, (In((1,), "wide"), In((1,), "wide")), rounding),
    ]
    special_values = (In((64,), "special"), In((64,), "special_right"))
    return rows + ([Row(name, build, reference, floats, special_values, rounding)] if floats else [])


def dividing(name: str, build: Build, reference: Callable, dtypes: Sequence[str], rounding: float = 1.01) -> list[Row]:
    return [
        Row(name, build, reference, dtypes, (In((731,), "left"), In((731,), "nonzero")), rounding),
        Row(name, build, reference, dtypes, (In((96, 8), "left"), In((96, 8), "nonzero")), rounding),
        Row(name, build, reference, dtypes, (In((257,), "wide"), In((257,), "divisor")), rounding),
    ]


def unary(
    name: str,
    build: Build,
    reference: Callable,
    dtypes: Sequence[str] = FLOATS,
    values: str = "any",
    rounding: float = 4,
) -> list[Row]:
    floats = [d for d in dtypes if d in FLOATS]
    rows = [Row(name, build, reference, dtypes, (In(shape, values),), rounding) for shape in ((5, 67), (64,))]
    return rows + ([Row(name, build, reference, floats, (In((8,), "special_right"),), rounding)] if floats else [])


def shifted(kind: str) -> Callable:
    """Shifts as NumPy has them: by the width or more, nothing but the sign is left."""

    def reference(x: np.ndarray, n: np.ndarray) -> np.ndarray:
        width = x.dtype.itemsize * 8
        size = n.astype("uint64")
        by = np.minimum(size, np.uint64(width - 1)).astype(x.dtype)
        if kind == "right":
            return np.where((size >= width) & (x >= 0), 0, x >> by).astype(x.dtype)
        return np.where(size >= width, 0, x << by).astype(x.dtype)

    return reference


def _power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.power(x, y)


ROWS: tuple[Row, ...] = tuple(
    row
    for rows in (
        binary("add", R.add, np.add, NUMBERS),
        binary("subtract", R.subtract, np.subtract, NUMBERS),
        binary("multiply", R.multiply, np.multiply, NUMBERS),
        dividing("divide", R.divide, ref.truncated, NUMBERS, 5),
        dividing("floor_divide", R.floor_divide, np.floor_divide, INTEGERS),
        dividing("mod", R.mod, lambda a, b: np.fmod(a, b), INTEGERS),
        dividing("floor_mod", R.floor_mod, np.mod, INTEGERS),
        binary("minimum", R.minimum, np.minimum, NUMBERS),
        binary("maximum", R.maximum, np.maximum, NUMBERS),
        binary("equal", R.equal, np.equal, EVERY),
        binary("not_equal", R.not_equal, np.not_equal, EVERY),
        binary("less", R.less, np.less, EVERY),
        binary("less_equal", R.less_equal, np.less_equal, EVERY),
        binary("greater", R.greater, np.greater, EVERY),
        binary("greater_equal", R.greater_equal, np.greater_equal, EVERY),
        binary("bitwise_and", R.bitwise_and, np.bitwise_and, (*WHOLE, "bool")),
        binary("bitwise_or", R.bitwise_or, np.bitwise_or, (*WHOLE, "bool")),
        binary("bitwise_xor", R.bitwise_xor, np.bitwise_xor, (*WHOLE, "bool")),
        binary("logical_and", R.logical_and, np.logical_and, ("bool",)),
        binary("logical_or", R.logical_or, np.logical_or, ("bool",)),
        binary("logical_xor", R.logical_xor, np.logical_xor, ("bool",)),
        [
            Row("left_shift", R.left_shift, shifted("left"), WHOLE, (In((n,), "wide"), In((n,), "shift")))
            for n in (253, 256)
        ],
        [
            Row("right_shift", R.right_shift, shifted("right"), WHOLE, (In((n,), "wide"), In((n,), "shift")))
            for n in (253, 256)
        ],
        [Row("power", R.power, _power, FLOATS, (In((200,), "positive"), In((200,), "small")), 16)],
        [Row("atan2", R.atan2, np.arctan2, FLOATS, (In((731,), "left"), In((731,), "right")), 8)],
        unary("abs", R.abs, np.abs, SIGNED_NUMBERS, "wide"),
        unary("negative", R.negative, np.negative, SIGNED_NUMBERS, "wide"),
        [Row("sign", R.sign, np.sign, SIGNED_NUMBERS, (In((5, 67), "wide"),), 0)],
        unary("square", R.square, np.square, NUMBERS),
        unary("bitwise_not", R.bitwise_not, np.invert, WHOLE, "wide"),
        unary("logical_not", R.logical_not, np.logical_not, ("bool",)),
        unary("floor", R.floor, np.floor, FLOATS, rounding=0),
        unary("ceil", R.ceil, np.ceil, FLOATS, rounding=0),
        unary("trunc", R.trunc, np.trunc, FLOATS, rounding=0),
        unary("round", R.round, np.round, FLOATS, rounding=0),
        unary("isnan", R.isnan, np.isnan, FLOATS),
        unary("isinf", R.isinf, np.isinf, FLOATS),
        unary("isfinite", R.isfinite, np.isfinite, FLOATS),
        unary("exp", R.exp, np.exp, rounding=16),
        unary("log", R.log, np.log, values="positive", rounding=16),
        unary("sqrt", R.sqrt, np.sqrt, values="positive"),
        unary("rsqrt", R.rsqrt, lambda x: 1 / np.sqrt(x), values="positive"),
        unary("sigmoid", R.sigmoid, special.expit, rounding=16),
        unary("tanh", R.tanh, np.tanh, rounding=16),
        unary("erf", R.erf, special.erf, rounding=16),
        unary("sin", R.sin, np.sin, values="small", rounding=16),
        unary("cos", R.cos, np.cos, values="small", rounding=16),
        unary("tan", R.tan, np.tan, values="unit", rounding=16),
        unary("sinh", R.sinh, np.sinh, rounding=16),
        unary("cosh", R.cosh, np.cosh, rounding=16),
        unary("asin", R.asin, np.arcsin, values="unit", rounding=32),
        unary("acos", R.acos, np.arccos, values="unit", rounding=32),
        unary("atan", R.atan, np.arctan, rounding=16),
        unary("asinh", R.asinh, np.arcsinh, rounding=16),
        unary("acosh", R.acosh, np.arccosh, values="above", rounding=16),
        unary("atanh", R.atanh, np.arctanh, values="unit", rounding=16),
        [Row("log_add_exp", R.log_add_exp, np.logaddexp, FLOATS, (In((300,)), In((300,))), 32, scaled=True)],
        [Row("clip", lambda x: R.clip(x, -2, 5), lambda x: np.clip(x, -2, 5), SIGNED_NUMBERS, (In((99,), "wide"),), 1)],
        [Row("relu", R.nn.relu, lambda x: np.maximum(x, 0), SIGNED_NUMBERS, (In((99,), "wide"),), 0)],
        [
            Row(
                "leaky_relu",
                lambda x: R.nn.leakyrelu(x, 0.1),
                lambda x: np.where(x < 0, x * 0.1, x),
                FLOATS,
                (In((99,)),),
            )
        ],
        [Row("gelu", R.nn.gelu, lambda x: x * special.ndtr(x), FLOATS, (In((5, 67)),), 8, scaled=True)],
        [
            Row(
                "gelu_tanh",
                R.nn.gelu_tanh,
                lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
                FLOATS,
                (In((5, 67)),),
                8,
                scaled=True,
            )
        ],
        [Row("silu", R.nn.silu, lambda x: x * special.expit(x), FLOATS, (In((5, 67)),), 16)],
        [Row("softplus", R.nn.softplus, lambda x: np.logaddexp(x, 0), FLOATS, (In((5, 67)),), 16, scaled=True)],
        [
            Row(
                "selu",
                R.nn.selu,
                lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
                FLOATS,
                (In((5, 67)),),
                16,
                scaled=True,
            )
        ],
        [
            Row(
                "prelu",
                lambda x, a: R.nn.prelu(x, a, axis=1),
                lambda x, a: np.where(x < 0, x * a[:, None], x),
                ("float32", "float16"),  # bfloat16 is refused by TVM
                (In((2, 5, 7)), In((5,))),
            )
        ],
    )
    for row in rows
)


def _cast(target: str, size: int = 253) -> Row:
    return Row(
        f"cast to {target}",
        lambda x: R.astype(x, target),
        lambda x: ref.cast(x, dtype_of(target)),
        [d for d in STORED if d != target],
        (In((size,), "wide"),),
        1,
    )


def _cast_vectors(target: str) -> Row:
    return _cast(target, 256)


def _cast_special(target: str) -> Row:
    return Row(
        f"cast to {target}",
        lambda x: R.astype(x, target),
        lambda x: ref.cast(x, dtype_of(target)),
        [d for d in FLOATS if d not in (target, "float64")],
        (In((8,), "special_right"),),
        1,
    )


CASTS: tuple[Row, ...] = tuple(make(target) for target in STORED for make in (_cast, _cast_vectors, _cast_special))
