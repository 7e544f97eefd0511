"""Targets: "webgpu", a dict or a Target in; a Target with WebGPU's default limits and a wasm host out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from tvm.target import Target

from tvm_webgpu.errors import InputError
from tvm_webgpu.package import START

HOST = {
    "kind": "llvm",
    "mtriple": "wasm32-unknown-unknown-wasm",
    "mattr": ["+simd128", "+bulk-memory", "+sign-ext"],
    "vector-width": 128,
}

SOFTWARE = "software-adapter"
"""Not a feature of WebGPU's, but of adapters that are programs on the CPU: kernels made for one are slow on a GPU."""

SUBGROUPS_OF_32 = "subgroups-of-32"
"""Likewise of adapters whose subgroups always have 32 invocations: as many take part in a reduction by shuffles."""

FEATURES = {
    "f16": "shader-f16",
    "subgroups": "subgroups",
    "subgroup_matrix": "chromium-experimental-subgroup-matrix",
    "software": SOFTWARE,
}
"""Target attributes `feature.NAME` and the WebGPU features that they ask of the device."""

HINTS = ("workgroup_memory", "storage_buffers", "cores")
"""Target attributes `feature.NAME` with a number: what kernels may use beyond the default limits, and tuning hints."""

WORKGROUP_MEMORY = 16384
"""maxComputeWorkgroupStorageSize: the default limit (https://www.w3.org/TR/webgpu/#limits), half of TVM's own."""

MATRIX_WORKGROUP_MEMORY = 32768

STORAGE_BUFFERS = 8
"""maxStorageBuffersPerShaderStage: the default limit."""


def resolve_target(target: str | Mapping[str, object] | Target = "webgpu", features: Iterable[str] = ()) -> Target:
    """The full target. InputError for another kind of target, or an attribute `feature.*` that is not known here."""
    try:
        parsed = Target(dict(target)) if isinstance(target, Mapping) else Target(target)
    except Exception as error:
        reason = str(error).strip().splitlines() or ["unknown"]
        raise InputError(f"not a target: {target} ({reason[-1]})") from error
    if parsed.kind.name != "webgpu":
        raise InputError(f"target {parsed.kind.name!r} is not webgpu")
    config = {key: value for key, value in json.loads(str(parsed)).items() if key not in ("tag", "host")}
    config.update({f"feature.{name}": True for name in features})
    if config.get("feature.subgroup_matrix"):  # every device with matrix units has it, and the best tile takes 23 KB
        config.setdefault("feature.workgroup_memory", MATRIX_WORKGROUP_MEMORY)
    config["max_shared_memory_per_block"] = config.get("feature.workgroup_memory", WORKGROUP_MEMORY)
    # START asks for kernels that a driver compiles soon, however slowly they run, to begin with.
    known = [f"feature.{name}" for name in (*FEATURES, *HINTS, START)]
    if unknown := {key for key in config if key.startswith("feature.")} - set(known):
        raise InputError(f"unknown target feature {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    if config.get("feature.subgroups"):
        config["supports_subgroups"] = True
    return Target({**config, "host": dict(HOST)})


def enabled_features(target: Target) -> tuple[str, ...]:
    """The names in FEATURES that the target turns on."""
    return tuple(name for name in FEATURES if target.attrs.get(f"feature.{name}", False))


def storage_buffers(target: Target) -> int:
    """How many buffers one kernel may bind."""
    return int(target.attrs.get("feature.storage_buffers", STORAGE_BUFFERS))
