"""Cases to outcomes: many operators are compiled into one package, one entry function each, run and compared."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tvm_webgpu
from tvm import relax
from tvm_webgpu.package import Package

from tests.support.results import Result

from .spec import ROUNDING, Case
from .values import make

# Entries of a package: one that can't be compiled takes the others of its package with it, and they are tried again.
TOGETHER = 24
# Below the least normal number WGSL may flush to zero.
LEAST = {"float32": 2.0**-126, "float16": 2.0**-14, "bfloat16": 2.0**-126, "float64": 2.0**-1022}


@dataclass(frozen=True)
class Outcome:
    """What came of a case: a status (pass, refused, compile, run or wrong), and why it is not "pass"."""

    case: Case
    result: Result

    @property
    def problem(self) -> str:
        """Empty where the case is right."""
        return "" if self.result.passed else f"{self.result.status}: {self.result.reason}"


def entry(builder: relax.BlockBuilder, case: Case, name: str) -> None:
    """Adds a function that computes the case."""
    variables = [
        relax.Var(f"x{i}", relax.TensorType(given.shape, dtype))
        for i, (given, dtype) in enumerate(zip(case.row.inputs, case.dtypes()))
    ]
    with builder.function(name, variables):
        with builder.dataflow():
            result = builder.emit(case.row.build(*variables))
            output = builder.emit_output(result)
        builder.emit_func_output(output)


def compile_cases(cases: Sequence[Case], target: object = "webgpu") -> Package:
    """One package with an entry `case_N` for each case."""
    builder = relax.BlockBuilder()
    for index, case in enumerate(cases):
        entry(builder, case, f"case_{index}")
    return tvm_webgpu.compile(builder.finalize(), target, name="operators")


def inputs_of(case: Case, seed: int = 0) -> list[np.ndarray]:
    """The arrays that a case is run on."""
    return [make(given, case.dtype, seed) for given in case.row.inputs]


def expected(case: Case, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What NumPy says, floats in double precision."""
    exact = [x.astype("float64") if "float" in str(x.dtype) else x for x in inputs]
    with np.errstate(all="ignore"):
        results = case.row.reference(*exact)
    return [np.asarray(r) for r in (results if isinstance(results, tuple | list) else [results])]


def difference(case: Case, got: np.ndarray, want: np.ndarray) -> str:
    """How the result differs from the reference by more than is allowed, or ""."""
    if got.shape != want.shape:
        return f"shape {got.shape}, expected {want.shape}"
    name = str(got.dtype)
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
    if name not in ROUNDING:
        wrong = got != rounded
    else:
        rounding = ROUNDING[name] if case.dtype not in ROUNDING else max(ROUNDING[name], ROUNDING[case.dtype])
        a, b = got.astype("float64"), rounded.astype("float64")
        exact = np.where(np.isfinite(b), want.astype("float64"), 0)
        size = np.max(np.abs(exact), initial=0) if case.row.scaled else np.abs(exact)
        close = np.abs(a - np.where(np.isfinite(b), exact, b)) <= case.row.rounding * rounding * size + LEAST[name]
        wrong = ~(close | (a == b) | (np.isnan(a) & np.isnan(b)))
    if not wrong.any():
        return ""
    at = tuple(int(i[0]) for i in np.nonzero(wrong)) if wrong.ndim else ()
    return f"{int(wrong.sum())} of {wrong.size} wrong, at {at} {got[at]}, expected {rounded[at]}"


Arrays = Sequence[np.ndarray]
Runner = Callable[[Package, Sequence[Arrays]], Sequence[list[np.ndarray] | Exception]]
"""Runs entry `case_N` of a package on the N-th inputs."""


def in_python(package: Package, inputs: Sequence[Arrays]) -> list[list[np.ndarray] | Exception]:
    """In wasmtime and wgpu."""
    results: list[list[np.ndarray] | Exception] = []
    with tvm_webgpu.load(package) as executor:
        for index, arrays in enumerate(inputs):
            try:
                named = {f"x{i}": x for i, x in enumerate(arrays)}
                results.append(list(executor.run(named, entry=f"case_{index}").values()))  # type: ignore[arg-type]
            except Exception as error:
                results.append(error)
    return results


def in_node(package: Package, inputs: Sequence[Arrays]) -> list[list[np.ndarray]]:
    """In Node and Dawn; an error of one run is the error of all."""
    from tests.e2e.executors import Run, node

    runs = [Run({f"x{i}": x for i, x in enumerate(arrays)}, f"case_{index}") for index, arrays in enumerate(inputs)]
    with tempfile.TemporaryDirectory(prefix="tvm-webgpu-operators-") as folder:
        package.save(Path(folder, "package"))
        return [list(each.values()) for each in node(Path(folder, "package"), runs)]


RUNNERS: dict[str, Runner] = {"wgpu": in_python, "node": in_node}


def check(case: Case, results: list[np.ndarray] | Exception, inputs: Arrays) -> Outcome:
    """Compares a case's results with the reference's."""
    if isinstance(results, Exception):
        return Outcome(case, Result("run", described(results)))
    wants = expected(case, inputs)
    if len(results) != len(wants):
        return Outcome(case, Result("wrong", f"{len(results)} results, expected {len(wants)}"))
    problems = [difference(case, np.asarray(got), want) for got, want in zip(results, wants)]
    problem = "; ".join(p for p in problems if p)
    return Outcome(case, Result("wrong" if problem else "pass", problem))


def described(error: Exception) -> str:
    """The line of an error that says what it is: TVM's come with a trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:500]


def run_cases(
    cases: Sequence[Case], target: object = "webgpu", runner: Runner = in_python, seed: int = 0
) -> list[Outcome]:
    """Compiles, runs and compares; a case that can't be compiled or run does not spoil the others."""
    outcomes: list[Outcome] = []
    for start in range(0, len(cases), TOGETHER):
        outcomes += _run(cases[start : start + TOGETHER], target, runner, seed)
    return outcomes


def _run(cases: Sequence[Case], target: object, runner: Runner, seed: int) -> Iterator[Outcome]:
    stage, given = "compile", [inputs_of(case, seed) for case in cases]
    try:
        package = compile_cases(cases, target)
        stage = "run"
        results = runner(package, given)
    except Exception as error:
        if len(cases) > 1:
            middle = len(cases) // 2
            yield from _run(cases[:middle], target, runner, seed)
            yield from _run(cases[middle:], target, runner, seed)
        else:
            refused = isinstance(error, tvm_webgpu.UnsupportedError | tvm_webgpu.InputError)
            yield Outcome(cases[0], Result("refused" if refused else stage, described(error)))
    else:
        yield from map(check, cases, results, given)
