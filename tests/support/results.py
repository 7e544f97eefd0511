"""What came out of each case in each backend: a JSON file that grows while the cases run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """`status` is pass, import, compile, run, wrong, timeout or crash; a pass's `reason` names fixed inputs."""

    status: str
    reason: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the outputs were right."""
        return self.status == "pass"


class Results:
    """The results by backend and case; `path` is one JSON object a line, the last of a case counts."""

    def __init__(self, path: Path):
        self.path = path
        self.found: dict[str, dict[str, Result]] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            record = json.loads(line)
            self._keep(record.pop("backend"), record.pop("case"), Result(**record))

    def _keep(self, backend: str, case: str, result: Result) -> None:
        self.found.setdefault(backend, {})[case] = result

    def add(self, backend: str, case: str, result: Result) -> None:
        """Keeps a result, in memory and on disk."""
        self._keep(backend, case, result)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps({"backend": backend, "case": case, **asdict(result)}) + "\n")

    def of(self, backend: str) -> dict[str, Result]:
        """The backend's results by case."""
        return self.found.get(backend, {})

    def passed(self, backend: str) -> Iterator[str]:
        """The cases that the backend passed."""
        return (case for case, result in self.of(backend).items() if result.passed)
