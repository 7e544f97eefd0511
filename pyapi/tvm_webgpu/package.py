"""A compiled model in memory: to and from a folder of manifest.json, model.wasm, kernels.wgsl and parameter shards.

The format is that of docs/architecture.md (package_files.py writes and reads it).
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tvm_webgpu.errors import InputError, PackageError
from tvm_webgpu.image_options import as_image
from tvm_webgpu.param_storage import STORAGES, Stored, store

MANIFEST = "manifest.json"
BASELINE = "baseline"
"""What the package itself is called beside its variants."""
START = "start"
"""The variant to begin with: its kernels are compiled soon by drivers, and slow. No device is given it for good."""

Dim = int | str
Json = dict[str, Any]
Postfix = int | tuple[int | str, ...]
"""A number, or a postfix expression over a kernel's scalars: `(2, "n", "*")`."""


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of an entry.

    `kind` is "tensor" (a dtype, and a shape of numbers, symbols and, for outputs, expressions of symbols), "object"
    (an opaque handle that lives in the wasm), "int" or "shape" (an integer; `shape` may name the symbol that it is).
    `image` says how images become this input (image_options.py).
    """

    name: str
    dtype: str = ""
    shape: tuple[Dim, ...] = ()
    kind: str = "tensor"
    image: Json | None = None

    def to_json(self) -> Json:
        if self.kind == "object":
            return {"name": self.name, "kind": self.kind}
        if self.kind != "tensor":
            return {"name": self.name, "kind": self.kind, "shape": list(self.shape)}
        image = {"image": self.image} if self.image is not None else {}
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape), **image}

    @staticmethod
    def from_json(data: Json) -> TensorSpec:
        kind = data.get("kind", "tensor")
        if kind == "object":
            return TensorSpec(data["name"], kind=kind)
        dtype = data["dtype"] if kind == "tensor" else ""
        return TensorSpec(data["name"], dtype, tuple(data["shape"]), kind, data.get("image"))

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
    """A constant tensor, little-endian, in C order; `stored` is its form in files, where that is not the same."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview = field(repr=False, compare=False)
    stored: Stored | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Scalar:
    """A 4-byte kernel argument: int32, uint32 or float32."""

    name: str
    dtype: str


@dataclass(frozen=True)
class Kernel:
    """A shader module with one entry point, named `name`; `bindings` holds "read" or "read_write" per buffer.

    `flops` and `traffic` say how many operations a launch computes and bytes it moves at least, where that is known.
    """

    name: str
    wgsl: str = field(repr=False)
    workgroup_size: tuple[int, int, int]
    bindings: tuple[str, ...]
    scalars: tuple[Scalar, ...] = ()
    features: tuple[str, ...] = ()
    spirv: bytes = field(default=b"", repr=False)
    flops: Postfix | None = None
    traffic: Postfix | None = None


@dataclass(frozen=True)
class Requirements:
    """What a variant of a package asks of a device: WebGPU's features and limits, by their names."""

    variant: str
    features: tuple[str, ...]
    limits: Mapping[str, int]


@dataclass(frozen=True)
class Variant:
    """The same model for more capable devices, or, named START, to begin with."""

    name: str
    package: Package


@dataclass(frozen=True)
class Package:
    """A model ready to run. `features` and `limits` are WebGPU's; `producer` names the versions that made it.

    `variants` hold the same entries for more capable devices, best first, and for the time until a driver has compiled
    their kernels (START). `compressed` packages have files in gzip.
    """

    name: str
    entries: tuple[Entry, ...]
    params: tuple[Param, ...]
    kernels: tuple[Kernel, ...]
    wasm: bytes = field(repr=False)
    features: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    producer: Mapping[str, str] = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()
    compressed: bool = False

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

    def with_param_storage(self, storage: str) -> Package:
        """The package, and its variants, with large parameters stored as float16 or int8 (param_storage.py says which).

        Executors decode them when they load, so that files get smaller, not the memory of a running model. The values
        that the model computes with are the decoded ones: float16 keeps 11 bits of each, int8 8 bits of the largest
        of a channel. InputError for another storage.
        """
        if storage not in STORAGES:
            raise InputError(f"parameters can't be stored as {storage!r}, only as {' or '.join(STORAGES)}")
        return replace(
            self,
            params=tuple(_stored(param, storage) for param in self.params),
            variants=tuple(
                Variant(variant.name, variant.package.with_param_storage(storage)) for variant in self.variants
            ),
        )

    def with_images(self, images: Mapping[str, Json]) -> Package:
        """The package, and its variants, with options for inputs that images fill (image_options.py); InputError."""
        named = {spec.name for entry in self.entries for spec in entry.inputs}
        if missing := [name for name in images if name not in named]:
            raise InputError(f"there is no input {missing[0]!r} for images; there are {', '.join(sorted(named))}")

        def inputs(entry: Entry) -> tuple[TensorSpec, ...]:
            return tuple(as_image(spec, images[spec.name]) if spec.name in images else spec for spec in entry.inputs)

        entries = tuple(replace(entry, inputs=inputs(entry)) for entry in self.entries)
        variants = (Variant(variant.name, variant.package.with_images(images)) for variant in self.variants)
        return replace(self, entries=entries, variants=tuple(variants))

    def with_compression(self) -> Package:
        """The package, and its variants, with files in gzip, which executors unpack as they come."""
        variants = (Variant(variant.name, variant.package.with_compression()) for variant in self.variants)
        return replace(self, compressed=True, variants=tuple(variants))

    def with_variants(self, variants: Sequence[Variant]) -> Package:
        """The package with these variants, best first; InputError for a bad name, or entries that differ."""
        names = [variant.name for variant in variants]
        for name in names:
            if not re.fullmatch(r"\w[\w-]*", name) or name == BASELINE or names.count(name) > 1:
                raise InputError(f"{name!r} can't name a variant: names are words, each once, and not {BASELINE!r}")
        for variant in variants:
            if _signatures(variant.package) != _signatures(self):
                raise InputError(f"variant {variant.name!r} has other entries, inputs or outputs than {self.name!r}")
            if variant.name == START and not can_start(variant.package, self):
                raise InputError(f"variant {START!r} has other parameters than {self.name!r}, or state, or needs more")
        return replace(self, variants=tuple(variants))

    def files(self) -> dict[str, bytes]:
        """Every file of the package by its plain name, `manifest.json` last. The same content gives the same bytes."""
        from tvm_webgpu.package_files import write

        return write(self)

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
    def load(directory: str | os.PathLike[str], variant: str | None = None) -> Package:
        """Reads a folder and checks the format, every file's size and SHA-256; PackageError says what is wrong.

        With a variant's name, or "baseline", only that one is read, and it has no variants itself.
        """
        from tvm_webgpu.package_files import read

        return read(Path(directory), variant)

    @staticmethod
    def requirements(directory: str | os.PathLike[str]) -> tuple[Requirements, ...]:
        """What each variant in a folder requires, best first, the baseline and START last. Reads the manifest only."""
        from tvm_webgpu.package_files import requirements

        return requirements(Path(directory))


def choose_variant(
    directory: str | os.PathLike[str], runs: Callable[[Requirements], bool], wanted: str | None = None
) -> str:
    """The name of the first variant in a folder that `runs` accepts, the baseline at last; or `wanted`, if it is there.

    PackageError for an unknown name.
    """
    offered = Package.requirements(directory)
    if wanted is None:
        return next((each.variant for each in offered if runs(each)), BASELINE)  # which comes before START
    if wanted not in [each.variant for each in offered]:
        names = ", ".join(each.variant for each in offered)
        raise PackageError(f"the package {directory} has no variant {wanted!r}; it has {names}")
    return wanted


def can_start(start: Package, package: Package) -> bool:
    """Whether one can be run in place of the other at any time: on the same parameters and devices, without state."""
    specs = [spec for entry in package.entries for spec in (*entry.inputs, *entry.outputs)]
    return (
        all(spec.kind != "object" for spec in specs)
        and start.params == package.params
        and all(a.data == b.data and a.stored == b.stored for a, b in zip(start.params, package.params))
        and set(start.features) <= set(package.features)
        and all(package.limits.get(name, -1) >= value for name, value in start.limits.items())
    )


def _stored(param: Param, storage: str) -> Param:
    stored = store(param.data, param.dtype, param.shape, storage)
    return replace(param, data=stored.decode(param.dtype, param.shape), stored=stored) if stored else param


def _signatures(package: Package) -> list[tuple[object, ...]]:
    return [(entry.name, entry.inputs, entry.outputs) for entry in package.entries]


def _names(items: Sequence[Entry] | Sequence[Kernel]) -> str:
    return ", ".join(item.name for item in items) or "none"
