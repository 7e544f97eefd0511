"""The table's cases in worker processes: numbers of cases in, their results out as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from tests.support import pool
from tests.support.results import Result

from .runner import RUNNERS, TOGETHER, run_cases
from .table import named_cases


class Worker:
    """Runs cases by their numbers ("3 4 7"): what a worker process of the pool starts with."""

    def __init__(self, backend: str, target: object):
        self.cases, self.runner, self.target = list(named_cases().values()), RUNNERS[backend], target

    def __call__(self, numbers: str) -> list[Result]:
        cases = [self.cases[int(number)] for number in numbers.split()]
        return [outcome.result for outcome in run_cases(cases, self.target, self.runner)]


def sweep(
    numbers: Sequence[int], backend: str, target: object, jobs: int, limit: float
) -> Iterator[tuple[int, Result]]:
    """Gives each case's number with its result as they come: first many together, then those of dead workers alone."""
    lost: list[int] = []
    for together, most in ((TOGETHER, 3 * limit), (1, limit)):
        parts = [numbers[i : i + together] for i in range(0, len(numbers), together)]
        start = partial(Worker, backend, target)
        for text, answer in pool.run([" ".join(map(str, part)) for part in parts], start, jobs, most):
            part = [int(number) for number in text.split()]
            if not isinstance(answer, pool.Died):
                assert isinstance(answer, list)
                yield from zip(part, answer)
            elif together == 1:
                yield part[0], Result(answer.how)
            else:
                lost += part
        numbers, lost = lost, []
