"""Names in, what a function makes of each out, from worker processes that may crash or hang without losing the rest."""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import NamedTuple

Start = Callable[[], Callable[[str], object]]
"""Called once in each worker; what it gives is called with every name. Must be importable."""


class Died(NamedTuple):
    """The answer of a worker that gave none: `crash` or `timeout`."""

    how: str


class _Worker:
    def __init__(self, start: Start):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, start), daemon=True)
        self.process.start()
        theirs.close()
        self.name: str | None = None
        self.started = False
        self.deadline = 0.0

    def give(self, name: str, limit: float) -> None:
        self.pipe.send(name)
        self.name, self.deadline = name, time.monotonic() + limit

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection, start: Start) -> None:
    work = start()
    pipe.send(None)  # the time of the first name begins here
    while True:
        try:
            name = pipe.recv()
        except EOFError:
            return
        pipe.send(work(name))


def run(
    names: Iterable[str], start: Start, jobs: int, limit: float, startup: float = 120
) -> Iterator[tuple[str, object]]:
    """Gives each name with its answer as they come. `limit` is the seconds for one, `startup` for a worker to start."""
    todo = deque(names)
    workers: list[_Worker] = []
    try:
        while todo or any(worker.name for worker in workers):
            while todo and len(workers) < jobs:
                workers.append(_Worker(start))
                workers[-1].give(todo.popleft(), limit + startup)
            busy = [worker for worker in workers if worker.name]
            ready = wait([worker.pipe for worker in busy], max(0.0, min(w.deadline for w in busy) - time.monotonic()))
            for worker in busy:
                assert worker.name
                if worker.pipe in ready:
                    try:
                        answer = worker.pipe.recv()
                    except (EOFError, ConnectionResetError):
                        yield worker.name, Died("crash")
                    else:
                        if worker.started:
                            yield worker.name, answer
                            worker.name = None
                            if todo:
                                worker.give(todo.popleft(), limit)
                        else:
                            worker.started, worker.deadline = True, time.monotonic() + limit
                        continue
                elif time.monotonic() < worker.deadline:
                    continue
                else:
                    yield worker.name, Died("timeout")
                worker.stop()
                workers.remove(worker)
    finally:
        for worker in workers:
            worker.stop()
