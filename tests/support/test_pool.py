from __future__ import annotations

import os
import time
from collections.abc import Callable

from .pool import Died, run


def _start() -> Callable[[str], object]:
    def work(name: str) -> object:
        if name == "crash":
            os._exit(3)
        if name == "hang":
            time.sleep(60)
        return name.upper()

    return work


def test_a_crash_or_a_hang_costs_one_answer() -> None:
    names = ["a", "crash", "b", "hang", "c"]
    answers = dict(run(names, _start, jobs=2, limit=1.5, startup=60))
    assert answers == {"a": "A", "b": "B", "c": "C", "crash": Died("crash"), "hang": Died("timeout")}
