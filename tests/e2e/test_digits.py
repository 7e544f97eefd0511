"""The digits of the demo: the whole held-out set in every executor, the bundled picture, and the page in Chromium."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.e2e.compare import assert_close, onnx_reference
from tests.e2e.executors import EXECUTORS, TIMEOUT, Run, node_environment

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
sys.path.insert(0, str(DIGITS))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tvm_webgpu

    folder = tmp_path_factory.mktemp("digits") / "package"
    tvm_webgpu.compile(DIGITS / "digits.onnx", target="webgpu").save(folder)
    return folder


@pytest.mark.parametrize("executor", EXECUTORS)
def test_held_out_set(executor: str, package: Path) -> None:
    from dataset import load

    _, held_out = load()
    batches = np.split(held_out.images, [1, 8])
    results = EXECUTORS[executor](package, [Run({"image": images}) for images in batches])
    actual = {"logits": np.concatenate([result["logits"] for result in results])}
    expected = onnx_reference(onnx.load(DIGITS / "digits.onnx"), {"image": held_out.images})
    assert_close(actual, expected, "float32")
    predicted = actual["logits"].argmax(1)
    np.testing.assert_array_equal(predicted, expected["logits"].argmax(1))
    assert (predicted == held_out.labels).mean() >= 0.97


def test_picture(package: Path) -> None:
    from demo import read_picture
    from preprocess import preprocess

    image = preprocess(read_picture(DIGITS / "data" / "picture.png"))
    (result,) = EXECUTORS["wgpu"](package, [Run({"image": image})])
    assert result["logits"].argmax() == 3


def test_page_reads_what_is_drawn(package: Path) -> None:
    from tvm_webgpu.serve import make_server, runtime_bundle

    with make_server({"/": DIGITS / "web", "/model/": package, "/tvm-webgpu/": runtime_bundle()}, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        script = Path(__file__).with_name("page.mjs")
        done = subprocess.run(
            ["node", str(script), url], env=node_environment(), capture_output=True, text=True, timeout=TIMEOUT
        )
        server.shutdown()
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["problems"] == []
    assert " ms" in seen["footer"] and "swiftshader" in seen["footer"].lower()
