"""The local server: what it sends with every file, what it keeps to itself, and its page, clicked on in Chromium."""

import http.client
import json
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tvm_webgpu.errors import TvmWebgpuError
from tvm_webgpu.serve import make_server, runtime_bundle

FIXTURE = Path(__file__).parents[2] / "runtime_ts" / "test" / "fixture" / "package"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    try:
        bundle = runtime_bundle()
    except TvmWebgpuError as error:
        pytest.skip(str(error))
    with make_server({"/": bundle / "page", "/model/": FIXTURE}, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def get(port: int, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    return connection.getresponse()


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/model/manifest.json", "application/json"),
        ("/model/model.wasm", "application/wasm"),
    ],
)
def test_headers(port: int, path: str, content_type: str) -> None:
    response = get(port, path)
    assert (response.status, response.headers["Content-Type"]) == (200, content_type)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self' 'wasm-unsafe-eval';" in policy
    assert "unsafe-inline" not in policy and "'unsafe-eval'" not in policy
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/none", "/model/", "/model/../../make.py", "/model/%2e%2e/%2e%2e/make.py"])
def test_nothing_else_is_served(port: int, path: str) -> None:
    response = get(port, path)
    assert response.status == 404
    assert b"import" not in response.read()


def test_a_browser_that_goes_away_is_no_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "large.bin").write_bytes(bytes(64 << 20))  # more than the sockets hold
    with make_server({"/": tmp_path}, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
                connection.sendall(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
                connection.recv(1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not closed
        assert get(server.server_port, "/none").status == 404
        server.shutdown()
    assert capfd.readouterr().err == ""


def test_the_page_runs_a_package_under_these_headers(port: int) -> None:
    if shutil.which("node") is None or not Path("/usr/bin/chromium").exists():
        pytest.skip("needs node and Chromium")
    script = Path(__file__).with_name("serve_page.mjs")
    command = ["node", str(script), f"http://127.0.0.1:{port}/"]
    # In a source tree the npm packages lie with the runtime; Bazel's tests name them.
    env = {"NODE_PATH": str(runtime_bundle().parent / "node_modules"), **os.environ}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=env, check=False)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["problems"] == [] and shown["isolated"]
    assert "float32[1, 4]" in shown["text"] and "the last run" in shown["text"]
