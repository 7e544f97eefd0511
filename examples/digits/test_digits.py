"""The digits model reads scans and drawings, and page and script prepare pictures alike."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image, ImageDraw

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from dataset import load  # noqa: E402
from preprocess import preprocess  # noqa: E402

MODEL = HERE / "digits.onnx"
EXAMPLES = json.loads((HERE / "web" / "examples.json").read_text())


def draw(strokes: list[list[list[float]]], side: int = 160, pen: float = 0.052) -> np.ndarray:
    """The ink of strokes with a round pen, as the page has it."""
    picture = Image.new("L", (2 * side, 2 * side))
    pencil, width = ImageDraw.Draw(picture), 2 * side * pen
    for stroke in strokes:
        points = [(2 * side * x, 2 * side * y) for x, y in stroke]
        pencil.line(points, fill=255, width=round(width))
        for x, y in points:
            pencil.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=255)
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX)) / 255


def logits(images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"image": images})[0]


def test_the_file_is_small_and_its_batch_open() -> None:
    assert MODEL.stat().st_size < 300_000
    model = onnx.load(MODEL)
    assert model.opset_import[0].version >= 17
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_held_out_accuracy() -> None:
    train, held_out = load()
    assert len(held_out.labels) == 360 and len(train.labels) == 1437
    assert (logits(held_out.images).argmax(1) == held_out.labels).mean() >= 0.97


@pytest.mark.parametrize("pen", [0.03, 0.052, 0.1])
def test_drawings_of_any_pen_are_read(pen: float) -> None:
    images = np.concatenate([preprocess(draw(strokes, pen=pen)) for strokes in EXAMPLES])
    assert logits(images).argmax(1).tolist() == list(range(10))


def test_place_and_size_do_not_matter() -> None:
    whole = draw(EXAMPLES[2])
    small = np.zeros((300, 200))
    small[60:140, 100:180] = whole.reshape(80, 2, 80, 2).mean((1, 3))
    assert abs(preprocess(whole) - preprocess(small)).mean() < 0.02


def test_drawings_hold_as_much_ink_as_scans() -> None:
    _, held_out = load()
    drawn = [preprocess(draw(strokes)).sum() for strokes in EXAMPLES]
    assert np.mean(drawn) == pytest.approx(held_out.images.sum((1, 2, 3)).mean(), rel=0.05)


@pytest.mark.parametrize("ink", [np.zeros((20, 20)), np.eye(1)], ids=["no ink", "one pixel"])
def test_hardly_any_ink(ink: np.ndarray) -> None:
    picture = preprocess(ink)
    assert picture.shape == (1, 1, 8, 8) and np.isfinite(picture).all()


def test_the_page_prepares_pictures_alike(tmp_path: Path) -> None:
    script = f"""
        import {{ readFileSync }} from "node:fs";
        import {{ preprocess }} from {json.dumps((HERE / "web" / "preprocess.js").as_uri())};
        const pictures = JSON.parse(readFileSync(0, "utf8"));
        const read = ([height, width, ink]) => Array.from(preprocess(Float32Array.from(ink), width, height));
        console.log(JSON.stringify(pictures.map(read)));
    """
    rng = np.random.default_rng(0)
    inks = [draw(EXAMPLES[digit], side=100 + 7 * digit, pen=0.04 + 0.005 * digit) for digit in range(10)]
    inks += [inks[3][:, 20:90], np.zeros((5, 9)), (rng.random((40, 60)) > 0.7) * 1.0]
    inks = [ink.astype("float32") for ink in inks]
    (tmp_path / "script.mjs").write_text(script)
    given = json.dumps([[*ink.shape, ink.ravel().tolist()] for ink in inks])
    done = subprocess.run(["node", tmp_path / "script.mjs"], input=given, capture_output=True, text=True, check=True)
    for ink, ours in zip(inks, json.loads(done.stdout), strict=True):
        np.testing.assert_allclose(preprocess(ink).ravel(), ours, atol=1 / 16)
