"""A compiled model in memory: to and from a folder of manifest.json, model.wasm, kernels.wgsl and parameter shards.

The format is that of docs/architecture.md; the same content always gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tvm_webgpu.errors import PackageError

FORMAT = 1
MANIFEST = "manifest.json"
PARAM_ALIGNMENT = 256
SHARD_BYTES = 16 << 20
"""A parameter file is closed once it holds this many bytes, so that an executor can fetch several at once."""

Dim = int | str
Json = dict[str, Any]


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of an entry.

    `kind` is "tensor" (a dtype, and a shape of numbers, symbols and, for outputs, expressions of symbols), "object"
    (an opaque handle that lives in the wasm), "int" or "shape" (an integer; `shape` may name the symbol that it is).
    """

    name: str
    dtype: str = ""
    shape: tuple[Dim, ...] = ()
    kind: str = "tensor"

    def to_json(self) -> Json:
        if self.kind == "object":
            return {"name": self.name, "kind": self.kind}
        if self.kind != "tensor":
            return {"name": self.name, "kind": self.kind, "shape": list(self.shape)}
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @staticmethod
    def from_json(data: Json) -> TensorSpec:
        kind = data.get("kind", "tensor")
        if kind == "object":
            return TensorSpec(data["name"], kind=kind)
        return TensorSpec(data["name"], data["dtype"] if kind == "tensor" else "", tuple(data["shape"]), kind)

    def __str__(self) -> str:
        if self.kind != "tensor":
            return " ".join([self.kind if self.kind == "object" else "int", *map(str, self.shape)])
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Entry:
    """A function that an executor can call; `params` are indices of the parameters appended to the inputs.

    `storage` says, for information, how many bytes each planned block of device memory has.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    params: tuple[int, ...] = ()
    storage: tuple[Dim, ...] = ()


@dataclass(frozen=True)
class Param:
    """A constant tensor, little-endian, in C order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview = field(repr=False, compare=False)


@dataclass(frozen=True)
class Scalar:
    """A 4-byte kernel argument: int32, uint32 or float32."""

    name: str
    dtype: str


@dataclass(frozen=True)
class Kernel:
    """A shader module with one entry point, named `name`; `bindings` holds "read" or "read_write" per buffer."""

    name: str
    wgsl: str = field(repr=False)
    workgroup_size: tuple[int, int, int]
    bindings: tuple[str, ...]
    scalars: tuple[Scalar, ...] = ()
    features: tuple[str, ...] = ()
    spirv: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Package:
    """A model ready to run. `requires` names WebGPU features and limits; `producer` the versions that made it."""

    name: str
    entries: tuple[Entry, ...]
    params: tuple[Param, ...]
    kernels: tuple[Kernel, ...]
    wasm: bytes = field(repr=False)
    features: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    producer: Mapping[str, str] = field(default_factory=dict)

    def entry(self, name: str) -> Entry:
        """The entry of this name; PackageError, with the names there are, if there is none."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise PackageError(f"package {self.name!r} has no entry {name!r}; it has {_names(self.entries)}")

    def kernel(self, name: str) -> Kernel:
        """The kernel of this name; PackageError if there is none."""
        for kernel in self.kernels:
            if kernel.name == name:
                return kernel
        raise PackageError(f"package {self.name!r} has no kernel {name!r}; it has {_names(self.kernels)}")

    def files(self) -> dict[str, bytes]:
        """Every file of the package by its plain name, `manifest.json` last."""
        wgsl, wgsl_spans = _concatenate([kernel.wgsl.encode() for kernel in self.kernels])
        spirv, spirv_spans = _concatenate([kernel.spirv for kernel in self.kernels])
        shards, placed = _shard(self.params)
        content = {"model.wasm": self.wasm, "kernels.wgsl": wgsl, **shards}
        roles = {"model.wasm": "wasm", "kernels.wgsl": "kernels", **dict.fromkeys(shards, "params")}
        if spirv:
            content["kernels.spv"], roles["kernels.spv"] = spirv, "debug"
        manifest = {
            "format": FORMAT,
            "name": self.name,
            "producer": dict(self.producer),
            "requires": {"features": list(self.features), "limits": dict(sorted(self.limits.items()))},
            "files": [
                {"path": path, "role": roles[path], "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                for path, data in content.items()
            ],
            "entries": [
                {
                    "name": entry.name,
                    "inputs": [spec.to_json() for spec in entry.inputs],
                    "outputs": [spec.to_json() for spec in entry.outputs],
                    "params": list(entry.params),
                    "storage": list(entry.storage),
                }
                for entry in self.entries
            ],
            "params": [
                {
                    "name": param.name,
                    "dtype": param.dtype,
                    "shape": list(param.shape),
                    "file": path,
                    "offset": offset,
                    "bytes": len(param.data),
                }
                for param, (path, offset) in zip(self.params, placed, strict=True)
            ],
            "kernels": [
                {
                    "name": kernel.name,
                    "wgsl": list(text),
                    **({"spirv": list(binary)} if kernel.spirv else {}),
                    "workgroup_size": list(kernel.workgroup_size),
                    "bindings": list(kernel.bindings),
                    "scalars": [{"name": scalar.name, "dtype": scalar.dtype} for scalar in kernel.scalars],
                    "features": list(kernel.features),
                }
                for kernel, text, binary in zip(self.kernels, wgsl_spans, spirv_spans, strict=True)
            ],
        }
        return {**content, MANIFEST: _dump(manifest).encode()}

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Writes the package as a folder, whole or not at all; an earlier package there is replaced.

        PackageError if something that is not a package lies there, or if the folder can't be written.
        """
        target = Path(directory)
        if target.exists() and not (target / MANIFEST).is_file() and (not target.is_dir() or any(target.iterdir())):
            raise PackageError(f"{target} exists and is not a package; choose another folder")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        except OSError as error:
            raise PackageError(f"can't write {target}: {error.strerror}") from error
        try:
            fresh = scratch / "new"
            fresh.mkdir()
            for path, data in self.files().items():
                (fresh / path).write_bytes(data)
            if target.exists():
                target.rename(scratch / "old")
            fresh.rename(target)
        except OSError as error:
            raise PackageError(f"can't write {target}: {error.strerror}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return target

    @staticmethod
    def load(directory: str | os.PathLike[str]) -> Package:
        """Reads a folder and checks the format, every file's size and SHA-256; PackageError says what is wrong."""
        root = Path(directory)
        manifest = _read_manifest(root)
        try:
            content = {
                record["path"]: _read_file(root, record)
                for record in manifest["files"]
                if record["role"] != "debug" or (root / _plain(record["path"])).is_file()
            }
            by_role = {record["role"]: content.get(record["path"], b"") for record in manifest["files"]}
            wgsl, spirv = by_role["kernels"], content.get("kernels.spv", b"")
            package = Package(
                name=manifest["name"],
                entries=tuple(
                    Entry(
                        entry["name"],
                        tuple(map(TensorSpec.from_json, entry["inputs"])),
                        tuple(map(TensorSpec.from_json, entry["outputs"])),
                        tuple(entry["params"]),
                        tuple(entry.get("storage", ())),
                    )
                    for entry in manifest["entries"]
                ),
                params=tuple(
                    Param(
                        param["name"],
                        param["dtype"],
                        tuple(param["shape"]),
                        _slice(content[param["file"]], (param["offset"], param["bytes"]), param["name"]),
                    )
                    for param in manifest["params"]
                ),
                kernels=tuple(
                    Kernel(
                        kernel["name"],
                        bytes(_slice(wgsl, kernel["wgsl"], kernel["name"])).decode(),
                        tuple(kernel["workgroup_size"]),
                        tuple(kernel["bindings"]),
                        tuple(Scalar(scalar["name"], scalar["dtype"]) for scalar in kernel["scalars"]),
                        tuple(kernel["features"]),
                        bytes(_slice(spirv, kernel["spirv"], kernel["name"])) if spirv and "spirv" in kernel else b"",
                    )
                    for kernel in manifest["kernels"]
                ),
                wasm=by_role["wasm"],
                features=tuple(manifest["requires"]["features"]),
                limits=dict(manifest["requires"]["limits"]),
                producer=dict(manifest["producer"]),
            )
            _check_references(package)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise PackageError(f"{root / MANIFEST} is damaged ({reason}); compile it again") from error
        return package


def _dump(manifest: Mapping[str, object]) -> str:
    """JSON with one line per list item at the second level: readable, and small next to a full indent."""
    lines = []
    for key, value in manifest.items():
        if isinstance(value, list) and value:
            items = ",\n    ".join(json.dumps(item, ensure_ascii=False) for item in value)
            lines.append(f"  {json.dumps(key)}: [\n    {items}\n  ]")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _concatenate(parts: Sequence[bytes]) -> tuple[bytes, list[tuple[int, int]]]:
    ends = [0]
    for part in parts:
        ends.append(ends[-1] + len(part))
    return b"".join(parts), [(start, len(part)) for start, part in zip(ends, parts)]


def _shard(params: Sequence[Param]) -> tuple[dict[str, bytes], list[tuple[str, int]]]:
    """The parameter files, and for each parameter its file and offset."""
    shards: dict[str, bytearray] = {}
    placed: list[tuple[str, int]] = []
    current = bytearray()
    for param in params:
        if not shards or len(current) >= SHARD_BYTES:
            current = shards.setdefault(f"params-{len(shards)}.bin", bytearray())
        current.extend(bytes(-len(current) % PARAM_ALIGNMENT))
        placed.append((f"params-{len(shards) - 1}.bin", len(current)))
        current.extend(param.data)
        current.extend(bytes(-len(current) % 4))
    return {path: bytes(data) for path, data in shards.items()}, placed


def _read_manifest(root: Path) -> Json:
    path = root / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise PackageError(f"{root} is not a package: can't read {MANIFEST} ({error.strerror})") from error
    except ValueError as error:
        raise PackageError(f"{path} is not valid JSON ({error}); compile it again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise PackageError(f"{path} has format {found!r}, this version reads {FORMAT}; compile the model again")
    return manifest


def _plain(path: str) -> str:
    if path in ("", ".", "..") or "/" in path or "\\" in path or ":" in path:
        raise PackageError(f"the manifest names a file outside of the package: {path!r}")
    return path


def _read_file(root: Path, record: Json) -> bytes:
    path = _plain(record["path"])
    try:
        data = (root / path).read_bytes()
    except OSError as error:
        raise PackageError(f"can't read {root / path}: {error.strerror}; compile the package again") from error
    if len(data) != record["bytes"]:
        raise PackageError(f"{root / path} holds {len(data)} bytes, not {record['bytes']}; it is truncated")
    if hashlib.sha256(data).hexdigest() != record["sha256"]:
        raise PackageError(f"{root / path} does not match its SHA-256 in the manifest; it is damaged")
    return data


def _slice(data: bytes, span: Sequence[int], name: str) -> memoryview:
    offset, length = span
    if offset < 0 or length < 0 or offset + length > len(data):
        raise PackageError(f"{name!r} lies outside of its file")
    return memoryview(data)[offset : offset + length]


def _check_references(package: Package) -> None:
    """ValueError where an entry or a kernel names what executors could not look up."""
    for entry in package.entries:
        if not set(entry.params) <= set(range(len(package.params))):
            raise ValueError(f"entry {entry.name!r} names a parameter that is not there")
    for kernel in package.kernels:
        if not set(kernel.bindings) <= {"read", "read_write"}:
            raise ValueError(f"kernel {kernel.name!r} has a binding that is neither read nor read_write")


def _names(items: Sequence[Entry] | Sequence[Kernel]) -> str:
    return ", ".join(item.name for item in items) or "none"
