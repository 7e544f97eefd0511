"""Runs a compute shader, SPIR-V or WGSL, through wgpu: bytes of the buffers in, bytes of the buffers afterwards out."""

from collections.abc import Mapping
from typing import Any

import compilers

BufferKey = tuple[int, int]  # group, binding
# (kind, access) of a binding as `translate` reports it -> the type of its bind group layout entry.
KINDS = {
    ("storage", "read"): "read-only-storage", ("storage", "read_write"): "storage", ("uniform", "read"): "uniform",
}  # fmt: skip


def run(
    code: str | bytes,
    entry: str,
    buffers: Mapping[BufferKey, bytes],
    kinds: Mapping[BufferKey, str],
    groups: tuple[int, int, int] = (1, 1, 1),
) -> dict[BufferKey, bytes]:
    """Dispatches once. ``kinds`` says of each buffer whether it is storage, read-only-storage or uniform."""
    import wgpu

    device: Any = compilers.device()
    module = device.create_shader_module(code=compilers.for_naga(code) if isinstance(code, str) else code)
    made = {
        key: device.create_buffer_with_data(
            data=data,
            usage=wgpu.BufferUsage.COPY_SRC
            | (wgpu.BufferUsage.UNIFORM if kinds[key] == "uniform" else wgpu.BufferUsage.STORAGE),
        )
        for key, data in buffers.items()
    }
    layouts, bind_groups = [], []
    for group in range(max((g for g, _ in buffers), default=-1) + 1):
        bindings = [b for g, b in sorted(buffers) if g == group]
        layout = device.create_bind_group_layout(
            entries=[
                {"binding": b, "visibility": wgpu.ShaderStage.COMPUTE, "buffer": {"type": kinds[group, b]}}
                for b in bindings
            ]
        )
        layouts.append(layout)
        bind_groups.append(
            device.create_bind_group(
                layout=layout,
                entries=[{"binding": b, "resource": {"buffer": made[group, b]}} for b in bindings],
            )
        )
    pipeline = device.create_compute_pipeline(
        layout=device.create_pipeline_layout(bind_group_layouts=layouts),
        compute={"module": module, "entry_point": entry},
    )
    encoder = device.create_command_encoder()
    work = encoder.begin_compute_pass()
    work.set_pipeline(pipeline)
    for i, group_ in enumerate(bind_groups):
        work.set_bind_group(i, group_)
    work.dispatch_workgroups(*groups)
    work.end()
    device.queue.submit([encoder.finish()])
    return {key: bytes(device.queue.read_buffer(buffer)) for key, buffer in made.items()}
