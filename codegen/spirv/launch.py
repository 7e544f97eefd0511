"""What a host needs to know to launch a kernel: `KernelModule`, and the rule from call arguments to a dispatch.

TVM's host code calls a kernel with packed arguments: one data handle per binding in device-parameter order, one value
per scalar parameter, then one integer per entry of `launch_tags`. A runtime turns them into a dispatch with a table of
four things per kernel: the number of bindings, the scalars' dtypes, the tags and `folds_grid`.

1. grid = [1, 1, 1]. For each tag: `blockIdx.x`, `.y`, `.z` set grid[0], [1], [2]; `threadIdx.*` is ignored (the
   workgroup size is in the module).
2. If any grid entry is 0 or less, nothing is launched.
3. Scalar words, 4 bytes each, in order: an int32 or uint32 scalar is the integer argument, which must fit (an int64
   parameter arrives as such and is declared int32: a value outside 32 bits is an error, never truncated); a float32
   scalar is the float argument rounded to f32.
4. If `folds_grid`: the last scalar, `grid_x` (uint32), is not an argument: it is grid[0]. Then if grid[0] > 65535:
   z = ceil(grid[0] / 65535), x = ceil(grid[0] / z), grid = [x, grid[1], z]. The kernel takes
   WorkgroupId.x + WorkgroupId.z * NumWorkgroups.x for blockIdx.x and returns at once where that is not below grid_x.
5. A grid entry above 65535 now is an error, and so is a grid[0] above 2**31 - 1 before.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_GRID = 65535
MAX_FOLDED_GRID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Binding:
    """A parameter buffer: its name, 'read' or 'read_write', and the dtype TIR gives its elements."""

    name: str
    access: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """A 4-byte word of the push constants; number i stands at byte 4 * i. dtype is int32, uint32 or float32."""

    name: str
    dtype: str


@dataclass(frozen=True, slots=True)
class KernelModule:
    """One kernel as SPIR-V and what it needs; the module docstring says how it is launched.

    `grid` has None where the extent depends on scalars. `features` are WebGPU feature names.
    """

    name: str
    spirv: bytes
    bindings: tuple[Binding, ...]
    scalars: tuple[Scalar, ...]
    launch_tags: tuple[str, ...]
    workgroup_size: tuple[int, int, int]
    grid: tuple[int | None, int | None, int | None]
    folds_grid: bool
    features: frozenset[str]
    workgroup_memory_bytes: int


def fold(grid: tuple[int, int, int], folds_grid: bool) -> tuple[int, int, int]:
    """Steps 4 and 5 of the rule; raises ValueError for a grid that no device takes."""
    x, y, z = grid
    if folds_grid and x > MAX_GRID:
        z = -(-x // MAX_GRID)
        x = -(-x // z)
    if max(x, y, z) > MAX_GRID or grid[0] > MAX_FOLDED_GRID:
        raise ValueError(f"grid {grid} is larger than {MAX_GRID} workgroups in a dimension")
    return x, y, z
