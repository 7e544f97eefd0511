"""What a package requires -> the variant that a wgpu device runs, or a PackageError that says what to do."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping

import wgpu

from tvm_webgpu.errors import DeviceError, OutOfMemoryError, PackageError
from tvm_webgpu.package import BASELINE, START, Package, Requirements, choose_variant

FEATURES = {"subgroups": "subgroup"}
"""WebGPU's feature names that wgpu spells otherwise."""

OPTIONAL = ("timestamp-query",)
"""What a device of ours gets where the adapter has it: profiles read it."""

NO_MEMORY = "Not enough memory"
"""In the texts of wgpu-native's errors, which calls all of them validation errors."""

NVIDIA = 0x10DE

PROPERTIES: Mapping[str, Callable[[wgpu.GPUAdapter], bool]] = {
    "software-adapter": lambda adapter: adapter.info["adapter_type"] == "CPU",
    # wgpu-native does not say the sizes of subgroups; this is one vendor's in all that it makes.
    "subgroups-of-32": lambda adapter: adapter.info["vendor_id"] == NVIDIA,
}
"""What stands among the features of packages and is none of WebGPU's: how an adapter must be."""

SMALLER_IS_BETTER = "min-"
WANTED_IN_FULL = ("max-buffer-size", "max-storage-buffer-binding-size")


def _wgpu_limit(name: str) -> str:
    """`maxComputeWorkgroupSizeX` as wgpu spells it."""
    return re.sub(r"[A-Z]", lambda letter: f"-{letter[0].lower()}", name)


def lacks(package: Package | Requirements, offered: wgpu.GPUAdapter | wgpu.GPUDevice) -> list[str]:
    """The features and limits that a package requires and an adapter or device does not have, in words."""
    adapter = offered.adapter if isinstance(offered, wgpu.GPUDevice) else offered
    features = {*offered.features, *(name for name, holds in PROPERTIES.items() if holds(adapter))}
    limits = offered.limits
    missing = [f"the feature {name}" for name in package.features if FEATURES.get(name, name) not in features]
    for name, value in package.limits.items():
        have = limits.get(_wgpu_limit(name))
        if have is not None and (have > value if _wgpu_limit(name).startswith(SMALLER_IS_BETTER) else have < value):
            missing.append(f"{name} of {value} (it has {have})")
    return missing


def _refuse(package: Package, missing: list[str], what: str) -> None:
    if missing:
        raise PackageError(
            f"package {package.name!r} needs {', '.join(missing)}, which {what} does not offer; "
            "use another adapter or compile the model for a target without it"
        )


@contextlib.contextmanager
def _quiet_loader() -> Iterator[None]:
    """Without a screen, Mesa's device selection complains on stderr that XDG_RUNTIME_DIR is not set: it is, for now."""
    if "XDG_RUNTIME_DIR" in os.environ:
        yield
        return
    os.environ["XDG_RUNTIME_DIR"] = tempfile.gettempdir()
    try:
        yield
    finally:
        del os.environ["XDG_RUNTIME_DIR"]


def find_adapter(power_preference: str = "high-performance") -> wgpu.GPUAdapter:
    """DeviceError without an adapter."""
    try:
        with _quiet_loader():
            return wgpu.gpu.request_adapter_sync(power_preference=power_preference)
    except RuntimeError as error:
        raise DeviceError(f"no GPU adapter ({error}); install a Vulkan driver (mesa-vulkan-drivers is one)") from error


def open_device(package: Package, adapter: wgpu.GPUAdapter | None = None) -> wgpu.GPUDevice:
    """A device with the package's features and limits; DeviceError without an adapter."""
    adapter = adapter or find_adapter()
    _refuse(package, lacks(package, adapter), f"the adapter {adapter.info['device']}")
    limits = {name: adapter.limits[name] for name in WANTED_IN_FULL}
    required = {_wgpu_limit(name): value for name, value in package.limits.items()}
    limits |= {name: value for name, value in required.items() if name in adapter.limits}
    features = [FEATURES.get(name, name) for name in package.features if name not in PROPERTIES]
    features += [name for name in OPTIONAL if name in adapter.features]
    try:
        return adapter.request_device_sync(required_features=features, required_limits=limits)
    except RuntimeError as error:
        kind = OutOfMemoryError if NO_MEMORY in str(error) else DeviceError
        raise kind(f"the adapter {adapter.info['device']} gave no device: {error}") from error


def check_device(package: Package, device: wgpu.GPUDevice) -> None:
    """Raises PackageError if a device of the caller's lacks what the package requires."""
    _refuse(package, lacks(package, device), "the given device")


def choose_package(
    package: Package | str | os.PathLike[str], offered: wgpu.GPUAdapter | wgpu.GPUDevice, wanted: str | None
) -> tuple[str, Package]:
    """The best variant of a package that an adapter or device runs, or the one that is wanted, and its name.

    Of a folder only that one's files are read. PackageError for an unknown name.
    """
    if not isinstance(package, Package):
        name = choose_variant(package, lambda requirements: not lacks(requirements, offered), wanted)
        return name, Package.load(package, name)
    variants = {variant.name: variant.package for variant in package.variants} | {BASELINE: package}
    if wanted is None:
        lasting = [(name, each) for name, each in variants.items() if name != START]
        return next((item for item in lasting if not lacks(item[1], offered)), (BASELINE, package))
    if wanted not in variants:
        raise PackageError(f"package {package.name!r} has no variant {wanted!r}; it has {', '.join(variants)}")
    return wanted, variants[wanted]
