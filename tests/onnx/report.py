"""Results in, docs/operators.md out: for every operator how many cases each target passes, and why the others fail."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx

from tests.support.results import Result, Results

from .cases import Case

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"

REASONS: tuple[tuple[str, str], ...] = (
    (r"is not a tensor", "an input is a sequence"),
    (r"dtype `?object|unknown dtype", "strings"),
    (r"operators that can't be imported: (.+)", r"no importer for \1"),
    (r"can't be imported: .*(?:[Cc]onstant|Dynamic|Var)", "the importer wants an input as a constant"),
    (r"can't be imported: (.{0,80})", r"importer: \1"),
    (r"float64", "float64, which WGSL lacks"),
    (r"SpirvToolsError", "invalid SPIR-V"),
    (r"unknown data type '(\w+)'", r"\1, which packages lack"),
    (r"Actual|Mismatched elements|Arrays are not equal|dtypes? |outputs instead", "other results than ONNX's"),
)
"""Patterns of what the compiler said, and what the page says instead; the first that is found."""

HEADER = """# ONNX operators

Made by `python -m tests.onnx --report`: the {cases} node tests of ONNX {version}, each compared at ONNX's tolerances.
*TVM llvm* is TVM {tvm} alone on the CPU. *webgpu* is the package run by wasmtime and wgpu on Mesa's lavapipe{others}.

| | cases | pass |
|---|---|---|
{summary}

{missing}

A case passes *with fixed inputs* where an input such as `axes`, `k` or `sizes` had to be given when the model was
compiled (`compile(model, params={{"axes": ...}})`), since it decides ranks or kernels. In models of users they are
nearly always constants already. Cases named `_expanded` test an operator by the function that ONNX defines it to be.

| operator | cases | TVM llvm | webgpu | with fixed inputs | why not |
|---|---|---|---|---|---|
"""


def write(cases: Mapping[str, Case], results: Results, page: Path = PAGE) -> None:
    """Writes the page."""
    by_op: dict[str, list[str]] = defaultdict(list)
    for name, case in cases.items():
        by_op[case.op].append(name)
    llvm, webgpu = results.of("llvm"), results.of("wgpu")
    rows = [_row(op, names, llvm, webgpu) for op, names in sorted(by_op.items(), key=lambda item: item[0].lower())]
    page.write_text(_header(cases, results) + "\n".join(rows) + "\n")


def _passed(names: Iterable[str], results: Mapping[str, Result]) -> list[str]:
    return [name for name in names if name in results and results[name].passed]


def _row(op: str, names: list[str], llvm: Mapping[str, Result], webgpu: Mapping[str, Result]) -> str:
    passed = _passed(names, webgpu)
    fixed = sum(bool(webgpu[name].reason) for name in passed)
    why = Counter(_why(webgpu.get(name)) for name in names if name not in passed)
    reasons = "; ".join(reason + (f" ({count})" if len(why) > 1 else "") for reason, count in why.most_common(4))
    cells = (op, len(names), len(_passed(names, llvm)), len(passed), fixed or "", reasons.replace("|", "/"))
    return f"| {' | '.join(map(str, cells))} |"


def _why(result: Result | None) -> str:
    if result is None:
        return "not run"
    if result.status in ("timeout", "crash"):
        return {"timeout": "takes too long to compile", "crash": "crash"}[result.status]
    if result.status == "wrong":
        return "other results than ONNX's"
    for pattern, text in REASONS:
        if match := re.search(pattern, result.reason):
            return match.expand(text)
    return f"{result.status}: {result.reason[:80]}"


def _header(cases: Mapping[str, Case], results: Results) -> str:
    import tvm

    llvm = set(results.passed("llvm"))
    lines = []
    for backend, title in (
        ("llvm", "TVM llvm"),
        ("wgpu", "webgpu: wasmtime + wgpu, lavapipe"),
        ("node", "webgpu: Node + Dawn, SwiftShader"),
        ("chromium", "webgpu: Chromium, SwiftShader"),
    ):
        ran = results.of(backend)
        if not ran:
            continue
        passed = set(results.passed(backend))
        if backend == "llvm":
            lines.append(f"| {title} | {len(ran)} | {len(passed)} |")
            continue
        known = [name for name in ran if name in llvm]
        lines.append(f"| {title}: of those that llvm passes | {len(known)} | {len(passed & llvm)} |")
        if others := len(ran) - len(known):
            fixed = sum(bool(ran[name].reason) for name in passed - llvm)
            lines.append(f"| {title}: of the others | {others} | {len(passed - llvm)} ({fixed} with fixed inputs) |")
    webgpu = results.of("wgpu")
    missing = sorted(name for name in llvm if name not in webgpu or not webgpu[name].passed)
    causes: dict[str, list[str]] = defaultdict(list)
    for name in missing:
        causes[_why(webgpu.get(name))].append(name.removeprefix("test_"))
    listed = [f"- {cause} ({len(names)}): {', '.join(names)}" for cause, names in sorted(causes.items())]
    text = (
        "What llvm passes and webgpu does not:\n\n" + "\n".join(listed)
        if listed
        else "Whatever llvm passes, webgpu passes."
    )
    others = ", the same packages also by the TypeScript runtime" if results.of("node") else ""
    return HEADER.format(
        cases=len(cases),
        version=onnx.__version__,
        tvm=tvm.__version__,
        others=others,
        summary="\n".join(lines),
        missing=text,
    )
