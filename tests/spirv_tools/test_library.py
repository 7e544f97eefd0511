"""The binding of SPIRV-Tools: round trips, diagnostics with places, and hostile input."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm_webgpu.spirv_tools import SpirvToolsError, assemble, disassemble, optimize, validate

ADD = """
               OpCapability Shader
               OpMemoryModel Logical GLSL450
               OpEntryPoint GLCompute %main "main"
               OpExecutionMode %main LocalSize 64 1 1
       %void = OpTypeVoid
         %fn = OpTypeFunction %void
       %uint = OpTypeInt 32 0
      %one = OpConstant %uint 1
        %two = OpConstant %uint 2
       %main = OpFunction %void None %fn
      %entry = OpLabel
        %sum = OpIAdd %uint %one %two
               OpReturn
               OpFunctionEnd
"""


def test_assemble_and_disassemble_round_trip() -> None:
    module = assemble(ADD)
    assert assemble(disassemble(module)) == module


def test_valid_module_passes() -> None:
    validate(assemble(ADD))


def test_invalid_module_names_the_problem() -> None:
    with pytest.raises(SpirvToolsError, match=r"(?s)cannot be a type.*\(word"):
        validate(assemble(ADD.replace("%one %two", "%one %fn")))


def test_optimizer_removes_dead_code() -> None:
    module = assemble(ADD)
    optimised = optimize(module, ["--eliminate-dead-code-aggressive"])
    validate(optimised)
    assert "OpIAdd" in disassemble(module)
    assert "OpIAdd" not in disassemble(optimised)


def test_unknown_pass_is_named() -> None:
    with pytest.raises(SpirvToolsError, match="--no-such-pass"):
        optimize(assemble(ADD), ["--no-such-pass"])


def test_assembler_says_where() -> None:
    with pytest.raises(SpirvToolsError, match=r"line 2"):
        assemble("OpCapability Shader\nOpNonsense\n")


def test_unknown_environment_is_named() -> None:
    with pytest.raises(SpirvToolsError, match="vulkan9"):
        assemble(ADD, "vulkan9")


@pytest.mark.parametrize("call", [validate, disassemble, lambda module: optimize(module, ["-O"])])
@pytest.mark.parametrize("module", [b"", b"\x03\x02\x23\x07", b"\0" * 20, assemble(ADD)[:-3]])
def test_what_is_no_module_is_refused(call, module) -> None:
    with pytest.raises(SpirvToolsError):
        call(module)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_mutated_modules_never_crash_the_validator(data: st.DataObject) -> None:
    words = bytearray(assemble(ADD))
    for _ in range(data.draw(st.integers(1, 4))):
        words[data.draw(st.integers(20, len(words) - 1))] = data.draw(st.integers(0, 255))
    try:
        validate(bytes(words))
    except SpirvToolsError as error:
        assert "(" in str(error)
