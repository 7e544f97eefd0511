"""The digits of the demo in Chromium: the whole held-out set, and the page."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path

import pytest

from tests.e2e.digits import DIGITS, check_held_out_set, compile_to
from tests.e2e.executors import TIMEOUT, node_environment


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_to(tmp_path_factory.mktemp("digits") / "package")


def test_held_out_set(package: Path) -> None:
    check_held_out_set("chromium", package)


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
