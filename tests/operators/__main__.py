"""`python -m tests.operators --jobs 16 --folder DIR`: runs the table of operators, keeps the results, sums them up.

Cases run in worker processes, many to a package; those of a worker that crashed or hung are tried again one by one. A
second call with the same folder runs what the first left. `--report` writes docs/dtypes.md from what is in the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.results import Result, Results

from . import report
from .runner import RUNNERS
from .spec import Case
from .sweep import sweep
from .table import named_cases

FOLDER = Path(tempfile.gettempdir(), "tvm-webgpu-operators")


def summary(cases: Mapping[str, Case], results: Mapping[str, Result]) -> str:
    """The number of cases by status, and a line for every operator and dtype that has failures."""
    known = {name: results[name] for name in cases if name in results}
    counts = Counter(result.status for result in known.values())
    lines = [f"{len(known)} of {len(cases)} cases: " + ", ".join(f"{n} {status}" for status, n in counts.most_common())]
    failed: dict[tuple[str, str], Counter[str]] = {}
    for name, result in known.items():
        if not result.passed:
            key = cases[name].row.name, cases[name].dtype
            failed.setdefault(key, Counter())[result.status] += 1
    for (operator, dtype), statuses in sorted(failed.items()):
        lines.append(f"  {operator} {dtype}: " + ", ".join(f"{n} {status}" for status, n in statuses.items()))
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """The command; 1 where a case that was asked for is not right."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.operators", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", default="wgpu", choices=list(RUNNERS), help="on what VK_DRIVER_FILES names")
    parser.add_argument("--target", type=json.loads, default='{"kind": "webgpu"}', help="JSON")
    parser.add_argument("--filter", default="", help="a regular expression that the case's name holds")
    parser.add_argument("--step", type=int, default=1, help="every so many cases,")
    parser.add_argument("--offset", type=int, default=0, help="from this one on")
    parser.add_argument("--again", default="new", choices=("new", "failed", "all"), help="which cases to run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="worker processes")
    parser.add_argument("--limit", type=float, default=60, help="seconds for one case")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the results are kept")
    parser.add_argument("--report", action="store_true", help=f"only write {report.PAGE} from what is known")
    parser.add_argument("--device", default="", help="for the report: what the results come from")
    options = parser.parse_args(argv)
    results, cases = Results(options.folder / "results.jsonl"), named_cases()
    if options.report:
        report.write(cases, results.of(options.backend), options.device)
        return 0
    names = list(cases)
    chosen = [i for i in range(options.offset, len(names), options.step) if re.search(options.filter, names[i])]
    had = results.of(options.backend)
    todo = {
        "new": [i for i in chosen if names[i] not in had],
        "failed": [i for i in chosen if names[i] not in had or not had[names[i]].passed],
        "all": chosen,
    }[options.again]
    for done, (number, result) in enumerate(
        sweep(todo, options.backend, options.target, options.jobs, options.limit), 1
    ):
        results.add(options.backend, names[number], result)
        if not result.passed or not done % 100:
            print(f"{done}/{len(todo)} {names[number]}: {result.status} {result.reason[:160]}", flush=True)
    found = {names[i]: cases[names[i]] for i in chosen}
    print(summary(found, results.of(options.backend)))
    return int(not all(result.passed for name, result in results.of(options.backend).items() if name in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
