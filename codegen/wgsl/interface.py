"""What `translate` takes and gives besides the binary: options, and the reflection of a shader's interface."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Options:
    """How to translate.

    ``push_constants`` chooses between ``var<uniform>``, at ``uniform_binding`` of group 0 (by
    default after the last binding in use), and ``var<immediate>``. ``entry_point`` names the one compute
    entry point to keep (default: all). ``spec_constants`` gives values by SpecId; the others keep their defaults.
    """

    push_constants: Literal["uniform", "immediate"] = "uniform"
    uniform_binding: int | None = None
    entry_point: str | None = None
    spec_constants: Mapping[int, int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True)
class EntryPoint:
    """``name`` as in the module, ``wgsl_name`` as in the text, ``workgroup_size`` in invocations (x, y, z)."""

    name: str
    wgsl_name: str
    workgroup_size: tuple[int, int, int]


@dataclass(frozen=True)
class Binding:
    """A buffer variable. ``size`` is its type's size in bytes, with a runtime array counted as one element."""

    group: int
    binding: int
    name: str
    kind: Literal["storage", "uniform"]
    access: Literal["read", "read_write"]
    size: int


@dataclass(frozen=True)
class PushMember:
    """``type`` is the member's WGSL type, ``offset`` its place in bytes."""

    name: str
    type: str
    offset: int


@dataclass(frozen=True)
class PushConstants:
    """The push-constant block; ``binding`` (group 0) is None when it became ``var<immediate>``. ``size`` in bytes."""

    members: tuple[PushMember, ...]
    size: int
    binding: int | None


@dataclass(frozen=True)
class Shader:
    """WGSL ``text`` and its interface; ``features`` are names of WebGPU features (``shader-f16``, ``subgroups``)."""

    text: str
    entry_points: tuple[EntryPoint, ...]
    bindings: tuple[Binding, ...]
    push_constants: PushConstants | None
    features: frozenset[str]

    @property
    def workgroup_size(self) -> tuple[int, int, int]:
        """The workgroup size of the first entry point."""
        return self.entry_points[0].workgroup_size
