"""The table of operators: every row of every group, as data."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from . import elementwise, layout, making, networks, reductions, selection, vision
from .spec import Case, Row

LARGE = "more than 65,535 workgroups"

GROUPS: dict[str, tuple[Row, ...]] = {
    "elementwise": elementwise.ROWS,
    "casts": elementwise.CASTS,
    "reductions, scans, sorting": reductions.ROWS,
    "indexing and selection": selection.ROWS,
    "layout": layout.ROWS,
    "networks": networks.ROWS,
    "images": vision.ROWS,
    "creation": making.CREATION,
    "finding and slicing by values": making.FINDING,
    "functions of TIR": making.BITS,
    "losses, gradients, quantisation": making.TRAINING,
    "sizes of 0": making.SIZES,
    LARGE: making.LARGE_SIZES,
}


def rows() -> list[Row]:
    """All rows, each with the name of its group."""
    return [replace(row, group=group) for group, members in GROUPS.items() for row in members]


def cases() -> list[Case]:
    """Every row for each of its dtypes."""
    return [Case(row, dtype) for row in rows() for dtype in row.dtypes]


def named_cases() -> dict[str, Case]:
    """The cases by a name of their own: those that read alike are numbered."""
    seen: Counter[str] = Counter()
    named = {}
    for case in cases():
        text = str(case)
        seen[text] += 1
        named[text if seen[text] == 1 else f"{text} #{seen[text]}"] = case
    return named


def sample(dtype: str = "") -> list[Case]:
    """One case of each operator: rows and dtypes take turns, or it is the dtype given where the operator has that.

    Without the large ones, which take long on software, and float64, whose arithmetic takes long to compile there.
    """
    by_name: dict[str, list[Row]] = {}
    for row in (row for row in rows() if row.group != LARGE):
        by_name.setdefault(row.name, []).append(row)
    picked = []
    for turn, same in enumerate(by_name.values()):
        row = same[turn % len(same)]
        usual = [each for each in row.dtypes if each != "float64"]
        picked.append(Case(row, dtype if dtype in row.dtypes else usual[turn % len(usual)]))
    return picked
