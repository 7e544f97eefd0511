"""What a device must offer to run a package: kernels and parameters in, names and values of WebGPU limits out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tvm_webgpu.package import Kernel, Param


def required_limits(kernels: Sequence[Kernel], memory: Sequence[int], params: Sequence[Param]) -> dict[str, int]:
    """The limits by their names in the specification (https://www.w3.org/TR/webgpu/#limits).

    `memory` is the workgroup memory of each kernel in bytes.
    """
    if not kernels:
        return {}
    sizes = [kernel.workgroup_size for kernel in kernels]
    return {
        "maxStorageBuffersPerShaderStage": max(len(kernel.bindings) for kernel in kernels),
        "maxComputeInvocationsPerWorkgroup": max(math.prod(size) for size in sizes),
        "maxComputeWorkgroupSizeX": max(size[0] for size in sizes),
        "maxComputeWorkgroupSizeY": max(size[1] for size in sizes),
        "maxComputeWorkgroupSizeZ": max(size[2] for size in sizes),
        "maxComputeWorkgroupStorageSize": max(memory),
        "maxStorageBufferBindingSize": max((len(param.data) for param in params), default=0),
    }
