"""Variants of a package: `f16`, or `fast=f16,subgroups,workgroup_memory=32768`, in; the target of each out."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tvm.target import Target

from tvm_webgpu.errors import InputError
from tvm_webgpu.package import START
from tvm_webgpu.pipeline.target import FEATURES, HINTS, resolve_target

MIXED_PRECISION = "mixed_precision"

PRESETS = {
    "f16": f"f16,{MIXED_PRECISION}",
    "subgroups": "subgroups",
    "subgroup_matrix": f"f16,subgroups,subgroup_matrix,{MIXED_PRECISION}",
    "limits": "workgroup_memory=32768,storage_buffers=10",
    "software": "software",
    START: START,
}
"""What a variant's name alone stands for. `limits` are those of nearly every desktop GPU."""

NUMBERS = {"threads": "max_num_threads", **{name: f"feature.{name}" for name in HINTS}}
"""What takes a number, and its target attribute."""


@dataclass(frozen=True)
class VariantSpec:
    """A variant to compile: target attributes beyond the package's own target, and whether to compute in float16."""

    name: str
    attributes: dict[str, object]
    mixed_precision: bool = False

    def target(self, base: Target) -> Target:
        """The package's target with this variant's attributes."""
        config = {key: value for key, value in json.loads(str(base)).items() if key not in ("tag", "host")}
        return resolve_target({**config, **self.attributes})


def parse_variant(text: str) -> VariantSpec:
    """`NAME=ITEM,ITEM...`, or a preset's name; InputError says what an item can be."""
    name, separator, items = text.partition("=")
    if not separator:
        if name not in PRESETS:
            raise InputError(
                f"unknown variant {name!r}; there are {', '.join(PRESETS)}, or say what it is: NAME={PRESETS['f16']}"
            )
        items = PRESETS[name]
    attributes: dict[str, object] = {}
    mixed_precision = False
    for item in items.split(","):
        key, _, number = item.partition("=")
        if item in FEATURES:
            attributes[f"feature.{item}"] = True
        elif item == MIXED_PRECISION:
            mixed_precision = True
        elif item == START:
            attributes[f"feature.{START}"] = True
        elif key in NUMBERS and number.isdecimal():
            attributes[NUMBERS[key]] = int(number)
        else:
            known = ", ".join([*FEATURES, MIXED_PRECISION, *(f"{key}=NUMBER" for key in NUMBERS)])
            raise InputError(f"variant {text!r}: {item!r} is none of {known}")
    if (f"feature.{START}" in attributes) != (name == START):
        raise InputError(f"variant {text!r}: {START} is a name of its own, for kernels to begin with")
    if mixed_precision and "feature.f16" not in attributes:
        raise InputError(f"variant {text!r}: {MIXED_PRECISION} needs f16")
    return VariantSpec(name, attributes, mixed_precision)
