"""A case and a backend in, how it went out."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.results import Result

from .backends import BACKENDS, Failure
from .cases import Case, collect_once
from .compare import assert_similar


def judge(case: Case, backend: str) -> Result:
    """Runs a case and compares its outputs."""
    start = time.monotonic()
    try:
        outputs = BACKENDS[backend](case)
        for actual, (_, expected) in zip(outputs.values, case.datasets):
            assert_similar(case, actual, expected)
        status, reason = "pass", ", ".join(outputs.fixed) and f"with fixed {', '.join(outputs.fixed)}"
    except Failure as failure:
        status, reason = failure.stage, failure.reason
    except AssertionError as error:
        status, reason = "wrong", " ".join(str(error).split())[:300]
    return Result(status, reason, round(time.monotonic() - start, 2))


class Worker:
    """Judges cases by name: what a worker process of the pool starts with."""

    def __init__(self, folder: Path, backend: str):
        self.cases, self.backend = collect_once(folder), backend

    def __call__(self, name: str) -> Result:
        return judge(self.cases[name], self.backend)
