"""Runs the table of operators and writes what came of it:

    python -m tests.operators [--step N] [--output docs/dtypes.md]

The whole takes about half an hour on two quiet cores; `--step N` runs every N-th case.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .runner import TOGETHER, Outcome, run_cases
from .spec import STORED, Row
from .table import cases, rows

HEAD = """# Operators and dtypes

Written by `python -m tests.operators`; the table behind it is `tests/operators`. Every operator is compiled by the
pipeline from Relax, run by wasmtime and wgpu, and compared with NumPy: integers and booleans exactly, floats within the
rounding that the table states for each. A cell says how many of the operator's cases (shapes, axes, values) are right;
"-" is a dtype that the operator does not have, or that TVM itself refuses for it. {count} of {total} cases were run.

Integers wrap; the least integer by -1 gives itself; shifts by the width or more leave only the sign. A float beyond a
32-bit integer's range becomes the last float within it, beyond a 64-bit integer's range its end, and NaN becomes 0;
smaller integers keep the low bits of the 32-bit one. Minima and maxima keep a NaN; sorting puts it last, arg-reductions
find it first. Equal elements keep their order when sorted, and the first is the extreme. Of several updates to one
place the last stays. Numbers below the least normal one may be taken for 0, as WGSL allows.
"""


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown: a line for each operator, a column for each dtype."""
    right, run = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for outcome in outcomes:
        key = outcome.case.row.name, outcome.case.dtype
        run[key] += 1
        right[key] += not outcome.problem
    columns = [d for d in STORED if any(d == dtype for _, dtype in run)]
    lines: list[str] = []
    group = ""
    for row in _once(rows()):
        counts = [(right[row.name, d], run[row.name, d]) for d in columns]
        if not any(n for _, n in counts):
            continue
        if row.group != group:
            group = row.group
            head = f"| operator | {' | '.join(columns)} |"
            lines += ["", f"## {group.capitalize()}", "", head, "|---" * (len(columns) + 1) + "|"]
        cells = ["-" if not n else f"{n}" if n == ok else f"**{ok} of {n}**" for ok, n in counts]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    wrong = [f"- {o.case}: {o.problem.replace('|', '/')}" for o in outcomes if o.problem]
    return "\n".join(lines) + ("\n\n## What fails\n\n" + "\n".join(wrong) if wrong else "") + "\n"


def _once(all_rows: Sequence[Row]) -> list[Row]:
    return list({row.name: row for row in reversed(all_rows)}.values())[::-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    chosen = cases()[:: options.step]
    outcomes: list[Outcome] = []
    for start in range(0, len(chosen), TOGETHER):
        outcomes += run_cases(chosen[start : start + TOGETHER])
        print(f"{len(outcomes)} of {len(chosen)}", file=sys.stderr, flush=True)
    text = HEAD.format(count=len(chosen), total=len(cases())) + table(outcomes)
    if options.output:
        options.output.write_text(text)
    else:
        print(text)
    return int(any(outcome.problem for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
