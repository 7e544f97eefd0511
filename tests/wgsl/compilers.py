"""The two compilers that our WGSL must please: WGSL in, None or the error message out."""

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@cache
def device() -> Any:
    """A wgpu device with every feature that kernels may use; None where there is no adapter."""
    import wgpu

    try:
        adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    except RuntimeError:
        return None
    features = [f for f in ("shader-f16", "subgroup", "subgroup-barrier", "push-constants") if f in adapter.features]
    return adapter.request_device_sync(required_features=features)


def for_naga(text: str) -> str:
    """naga knows subgroup operations, but not the directives that Tint wants for them."""
    return text.replace("enable subgroups;\n", "").replace("diagnostic(off, subgroup_uniformity);\n", "")


def naga(text: str) -> str | None:
    """naga's verdict through wgpu."""
    found = device()
    assert found is not None
    try:
        found.create_shader_module(code=for_naga(text))
    except Exception as error:
        return str(error)
    return None


def node_modules() -> Path | None:
    """The folder in whose node_modules npm's `webgpu` (Dawn) lies."""
    places = [Path(p) for p in (os.environ.get("TVMW_NODE_MODULES"), HERE.parents[1] / "runtime_ts") if p]
    return next((p for p in places if (p / "node_modules" / "webgpu").is_dir()), None)


class Tint:
    """One Node process with Dawn's null backend, asked again and again."""

    @staticmethod
    def available() -> bool:
        return shutil.which("node") is not None and node_modules() is not None

    def __init__(self) -> None:
        folder = node_modules()
        assert folder is not None
        self.process = subprocess.Popen(
            ["node", str(HERE / "tint_batch.mjs"), str(folder / "package.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, text: str) -> str | None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(text) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("verdict "):
                verdict: str | None = json.loads(line.removeprefix("verdict "))
                return verdict
        raise RuntimeError("Dawn's process has ended")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)
