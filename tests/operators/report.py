"""Results in, docs/dtypes.md out: how many cases of each operator are right for each dtype, and what fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.support.results import Result

from .spec import STORED, Case

PAGE = Path("docs", "dtypes.md")
ROOT = Path(__file__).parents[2]

HEAD = """# Operators and dtypes

Written by `python -m tests.operators`; the table behind it is `tests/operators`. Every operator is compiled by the
pipeline from Relax, run by wasmtime and wgpu, and compared with NumPy: integers and booleans exactly, floats within the
rounding that the table states for each. A cell says how many of the operator's cases (shapes, axes, values) are right;
"-" is a dtype that the operator does not have, that TVM itself refuses for it, or that was not run.
Of {total} cases {count} were run{device}, {right} of these are right.

Integers wrap; the least integer by -1 gives itself; shifts by the width or more leave only the sign. A float beyond a
32-bit integer's range becomes the last float within it, beyond a 64-bit integer's range its end, and NaN becomes 0;
smaller integers keep the low bits of the 32-bit one. Minima and maxima keep a NaN; sorting puts it last, arg-reductions
find it first. Equal elements keep their order when sorted, and the first is the extreme. Of several updates to one
place the last stays. Numbers below the least normal one may be taken for 0, as WGSL allows.

Floats of 8 and 16 bits are computed as float32 where the device lacks them (float16 needs `feature.f16`): a cast to
them rounds, also inside a kernel, other results when they are stored. A quotient from which an integer is made is the
nearest float32, which WGSL's division does not promise. The maximum of nothing is -infinity, its minimum infinity.
"""


def write(cases: Mapping[str, Case], results: Mapping[str, Result], device: str = "") -> None:
    """Writes the page; `device` says where the results come from."""
    known = {name: results[name] for name in cases if name in results}
    right = sum(result.passed for result in known.values())
    where = f" on {device}" if device else ""
    head = HEAD.format(total=len(cases), count=len(known), right=right, device=where)
    (ROOT / PAGE).write_text(head + table(cases, known))


def table(cases: Mapping[str, Case], results: Mapping[str, Result]) -> str:
    """Markdown: a line for each operator, a column for each dtype, and a line for each failure."""
    right, run = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for name, result in results.items():
        key = cases[name].row.name, cases[name].dtype
        run[key] += 1
        right[key] += result.passed
    columns = [d for d in STORED if any(d == dtype for _, dtype in run)]
    lines: list[str] = []
    group = ""
    for operator, of_group in {case.row.name: case.row.group for case in cases.values()}.items():
        counts = [(right[operator, d], run[operator, d]) for d in columns]
        if not any(n for _, n in counts):
            continue
        if of_group != group:
            group = of_group
            head = f"| operator | {' | '.join(columns)} |"
            lines += ["", f"## {group.capitalize()}", "", head, "|---" * (len(columns) + 1) + "|"]
        cells = ["-" if not n else f"{n}" if n == ok else f"**{ok} of {n}**" for ok, n in counts]
        lines.append(f"| {operator} | {' | '.join(cells)} |")
    wrong = [
        f"- {name}: {result.status} {result.reason.replace('|', '/')}"
        for name, result in results.items()
        if not result.passed
    ]
    return "\n".join(lines) + ("\n\n## What fails\n\n" + "\n".join(wrong) if wrong else "") + "\n"
