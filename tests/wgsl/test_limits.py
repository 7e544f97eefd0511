"""What is too deep for WGSL or for us ends in a typed error that says so, quickly and without recursion."""

from pathlib import Path

import pytest
from tvm_webgpu import spirv_tools
from tvm_webgpu.codegen import wgsl
from tvm_webgpu.errors import UnsupportedError

HEAD = """
OpCapability Shader
OpMemoryModel Logical GLSL450
OpEntryPoint GLCompute %main "main"
OpExecutionMode %main LocalSize 1 1 1
%void = OpTypeVoid
%bool = OpTypeBool
%uint = OpTypeInt 32 0
%main_t = OpTypeFunction %void
%true = OpConstantTrue %bool
%c1 = OpConstant %uint 1
"""


def nested_selections(depth: int) -> str:
    lines = [HEAD, "%main = OpFunction %void None %main_t", "%entry = OpLabel"]
    for i in range(depth):
        lines.append(f"OpSelectionMerge %merge{i} None")
        lines += [f"OpBranchConditional %true %then{i} %merge{i}", f"%then{i} = OpLabel"]
    for i in reversed(range(depth)):
        lines += [f"OpBranch %merge{i}", f"%merge{i} = OpLabel"]
    return "\n".join([*lines, "OpReturn", "OpFunctionEnd"])


def nested_calls(depth: int) -> str:
    lines = [HEAD]
    for i in range(depth, -1, -1):
        lines += [f"{'%main' if i == 0 else f'%f{i}'} = OpFunction %void None %main_t", f"%entry{i} = OpLabel"]
        lines += [f"%r{i} = OpFunctionCall %void %f{i + 1}"] if i < depth else []
        lines += ["OpReturn", "OpFunctionEnd"]
    return "\n".join(lines)


def nested_types(depth: int) -> str:
    lines = [HEAD, "%t0 = OpTypeStruct %uint", *(f"%t{i} = OpTypeArray %t{i - 1} %c1" for i in range(1, depth))]
    return "\n".join([*lines, "%main = OpFunction %void None %main_t", "%entry = OpLabel", "OpReturn", "OpFunctionEnd"])


def long_chain(length: int) -> str:
    """Blocks behind each other, and a sum as long: no depth at all."""
    lines = [HEAD, "%main = OpFunction %void None %main_t", "%entry = OpLabel"]
    for i in range(length):
        lines += [f"%v{i} = OpIAdd %uint %{'c1' if i == 0 else f'v{i - 1}'} %c1", f"OpBranch %b{i}", f"%b{i} = OpLabel"]
    return "\n".join([*lines, "OpReturn", "OpFunctionEnd"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (nested_selections(400), "control flow nested deeper"),
        (nested_calls(500), "calls nested deeper"),
        (nested_types(300), "types nested deeper"),
    ],
    ids=["selections", "calls", "types"],
)
def test_too_deep(text: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        wgsl.translate(spirv_tools.assemble(text))


def test_deep_enough() -> None:
    assert wgsl.translate(spirv_tools.assemble(nested_selections(90))).text
    assert wgsl.translate(spirv_tools.assemble(nested_calls(30))).text
    assert wgsl.translate(spirv_tools.assemble(long_chain(5000))).text


@pytest.mark.parametrize("storage", ["Function", "Private", "Workgroup"])
def test_arrays_too_long_for_memory_that_is_no_buffer(storage: str) -> None:
    types = f"%c = OpConstant %uint 65536\n%long = OpTypeArray %uint %c\n%at = OpTypePointer {storage} %long\n"
    types += f"%part = OpTypePointer {storage} %uint\n"
    variable = f"%v = OpVariable %at {storage}\n"
    outside, inside = ("", variable) if storage == "Function" else (variable, "")
    body = f"%main = OpFunction %void None %main_t\n%entry = OpLabel\n{inside}%p = OpAccessChain %part %v %c1\n"
    text = HEAD + types + outside + body + "OpStore %p %c1\nOpReturn\nOpFunctionEnd"
    with pytest.raises(UnsupportedError, match="65536 elements outside of storage buffers"):
        wgsl.translate(spirv_tools.assemble(text))


def test_uniform_memory_addressed_as_words_is_bounded() -> None:
    types = "%args = OpTypeStruct %uint %uint %uint\n%at = OpTypePointer PushConstant %args\n"
    types += "%part = OpTypePointer PushConstant %uint\n%v = OpVariable %at PushConstant\n"
    types += "%own = OpTypePointer Private %uint\n%kept = OpVariable %own Private\n"
    body = "%main = OpFunction %void None %main_t\n%entry = OpLabel\n%p = OpAccessChain %part %v %c1\n"
    body += "%x = OpLoad %uint %p\nOpStore %kept %x\n"
    layout = "OpDecorate %args Block\nOpMemberDecorate %args 0 Offset 0\nOpMemberDecorate %args 2 Offset 8\n"
    layout += "OpMemberDecorate %args 1 Offset 536870916\n"
    head, rest = HEAD.split("%void", 1)
    text = f"{head}{layout}%void{rest}{types}{body}OpReturn\nOpFunctionEnd"
    with pytest.raises(UnsupportedError, match="a uniform buffer of 536870920 bytes addressed as words"):
        wgsl.translate(spirv_tools.assemble(text))


def test_a_loop_around_the_entry_without_a_test() -> None:
    head = "%main = OpFunction %void None %main_t\n%entry = OpLabel\nOpLoopMerge %m %n None\nOpBranch %a\n"
    rest = "%a = OpLabel\nOpBranch %entry\n%n = OpLabel\nOpUnreachable\n%m = OpLabel\nOpReturn\nOpFunctionEnd"
    assert "loop {" in wgsl.translate(spirv_tools.assemble(f"{HEAD}{head}{rest}")).text


def test_rows_of_a_subgroup_matrix_that_overlap() -> None:
    text = (Path(__file__).parent / "subgroup_matrix.spvasm").read_text()
    with pytest.raises(UnsupportedError, match="rows of 16 elements that overlap"):
        wgsl.translate(spirv_tools.assemble(text.replace("OpConstant %uint 64", "OpConstant %uint 2")))
