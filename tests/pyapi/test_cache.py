"""The disk cache: what is kept comes back, what is damaged is made again, several processes share a folder."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
from tvm_webgpu.pipeline import build, cache, kernels
from tvm_webgpu.pipeline.cache import Cache

from tests.pyapi.models import mlp


def test_bytes_come_back_by_their_parts(tmp_path: Path) -> None:
    kept = Cache(tmp_path)
    path = kept.path("kernel", "one", b"two")
    assert kept.get(path) is None
    kept.put(path, b"data")
    assert Cache(tmp_path).get(path) == b"data"
    # Where one part ends and the next begins is part of the key.
    others = [kept.path("kernel", "onetwo"), kept.path("kernel", "on", b"etwo"), kept.path("host", "one", b"two")]
    assert path not in others
    assert len(set(others)) == 3
    assert [kept.get(other) for other in others] == [None] * 3


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:-1] + b"!"])
def test_a_damaged_entry_is_a_miss_and_is_removed(tmp_path: Path, damage) -> None:
    kept = Cache(tmp_path)
    path = kept.path("kernel", "x")
    kept.put(path, b"some bytes")
    path.write_bytes(damage(path.read_bytes()))
    assert kept.get(path) is None
    assert not path.exists()
    kept.put(path, b"some bytes")
    assert kept.get(path) == b"some bytes"


def test_other_sources_or_libraries_have_other_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Cache(tmp_path)
    before = kept.path("x")
    monkeypatch.setattr(cache, "version", lambda: b"another")
    assert kept.path("x") != before


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    kept = Cache(tmp_path, limit=5 * 1032)
    paths = [kept.path(str(number)) for number in range(8)]
    for age, path in enumerate(paths):
        kept.put(path, bytes(1000))
        os.utime(path, (1e9 + age, 1e9 + age))
    assert kept.get(paths[0]) is not None  # used just now
    kept.trim()
    left = [path.exists() for path in paths]
    assert left == [True, False, False, False, False, True, True, True]


def test_a_folder_that_cannot_be_written_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    kept = Cache(blocked)
    kept.put(kept.path("x"), b"data")
    assert kept.folder is None
    kept.put(kept.path("x"), b"data")
    assert kept.get(kept.path("x")) is None
    assert len(caplog.records) == 1


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TVMW_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.default_folder() == tmp_path / "tvm-webgpu" / "kernels"
    monkeypatch.setenv("TVMW_CACHE_DIR", str(tmp_path / "own"))
    assert cache.default_folder() == tmp_path / "own"
    monkeypatch.setenv("TVMW_CACHE_DIR", "")
    assert cache.default_folder() is None


def _write(folder: Path, number: int) -> None:
    kept = Cache(folder, limit=20 * 1032)
    for _ in range(30):
        for key in range(40):
            path = kept.path(str(key))
            data = kept.get(path)
            assert data in (None, str(key).encode() * 300)
            if data is None:
                kept.put(path, str(key).encode() * 300)
        kept.trim()


def test_processes_share_a_folder(tmp_path: Path) -> None:
    cache.version()  # once, not in each
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write, args=(tmp_path, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert not list(tmp_path.rglob(".*.tmp"))


def test_a_second_compilation_compiles_no_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVMW_CACHE_DIR", str(tmp_path))
    first = build.compile(mlp()).files()

    def fail(*_: object) -> None:
        raise LookupError("a kernel was compiled again")

    monkeypatch.setattr(kernels, "build_shader", fail)
    assert build.compile(mlp()).files() == first
    with pytest.raises(LookupError, match="again"):
        build.compile(mlp(), cache=False)
    with pytest.raises(LookupError, match="again"):
        build.compile(mlp(), {"kind": "webgpu", "max_num_threads": 128})
