"""Bytes by the hash of what they were made from, kept on disk between compilations.

A key covers the input, the sources of this package and the versions of what it calls, so that an entry is never out of
date. Entries are written to a temporary file and renamed, so that several processes may share a folder; one that does
not match its own checksum is a miss and is made again. The least recently used go once the folder exceeds its bound.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import tvm_webgpu

LOG = logging.getLogger("tvm_webgpu")

FOLDER_VARIABLE = "TVMW_CACHE_DIR"
LIMIT_BYTES = 256 << 20
"""A folder that holds more loses its least recently used entries, down to KEPT of this."""

KEPT = 0.8
SUFFIX = ".entry"
CALLED = ("apache-tvm", "apache-tvm-ffi", "llvmlite", "numpy")
"""Distributions whose versions are part of every key."""


def default_folder() -> Path | None:
    """TVMW_CACHE_DIR, or `tvm-webgpu/kernels` among the user's caches; None where that variable is set, but empty."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named is not None:
        return Path(named) if named else None
    with suppress(RuntimeError):  # no home
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tvm-webgpu" / "kernels"
    return None


@functools.cache
def version() -> bytes:
    """A hash of everything that turns the same input into other bytes: our own files, and versions of libraries."""
    digest = hashlib.sha256()
    for name in CALLED:
        with suppress(importlib.metadata.PackageNotFoundError):
            digest.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    root = Path(tvm_webgpu.__file__).parent
    for folder in (root / "pipeline", root / "codegen", root / "lld", root / "spirv_tools"):
        for path in sorted(folder.resolve().rglob("*")):
            if path.suffix in (".py", ".so", ".bc", ".o") or path.name == "wasm-ld":
                digest.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.digest()


class Cache:
    """A folder of entries; without a folder, or where it can't be written, nothing is kept and all is a miss."""

    def __init__(self, folder: Path | None = None, limit: int = LIMIT_BYTES) -> None:
        self.folder, self.limit = folder, limit
        self.hits = self.misses = 0
        self._written = False

    def path(self, *parts: str | bytes) -> Path | None:
        """Where the entry that was made from these parts lies, or would lie."""
        if self.folder is None:
            return None
        digest = hashlib.sha256(version())
        for part in parts:
            data = part.encode() if isinstance(part, str) else part
            digest.update(len(data).to_bytes(8, "little") + data)
        name = digest.hexdigest()
        return self.folder / name[:2] / (name[2:] + SUFFIX)

    def get(self, path: Path | None) -> bytes | None:
        """The entry's bytes, or None; a damaged one is removed."""
        data = None
        if path is not None:
            with suppress(OSError):
                content = path.read_bytes()
                data = content[32:]
                if hashlib.sha256(data).digest() != content[:32]:
                    data = None
                    path.unlink()
                else:
                    os.utime(path)
        self.hits += data is not None
        self.misses += data is None
        return data

    def put(self, path: Path | None, data: bytes) -> None:
        """Keeps an entry. A folder that can't be written is reported once, and then left alone."""
        if path is None or self.folder is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(hashlib.sha256(data).digest() + data)
                Path(scratch).replace(path)
            except OSError:
                Path(scratch).unlink(missing_ok=True)
                raise
        except OSError as error:
            LOG.warning("the cache %s can't be written (%s): compiling without it", self.folder, error.strerror)
            self.folder = None
            return
        self._written = True

    def trim(self) -> None:
        """Removes the least recently used entries where the folder exceeds its bound; call it when done."""
        if self.folder is None or not self._written:
            return
        entries = []
        for path in self.folder.glob(f"??/*{SUFFIX}"):
            with suppress(OSError):
                state = path.stat()
                entries.append((state.st_mtime_ns, state.st_size, path))
        total = sum(size for _, size, _ in entries)
        if total <= self.limit:
            return
        for _, size, path in sorted(entries):
            if total <= self.limit * KEPT:
                break
            with suppress(OSError):  # another process may have been faster
                path.unlink()
            total -= size
