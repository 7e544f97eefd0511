"""The table of operators: every row of every group, as data."""

from __future__ import annotations

from dataclasses import replace

from . import elementwise, layout, networks, reductions, selection
from .spec import Case, Row

GROUPS: dict[str, tuple[Row, ...]] = {
    "elementwise": elementwise.ROWS,
    "casts": elementwise.CASTS,
    "reductions, scans, sorting": reductions.ROWS,
    "indexing and selection": selection.ROWS,
    "layout": layout.ROWS,
    "networks": networks.ROWS,
}


def rows() -> list[Row]:
    """All rows, each with the name of its group."""
    return [replace(row, group=group) for group, members in GROUPS.items() for row in members]


def cases() -> list[Case]:
    """Every row for each of its dtypes."""
    return [Case(row, dtype) for row in rows() for dtype in row.dtypes]


def sample(dtype: str = "") -> list[Case]:
    """One case of each operator: rows and dtypes take turns, or it is the dtype given where the operator has that."""
    by_name: dict[str, list[Row]] = {}
    for row in rows():
        by_name.setdefault(row.name, []).append(row)
    picked = []
    for turn, same in enumerate(by_name.values()):
        row = same[turn % len(same)]
        picked.append(Case(row, dtype if dtype in row.dtypes else row.dtypes[turn % len(row.dtypes)]))
    return picked
