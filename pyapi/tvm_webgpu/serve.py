"""A local web server: folders by URL prefix in, their files with the types that browsers insist on out."""

from __future__ import annotations

import http.server
import mimetypes
import posixpath
import sys
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tvm_webgpu.errors import TvmWebgpuError

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".wgsl": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".bin": "application/octet-stream",
}

# Nothing inline and nothing from elsewhere; of evaluation WebAssembly alone. Pictures come from files and the camera.
POLICY = {
    "default-src": "'none'",
    "script-src": "'self' 'wasm-unsafe-eval'",
    "worker-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data: blob:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}

# Cross-origin isolation gives the page precise timers; it loads nothing from elsewhere.
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
    "Permissions-Policy": "camera=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _Handler(http.server.SimpleHTTPRequestHandler):
    roots: Mapping[str, Path] = {}
    quiet = True

    def translate_path(self, path: str) -> str:
        path = urllib.parse.unquote(path.partition("?")[0].partition("#")[0])
        clean = posixpath.normpath(path) + ("/" if path.endswith("/") and path != "/" else "")
        prefix = max((prefix for prefix in self.roots if clean.startswith(prefix)), key=len, default=None)
        if prefix is None or ".." in clean.split("/"):
            return "/nonexistent"
        relative = clean.removeprefix(prefix).lstrip("/")
        return str(self.roots[prefix] / relative)

    def list_directory(self, path: object) -> None:
        self.send_error(404, "Not Found")

    def guess_type(self, path: object) -> str:
        suffix = Path(str(path)).suffix
        return TYPES.get(suffix) or mimetypes.guess_type(str(path))[0] or "application/octet-stream"

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        if not self.quiet:
            super().log_message(format, *args)


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of a file, as it does when a page is left, is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def make_server(
    roots: Mapping[str, str | Path], port: int = 8000, *, host: str = "127.0.0.1", quiet: bool = True
) -> http.server.ThreadingHTTPServer:
    """A server, not yet serving, of folders by URL prefix (the longest prefix wins); port 0 takes a free one.

    TvmWebgpuError if the port is in use or a folder does not exist.
    """
    folders = {prefix: Path(folder).resolve() for prefix, folder in roots.items()}
    for folder in folders.values():
        if not folder.is_dir():
            raise TvmWebgpuError(f"can't serve {folder}: no such folder")
    try:
        handler = type("Handler", (_Handler,), {"roots": folders, "quiet": quiet})
        return _Server((host, port), handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "ports are 0 to 65535"
        raise TvmWebgpuError(f"can't listen on port {port}: {reason}; choose another with --port") from error


def runtime_bundle() -> Path:
    """The folder with the built TypeScript runtime: in the wheel, or `runtime_ts/dist` of a source tree."""
    here = Path(__file__).parent
    for folder in (here / "runtime_ts" / "dist", here.resolve().parents[1] / "runtime_ts" / "dist"):
        if folder.is_dir():
            return folder
    raise TvmWebgpuError(
        "the TypeScript runtime is not built: install the wheel, or run `npm run build` in runtime_ts of a source tree"
    )
