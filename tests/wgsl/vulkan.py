"""Runs a SPIR-V compute module on a Vulkan driver as it is: buffers' bytes in, their bytes afterwards out.

wgpu would hand the module to naga first, which refuses some and changes others; this asks the driver itself, so it is
the reference that a translation is compared with. Only what that takes is bound, by ctypes on the Vulkan loader.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping
from ctypes import byref, c_char_p, c_int32, c_uint8, c_uint32, c_uint64, c_void_p, cast
from functools import cache
from typing import Any

BufferKey = tuple[int, int]  # group, binding

_UNIFORM, _STORAGE = 6, 7  # VkDescriptorType
_PUSH = 0x20  # VK_SHADER_STAGE_COMPUTE_BIT
# Feature structures that are chained to the device's, by VkStructureType, with their number of VkBool32 members.
_FEATURES = {
    49: 12,  # VkPhysicalDeviceVulkan11Features
    51: 47,  # VkPhysicalDeviceVulkan12Features
    53: 15,  # VkPhysicalDeviceVulkan13Features
}


class VulkanError(Exception):
    """A Vulkan call that failed, with its result code."""


class _Packer:
    """Builds C structures from a format of Q (64-bit, pointers too) and I (32-bit), naturally aligned."""

    def __init__(self) -> None:
        self.alive: list[Any] = []

    def __call__(self, format: str, *values: Any) -> int:
        """The address of a structure; it lives as long as this object."""
        data = struct.pack(f"@{format}", *(self._plain(v) for v in values))
        made = ctypes.create_string_buffer(data, -(-len(data) // 8) * 8)
        self.alive.append(made)
        return ctypes.addressof(made)

    def _plain(self, value: Any) -> int:
        if isinstance(value, bytes):
            made = ctypes.create_string_buffer(value, len(value) + 1)
            self.alive.append(made)
            return ctypes.addressof(made)
        return int(value)

    def array(self, format: str, *values: int) -> int:
        return self(f"{len(values)}{format}", *values) if values else 0


@cache
def _loader() -> Any:
    try:
        return ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return None


def _call(name: str, *args: Any) -> None:
    function = getattr(_loader(), name)
    function.restype = c_int32
    result = function(*args)
    if result:
        raise VulkanError(f"{name} gave {result}")


def _make(name: str, device: int, info: int) -> int:
    made = c_uint64()
    _call(name, c_void_p(device), c_void_p(info), None, byref(made))
    return made.value


class Device:
    """The first Vulkan device, with every feature it has switched on."""

    def __init__(self) -> None:
        pack = _Packer()
        application = pack("IQQIQII", 0, 0, 0, 0, 0, 0, 1 << 22 | 3 << 12)
        instance = c_void_p()
        _call("vkCreateInstance", c_void_p(pack("IQIQIQIQ", 1, 0, 0, application, 0, 0, 0, 0)), None, byref(instance))
        count, physical = c_uint32(1), c_void_p()
        _loader().vkEnumeratePhysicalDevices(instance, byref(count), byref(physical))
        if not count.value:
            raise VulkanError("no device")
        chain = 0
        for kind, members in _FEATURES.items():
            chain = pack(f"IQ{members}I", kind, chain, *[0] * members)
        features = pack("IQ55I", 1000059000, chain, *[0] * 55)  # VkPhysicalDeviceFeatures2
        _loader().vkGetPhysicalDeviceFeatures2(physical, c_void_p(features))
        queue = pack("IQIIIQ", 2, 0, 0, 0, 1, pack("f", 1))
        device = c_void_p()
        info = pack("IQIIQIQIQQ", 3, features, 0, 1, queue, 0, 0, 0, 0, 0)
        _call("vkCreateDevice", physical, c_void_p(info), None, byref(device))
        self.device = device.value or 0
        made = c_void_p()
        _loader().vkGetDeviceQueue(device, 0, 0, byref(made))
        self.queue = made
        self.memory_type = self._memory_type(physical)
        pool = _make("vkCreateCommandPool", self.device, pack("IQII", 39, 0, 0, 0))
        self.pool = pool

    def _memory_type(self, physical: c_void_p) -> int:
        properties = (c_uint32 * 256)()
        _loader().vkGetPhysicalDeviceMemoryProperties(physical, properties)
        wanted = 0x2 | 0x4  # host-visible, coherent
        return next(i for i in range(properties[0]) if properties[1 + 2 * i] & wanted == wanted)

    def buffer(self, data: bytes) -> tuple[int, Any]:
        """(buffer, its mapped bytes)."""
        pack, device = _Packer(), c_void_p(self.device)
        made = _make("vkCreateBuffer", self.device, pack("IQIQIIIQ", 12, 0, 0, len(data), 0x30, 0, 0, 0))
        needs = (c_uint64 * 3)()
        _loader().vkGetBufferMemoryRequirements(device, c_uint64(made), needs)
        memory = _make("vkAllocateMemory", self.device, pack("IQQI", 5, 0, needs[0], self.memory_type))
        _call("vkBindBufferMemory", device, c_uint64(made), c_uint64(memory), c_uint64(0))
        at = c_void_p()
        _call("vkMapMemory", device, c_uint64(memory), c_uint64(0), c_uint64(len(data)), c_uint32(0), byref(at))
        mapped = cast(at, ctypes.POINTER(c_uint8 * len(data))).contents
        mapped[:] = data
        return made, mapped


@cache
def device() -> Device | None:
    """The device; None where there is no driver."""
    try:
        return Device() if _loader() is not None else None
    except VulkanError:
        return None


def run(
    spirv: bytes,
    entry: str,
    buffers: Mapping[BufferKey, bytes],
    kinds: Mapping[BufferKey, str],
    groups: tuple[int, int, int] = (1, 1, 1),
    push: bytes = b"",
) -> dict[BufferKey, bytes]:
    """Dispatches once. ``kinds`` says of each buffer whether it is uniform; all others are storage buffers.

    Raises VulkanError. The driver trusts the module: what spirv-val refuses may crash the process.
    """
    found = device()
    assert found is not None
    pack, handle = _Packer(), found.device
    shader = _make("vkCreateShaderModule", handle, pack("IQIQQ", 16, 0, 0, len(spirv), spirv))
    sets = max((group for group, _ in buffers), default=-1) + 1
    descriptor = {key: _UNIFORM if kinds.get(key) == "uniform" else _STORAGE for key in buffers}
    layouts = []
    for group in range(sets):
        keys = [key for key in sorted(buffers) if key[0] == group]
        words = b"".join(struct.pack("@IIIIQ", key[1], descriptor[key], 1, _PUSH, 0) for key in keys)
        layouts.append(_make("vkCreateDescriptorSetLayout", handle, pack("IQIIQ", 32, 0, 0, len(keys), words)))
    ranges = pack("III", _PUSH, 0, len(push)) if push else 0
    info = pack("IQIIQIQ", 30, 0, 0, sets, pack.array("Q", *layouts), int(bool(push)), ranges)
    layout = _make("vkCreatePipelineLayout", handle, info)
    # VkComputePipelineCreateInfo holds its VkPipelineShaderStageCreateInfo in place.
    stage = pack("QQQQQIIQQQQQQ", 29, 0, 0, 18, 0, 0, _PUSH, shader, entry.encode(), 0, layout, 0, 0)
    pipeline = c_uint64()
    _call("vkCreateComputePipelines", c_void_p(handle), c_uint64(0), c_uint32(1), c_void_p(stage), None,
          byref(pipeline))  # fmt: skip
    made = {key: found.buffer(data) for key, data in buffers.items()}
    bound = _bind(found, pack, layouts, descriptor, made, {key: len(data) for key, data in buffers.items()})
    command = c_void_p()
    wanted = c_void_p(pack("IQQII", 40, 0, found.pool, 0, 1))
    _call("vkAllocateCommandBuffers", c_void_p(handle), wanted, byref(command))
    _call("vkBeginCommandBuffer", command, c_void_p(pack("IQIQ", 42, 0, 1, 0)))
    loader = _loader()
    loader.vkCmdBindPipeline(command, c_uint32(1), pipeline)
    for group, set_ in enumerate(bound):
        one = c_uint64(set_)
        loader.vkCmdBindDescriptorSets(
            command, c_uint32(1), c_uint64(layout), c_uint32(group), c_uint32(1), byref(one), c_uint32(0), None
        )
    if push:
        loader.vkCmdPushConstants(
            command, c_uint64(layout), c_uint32(_PUSH), c_uint32(0), c_uint32(len(push)), c_char_p(push)
        )
    loader.vkCmdDispatch(command, *(c_uint32(n) for n in groups))
    _call("vkEndCommandBuffer", command)
    commands = pack.array("Q", command.value or 0)
    submit = c_void_p(pack("IQIQQIQIQ", 4, 0, 0, 0, 0, 1, commands, 0, 0))
    _call("vkQueueSubmit", found.queue, c_uint32(1), submit, c_uint64(0))
    _call("vkQueueWaitIdle", found.queue)
    return {key: bytes(mapped) for key, (_, mapped) in made.items()}


def _bind(
    found: Device, pack: _Packer, layouts: list[int], kinds: Mapping[BufferKey, int],
    made: Mapping[BufferKey, tuple[int, Any]], sizes: Mapping[BufferKey, int],
) -> list[int]:  # fmt: skip
    """One descriptor set for each layout."""
    if not made:
        return []
    sizes_info = b"".join(struct.pack("@II", kind, len(made)) for kind in (_UNIFORM, _STORAGE))
    pool = _make("vkCreateDescriptorPool", found.device, pack("IQIIIQ", 33, 0, 0, len(layouts), 2, sizes_info))
    sets = (c_uint64 * len(layouts))()
    info = pack("IQQIQ", 34, 0, pool, len(layouts), pack.array("Q", *layouts))
    _call("vkAllocateDescriptorSets", c_void_p(found.device), c_void_p(info), sets)
    writes = b""
    for key, (buffer, _) in made.items():
        place = pack("QQQ", buffer, 0, sizes[key])
        writes += struct.pack("@IQQIIIIQQQ", 35, 0, sets[key[0]], key[1], 0, 1, kinds[key], 0, place, 0)
    data = ctypes.create_string_buffer(writes, len(writes))
    _loader().vkUpdateDescriptorSets(c_void_p(found.device), c_uint32(len(made)), data, c_uint32(0), None)
    return list(sets)
