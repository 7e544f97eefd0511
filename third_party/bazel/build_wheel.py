"""Files and metadata in, a wheel out: the same bytes for the same content, wherever and whenever it is made."""

import argparse
import base64
import hashlib
import zipfile
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)


def _metadata(args: argparse.Namespace) -> str:
    requirements = (line.split("#")[0].strip() for line in args.requirements.read_text().splitlines())
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {args.distribution.replace('_', '-')}",
        f"Version: {args.version}",
        f"Summary: {args.summary}",
        "Requires-Python: >=3.11",
        "License-Expression: Apache-2.0",
        *(f"License-File: {path.name}" for path in args.license),
        "Description-Content-Type: text/markdown",
        *(f"Requires-Dist: {requirement}" for requirement in requirements if requirement),
    ]
    return "\n".join(lines) + "\n\n" + args.description.read_text()


def _record_line(path: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(content)}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--distribution", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--tag", required=True)
    parser.add_argument("--summary", required=True)
    parser.add_argument("--requirements", type=Path, required=True)
    parser.add_argument("--description", type=Path, required=True)
    parser.add_argument("--entry-points", type=Path, required=True)
    parser.add_argument("--license", type=Path, action="append", default=[])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("files", nargs="*", metavar="PATH=FILE")
    args = parser.parse_args()

    info = f"{args.distribution}-{args.version}.dist-info"
    wheel = f"Wheel-Version: 1.0\nGenerator: tvm-webgpu\nRoot-Is-Purelib: false\nTag: {args.tag}\n"
    content = {path: Path(file).read_bytes() for path, _, file in (item.partition("=") for item in args.files)}
    content |= {f"{info}/licenses/{path.name}": path.read_bytes() for path in args.license}
    content[f"{info}/METADATA"] = _metadata(args).encode()
    content[f"{info}/WHEEL"] = wheel.encode()
    content[f"{info}/entry_points.txt"] = args.entry_points.read_bytes()
    record = "".join(_record_line(path, data) for path, data in sorted(content.items()))
    content[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()

    # Stored, not deflated: what a compressor makes of the same bytes depends on its version.
    with zipfile.ZipFile(args.output, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(content, key=lambda path: (path.startswith(info), path)):
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.external_attr = (0o100755 if content[path].startswith(b"\x7fELF") else 0o100644) << 16
            archive.writestr(entry, content[path])


if __name__ == "__main__":
    main()
