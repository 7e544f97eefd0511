"""Functions of doubles, by the driver's own doubles, beside 80-bit NumPy: the errors in ulp that are allowed.

tests/wgsl/test_doubles.py says that WGSL computes the same, bit by bit.
"""

import math
import struct
import sys
from pathlib import Path

import gpu
import numpy as np
import pytest
from tvm import te, tirx

sys.path.insert(0, str(Path(__file__).parents[1] / "wgsl"))

import vulkan

LONG = np.longdouble
ANY = np.concatenate([np.linspace(-12, 12, 500), np.linspace(-1e-3, 1e-3, 64), [0.0, 1e-300, 1e5, -1e5, 700.0, -700.0]])
ENDS = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0, -1.0])
UNIT = np.concatenate([np.linspace(-1, 1, 501), [1e-9, -1e-300]])
POSITIVE = np.concatenate([np.linspace(0.01, 3, 300), np.geomspace(1e-310, 1e300, 200), [np.inf, 0.0, 1 + 2.0**-52]])
ERF = np.vectorize(lambda x: LONG(math.erf(float(x))))

# name -> (the values it is tried with, what it should be, ulp)
FUNCTIONS = {
    "exp": (np.append(ANY, ENDS), np.exp, 1), "log": (POSITIVE, np.log, 1), "log1p": (POSITIVE, np.log1p, 2),
    "tanh": (np.append(ANY, ENDS), np.tanh, 3), "sinh": (ANY, np.sinh, 4), "cosh": (ANY, np.cosh, 4),
    "sigmoid": (ANY, lambda x: 1 / (1 + np.exp(-x)), 3), "sin": (ANY * 1e2, np.sin, 1), "cos": (ANY * 1e2, np.cos, 1),
    "tan": (ANY, np.tan, 3), "atan": (np.append(ANY, ENDS), np.arctan, 2), "asin": (UNIT, np.arcsin, 3),
    "acos": (UNIT, np.arccos, 3), "asinh": (ANY, np.arcsinh, 4), "atanh": (UNIT[1:-2], np.arctanh, 4),
    "acosh": (POSITIVE[POSITIVE >= 1], np.arccosh, 4), "erf": (np.append(ANY, ENDS), ERF, 2),
    "exp2": (ANY, np.exp2, 2), "log2": (POSITIVE, np.log2, 3), "log10": (POSITIVE, np.log10, 3),
    "sqrt": (POSITIVE, np.sqrt, 0.5), "rsqrt": (POSITIVE, lambda x: 1 / np.sqrt(x), 1.5),
}  # fmt: skip


@pytest.fixture(autouse=True)
def native() -> None:
    if vulkan.device() is None:
        pytest.skip("no Vulkan device")


def errors(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """In ulp of the double; 0 where both are NaN or the same infinity."""
    rounded = want.astype("float64")
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    with np.errstate(all="ignore"):
        return np.where(same & ~np.isfinite(rounded), 0, np.abs(got - want) / np.spacing(np.abs(rounded)))


def computed(build, *arrays: np.ndarray) -> np.ndarray:
    size = -(-len(arrays[0]) // 64) * 64
    given = [np.resize(x, size) for x in arrays]
    inputs = [gpu.tensor((size,), "float64", f"x{i}") for i in range(len(given))]
    out = te.compute(inputs[0].shape, lambda i: build(*(x[i] for x in inputs)), name="out")
    (name, func), = gpu.device_functions(gpu.schedule([*inputs, out])).items()
    kernel = gpu.checked(func, name)
    data = {f"x{i}": x for i, x in enumerate(given)} | {"out": np.zeros(size)}
    buffers = {(0, i): data[binding.name.split("_")[0]].tobytes() for i, binding in enumerate(kernel.bindings)}
    kinds = {(0, i): "read-only-storage" if b.access == "read" else "storage" for i, b in enumerate(kernel.bindings)}
    groups = gpu.grid_of(func, kernel, {})
    push = struct.pack("<I", groups[0]) if kernel.scalars else b""
    result = vulkan.run(kernel.spirv, kernel.name, buffers, kinds, groups, push=push)
    at = next(i for i, binding in enumerate(kernel.bindings) if binding.access == "read_write")
    return np.frombuffer(result[0, at])[: len(arrays[0])]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_error(name: str) -> None:
    x, reference, bound = FUNCTIONS[name]
    got = computed(lambda v: tirx.call_pure_extern("float64", name, v), x)
    with np.errstate(all="ignore"):
        error = errors(got, reference(x.astype(LONG)))
    worst = int(np.argmax(np.nan_to_num(error, nan=np.inf)))
    assert error[worst] <= bound, f"{error[worst]} ulp at {x[worst]!r}: {got[worst]!r}"


def test_power() -> None:
    edges = np.array([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 3.0, -3.0, np.inf, -np.inf, np.nan, 1e300, 1e-300])
    dice = np.random.default_rng(0)
    x, y = (a.ravel() for a in np.meshgrid(edges, edges))
    x = np.concatenate([x, dice.uniform(0, 10, 400), np.exp(dice.uniform(-200, 200, 100))])
    y = np.concatenate([y, dice.uniform(-30, 30, 400), dice.uniform(-3, 3, 100)])
    got = computed(tirx.pow, x, y)
    with np.errstate(all="ignore"):
        want = np.power(x.astype(LONG), y.astype(LONG))
        allowed = 1 + np.nan_to_num(np.abs(np.log(np.abs(want))), posinf=0) / 64
        error = errors(got, want)
    worst = int(np.argmax(np.nan_to_num(error - allowed, nan=np.inf)))
    assert error[worst] <= allowed[worst], f"{error[worst]} ulp at {x[worst]!r} ** {y[worst]!r}: {got[worst]!r}"
