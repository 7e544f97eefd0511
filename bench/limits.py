"""How far each kernel is from the GPU's limit: a table a model, the ten launches that lose most time first.

node bench/limits.mjs OUT.jsonl RUNTIME.mjs PACKAGE... && python -m bench.limits OUT.jsonl

A launch can't be faster than its arithmetic at the measured peak of multiply-adds, nor than its bytes at the measured
bandwidth; whichever is longer binds. Bytes count each buffer once: what stays in a cache can beat the bandwidth.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from absl import app

WORST = 10


@dataclass(frozen=True)
class Launch:
    """One launch: its time, the least time that the peaks allow, and which of them binds; milliseconds."""

    kernel: str
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


def launches(profile: dict, peaks: dict[str, float]) -> list[Launch]:
    return [
        Launch(
            row["kernel"],
            row["ms"],
            (row.get("flops") or 0) / peaks["flops"] * 1e3,
            (row.get("bytes") or 0) / peaks["bytes"] * 1e3,
        )
        for row in profile["launches"]
    ]


def lines(profile: dict, peaks: dict[str, float]) -> Iterator[str]:
    """A model's section in Markdown."""
    rows = launches(profile, peaks)
    total, bound = sum(row.ms for row in rows), sum(row.bound for row in rows)
    yield f"**{profile['model']}**: {len(rows)} launches, {total:.3f} ms, bound {bound:.3f} ms ({bound / total:.0%})"
    yield ""
    yield "| kernel | us | bound us | binds | share | of the loss |"
    yield "|---|---|---|---|---|---|"
    loss = sum(row.lost for row in rows)
    for row in sorted(rows, key=lambda row: -row.lost)[:WORST]:
        yield (
            f"| {row.kernel} | {row.ms * 1e3:.1f} | {row.bound * 1e3:.1f} | {row.binds} | "
            f"{row.bound / row.ms:.0%} | {row.lost / loss:.0%} |"
        )
    yield ""


def main(argv: list[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("name the file that limits.mjs wrote")
    first, *profiles = [json.loads(line) for line in Path(argv[1]).read_text().splitlines()]
    peaks = first["peaks"]
    print(f"{first['adapter']}: {peaks['flops'] / 1e12:.1f} TFLOP/s, {peaks['bytes'] / 1e9:.0f} GB/s\n")
    for profile in profiles:
        print("\n".join(lines(profile, peaks)))


if __name__ == "__main__":
    app.run(main)
