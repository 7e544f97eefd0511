"""Takes a folder, gives the path of a Vulkan driver file (ICD) in it: lavapipe as Dawn accepts it.

Use: `VK_DRIVER_FILES=$(python tests/vulkan/driver.py OUT_DIR) node ...`. Mesa's lavapipe (Debian: the package
`mesa-vulkan-drivers`) must be installed; it is loaded when the driver is used, not when it is built.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("lavapipe_shim.c")
LIBRARY = "liblavapipe_shim.so"
API_VERSION = "1.3.230"  # Debian 12's Mesa 22.3


def build(folder: Path) -> Path:
    """Compiles lavapipe_shim.c into `folder`, unless a newer one is there; gives the path of its JSON file.

    Raises subprocess.CalledProcessError (the compiler's message is on stderr) if it does not compile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    library, icd = folder / LIBRARY, folder / "lavapipe_shim.json"
    if not library.exists() or library.stat().st_mtime < SOURCE.stat().st_mtime:
        # Built aside and renamed into place, since two tests may build at once.
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / LIBRARY
            compiler = [sys.executable, "-m", "ziglang", "cc"]
            # Named, so that the bytes do not depend on the processor that builds them.
            target = ["-target", f"{platform.machine()}-linux-gnu"]
            flags = [*target, "-shared", "-fPIC", "-O2", "-g0", "-Wall", "-Werror", "-fvisibility=hidden"]
            subprocess.run([*compiler, *flags, str(SOURCE), "-o", str(made)], check=True)
            made.replace(library)
    driver = {"library_path": f"./{LIBRARY}", "api_version": API_VERSION}
    icd.write_text(json.dumps({"file_format_version": "1.0.0", "ICD": driver}) + "\n")
    return icd.resolve()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python driver.py OUT_DIR   (prints the path for VK_DRIVER_FILES)")
    print(build(Path(sys.argv[1])))
