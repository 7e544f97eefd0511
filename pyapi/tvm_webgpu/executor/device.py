"""What a package requires -> a wgpu device that has it, or a PackageError that says what to do."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator

import wgpu

from tvm_webgpu.errors import DeviceError, PackageError
from tvm_webgpu.package import Package

FEATURES = {"subgroups": "subgroup"}
"""WebGPU's feature names that wgpu spells otherwise."""

SMALLER_IS_BETTER = "min-"
WANTED_IN_FULL = ("max-buffer-size", "max-storage-buffer-binding-size")


def _wgpu_limit(name: str) -> str:
    """`maxComputeWorkgroupSizeX` as wgpu spells it."""
    return re.sub(r"[A-Z]", lambda letter: f"-{letter[0].lower()}", name)


def _lacks(package: Package, features: set[str], limits: dict[str, int]) -> list[str]:
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


def open_device(package: Package, power_preference: str = "high-performance") -> wgpu.GPUDevice:
    """A device with the package's features and limits; DeviceError without an adapter."""
    try:
        with _quiet_loader():
            adapter = wgpu.gpu.request_adapter_sync(power_preference=power_preference)
    except RuntimeError as error:
        raise DeviceError(f"no GPU adapter ({error}); install a Vulkan driver (mesa-vulkan-drivers is one)") from error
    _refuse(package, _lacks(package, set(adapter.features), adapter.limits), f"the adapter {adapter.info['device']}")
    limits = {name: adapter.limits[name] for name in WANTED_IN_FULL}
    required = {_wgpu_limit(name): value for name, value in package.limits.items()}
    limits |= {name: value for name, value in required.items() if name in adapter.limits}
    features = [FEATURES.get(name, name) for name in package.features]
    try:
        return adapter.request_device_sync(required_features=features, required_limits=limits)
    except RuntimeError as error:
        raise DeviceError(f"the adapter {adapter.info['device']} gave no device: {error}") from error


def check_device(package: Package, device: wgpu.GPUDevice) -> None:
    """Raises PackageError if a device of the caller's lacks what the package requires."""
    _refuse(package, _lacks(package, set(device.features), device.limits), "the given device")
