"""The digits of the demo: the whole held-out set in Node and Python, and the bundled picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.digits import DIGITS, check_held_out_set, compile_to
from tests.e2e.executors import EXECUTORS, Run


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_to(tmp_path_factory.mktemp("digits") / "package")


@pytest.mark.parametrize("executor", ["node", "wgpu"])
def test_held_out_set(executor: str, package: Path) -> None:
    check_held_out_set(executor, package)


def test_picture(package: Path) -> None:
    from demo import read_picture
    from preprocess import preprocess

    image = preprocess(read_picture(DIGITS / "data" / "picture.png"))
    (result,) = EXECUTORS["wgpu"](package, [Run({"image": image})])
    assert result["logits"].argmax() == 3
