"""What a device must offer to run a package: kernels and parameters in, WebGPU limits beyond the default out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tvm_webgpu.package import Kernel, Param

DEFAULTS = {
    "maxStorageBuffersPerShaderStage": 8,
    "maxStorageBufferBindingSize": 128 << 20,
    "maxBufferSize": 256 << 20,
    "maxComputeWorkgroupStorageSize": 16384,
    "maxComputeInvocationsPerWorkgroup": 256,
    "maxComputeWorkgroupSizeX": 256,
    "maxComputeWorkgroupSizeY": 256,
    "maxComputeWorkgroupSizeZ": 64,
}
"""https://www.w3.org/TR/webgpu/#limits: what every device has."""


def required_limits(kernels: Sequence[Kernel], memory: Sequence[int], params: Sequence[Param]) -> dict[str, int]:
    """The limits that exceed DEFAULTS, by their names; `memory` is the workgroup memory of each kernel in bytes."""
    sizes = [kernel.workgroup_size for kernel in kernels]
    largest = max((len(param.data) for param in params), default=0)
    needed = {
        "maxStorageBuffersPerShaderStage": max((len(kernel.bindings) for kernel in kernels), default=0),
        "maxStorageBufferBindingSize": largest,
        "maxBufferSize": largest,
        "maxComputeWorkgroupStorageSize": max(memory, default=0),
        "maxComputeInvocationsPerWorkgroup": max(map(math.prod, sizes), default=0),
        **{
            f"maxComputeWorkgroupSize{axis}": max((size[i] for size in sizes), default=0)
            for i, axis in enumerate("XYZ")
        },
    }
    return {name: value for name, value in needed.items() if value > DEFAULTS[name]}
