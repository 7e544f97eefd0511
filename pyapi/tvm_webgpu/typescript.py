"""A package's entry functions in, TypeScript declarations of their inputs and outputs out.

The text names the types that the npm package `tvm-webgpu` exports (runtime_ts/src/typed.ts), so that a project's own
compiler checks what it gives to `run` and how it uses the results.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from tvm_webgpu.package import Entry, Package, TensorSpec

FILE = "types.d.ts"
"""The declarations' place in a package's folder. No executor reads it, so the manifest does not list it."""

_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*", re.ASCII)


def declarations(package: Package) -> str:
    """The text of a module that exports one interface, the package's name in PascalCase.

    A shape's numbers are literal types; its symbols are numbers, and label the extent that they stand for.
    """
    name = interface_name(package.name)
    entries = "\n".join(_entry(entry, package.name) for entry in package.entries)
    used = sorted(set(re.findall(r": (IntOutput|ObjectOf|TensorInput|TensorOutput)\b", entries)))
    imports = f'import type {{ {", ".join(used)} }} from "tvm-webgpu";\n\n' if used else ""
    return (
        f"// Made by `tvm-webgpu types` for the package {json.dumps(package.name)}: make it again, don't edit it.\n"
        f"{imports}"
        f"/**\n"
        f" * The entry functions of {_comment(package.name)}: `const model = await loadModel<{name}>(url)`.\n"
        f" * An extent that has a name is chosen by the inputs; within one call a name has one value.\n"
        f" */\n"
        f"export interface {name} {{\n{entries}\n}}\n"
    )


def interface_name(package: str) -> str:
    """The package's name as a type's: `mobilenet_v2` becomes `MobilenetV2`."""
    words = re.findall(r"[A-Za-z\d]+", package)
    name = "".join(word[0].upper() + word[1:] for word in words)
    return name if name and not name[0].isdigit() else f"Model{name}"


def _entry(entry: Entry, package: str) -> str:
    inputs = _members(entry.inputs, package, output=False)
    outputs = _members(entry.outputs, package, output=True)
    return f"  {_key(entry.name)}: {{\n    inputs: {inputs};\n    outputs: {outputs};\n  }};"


def _members(specs: Sequence[TensorSpec], package: str, *, output: bool) -> str:
    if not specs:
        return "Record<string, never>"
    lines = []
    for spec in specs:
        lines.append(f"      /** {_comment(str(spec))} */")
        lines.append(f"      {_key(spec.name)}: {_type(spec, package, output=output)};")
    return "\n".join(["{", *lines, "    }"])


def _type(spec: TensorSpec, package: str, *, output: bool) -> str:
    match spec.kind:
        case "object":
            return f"ObjectOf<{json.dumps(package)}>"
        case "int" | "shape":
            return "IntOutput" if output else "number"
    shape = ", ".join(map(_extent, spec.shape))
    return f"{'TensorOutput' if output else 'TensorInput'}<{json.dumps(spec.dtype)}, [{shape}]>"


def _extent(extent: int | str) -> str:
    if isinstance(extent, int):
        return str(extent)
    return f"{extent}: number" if _IDENTIFIER.fullmatch(extent) else "number"


def _key(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name)


def _comment(text: str) -> str:
    """Names are a model's author's: they must not end the comment."""
    return " ".join(text.replace("*/", "*\\/").split())
