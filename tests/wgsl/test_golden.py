"""Each `*.spvasm` here translates to the `.wgsl` beside it, which naga and Tint accept and which computes what it says.

`python test_golden.py --update` rewrites the goldens; the diff is the review. Comments at the top of an `.spvasm` file
give the words of buffers before (`; buffer BINDING: ...`) and after (`; result BINDING: ...`) one dispatch of one
workgroup, what the translation must refuse (`; error: text`), that only Tint knows what it uses (`; compilers: tint`),
that the layout is one that only a device feature allows (`; layout: scalar`), that SPIR-V leaves the result to the
driver (`; reference: none`), or an option of the translation (`; option NAME=VALUE`, a number naming a spec constant).
Where not said otherwise the driver, given the SPIR-V itself, must give the same words.
"""

import re
import struct
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import compilers  # noqa: E402
import execute_wgsl  # noqa: E402
import vulkan  # noqa: E402
from tvm_webgpu import spirv_tools  # noqa: E402
from tvm_webgpu.codegen import wgsl  # noqa: E402
from tvm_webgpu.errors import TvmWebgpuError  # noqa: E402

CASES = sorted(HERE.glob("*.spvasm"))


def words(text: str, kind: str) -> dict[tuple[int, int], bytes]:
    """The `; buffer` or `; result` lines of a case, by (group 0, binding)."""
    found = re.findall(rf"^; {kind} (\d+): (.*)$", text, re.M)
    return {(0, int(b)): struct.pack(f"<{len(v.split())}I", *(int(w, 0) for w in v.split())) for b, v in found}


def has(source: str, note: str) -> bool:
    return re.search(rf"^; {note}$", source, re.M) is not None


def options(source: str) -> wgsl.Options:
    found = dict(re.findall(r"^; option (\w+)=(\S+)$", source, re.M))
    spec = {int(name): int(value) for name, value in found.items() if name.isdigit()}
    return wgsl.Options(spec_constants=spec, **{name: v for name, v in found.items() if not name.isdigit()})


def translated(case: Path) -> str:
    source = case.read_text()
    try:
        return wgsl.translate(spirv_tools.assemble(source), options(source)).text
    except TvmWebgpuError as error:
        return f"// {error}\n"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.stem)
def test_text(case: Path) -> None:
    assert translated(case) == case.with_suffix(".wgsl").read_text(), "run test_golden.py --update and look at the diff"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.stem)
def test_accepted_and_right(case: Path) -> None:
    source = case.read_text()
    error = re.search(r"^; error: (.*)$", source, re.M)
    if error:
        with pytest.raises(TvmWebgpuError, match=re.escape(error[1])):
            wgsl.translate(spirv_tools.assemble(source), options(source))
        return
    if has(source, "compilers: tint"):
        return
    if compilers.device() is None:
        pytest.skip("no Vulkan device")
    binary = spirv_tools.assemble(source)
    if not has(source, "layout: scalar"):
        spirv_tools.validate(binary)
    shader = wgsl.translate(binary, options(source))
    assert compilers.naga(shader.text) is None
    before, after = words(source, "buffer"), words(source, "result")
    kinds = {(b.group, b.binding): execute_wgsl.KINDS[b.kind, b.access] for b in shader.bindings}
    push = shader.push_constants
    if push is not None and push.binding is not None:
        kinds[0, push.binding] = "uniform"
    got = execute_wgsl.run(shader.text, shader.entry_points[0].wgsl_name, before, kinds)
    runs = [got]
    if vulkan.device() is not None and not has(source, "reference: none") and "; option" not in source:
        pushed = before.pop((0, push.binding)) if push is not None and push.binding is not None else b""
        runs.append(vulkan.run(binary, shader.entry_points[0].name, before, kinds, push=pushed))
    for buffers in runs:
        for key, expected in after.items():
            count = len(expected) // 4
            assert struct.unpack(f"<{count}I", buffers[key]) == struct.unpack(f"<{count}I", expected)


@pytest.mark.skipif(not compilers.Tint.available(), reason="Node with npm's webgpu is not installed")
def test_tint_accepts() -> None:
    tint = compilers.Tint()
    refused = {}
    for case in CASES:
        text = translated(case)
        if not text.startswith("//") and (error := tint(text)):
            refused[case.stem] = error
    tint.close()
    assert not refused


if __name__ == "__main__":
    if "--update" in sys.argv:
        for path in CASES:
            path.with_suffix(".wgsl").write_text(translated(path))
    else:
        sys.exit(pytest.main([__file__]))
