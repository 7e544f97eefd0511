"""What packages say of their kernels' work, and of inputs that are images."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import tvm
import tvm_webgpu
from tvm import relax
from tvm.script import relax as R
from tvm.script import tirx as T
from tvm_webgpu.cli import main
from tvm_webgpu.errors import InputError
from tvm_webgpu.image_options import parse_image
from tvm_webgpu.package import Postfix


def evaluate(amount: Postfix | None, **values: int) -> int:
    stack: list[int] = []
    for item in amount if isinstance(amount, tuple) else (amount,):
        if item in ("+", "*", "min"):
            b, a = stack.pop(), stack.pop()
            stack.append({"+": a + b, "*": a * b, "min": min(a, b)}[str(item)])
        else:
            stack.append(values[item] if isinstance(item, str) else int(item or 0))
    (result,) = stack
    return result


@tvm.script.ir_module
class Product:
    @R.function
    def main(
        x: R.Tensor(("n", 8), "float32"), w: R.Tensor((8, 16), "float32"), b: R.Tensor((16,), "float32")
    ) -> R.Tensor(("n", 16), "float32"):
        n = T.int64()
        with R.dataflow():
            y: R.Tensor((n, 16), "float32") = R.nn.relu(R.add(R.matmul(x, w), b))
            R.output(y)
        return y


@tvm.script.ir_module
class Picture:
    @R.function
    def main(pixels: R.Tensor(("n", 3, 4, 4), "float32")) -> R.Tensor(("n", 3, 4, 4), "float32"):
        n = T.int64()
        with R.dataflow():
            y: R.Tensor((n, 3, 4, 4), "float32") = R.exp(pixels)
            R.output(y)
        return y


def test_a_product_with_its_epilogue_is_counted_in_terms_of_its_symbol() -> None:
    (kernel,) = tvm_webgpu.compile(Product, target="webgpu").kernels
    for n in (1, 7, 1000):
        assert evaluate(kernel.flops, n=n) == n * 16 * (2 * 8 + 2)
        assert evaluate(kernel.traffic, n=n) == 4 * (n * 8 + 8 * 16 + 16 + n * 16)


def calling(op: Callable[..., relax.Expr], *shapes: Sequence[int]) -> tvm.IRModule:
    """A module whose entry calls one operator."""
    builder = relax.BlockBuilder()
    inputs = [relax.Var(f"x{i}", relax.TensorType(shape, "float32")) for i, shape in enumerate(shapes)]
    with builder.function("main", inputs):
        with builder.dataflow():
            result = builder.emit_output(op(*inputs))
        builder.emit_func_output(result)
    return builder.get()


def convolution(x: relax.Expr, w: relax.Expr) -> relax.Expr:
    return relax.op.nn.conv2d(x, w, padding=(1, 1))


MATRIX = 4 << 20
"""Bytes of 1024 x 1024."""

IMAGE, TILES, WEIGHTS = 16 * 16 * 16, 16 * 36 * 16, 36 * 16 * 16
"""Elements of a convolution's input and result, in either of Winograd's transforms, and of its transformed weights."""

HEADS, SCORES = 2 * 8 * 520, 2 * 8 * 8
"""Elements of an operand of attention, and of its scores."""

SEVERAL: dict[str, tuple[tvm.IRModule, tuple[str, ...], list[tuple[int, int]]]] = {
    # The turned operand is moved twice; the product reads the turned one.
    "turned": (
        calling(relax.op.matmul, (1024, 2048), (2048, 1024)),
        (),
        [(0, 4 * MATRIX), (4 * 1024**3, 5 * MATRIX)],
    ),
    # 256 workgroups leave a number each; 256 threads meet by eights and then fours.
    "in parts": (
        calling(relax.op.sum, (1 << 20,)),
        (),
        [(2**20 + 256 * (36 * 7 + 256 * 3), 4 * (2**20 + 256)), (256 + 36 * 7 + 256 * 3, 4 * 257)],
    ),
    # Weights, image, 36 products of 16 x 16 x 16, results; 125 to 336 operations for the 25 or 36 values of a tile.
    "Winograd": (
        calling(convolution, (1, 16, 16, 16), (16, 16, 3, 3)),
        ("software",),
        [
            (125 * 256, 4 * (9 * 256 + WEIGHTS)),
            (336 * 256, 4 * (IMAGE + TILES)),
            (2 * 36 * 16**3, 4 * (2 * TILES + WEIGHTS)),
            (260 * 256, 4 * (IMAGE + TILES)),
        ],
    ),
    # Heads too wide for one kernel: scores, the largest of a row, the row's sum of powers, results.
    "attention": (
        calling(relax.op.nn.attention, *[(1, 8, 2, 520)] * 3),
        (),
        [
            (2 * SCORES * 520, 4 * (2 * HEADS + SCORES)),
            (2 * SCORES, 4 * (SCORES + 16)),
            (4 * SCORES, 4 * (SCORES + 2 * 16)),
            (6 * SCORES * 520, 4 * (2 * HEADS + SCORES + 2 * 16)),
        ],
    ),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_each_kernel_of_a_function_has_its_own_amounts(case: str) -> None:
    module, features, expected = SEVERAL[case]
    kernels = tvm_webgpu.compile(module, features=features).kernels
    assert [(kernel.flops, kernel.traffic) for kernel in kernels] == expected


def test_amounts_and_images_travel_with_the_package(tmp_path: Path) -> None:
    package = tvm_webgpu.compile(Picture, target="webgpu").with_images({"pixels": {"mean": [0.5], "fit": "cover"}})
    loaded = tvm_webgpu.Package.load(package.save(tmp_path / "package"))
    (kernel,) = loaded.kernels
    assert evaluate(kernel.flops, n=2) == 2 * 48
    assert evaluate(kernel.traffic, n=2) == 2 * 2 * 48 * 4
    assert loaded.entries[0].inputs[0].image == {"mean": [0.5], "fit": "cover"}


def test_the_command_line_takes_presets_and_json(tmp_path: Path) -> None:
    source = tmp_path / "model.py"
    source.write_text(f"from {__name__} import Picture\n\n\ndef model():\n    return Picture\n")
    assert main(["compile", f"{source}:model", "-o", str(tmp_path / "p"), "--image", "pixels=imagenet"]) == 0
    manifest = json.loads((tmp_path / "p" / "manifest.json").read_text())
    assert manifest["entries"][0]["inputs"][0]["image"]["crop"] == 0.875
    assert parse_image('x={"std": [2]}') == ("x", {"std": [2]})


@pytest.mark.parametrize("text", ["pixels", "pixels=nope", "pixels=[1]", "=unit x"])
def test_what_is_no_description_of_images_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--image"):
        parse_image(text)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"fit": "best"}, "fit must be one of stretch, cover, contain"),
        ({"mean": 0.5}, "mean must be a list of numbers"),
        ({"std": [1, 0]}, "std must not hold 0"),
        ({"crop": 2}, "crop must be above 0"),
        ({"antialias": "yes"}, "antialias must be true or false"),
        ({"colour": "RGB"}, "no option 'colour'"),
    ],
)
def test_options_that_images_do_not_have_are_refused(options: dict[str, object], problem: str) -> None:
    package = tvm_webgpu.compile(Picture, target="webgpu")
    with pytest.raises(InputError, match=problem):
        package.with_images({"pixels": options})


def test_an_input_that_is_no_image_is_refused() -> None:
    package = tvm_webgpu.compile(Product, target="webgpu")
    with pytest.raises(InputError, match=r"'x' as an image: it is float32\[n, 8\]"):
        package.with_images({"x": {}})
    with pytest.raises(InputError, match="no input 'y' for images; there are b, w, x"):
        package.with_images({"y": {}})
