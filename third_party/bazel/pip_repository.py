"""A lock file in, a Bazel repository in the current folder out: each distribution unzipped, with a stamp and a target.

Wheels come from the wheelhouse, a folder kept between checkouts; what it lacks, pip downloads into it. Wheels are
unzipped rather than installed: an installer's records differ from run to run.
"""

import argparse
import compileall
import hashlib
import py_compile
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.tags import sys_tags
from pip._vendor.packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

_BUILD_HEADER = """load("@//third_party/bazel:python.bzl", "pip_distribution")

package(default_visibility = ["//visibility:public"])

exports_files(glob(["dist/*"], exclude_directories = 0))
"""
_BUILD_TARGET = """
pip_distribution(
    name = "{name}",
    directory = "dist/{name}",
    stamp = "dist/{name}.sha256",
    deps = {deps},
)
"""


@dataclass(frozen=True)
class Locked:
    """One distribution of the lock file: its name, version, and the hashes that its wheels may have."""

    name: str
    version: str
    hashes: frozenset[str]
    text: str


def read_lock(path: Path) -> list[Locked]:
    """The distributions of a lock file whose markers hold for this interpreter."""
    locked = []
    for text in path.read_text().replace("\\\n", " ").splitlines():
        hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", text))
        specification = text.split("--hash")[0].split("#")[0].strip()
        if not specification:
            continue
        requirement = Requirement(specification)
        if requirement.marker and not requirement.marker.evaluate():
            continue
        version = str(requirement.specifier).removeprefix("==")
        locked.append(Locked(canonicalize_name(requirement.name), version, hashes, text))
    return locked


def find_wheels(wheelhouse: Path, locked: list[Locked]) -> dict[str, Path]:
    """For each distribution the wheel in the wheelhouse that fits this interpreter best, if there is one."""
    wanted = {(each.name, each.version): each for each in locked}
    ranks = {tag: rank for rank, tag in enumerate(sys_tags())}
    found: dict[str, tuple[int, Path]] = {}
    for path in sorted(wheelhouse.glob("*.whl")):
        try:
            name, version, _, tags = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        distribution = wanted.get((name, str(version)))
        rank = min((ranks[tag] for tag in tags if tag in ranks), default=None)
        if distribution is None or rank is None or (name in found and found[name][0] <= rank):
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() in distribution.hashes:
            found[name] = (rank, path)
    return {name: path for name, (_, path) in found.items()}


def download(wheelhouse: Path, locked: list[Locked]) -> None:
    """Lets pip, as it is configured on this machine, download and check what is missing."""
    requirements = Path("missing.txt")
    requirements.write_text("\n".join(each.text for each in locked) + "\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--require-hashes", "--no-deps",
         "--only-binary", ":all:", "--progress-bar", "off", "--dest", str(wheelhouse), "-r", str(requirements)],
        check=True,
    )  # fmt: skip


def unpack(wheel: Path, target: Path, keep: list[str]) -> list[Requirement]:
    """Unzips a wheel as an installer would lay it out, and gives the requirements that it declares."""
    requirements = []
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if member.is_dir() or (keep and not member.filename.startswith(tuple(keep))):
                continue
            path = target / re.sub(
                r"^[^/]+\.data/(purelib|platlib|scripts|data)/",
                lambda match: "bin/" if match[1] == "scripts" else "",
                member.filename,
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(member))
            path.chmod(0o755 if (member.external_attr >> 16) & 0o111 or path.parent.name == "bin" else 0o644)
        metadata = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        headers = HeaderParser().parsestr(archive.read(metadata).decode())
        requirements = [Requirement(text) for text in headers.get_all("Requires-Dist", [])]
    if not keep:
        # Byte code that is never checked against the source's time: imports are quick and the folder never changes.
        compileall.compile_dir(
            target, quiet=2, workers=0, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
    return requirements


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lock", type=Path)
    parser.add_argument("--wheelhouse", type=Path, required=True)
    parser.add_argument("--keep", action="append", default=[], metavar="DISTRIBUTION=PREFIX")
    args = parser.parse_args()
    keep: dict[str, list[str]] = {}
    for item in args.keep:
        name, _, prefix = item.partition("=")
        keep.setdefault(name, []).append(prefix)

    args.wheelhouse.mkdir(parents=True, exist_ok=True)
    locked = read_lock(args.lock)
    wheels = find_wheels(args.wheelhouse, locked)
    missing = [each for each in locked if each.name not in wheels]
    if missing:
        download(args.wheelhouse, missing)
        wheels = find_wheels(args.wheelhouse, locked)
    if lacking := [each.name for each in locked if each.name not in wheels]:
        sys.exit(f"no wheel that fits this Python and the lock: {', '.join(lacking)}")

    build = [_BUILD_HEADER]
    for name, wheel in sorted(wheels.items()):
        requirements = unpack(wheel, Path("dist", name), keep.get(name, []))
        Path("dist", f"{name}.sha256").write_text(hashlib.sha256(wheel.read_bytes()).hexdigest() + "\n")
        needed = {
            canonicalize_name(each.name)
            for each in requirements
            if each.marker is None or each.marker.evaluate({"extra": ""})
        }
        build.append(_BUILD_TARGET.format(name=name, deps=[f":{each}" for each in sorted(needed & wheels.keys())]))
    Path("BUILD").write_text("".join(build))


if __name__ == "__main__":
    main()
