"""`tvm-webgpu inspect`: a package in, tables of its entries, kernels and sizes, or one kernel's code, out."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from collections.abc import Iterable

from tvm_webgpu.errors import PackageError
from tvm_webgpu.package import Kernel, Package, TensorSpec

HELP = "show what is in a package"

DESCRIPTION = """\
Show a package's entries, kernels, sizes and memory; or one kernel's WGSL or SPIR-V.

  tvm-webgpu inspect dist/model
  tvm-webgpu inspect dist/model --kernel fused_conv2d_add_clip_kernel --wgsl
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("package", metavar="DIR", help="the package's folder")
    parser.add_argument("--kernel", metavar="NAME", help="only this kernel")
    parser.add_argument("--wgsl", action="store_true", help="print WGSL")
    parser.add_argument("--spirv", action="store_true", help="print SPIR-V assembly")
    parser.add_argument("--json", action="store_true", help="print the facts as JSON")


def main(options: argparse.Namespace) -> int:
    """Runs the command."""
    package = Package.load(options.package)
    kernels = (package.kernel(options.kernel),) if options.kernel else package.kernels
    if options.wgsl or options.spirv:
        for kernel in kernels:
            _print_code(kernel, options.wgsl, options.spirv)
    elif options.json:
        print(json.dumps(facts(package, kernels), indent=2))
    else:
        _print_tables(package, kernels)
    return 0


def facts(package: Package, kernels: Iterable[Kernel]) -> dict[str, object]:
    """The package as plain data: signatures, kernels and bytes."""
    return {
        "name": package.name,
        "producer": dict(package.producer),
        "features": list(package.features),
        "limits": dict(package.limits),
        "entries": [
            {
                "name": entry.name,
                "inputs": {spec.name: str(spec) for spec in entry.inputs},
                "outputs": {spec.name: str(spec) for spec in entry.outputs},
                "params": len(entry.params),
                "storage": list(entry.storage),
            }
            for entry in package.entries
        ],
        "kernels": [
            {
                "name": kernel.name,
                "workgroup_size": list(kernel.workgroup_size),
                "bindings": list(kernel.bindings),
                "scalars": [scalar.name for scalar in kernel.scalars],
                "features": list(kernel.features),
                "wgsl_bytes": len(kernel.wgsl.encode()),
                "spirv_bytes": len(kernel.spirv),
                "sha256": hashlib.sha256(kernel.wgsl.encode()).hexdigest(),
            }
            for kernel in kernels
        ],
        "files": {path: len(data) for path, data in package.files().items()},
    }


def _print_code(kernel: Kernel, wgsl: bool, spirv: bool) -> None:
    if wgsl:
        print(f"// {kernel.name}\n{kernel.wgsl}")
    if spirv:
        if not kernel.spirv:
            raise PackageError(f"the package holds no SPIR-V for {kernel.name!r} (kernels.spv is missing)")
        from tvm_webgpu import spirv_tools

        print(f"; {kernel.name}\n{spirv_tools.disassemble(kernel.spirv)}")


def _print_tables(package: Package, kernels: Iterable[Kernel]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    def table(title: str, *columns: str, right: Iterable[int] = ()) -> Table:
        result = Table(title=title, box=box.SIMPLE, title_justify="left", title_style="bold")
        for index, column in enumerate(columns):
            result.add_column(column, justify="right" if index in right else "left", overflow="fold")
        return result

    console = Console()
    if not console.is_terminal:
        console.width = 160
    made_by = ", ".join(f"{name} {version}" for name, version in package.producer.items())
    console.print(f"[bold]{escape(package.name)}[/bold]  (made by {made_by})", highlight=False)
    needs = [*package.features, *(f"{name} {value:,}" for name, value in package.limits.items())]
    console.print(f"needs {', '.join(needs) or 'nothing beyond WebGPU itself'}", highlight=False)
    for variant in package.variants:
        more = [*variant.package.features, *(f"{name} {value:,}" for name, value in variant.package.limits.items())]
        console.print(f"variant {escape(variant.name)} needs {', '.join(more) or 'no more'}", highlight=False)

    entries = table("Entries", "entry", "inputs", "outputs", "params", right=(3,))
    for entry in package.entries:
        inputs, outputs = (escape(_signature(specs)) for specs in (entry.inputs, entry.outputs))
        entries.add_row(entry.name, inputs, outputs, str(len(entry.params)))
    console.print(entries)

    rows = table("Kernels", "kernel", "workgroup", "bindings", "scalars", "WGSL B", "SPIR-V B", right=(4, 5))
    for kernel in kernels:
        rows.add_row(
            kernel.name,
            "x".join(map(str, kernel.workgroup_size)),
            " ".join({"read": "r", "read_write": "rw"}[binding] for binding in kernel.bindings),
            " ".join(scalar.name for scalar in kernel.scalars),
            f"{len(kernel.wgsl.encode()):,}",
            f"{len(kernel.spirv):,}" if kernel.spirv else "-",
        )
    console.print(rows)

    memory = table(
        "Memory plan, bytes of device memory", "entry", "parameters", "fixed blocks", "by shape", right=(1, 2)
    )
    for entry in package.entries:
        fixed = [size for size in entry.storage if isinstance(size, int)]
        weights = sum(len(package.params[index].data) for index in entry.params)
        by_shape = "\n".join(size for size in entry.storage if isinstance(size, str))
        blocks = f"{sum(fixed):,} in {len(fixed)}" if fixed else "none"
        memory.add_row(entry.name, f"{weights:,}", blocks, escape(by_shape))
    console.print(memory)

    files = table("Files", "file", "bytes", "gzip", right=(1, 2))
    for path, data in package.files().items():
        files.add_row(path, f"{len(data):,}", f"{len(gzip.compress(data, 6)):,}" if len(data) < 4 << 20 else "-")
    console.print(files)


def _signature(specs: Iterable[TensorSpec]) -> str:
    return "\n".join(f"{spec.name}: {spec}" for spec in specs)
