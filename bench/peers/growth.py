"""Works of growing size for the comparison: the same networks at other batches, image sizes, lengths and widths.

A family is a curve: time against one number. `write` makes the works with the comparison's own generator, so that
every engine gets the same weights and a reference by ONNX Runtime on the CPU.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Family:
    """One curve: `sizes` along `axis`, each a work whose name is `name` with the size in place of `{}`."""

    axis: str
    name: str
    sizes: tuple[int, ...]
    network: str  # an expression in the generator's names; `size` and `name` are bound


FAMILIES = {
    "batch": Family(
        "batch", "mobilenet_v2_batch_{}", (1, 2, 4, 8, 16, 32, 64), "images(mobilenet_v2, name, batch=size)"
    ),
    "image": Family(
        "image size", "mobilenet_v2_image_{}", (96, 160, 224, 320, 448), "images(mobilenet_v2, name, edge=size)"
    ),
    "sequence": Family(
        "sequence length", "minilm_l6_length_{}", (16, 64, 128, 256, 512, 1024, 2048), "minilm(name=name, S=size)"
    ),
    "matmul": Family("width", "matmul_width_{}", (128, 256, 512, 1024, 2048, 4096, 8192), "matmul(size, name=name)"),
}

# What the generator lacks: its image networks take one image of 224 x 224.
IMAGES = """
def images(network, name, batch=1, edge=224):
    original = CNN.inp
    CNN.inp = lambda self, shape, *rest: original(self, [batch, shape[1], edge, edge], *rest)
    try:
        return network(name=name)
    finally:
        CNN.inp = original
"""


def works() -> list[str]:
    return [family.name.format(size) for family in FAMILIES.values() for size in family.sizes]


def write(bench: Path, names: list[str]) -> None:
    """Adds the named works to the comparison's folder, but for those that it has.

    Raises:
        subprocess.CalledProcessError: the generator failed; what it said stands on stderr.
    """
    models = bench / "models"
    missing = [name for name in names if not (models / f"{name}.onnx.gz").exists()]
    if not missing:
        return
    generator = bench.parent / "gen" / "models.py"
    tree = ast.parse(generator.read_text())
    tree.body.pop()  # the call of main(), which comes too early
    lines = [ast.unparse(tree), IMAGES]
    for family in FAMILIES.values():
        for size in family.sizes:
            name = family.name.format(size)
            lines.append(f"ALL[{name!r}] = lambda size={size}, name={name!r}: {family.network}")
    lines.append("main()")
    command = [sys.executable, "-c", "\n".join(lines), str(models), *missing]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "0"})
