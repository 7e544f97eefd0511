"""How images become an input, as a package says it: options by name in, the checked input out.

The runtime's ImageOptions (runtime_ts/src/pictures.ts) has their meaning; `tvm-webgpu compile --image` writes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tvm_webgpu.errors import InputError

if TYPE_CHECKING:
    from tvm_webgpu.package import TensorSpec

CHOICES = {"layout": ("NCHW", "NHWC"), "channels": ("RGB", "BGR"), "fit": ("stretch", "cover", "contain")}
NUMBERS = ("mean", "std", "pad")
DTYPES = ("float32", "float16", "uint8")

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "imagenet": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "fit": "cover", "crop": 0.875},
    "unit": {},
    "signed": {"mean": [0.5], "std": [0.5]},
}
"""torchvision's classifiers, values from 0 to 1, and values from -1 to 1."""


def parse_image(text: str) -> tuple[str, dict[str, Any]]:
    """`NAME=PRESET` or `NAME={JSON}` to the input's name and its options; InputError."""
    name, separator, value = text.partition("=")
    if separator and value in PRESETS:
        return name, dict(PRESETS[value])
    try:
        options = json.loads(value)
    except ValueError:
        options = None
    if not separator or not isinstance(options, dict):
        presets = ", ".join(PRESETS)
        raise InputError(
            f'--image {text!r} is not NAME=PRESET ({presets}) or NAME={{"mean": [...], "std": [...], ...}}'
        )
    return name, options


def as_image(spec: TensorSpec, options: Mapping[str, Any]) -> TensorSpec:
    """The input with these options; InputError if it can't be an image, or for an option that there is not."""

    def fail(problem: str) -> InputError:
        return InputError(f"input {spec.name!r} as an image: {problem}")

    if spec.kind != "tensor" or spec.dtype not in DTYPES or len(spec.shape) not in (3, 4):
        raise fail(f"it is {spec}; images become {', '.join(DTYPES)} of 3 or 4 dimensions")
    for name, value in options.items():
        if name in CHOICES:
            if value not in CHOICES[name]:
                raise fail(f"{name} must be one of {', '.join(CHOICES[name])}, not {value!r}")
        elif name in NUMBERS:
            if not isinstance(value, list) or not value or not all(_is_number(item) for item in value):
                raise fail(f"{name} must be a list of numbers, not {value!r}")
        elif name == "crop":
            if not _is_number(value) or not 0 < value <= 1:
                raise fail(f"crop must be above 0 and at most 1, not {value!r}")
        elif name == "antialias":
            if not isinstance(value, bool):
                raise fail(f"antialias must be true or false, not {value!r}")
        else:
            known = ", ".join((*NUMBERS, *CHOICES, "crop", "antialias"))
            raise fail(f"there is no option {name!r}; there are {known}")
    if 0 in options.get("std", ()):
        raise fail("std must not hold 0")
    return replace(spec, image=dict(options))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
