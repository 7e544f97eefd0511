"""Tells the user how far a compilation is: a progress bar on a terminal, and the seconds of each phase in the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

LOG = logging.getLogger("tvm_webgpu")

T = TypeVar("T")

Listener = Callable[[str, int, int], None]
"""Called with the phase, how many of its steps are done, and how many there are."""


def _silent(_phase: str, _done: int, _total: int) -> None:
    pass


@dataclass
class Progress:
    """Reports phases to a listener and keeps their times, in seconds."""

    listener: Listener = _silent
    seconds: dict[str, float] = field(default_factory=dict)

    def within(self, part: str) -> Progress:
        """Reports to the same listener, with the part's name before each phase's."""
        return Progress(lambda phase, done, total: self.listener(f"{part}: {phase}", done, total))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times the body and reports it as one step."""
        self.listener(name, 0, 1)
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.listener(name, 1, 1)
        LOG.info("%-24s %7.2f s", name, self.seconds[name])

    def steps(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Passes the items on, and reports each as a step of the phase."""
        listed = list(items)
        start = time.perf_counter()
        for done, item in enumerate(listed):
            self.listener(name, done, len(listed))
            yield item
        self.seconds[name] = time.perf_counter() - start
        self.listener(name, len(listed), max(len(listed), 1))
        LOG.info("%-24s %7.2f s  (%d)", name, self.seconds[name], len(listed))
