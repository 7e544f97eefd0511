"""Device limits and features read from a TVM target.

`max_num_threads` is the kind's own attribute. TVM gives every webgpu target 32 KB of workgroup memory, more than WebGPU
guarantees, so a target has to ask for more than the guaranteed 16 KB by `feature.workgroup_memory` (bytes), as for more
than 8 storage buffers by `feature.storage_buffers`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm.target import Target

DEFAULT_WORKGROUP_MEMORY = 16384
DEFAULT_STORAGE_BUFFERS = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """What a kernel may use."""

    threads: int
    workgroup_memory: int
    storage_buffers: int
    f16: bool
    subgroups: bool
    subgroup_matrix: bool

    @staticmethod
    def of(target: Target) -> Limits:
        attrs = target.attrs
        memory = int(attrs.get("feature.workgroup_memory", 0))
        asked = int(attrs.get("max_shared_memory_per_block", DEFAULT_WORKGROUP_MEMORY))
        matrix = bool(attrs.get("feature.subgroup_matrix", False))
        subgroups = bool(attrs.get("feature.subgroups", False)) or bool(attrs.get("supports_subgroups", False))
        return Limits(
            threads=int(attrs.get("max_num_threads", 256)),
            workgroup_memory=memory or min(asked, DEFAULT_WORKGROUP_MEMORY),
            storage_buffers=int(attrs.get("feature.storage_buffers", DEFAULT_STORAGE_BUFFERS)),
            f16=bool(attrs.get("feature.f16", False)),
            subgroups=subgroups or matrix,
            subgroup_matrix=matrix,
        )
