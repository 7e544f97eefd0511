"""Packages <-> the files of their folders, in the format of docs/architecture.md."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tvm_webgpu.errors import InputError, PackageError
from tvm_webgpu.package import (
    BASELINE,
    MANIFEST,
    START,
    Entry,
    Json,
    Kernel,
    Package,
    Param,
    Postfix,
    Requirements,
    Scalar,
    TensorSpec,
    Variant,
    can_start,
)
from tvm_webgpu.param_storage import Stored

FORMAT = 2
"""The newest format that is read. What readers of format 1 understand is written as such."""

PARAM_ALIGNMENT = 256
SHARD_BYTES = 16 << 20
"""A parameter file is closed once it holds this many bytes, so that an executor can fetch several at once."""

PIECE_BYTES = 8 << 20
"""Larger files are verified, and fetched again, in pieces of this size."""

WORTH_PACKING = 0.97
"""A file that gzip leaves larger than this share of it stays as it is."""


def write(package: Package) -> dict[str, bytes]:
    """Every file by its name, `manifest.json` last."""
    files = _Files()
    top = _manifest(package, files, "")  # first, so that shared files have its names
    manifests = [(variant, _manifest(variant.package, files, f"{variant.name}-")) for variant in package.variants]
    for variant, manifest in manifests:
        if variant.name == START:
            record = _add_manifest(files, START, manifest)
            for other, named in [(package, top), *((each.package, content) for each, content in manifests)]:
                if other is not variant.package and can_start(variant.package, other):
                    named["start"] = record
    others = [(variant, manifest) for variant, manifest in manifests if variant.name != START]
    if others:
        top["variants"] = [
            {"name": each.name, "requires": _requires(each.package), **_add_manifest(files, each.name, manifest)}
            for each, manifest in others
        ]
    return {**files.content, MANIFEST: _dump(top).encode()}


def _add_manifest(files: _Files, variant: str, manifest: Json) -> Json:
    """Puts a variant's manifest among the files; gives its record."""
    path, content = f"manifest-{variant}.json", _dump(manifest).encode()
    files.content[path] = content
    return {"manifest": path, "bytes": len(content), "sha256": _sha256(content)}


@dataclass
class _Files:
    """Files by name; what is the same is kept once."""

    content: dict[str, bytes] = field(default_factory=dict)
    names: dict[bytes, str] = field(default_factory=dict)

    def add(self, path: str, role: str, data: bytes, compressed: bool) -> Json:
        """The record of a file for the manifest; its path is that of an equal file, if there is one."""
        packed = gzip.compress(data, 9, mtime=0) if compressed and role != "debug" else data
        encoding = {"encoding": "gzip", "decoded_bytes": len(data)} if len(packed) < WORTH_PACKING * len(data) else {}
        stored = packed if encoding else data
        name = self.names.setdefault(hashlib.sha256(stored).digest(), path)
        self.content[name] = stored
        return {
            "path": name,
            "role": role,
            "bytes": len(stored),
            "sha256": _sha256(stored),
            **({"pieces": [_sha256(piece) for piece in _pieces(stored)]} if len(stored) > PIECE_BYTES else {}),
            **encoding,
        }


def _manifest(package: Package, files: _Files, prefix: str) -> Json:
    wgsl, wgsl_spans = _concatenate([kernel.wgsl.encode() for kernel in package.kernels])
    spirv, spirv_spans = _concatenate([kernel.spirv for kernel in package.kernels])
    shards, placed = _shard(package.params)
    content = {"model.wasm": ("wasm", package.wasm), "kernels.wgsl": ("kernels", wgsl)}
    content |= {path: ("params", data) for path, data in shards.items()}
    if spirv:
        content["kernels.spv"] = ("debug", spirv)
    records = {path: files.add(prefix + path, role, data, package.compressed) for path, (role, data) in content.items()}
    encoded = any(param.stored for param in package.params) or any("encoding" in record for record in records.values())
    return {
        "format": FORMAT if encoded else 1,
        "name": package.name,
        "producer": dict(package.producer),
        "requires": _requires(package),
        "files": list(records.values()),
        "entries": [
            {
                "name": entry.name,
                "inputs": [spec.to_json() for spec in entry.inputs],
                "outputs": [spec.to_json() for spec in entry.outputs],
                "params": list(entry.params),
                "storage": list(entry.storage),
            }
            for entry in package.entries
        ],
        "params": [
            {
                "name": param.name,
                "dtype": param.dtype,
                "shape": list(param.shape),
                "file": records[path]["path"],
                "offset": offset,
                "bytes": len(param.stored.values if param.stored else param.data),
                **({"storage": _storage(param.stored, scales_offset)} if param.stored else {}),
            }
            for param, (path, offset, scales_offset) in zip(package.params, placed, strict=True)
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
                **({"flops": kernel.flops} if kernel.flops is not None else {}),
                **({"bytes": kernel.traffic} if kernel.traffic is not None else {}),
            }
            for kernel, text, binary in zip(package.kernels, wgsl_spans, spirv_spans, strict=True)
        ],
    }


def _requires(package: Package) -> Json:
    return {"features": list(package.features), "limits": dict(sorted(package.limits.items()))}


def _postfix(value: int | Sequence[int | str] | None) -> Postfix | None:
    return tuple(value) if isinstance(value, list) else value  # type: ignore[return-value]


def _storage(stored: Stored, scales_offset: int) -> Json:
    if stored.dtype != "int8":
        return {"dtype": stored.dtype}
    return {"dtype": stored.dtype, "scales": {"offset": scales_offset, "shape": list(stored.scales_shape)}}


def _sha256(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def _pieces(data: bytes) -> list[memoryview]:
    return [memoryview(data)[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]


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


def _shard(params: Sequence[Param]) -> tuple[dict[str, bytes], list[tuple[str, int, int]]]:
    """The parameter files, and for each parameter its file, its offset and that of its scales."""
    shards: dict[str, bytearray] = {}
    placed: list[tuple[str, int, int]] = []
    current = bytearray()

    def append(data: bytes | memoryview) -> int:
        current.extend(bytes(-len(current) % PARAM_ALIGNMENT))
        offset = len(current)
        current.extend(data)
        current.extend(bytes(-len(current) % 4))
        return offset

    for param in params:
        if not shards or len(current) >= SHARD_BYTES:
            current = shards.setdefault(f"params-{len(shards)}.bin", bytearray())
        path = f"params-{len(shards) - 1}.bin"
        if param.stored is None:
            placed.append((path, append(param.data), 0))
        else:
            placed.append((path, append(param.stored.values), append(param.stored.scales)))
    return {path: bytes(data) for path, data in shards.items()}, placed


def requirements(root: Path) -> tuple[Requirements, ...]:
    """What each variant requires, best first, the baseline last, and behind it START, which asks for no more."""
    manifest = _read_manifest(root, MANIFEST)
    try:
        return tuple(
            Requirements(name, tuple(requires["features"]), dict(requires["limits"]))
            for name, requires in [
                *((each["name"], each["requires"]) for each in manifest.get("variants", ())),
                (BASELINE, manifest["requires"]),
                *([(START, manifest["requires"])] if "start" in manifest else []),
            ]
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(root, MANIFEST, error) from error


def read(root: Path, variant: str | None = None) -> Package:
    """The package in a folder with all its variants, or one of them alone; PackageError says what is wrong."""
    manifest = _read_manifest(root, MANIFEST)
    try:
        records = {each["name"]: each for each in manifest.get("variants", ())}
        if "start" in manifest:
            records[START] = manifest["start"]
        if variant not in (None, BASELINE, *records):
            raise PackageError(f"{root} has no variant {variant!r}; it has {', '.join([BASELINE, *records])}")
        if variant in records:
            return _read_variant(root, records[variant])
        package = _package(root, MANIFEST, manifest)
        if variant is None:
            variants = [Variant(name, _read_variant(root, record)) for name, record in records.items()]
            package = package.with_variants(variants)
    except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
        raise _damaged(root, MANIFEST, error) from error
    return package


def _read_variant(root: Path, record: Json) -> Package:
    path = _plain(record["manifest"])
    _read_file(root, {"path": path, "bytes": record["bytes"], "sha256": record["sha256"]})
    return _package(root, path, _read_manifest(root, path))


def _package(root: Path, manifest_path: str, manifest: Json) -> Package:
    try:
        content = {
            record["path"]: _unpack(record, _read_file(root, record))
            for record in manifest["files"]
            if record["role"] != "debug" or (root / _plain(record["path"])).is_file()
        }
        by_role = {record["role"]: content.get(record["path"], b"") for record in manifest["files"]}
        wgsl, spirv = by_role["kernels"], by_role.get("debug", b"")
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
            params=tuple(_param(param, content) for param in manifest["params"]),
            kernels=tuple(
                Kernel(
                    kernel["name"],
                    bytes(_slice(wgsl, kernel["wgsl"], kernel["name"])).decode(),
                    tuple(kernel["workgroup_size"]),
                    tuple(kernel["bindings"]),
                    tuple(Scalar(scalar["name"], scalar["dtype"]) for scalar in kernel["scalars"]),
                    tuple(kernel["features"]),
                    bytes(_slice(spirv, kernel["spirv"], kernel["name"])) if spirv and "spirv" in kernel else b"",
                    _postfix(kernel.get("flops")),
                    _postfix(kernel.get("bytes")),
                )
                for kernel in manifest["kernels"]
            ),
            wasm=by_role["wasm"],
            features=tuple(manifest["requires"]["features"]),
            limits=dict(manifest["requires"]["limits"]),
            producer=dict(manifest["producer"]),
            compressed=any("encoding" in record for record in manifest["files"]),
        )
        _check_references(package)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(root, manifest_path, error) from error
    return package


def _param(param: Json, content: Mapping[str, bytes]) -> Param:
    name, dtype, shape = param["name"], param["dtype"], tuple(param["shape"])
    data = _slice(content[param["file"]], (param["offset"], param["bytes"]), name)
    storage = param.get("storage")
    if storage is None:
        return Param(name, dtype, shape, data)
    if storage["dtype"] not in ("float16", "int8"):
        raise ValueError(f"parameter {name!r} is stored as {storage['dtype']!r}")
    stored = Stored(storage["dtype"], bytes(data))
    if stored.dtype == "int8":
        scales_shape = tuple(storage["scales"]["shape"])
        span = storage["scales"]["offset"], 4 * math.prod(scales_shape)
        stored = replace(stored, scales=bytes(_slice(content[param["file"]], span, name)), scales_shape=scales_shape)
    return Param(name, dtype, shape, stored.decode(dtype, shape), stored)


def _read_manifest(root: Path, name: str) -> Json:
    path = root / name
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise PackageError(f"{root} is not a package: can't read {name} ({error.strerror})") from error
    except ValueError as error:
        raise PackageError(f"{path} is not valid JSON ({error}); compile it again") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found not in range(1, FORMAT + 1):
        raise PackageError(f"{path} has format {found!r}, this version reads 1 to {FORMAT}; compile the model again")
    return manifest


def _damaged(root: Path, name: str, error: Exception) -> PackageError:
    return PackageError(f"{root / name} is damaged ({type(error).__name__}: {error}); compile it again")


def _plain(path: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", path, re.ASCII):
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
    if _sha256(data) != record["sha256"]:
        raise PackageError(f"{root / path} does not match its SHA-256 in the manifest; it is damaged")
    return data


def _unpack(record: Json, data: bytes) -> bytes:
    encoding = record.get("encoding")
    if encoding is None:
        return data
    if encoding != "gzip":
        raise ValueError(f"{record['path']} has the unknown encoding {encoding!r}")
    try:
        content = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{record['path']} can't be unpacked: {error}") from error
    if len(content) != record["decoded_bytes"]:
        raise ValueError(f"{record['path']} unpacks to {len(content)} bytes, not {record['decoded_bytes']}")
    return content


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
