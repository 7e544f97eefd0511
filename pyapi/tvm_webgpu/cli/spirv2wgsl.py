"""`tvm-webgpu spirv2wgsl`: a SPIR-V compute module, binary or assembly, in; WGSL out."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_webgpu.errors import InputError

if TYPE_CHECKING:
    from tvm_webgpu.codegen.wgsl import Shader

HELP = "translate a SPIR-V compute module to WGSL"

DESCRIPTION = """\
Translate any SPIR-V compute module to WGSL that Chrome (Tint), Firefox (naga) and Safari take.

  tvm-webgpu spirv2wgsl shader.spv -o shader.wgsl
  glslc -fshader-stage=compute a.comp -o - | tvm-webgpu spirv2wgsl -
  tvm-webgpu spirv2wgsl shader.spv --entry main --spec 0=64 --spec 1=true --reflect

The input is a SPIR-V binary or, where it does not begin with SPIR-V's magic number, assembly text.
"""

MAGIC = (b"\x03\x02\x23\x07", b"\x07\x23\x02\x03")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("file", metavar="FILE", help=".spv or .spvasm; - is stdin")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: stdout")
    parser.add_argument("--entry", metavar="NAME", help="the compute entry point to keep; default: all of them")
    parser.add_argument(
        "--spec", metavar="ID=VALUE", action="append", default=[], help="a value for the spec constant of this SpecId"
    )
    parser.add_argument(
        "--immediates", action="store_true", help="push constants as var<immediate>; default: a uniform buffer"
    )
    parser.add_argument("--reflect", action="store_true", help="print the interface as JSON instead of the text")


def main(options: argparse.Namespace) -> int:
    """Runs the command."""
    from tvm_webgpu.codegen import wgsl

    try:
        data = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    except OSError as error:
        raise InputError(f"can't read {options.file}: {error.strerror}") from error
    chosen = wgsl.Options(
        push_constants="immediate" if options.immediates else "uniform",
        entry_point=options.entry,
        spec_constants=dict(_spec(text) for text in options.spec),
    )
    shader = wgsl.translate(_module(data, options.file), chosen)
    text = _interface(shader) if options.reflect else shader.text
    if options.output is None:
        sys.stdout.write(text)
        return 0
    try:
        Path(options.output).write_text(text)
    except OSError as error:
        raise InputError(f"can't write {options.output}: {error.strerror}") from error
    return 0


def _spec(text: str) -> tuple[int, int | float | bool]:
    id, equals, value = text.partition("=")
    try:
        if equals and value in ("true", "false"):
            return int(id), value == "true"
        whole = value.removeprefix("-").startswith("0x") or value.removeprefix("-").isdigit()
        return int(id), int(value, 0) if whole else float(value)
    except ValueError:
        raise InputError(f"--spec {text}: say ID=VALUE, such as 0=64, 1=0.5 or 2=true") from None


def _interface(shader: Shader) -> str:
    found = dataclasses.asdict(shader) | {"features": sorted(shader.features)}
    del found["text"]
    return json.dumps(found, indent=2) + "\n"


def _module(data: bytes, file: str) -> bytes:
    if data[:4] in MAGIC or file.endswith(".spv"):
        return data
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is neither a SPIR-V module nor assembly text") from error
    from tvm_webgpu import spirv_tools

    return spirv_tools.assemble(text)
