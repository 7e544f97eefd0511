"""`python -m tests.onnx [--backend=llvm,wgpu] [--filter=REGEX]`: runs cases, keeps the results, and sums them up."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tests.support import pool
from tests.support.results import Result, Results

from . import report
from .backends import BACKENDS
from .cases import collect_once
from .judge import Worker

FOLDER = Path(tempfile.gettempdir(), "tvm-webgpu-onnx")


def sweep(names: list[str], backend: str, results: Results, options: argparse.Namespace) -> None:
    """Runs the cases in worker processes and shows each that fails."""
    answers = pool.run(names, partial(Worker, options.folder, backend), options.jobs, options.limit)
    for done, (name, answer) in enumerate(answers, 1):
        result = answer if isinstance(answer, Result) else Result(answer.how)  # type: ignore[attr-defined]
        results.add(backend, name, result)
        if not result.passed or options.verbose:
            print(f"{done}/{len(names)} {backend} {name}: {result.status} {result.reason[:160]}", flush=True)


def breadth_first(ops: Mapping[str, str]) -> list[str]:
    """The cases ordered so that every operator has its first before any has its second."""
    turns: Counter[str] = Counter()
    keys = {}
    for position, (name, op) in enumerate(ops.items()):
        keys[name] = turns[op], position
        turns[op] += 1
    return sorted(ops, key=keys.__getitem__)


def main(argv: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.onnx", description=__doc__)
    parser.add_argument("--backend", default="llvm,wgpu", help=f"some of {', '.join(BACKENDS)}, in this order")
    parser.add_argument("--filter", default="", help="a regular expression that the case's name holds")
    parser.add_argument("--again", default="new", choices=("new", "failed", "all"), help="which cases to run")
    parser.add_argument("--every", action="store_true", help="also cases that llvm does not pass")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")
    parser.add_argument("--limit", type=float, default=120, help="seconds for one case")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where cases and results are kept")
    parser.add_argument("--report", action="store_true", help="only write docs/operators.md from what is known")
    parser.add_argument("--device", default="Mesa's lavapipe", help="in the report: the GPU of wgpu and of backend gpu")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args(argv)
    os.nice(10)
    results = Results(options.folder / "results.jsonl")
    cases = collect_once(options.folder)
    if options.report:
        report.write(cases, results, options.device)
        return 0
    order = breadth_first({name: case.op for name, case in cases.items() if re.search(options.filter, name)})
    for backend in options.backend.split(","):
        names = list(order)
        if backend != "llvm" and not options.every:
            names = [name for name in names if name in set(results.passed("llvm"))]
        had = results.of(backend)
        chosen = {
            "new": [name for name in names if name not in had],
            "failed": [name for name in names if name not in had or not had[name].passed],
            "all": names,
        }[options.again]
        sweep(chosen, backend, results, options)
        counts = Counter(results.of(backend)[name].status for name in names)
        print(
            f"{backend}: {len(names)} cases, "
            + ", ".join(f"{count} {status}" for status, count in counts.most_common())
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
