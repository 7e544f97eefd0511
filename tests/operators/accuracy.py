"""How exact functions of floats are: the worst error of each, on a device or on the wasm host, beside its bound.

    python -m tests.operators.accuracy --measure wgpu --device "NVIDIA H100" --rows rows.jsonl
    python -m tests.operators.accuracy --measure wgpu,node,host --rows rows.jsonl --output docs/accuracy.md

The first measures one device, the second others and writes the page with all that is in the rows.

An error is counted in units in the last place (ulp) of the exact result in float32, and compared with a bound that is
no worse than what WGSL promises of its own functions (https://www.w3.org/TR/WGSL/#floating-point-accuracy).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import special
from tvm import relax

from .runner import RUNNERS, compile_cases
from .spec import Case, In, Row

R = relax.op
Array = np.ndarray
Samples = Callable[[], tuple[Array, ...]]
PI = math.pi


def every_exponent(low: int = -126, high: int = 127, each: int = 48, signs: Sequence[int] = (1, -1)) -> Array:
    """`each` values of every power of 2 in the range, of both signs, the ends of each included."""
    rng = np.random.default_rng([low + 1000, high + 1000])
    inside = np.concatenate([[1.0, np.nextafter(np.float32(2), np.float32(1))], 1 + rng.random(each)])
    powers = np.ldexp(1.0, np.arange(low, high + 1))
    sizes = (powers[:, None] * inside).ravel()
    return np.concatenate([sign * sizes for sign in signs]).astype("float32")


def between(low: float, high: float, count: int = 20000) -> Array:
    """Evenly spaced values."""
    return np.linspace(low, high, count).astype("float32")


def ulp(exact: Array) -> Array:
    """The distance of float32 numbers about a value; that of the least normal ones below them."""
    with np.errstate(all="ignore"):
        exponent = np.floor(np.log2(np.maximum(np.abs(exact), 2.0**-126)))
    return np.ldexp(1.0, np.nan_to_num(exponent, posinf=127, neginf=-126).astype(int) - 23)


@dataclass(frozen=True)
class Function:
    """A function, its reference in double precision, where it is measured, and the error allowed at each input.

    `bound` takes the inputs and the exact result, and gives an error in the result's unit; `stated` says it in words.
    """

    name: str
    build: Callable[..., relax.Expr]
    reference: Callable[..., Array]
    samples: Samples
    bound: Callable[..., Array]
    stated: str
    special: Sequence[tuple[float, ...]] = ()


def in_ulp(allowed: Callable[..., Array | float]) -> Callable[..., Array]:
    """A bound in ulp of the result."""
    return lambda *given: allowed(*given[:-1]) * ulp(given[-1])


INF, NAN = math.inf, math.nan
ENDS = ((NAN,), (INF,), (-INF,), (0.0,), (-0.0,))


def _wide() -> tuple[Array, ...]:
    return (np.concatenate([every_exponent(), between(-12, 12)]),)


def _circle() -> tuple[Array, ...]:
    return (np.concatenate([between(-PI, PI, 60000), every_exponent(-60, 0)]),)


def _far() -> tuple[Array, ...]:
    return (np.concatenate([between(-8192, 8192, 60000), every_exponent(-60, 12)]),)


def _powers() -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    x = np.abs(every_exponent(-40, 40, 24, (1,)))
    return x, (rng.uniform(-3, 3, x.size)).astype("float32")


FUNCTIONS: tuple[Function, ...] = (
    Function(
        "exp",
        R.exp,
        np.exp,
        lambda: (np.concatenate([between(-87.3, 88.7, 40000), every_exponent(-60, 5)]),),
        in_ulp(lambda x: 3 + 2 * np.abs(x)),
        "3 + 2 |x| ulp (WGSL's)",
        ENDS,
    ),
    Function(
        "log",
        R.log,
        np.log,
        lambda: (np.concatenate([every_exponent(signs=(1,)), between(0.5, 2)]),),
        lambda x, y: np.where((x >= 0.5) & (x <= 2), np.maximum(2.0**-21, ulp(y)), 3 * ulp(y)),
        "3 ulp, 2^-21 where 0.5 <= x <= 2 (WGSL's)",
        ((INF,), (1.0,)),
    ),
    Function("tanh", R.tanh, np.tanh, _wide, in_ulp(lambda x: 5), "5 ulp (WGSL's: 10^-5)", (*ENDS, (89.0,), (-1e30,))),
    Function("erf", lambda x: R.erf(x), special.erf, _wide, in_ulp(lambda x: 6), "6 ulp (none in WGSL)", ENDS),
    Function(
        "sin",
        R.sin,
        np.sin,
        _circle,
        lambda x, y: 4 * 2.0**-24 + 0 * x,
        "2^-22 where |x| <= pi (WGSL's: 2^-11)",
        ((0.0,), (-0.0,)),
    ),
    Function(
        "cos",
        R.cos,
        np.cos,
        _circle,
        lambda x, y: 4 * 2.0**-24 + 0 * x,
        "2^-22 where |x| <= pi (WGSL's: 2^-11)",
        ((0.0,), (-0.0,)),
    ),
    Function(
        "sin, far", R.sin, np.sin, _far, lambda x, y: 4 * 2.0**-24 + 0 * x, "2^-22 where |x| <= 8192 (WGSL's: none)"
    ),
    Function(
        "cos, far", R.cos, np.cos, _far, lambda x, y: 4 * 2.0**-24 + 0 * x, "2^-22 where |x| <= 8192 (WGSL's: none)"
    ),
    Function(
        "pow",
        R.power,
        np.power,
        _powers,
        lambda x, y, z: (8 + 4 * np.abs(y * np.log2(x))) * ulp(z),
        "8 + 4 |y log2 x| ulp (WGSL's: that of exp2(y log2 x), more)",
        ((2.0, 0.0), (0.0, 0.0), (-2.0, 3.0), (-2.0, 2.0), (4.0, 0.5), (0.0, 2.0), (1.0, 5.0), (INF, 1.0)),
    ),
    Function(
        "sqrt",
        R.sqrt,
        np.sqrt,
        lambda: (every_exponent(signs=(1,)),),
        in_ulp(lambda x: 4.5),
        "4.5 ulp (WGSL's: that of 1 / inverseSqrt(x))",
        ((0.0,), (INF,)),
    ),
    Function(
        "sigmoid",
        R.sigmoid,
        special.expit,
        lambda: (np.concatenate([between(-87, 40, 40000), every_exponent(-60, 5)]),),
        in_ulp(lambda x: 7 + 2 * np.maximum(-x, 0)),
        "7 + 2 max(-x, 0) ulp (none in WGSL; as its exp and division)",
        ENDS[:3],
    ),
    Function(
        "gelu",
        R.nn.gelu,
        lambda x: x * special.ndtr(x),
        _wide,
        lambda x, y: 6 * 2.0**-24 * np.abs(x) + ulp(y),
        "6 x 2^-24 |x| (none in WGSL)",
        ((NAN,), (INF,), (0.0,)),
    ),
)


def cases() -> list[Case]:
    """Every function as a case of the runner, on its samples and, in a second entry, its special values."""
    return [
        Case(Row(f.name, f.build, f.reference, ("float32",), tuple(In(x.shape) for x in given)), "float32")
        for f in FUNCTIONS
        for given in (f.samples(), special_values(f))
        if given[0].size
    ]


def special_values(function: Function) -> tuple[Array, ...]:
    """The inputs of `special`, one array for each argument."""
    return tuple(np.array(column, "float32") for column in zip(*function.special)) or (np.zeros(0, "float32"),)


def inputs() -> list[tuple[Array, ...]]:
    """What the cases are run on."""
    return [given for f in FUNCTIONS for given in (f.samples(), special_values(f)) if given[0].size]


@dataclass(frozen=True)
class Measured:
    """The worst error in ulp and as a part of what is allowed, where it was seen, and wrong special values."""

    ulps: float
    share: float
    at: tuple[float, ...]
    wrong: tuple[str, ...]


def measure(function: Function, got: Array, special_got: Array | None) -> Measured:
    """Compares results on the samples and on the special values with the reference."""
    given = function.samples()
    with np.errstate(all="ignore"):
        exact = function.reference(*(x.astype("float64") for x in given))
        seen = got.astype("float64")
        # Results that overflow, and those that WGSL may flush to 0, say nothing about exactness.
        regular = (np.abs(exact) <= 3.4e38) & (np.abs(exact) >= 2.0**-125)
        error = np.where(np.isfinite(seen), np.abs(seen - exact), np.inf)
        errors, allowed = error / ulp(exact), function.bound(*(x.astype("float64") for x in given), exact)
    share = np.where(regular, error / (allowed + ulp(exact) / 2), 0)
    worst = int(np.argmax(share))
    wrong = []
    if special_got is not None:
        values = special_values(function)
        with np.errstate(all="ignore"):
            wanted = function.reference(*(x.astype("float64") for x in values)).astype("float32")
        close = np.isclose(special_got, wanted, rtol=1e-5, atol=1e-6, equal_nan=True)
        wrong = [
            f"{function.name}{v} = {g}, not {w}"
            for v, g, w, c in zip(zip(*values), special_got, wanted, close)
            if not c
        ]
    ulps = float(np.max(np.where(regular, errors, 0)))
    return Measured(ulps, float(share[worst]), tuple(float(x[worst]) for x in given), tuple(wrong))


def measure_all(results: Sequence[Sequence[Array] | Exception]) -> Mapping[str, Measured]:
    """The measurements by function, from what a runner gave for `cases()` and `inputs()`."""
    flat = iter(results)
    measured = {}
    for function in FUNCTIONS:
        own = next(flat)
        extra = next(flat) if function.special else None
        for part in (own, extra):
            if isinstance(part, Exception):
                raise part
        measured[function.name] = measure(function, own[0], None if extra is None else extra[0])
    return measured


HEAD = """# Accuracy of functions of floats

Written by `python -m tests.operators.accuracy`. The worst error in float32 of each function, over every exponent and
densely where the function is usually called, in units in the last place (ulp) of the exact result, and beside it the
part of the allowed error that was used at worst. Results that overflow or are denormal are left out. Infinities, zeros
and NaN are compared too.

Where a result cancels towards 0 (gelu of large negative numbers) its error is bounded by the size of the input, and its
ulp say nothing. Sine, cosine, logarithm, arc functions, tanh, sinh, cosh and erf are worked out in the shader
(`codegen/spirv/elementary.py`), since drivers lose all digits near a zero (SwiftShader's sine is 700 times
beyond the bound below) or overflow; exp, pow, sqrt and division are the driver's. On the host they are musl's, where
TVM's own tanh would be off by up to 185 ulp.
"""


def page(columns: Mapping[str, Mapping[str, Measured]]) -> str:
    """The documentation's page, from the measurements by implementation."""
    lines = ["", f"| function | bound | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for function in FUNCTIONS:
        cells = [f"{m[function.name].ulps:.3g} ulp ({m[function.name].share:.0%})" for m in columns.values()]
        lines.append(f"| {function.name} | {function.stated.replace('|', chr(92) + '|')} | {' | '.join(cells)} |")
    wrong = [f"- {name}: {text}" for name, m in columns.items() for f in FUNCTIONS for text in m[f.name].wrong]
    return HEAD + "\n".join([*lines, *(["", *wrong] if wrong else [])]) + "\n"


COLUMNS = {"wgpu": "wgpu", "node": "Dawn", "host": "wasm host"}


def measured(what: str) -> Mapping[str, Measured]:
    """The measurements on `wgpu` or `node`, on what VK_DRIVER_FILES names, or on the wasm `host`."""
    from .host import host_results  # which itself takes the cases from here

    if what == "host":
        return measure_all(host_results())
    return measure_all(RUNNERS[what](compile_cases(cases()), inputs()))


def read(rows: Path) -> dict[str, dict[str, Measured]]:
    """The columns in a file of rows, the host last: of one that was measured twice, the last."""
    columns: dict[str, dict[str, Measured]] = {}
    for line in rows.read_text().splitlines() if rows.exists() else ():
        row = json.loads(line)
        column = columns.setdefault(row["column"], {})
        column[row["function"]] = Measured(row["ulps"], row["share"], tuple(row["at"]), tuple(row["wrong"]))
    return dict(sorted(columns.items(), key=lambda item: item[0] == COLUMNS["host"]))


def main(argv: Sequence[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", default="", help=f"some of {','.join(COLUMNS)}, on what VK_DRIVER_FILES names")
    parser.add_argument("--device", default="", help="the driver's name, for the heads of columns")
    parser.add_argument("--rows", type=Path, required=True, help="a file that measurements are added to")
    parser.add_argument("--output", type=Path, help="the page to write from the rows")
    options = parser.parse_args(argv)
    for what in filter(None, options.measure.split(",")):
        name = COLUMNS[what] + (f", {options.device}" if options.device and what != "host" else "")
        with options.rows.open("a") as file:
            for function, found in measured(what).items():
                file.write(json.dumps({"column": name, "function": function, **asdict(found)}) + "\n")
    text = page(read(options.rows))
    if options.output:
        options.output.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
