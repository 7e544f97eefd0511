"""Device limits that schedules must respect: a TVM target in, plain numbers out."""

from __future__ import annotations

from dataclasses import dataclass

from tvm.target import Target

# https://www.w3.org/TR/webgpu/#limits: what every WebGPU device offers. TVM's own default for workgroup memory is
# 32 KB, which a device need not have; a target that really means more says so with `feature.workgroup_memory`.
DEFAULT_THREADS = 256
DEFAULT_WORKGROUP_BYTES = 16384
MAX_BLOCK_Z = 64


@dataclass(frozen=True)
class Limits:
    """Limits of one workgroup: invocations, bytes of shared memory; and the number of cores to keep busy."""

    threads: int = DEFAULT_THREADS
    workgroup_bytes: int = DEFAULT_WORKGROUP_BYTES
    # Streaming multiprocessors of the GPU that the tables aim at (H100 PCIe/SXM: 114/132). Only a hint for tile sizes.
    cores: int = 132
    # Whether the device multiplies matrices of 16x16 by subgroups of 32.
    subgroup_matrix: bool = False
    # Whether the "GPU" is a program on the CPU: loads cost much, arithmetic and registers little, barriers most.
    software: bool = False
    # Whether kernels are only to begin with: small, so that a driver compiles them soon, however slowly they run.
    start: bool = False

    @staticmethod
    def of(target: Target) -> Limits:
        """Reads `max_num_threads`, and `feature.workgroup_memory` and `feature.cores` where they are given."""
        attrs = target.attrs
        return Limits(
            threads=int(attrs.get("max_num_threads", DEFAULT_THREADS)),
            workgroup_bytes=int(attrs.get("feature.workgroup_memory", DEFAULT_WORKGROUP_BYTES)),
            cores=int(attrs.get("feature.cores", 132)),
            subgroup_matrix=bool(attrs.get("feature.subgroup_matrix", False)),
            software=bool(attrs.get("feature.software", False)),
            start=bool(attrs.get("feature.start", False)),
        )
