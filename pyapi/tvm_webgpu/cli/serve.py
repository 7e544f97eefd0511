"""`tvm-webgpu serve`: a package in, a page on localhost that runs it out."""

from __future__ import annotations

import argparse
import webbrowser

from tvm_webgpu.package import Package

HELP = "open a package as a page on localhost"

DESCRIPTION = """\
Serve a package with the browser runtime and a page that runs it, on localhost: pictures, the camera, drawings or
numbers in, scores, pictures or tables out, with the time of each run and of each kernel.
The browser needs WebGPU: Chrome or Edge 113, Safari 26, Firefox 141 or newer.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("package", metavar="DIR", help="the package's folder")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0 takes a free one")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")


def main(options: argparse.Namespace) -> int:
    """Runs the command until it is interrupted."""
    from tvm_webgpu.serve import make_server, runtime_bundle

    package = Package.load(options.package)
    bundle = runtime_bundle()
    roots = {"/": bundle / "page", "/model/": options.package, "/tvm-webgpu/": bundle}
    with make_server(roots, options.port, quiet=not options.verbose) as server:
        url = f"http://127.0.0.1:{server.server_port}/"
        print(f"{package.name}: {url} (Ctrl-C stops)", flush=True)
        if options.open:
            webbrowser.open(url)
        server.serve_forever()
    return 0
