"""Compiles the bundled model and prints what it reads in a picture; or serves a page to draw digits on.

python examples/digits/demo.py [--picture=FILE] [--serve [--port=8000]] [--package=DIR]
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rich.live
import tvm_webgpu
from absl import app, flags, logging
from PIL import Image
from preprocess import preprocess
from rich.console import Console, Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from tvm_webgpu.errors import TvmWebgpuError

HERE = Path(__file__).parent

PICTURE = flags.DEFINE_string("picture", str(HERE / "data" / "picture.png"), "Picture of one digit.")
PACKAGE = flags.DEFINE_string("package", None, "Folder to keep the compiled package in; without one it is thrown away.")
SERVE = flags.DEFINE_bool("serve", False, "Serve the page on which one can draw, on localhost.")
PORT = flags.DEFINE_integer("port", 8000, "Port of the page; 0 takes a free one.", lower_bound=0)

SHADES = " ░▒▓█"


def read_picture(path: str | Path) -> np.ndarray:
    """The ink of a picture, `[height, width]` from 0 to 1, dark on light or light on dark."""
    grey = np.asarray(Image.open(path).convert("L"), "float64")
    low, high = np.percentile(grey, [0.5, 99.5])
    grey = np.clip((grey - low) / max(high - low, 1), 0, 1)
    # Ink covers the smaller part of a picture. Paper is never even: what is faint is paper.
    ink = 1 - grey if grey.mean() > 0.5 else grey
    return np.clip((ink - 0.25) / 0.5, 0, 1)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


@dataclass
class Compiled:
    folder: Path
    package: tvm_webgpu.Package
    seconds: float


def compile_model(folder: Path, console: Console) -> Compiled:
    """Compiles `digits.onnx` into the folder, telling the console how far it is."""
    start = time.perf_counter()
    with rich.live.Live(console=console, transient=True) as live:

        def progress(phase: str, done: int, total: int) -> None:
            table = Table.grid(padding=(0, 1))
            table.add_row(ProgressBar(total=total, completed=done, width=24), f"{phase} [dim]{done}/{total}[/]")
            live.update(table)

        package = tvm_webgpu.compile(HERE / "digits.onnx", target="webgpu", progress=progress)
    package.save(folder)
    return Compiled(folder, package, time.perf_counter() - start)


def show_compiled(compiled: Compiled, console: Console) -> None:
    kernels = len(compiled.package.kernels)
    size = sum(path.stat().st_size for path in compiled.folder.iterdir() if path.suffix != ".spv")
    done = f"[bold]digits.onnx[/] compiled in {compiled.seconds:.1f} s"
    console.print(f"{done}: {kernels} WebGPU kernels, {size / 1000:.0f} kB in all")


def show_reading(picture: np.ndarray, probabilities: np.ndarray, console: Console) -> None:
    """Prints what the model saw beside the probability of each digit."""
    rows = [Text("".join(SHADES[round(ink * 4)] * 2 for ink in row), style="cyan") for row in picture]
    bars = Table.grid(padding=(0, 1))
    best = int(probabilities.argmax())
    for digit, share in enumerate(probabilities):
        style = "bold green" if digit == best else "dim"
        bar = ProgressBar(total=1, completed=float(share), width=30, complete_style=style, finished_style=style)
        bars.add_row(Text(str(digit), style), bar, Text(f"{share:6.1%}", style))
    layout = Table.grid(padding=(0, 4))
    layout.add_row(Group(Text("what the model sees", style="dim"), Text(""), *rows), bars)
    console.print(layout)
    console.print(f"prediction: [bold green]{best}[/] ({probabilities[best]:.1%})")


def predict(compiled: Compiled, console: Console) -> None:
    picture = preprocess(read_picture(PICTURE.value))
    model = tvm_webgpu.load(compiled.folder)
    logits = model.run({"image": picture})["logits"]
    show_reading(picture[0, 0], softmax(logits[0]), console)


def serve(compiled: Compiled, console: Console) -> None:
    from tvm_webgpu.serve import make_server, runtime_bundle

    roots = {"/": HERE / "web", "/model/": compiled.folder, "/tvm-webgpu/": runtime_bundle()}
    with make_server(roots, PORT.value) as server:
        console.print(f"Draw a digit on http://127.0.0.1:{server.server_port}/ [dim](Ctrl-C stops)[/]")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print()


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    logging.set_verbosity(logging.WARNING)
    console = Console(highlight=False)
    with ExitStack() as stack:
        folder = PACKAGE.value or stack.enter_context(tempfile.TemporaryDirectory(prefix="tvm-webgpu-digits-"))
        try:
            compiled = compile_model(Path(folder), console)
            show_compiled(compiled, console)
            (serve if SERVE.value else predict)(compiled, console)
        except (TvmWebgpuError, OSError) as error:
            sys.exit(f"demo: {error}")


if __name__ == "__main__":
    app.run(main)
