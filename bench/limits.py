"""How far each kernel is from the GPU's limit: a table of models, and one of the kernels that lose most time.

node bench/limits.mjs OUT.jsonl RUNTIME.mjs PACKAGE... && python -m bench.limits OUT.jsonl

A launch can't be faster than its arithmetic at the measured peak of multiply-adds, nor than its bytes at the measured
bandwidth; whichever is longer binds. Bytes count each buffer once: what stays in a cache can beat the bandwidth.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from absl import app

WORST = 10


@dataclass(frozen=True)
class Kernel:
    """All launches of a kernel with one grid: how many, their time, the least that the peaks allow; milliseconds."""

    model: str
    name: str
    workgroups: int
    count: int
    ms: float
    arithmetic: float
    traffic: float

    @property
    def bound(self) -> float:
        return max(self.arithmetic, self.traffic)

    @property
    def lost(self) -> float:
        return self.ms - self.bound

    @property
    def binds(self) -> str:
        return "arithmetic" if self.arithmetic >= self.traffic else "bandwidth"


def kernels(profile: dict, peaks: dict[str, float]) -> list[Kernel]:
    """A model's kernels; layers which share a kernel are apart where their grids or their work differ."""
    groups: dict[tuple, list[dict]] = defaultdict(list)
    for row in profile["launches"]:
        groups[row["kernel"], *row["grid"], row.get("flops"), row.get("bytes")].append(row)
    return [
        Kernel(
            profile["model"],
            rows[0]["kernel"],
            math.prod(rows[0]["grid"]),
            len(rows),
            sum(row["ms"] for row in rows),
            sum(row.get("flops") or 0 for row in rows) / peaks["flops"] * 1e3,
            sum(row.get("bytes") or 0 for row in rows) / peaks["bytes"] * 1e3,
        )
        for rows in groups.values()
    ]


def lines(models: dict[str, list[Kernel]]) -> Iterator[str]:
    """Both tables in Markdown."""
    yield "| model | launches | kernels us | bound us | share |"
    yield "|---|---|---|---|---|"
    for model, rows in models.items():
        total, bound = sum(row.ms for row in rows), sum(row.bound for row in rows)
        launches = sum(row.count for row in rows)
        yield f"| {model} | {launches} | {total * 1e3:.0f} | {bound * 1e3:.0f} | {bound / total:.0%} |"
    yield ""
    yield "| model | kernel | launches | us each | bound us | binds | share | workgroups |"
    yield "|---|---|---|---|---|---|---|---|"
    every = sorted((row for rows in models.values() for row in rows), key=lambda row: -row.lost)
    for row in every[:WORST]:
        each, bound = (1e3 * value / row.count for value in (row.ms, row.bound))
        yield (
            f"| {row.model} | {row.name} | {row.count} | {each:.1f} | {bound:.1f} | {row.binds} | "
            f"{bound / each:.0%} | {row.workgroups} |"
        )


def main(argv: list[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("name the file that limits.mjs wrote")
    first, *profiles = [json.loads(line) for line in Path(argv[1]).read_text().splitlines()]
    peaks = first["peaks"]
    print(f"{first['adapter']}: {peaks['flops'] / 1e12:.1f} TFLOP/s, {peaks['bytes'] / 1e9:.0f} GB/s\n")
    print("\n".join(lines({profile["model"]: kernels(profile, peaks) for profile in profiles})))


if __name__ == "__main__":
    app.run(main)
