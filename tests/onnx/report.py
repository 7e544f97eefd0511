"""Results in, docs/operators.md out: for every operator how many cases each target passes, and why the others fail."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import onnx

from tests.support.results import Result, Results

from .cases import Case

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"

REASONS: tuple[tuple[str, str], ...] = (
    (
        r"is not a tensor|_EmptyOptional|names \d+ outputs, but gives|kind is not a constructor|instead of a sequence",
        "sequences and optional values",
    ),
    (r"dtype `?object|unknown dtype|dtype object", "strings"),
    (r"training mode|RandomUniform|Bernoulli", "random, or training"),
    (r"known number of steps", "a loop whose number of steps is not known"),
    (r"float8_e\dm\dfnuz|float4\w*", "floats that packages lack (float8 of the kinds fnuz, float4)"),
    (r"MaxPool", "the places of the largest in windows"),
    (r"tensor_ty|number of axes in perm|not iterable|Unsqueeze", "a rank that is not known"),
    (r"operators that can't be imported: (.+)", r"no importer for \1"),
    (r"can't be imported: .*(?:must be a|[Oo]nly) const", "wants an input as a constant"),
    (r"can't be imported: .*(?:[Cc]onstant|Dynamic|Var)", "wants an input as a constant"),
    (r"can't be imported: (.{0,80})", r"importer: \1"),
    (r"SpirvToolsError", "invalid SPIR-V"),
    (r"Actual|Mismatched elements|Arrays are not equal|dtypes? |outputs instead", "other results than ONNX's"),
)
"""Patterns of what the compiler said, and what the page says instead; the first that is found."""

BACKENDS = (
    ("wgpu", "wasmtime + wgpu, {device}"),
    ("node", "Node + Dawn, SwiftShader"),
    ("software", "the variant for software GPUs, the same"),
    ("gpu", "Node + Dawn, {device}"),
    ("chromium", "Chromium, SwiftShader"),
)

HEADER = """# ONNX operators

Made by `python -m tests.onnx --report`: the {cases} node tests of ONNX {version}, each compared at ONNX's tolerances.
*llvm* is TVM {tvm} alone on the CPU; *wgpu* is the package run by wasmtime and wgpu, *Dawn* the same package run by the
TypeScript runtime in Node on SwiftShader, Chromium's software GPU.

| | cases that ran | pass | of the {passed} that TVM's llvm target passes | of the others |
|---|---|---|---|---|
{summary}

{missing}

A case passes *with fixed inputs* where an input such as `axes`, `k` or `sizes` had to be given when the model was
compiled (`compile(model, params={{"axes": ...}})`), since it decides ranks or kernels. In models of users they are
nearly always constants already. Cases named `_expanded` test an operator by the function that ONNX defines it to be.

Before TVM's importer sees a model, these operators become others where it lacks them or has them wrong: {defined}.
Conversions of our own replace its: {converted}. Loops of a known number of steps are unrolled, branches on known
conditions inlined, functions that ONNX defines are expanded, and constants folded. Whole numbers of 2 and 4 bits are
held one to a byte: as inputs and outputs of a package they are int8 and uint8. Of ONNX Runtime's own domain
com.microsoft these are there besides what TVM's importer takes: {contrib}.

## What neither wgpu nor Dawn runs, by reason

| reason | cases | operators |
|---|---|---|
{reasons}

## Operators

| operator | cases | llvm | wgpu | Dawn | with fixed inputs | why not |
|---|---|---|---|---|---|---|
"""


def write(cases: Mapping[str, Case], results: Results, device: str, page: Path = PAGE) -> None:
    """Writes the page; `device` is the GPU of the backends wgpu and gpu."""
    by_op: dict[str, list[str]] = defaultdict(list)
    for name, case in cases.items():
        by_op[case.op].append(name)
    rows = [_row(op, names, results) for op, names in sorted(by_op.items(), key=lambda item: item[0].lower())]
    page.write_text(_header(cases, results, device) + "\n".join(rows) + "\n")


def _passed(names: Iterable[str], results: Mapping[str, Result]) -> list[str]:
    return [name for name in names if name in results and results[name].passed]


def _row(op: str, names: list[str], results: Results) -> str:
    llvm, wgpu, node = (results.of(backend) for backend in ("llvm", "wgpu", "node"))
    passed = _passed(names, wgpu)
    fixed = sum(bool(wgpu[name].reason) for name in passed)
    either = {*passed, *_passed(names, node)}
    why = Counter(_why(node.get(name, wgpu.get(name))) for name in names if name not in either)
    reasons = "; ".join(reason + (f" ({count})" if len(why) > 1 else "") for reason, count in why.most_common(4))
    counts = (len(names), len(_passed(names, llvm)), len(passed), len(_passed(names, node)), fixed or "")
    return f"| {' | '.join(map(str, (op, *counts, reasons.replace('|', '/'))))} |"


def _why(result: Result | None) -> str:
    if result is None:
        return "not run"
    if result.status in ("timeout", "crash"):
        # What crashes is TVM's importer, at sequences.
        return {"timeout": "takes too long", "crash": "sequences and optional values"}[result.status]
    for pattern, text in REASONS:
        if match := re.search(pattern, result.reason):
            return match.expand(text)
    return "other results than ONNX's" if result.status == "wrong" else f"{result.status}: {result.reason[:80]}"


def _summary(results: Results, device: str) -> Iterator[str]:
    llvm = set(results.passed("llvm"))
    yield f"| TVM llvm | {len(results.of('llvm'))} | {len(llvm)} | {len(llvm)} | |"
    for backend, title in BACKENDS:
        if ran := results.of(backend):
            passed = set(results.passed(backend))
            both = len(llvm & set(ran))
            fixed = sum(bool(ran[name].reason) for name in passed - llvm)
            counts = (len(ran), len(passed), f"{len(passed & llvm)} of {both}")
            others = f"{len(passed - llvm)} of {len(ran) - both}, {fixed} with fixed inputs"
            yield f"| {title.format(device=device)} | {' | '.join(map(str, (*counts, others)))} |"


def _missing(results: Results) -> Iterator[str]:
    """What llvm passes and a backend does not."""
    llvm = set(results.passed("llvm"))
    for backend, title in BACKENDS:
        ran = results.of(backend)
        causes: dict[str, list[str]] = defaultdict(list)
        for name in sorted(llvm & set(ran) - set(results.passed(backend))):
            causes[_why(ran[name])].append(name.removeprefix("test_"))
        for cause, names in sorted(causes.items()):
            yield f"- {title.partition(',')[0]}: {cause} ({len(names)}): {', '.join(names)}"


def _reasons(cases: Mapping[str, Case], results: Results) -> Iterator[str]:
    """Of the cases that neither wgpu nor Dawn passes."""
    wgpu, node = results.of("wgpu"), results.of("node")
    passed = set(results.passed("wgpu")) | set(results.passed("node"))
    ops: dict[str, Counter[str]] = defaultdict(Counter)
    for name, case in cases.items():
        if name not in passed:
            ops[_why(node.get(name, wgpu.get(name)))][case.op] += 1
    for reason, counts in sorted(ops.items(), key=lambda item: -item[1].total()):
        listed = ", ".join(f"{op} ({count})" if count > 1 else op for op, count in sorted(counts.items()))
        yield f"| {reason.replace('|', '/')} | {counts.total()} | {listed} |"


def _header(cases: Mapping[str, Case], results: Results, device: str) -> str:
    import tvm
    from tvm_webgpu.pipeline.frontends.onnx_contrib import CONTRIB
    from tvm_webgpu.pipeline.frontends.onnx_convert import CONVERTERS
    from tvm_webgpu.pipeline.frontends.onnx_define import DEFINED

    listed = list(_missing(results))
    missing = "What llvm passes and others do not:\n\n" + "\n".join(listed)
    return HEADER.format(
        cases=len(cases),
        version=onnx.__version__,
        tvm=tvm.__version__,
        passed=len(list(results.passed("llvm"))),
        summary="\n".join(_summary(results, device)),
        missing=missing if listed else "Whatever llvm passes, webgpu passes.",
        defined=", ".join(sorted(DEFINED)),
        converted=", ".join(sorted(CONVERTERS)),
        contrib=", ".join(sorted(CONTRIB)),
        reasons="\n".join(_reasons(cases, results)),
    )
