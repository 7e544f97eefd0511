"""Every instruction with a result has its types checked, and operands of wrong types end in InvalidModuleError."""

import pytest
from tvm_webgpu import spirv_tools
from tvm_webgpu.codegen import wgsl
from tvm_webgpu.codegen.wgsl import check, grammar
from tvm_webgpu.codegen.wgsl.function import FunctionWriter
from tvm_webgpu.codegen.wgsl.operators import GROUP_ROWS, ROWS, SUBGROUP_ROWS
from tvm_webgpu.errors import InvalidModuleError

MODULE = """
OpCapability Shader
OpMemoryModel Logical GLSL450
OpEntryPoint GLCompute %main "main"
OpExecutionMode %main LocalSize 1 1 1
OpDecorate %block Block
OpMemberDecorate %block 0 Offset 0
OpDecorate %buffer DescriptorSet 0
OpDecorate %buffer Binding 0
%glsl = OpExtInstImport "GLSL.std.450"
%void = OpTypeVoid
%bool = OpTypeBool
%uint = OpTypeInt 32 0
%long = OpTypeInt 64 0
%half = OpTypeFloat 16
%float = OpTypeFloat 32
%uint2 = OpTypeVector %uint 2
%float2 = OpTypeVector %float 2
%c0 = OpConstant %uint 0
%c1 = OpConstant %uint 1
%c3 = OpConstant %uint 3
%array = OpTypeArray %uint %c3
%pair = OpTypeStruct %uint %uint
%split = OpTypeStruct %float %uint
%block = OpTypeStruct %uint
%at_block = OpTypePointer StorageBuffer %block
%at_uint = OpTypePointer StorageBuffer %uint
%in_function = OpTypePointer Function %uint
%buffer = OpVariable %at_block StorageBuffer
%f1 = OpConstant %float 1
%main_t = OpTypeFunction %void
%takes_t = OpTypeFunction %void %in_function
%takes = OpFunction %void None %takes_t
%given = OpFunctionParameter %in_function
%start = OpLabel
OpStore %given %c1
OpReturn
OpFunctionEnd
%main = OpFunction %void None %main_t
%entry = OpLabel
%local = OpVariable %in_function Function
%place = OpAccessChain %at_uint %buffer %c0
%u = OpLoad %uint %place
%f = OpConvertUToF %float %u
%b = OpIEqual %bool %u %c1
%v = OpCompositeConstruct %uint2 %u %u
{}
OpStore %place %made
OpReturn
OpFunctionEnd
"""

WRONG = {
    "too few parts of an array": "%x = OpCompositeConstruct %array %u %u\n%made = OpCompositeExtract %uint %x 0",
    "a number of 64 bits made of parts": "%made = OpCompositeConstruct %long %u %u",
    "a bool in a struct": "%x = OpCompositeConstruct %pair %b %u\n%made = OpCompositeExtract %uint %x 1",
    "a cast to fewer bits": "%made = OpBitcast %uint %v",
    "a float added to an integer": "%made = OpIAdd %uint %u %f",
    "half as many exponents": "%made = OpExtInst %float2 %glsl Ldexp %f %v",
    "an exponent in memory of floats": "%x = OpExtInst %float %glsl Modf %f %local\n%made = OpConvertFToU %uint %x",
    "a struct with a whole part of integers": "%x = OpExtInst %split %glsl ModfStruct %f\n"
    "%made = OpCompositeExtract %uint %x 1",
    "a carry of floats": "%x = OpIAddCarry %split %u %u\n%made = OpCompositeExtract %uint %x 1",
    "a shuffle of scalars": "%made = OpVectorShuffle %uint2 %u %u 0 1",
    "the length of no array": "%made = OpArrayLength %uint %buffer 0",
    "a pointer to other memory": "%done = OpFunctionCall %void %takes %place\n%made = OpIAdd %uint %u %u",
    "a part that is not there": "%made = OpCompositeExtract %uint %v 2",
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_wrong_types_are_refused(body: str) -> None:
    with pytest.raises(InvalidModuleError, match=r"at word \d+"):
        wgsl.translate(spirv_tools.assemble(MODULE.format(body)))


def test_right_types_are_not() -> None:
    body = "%x = OpIAddCarry %pair %u %u\n%made = OpCompositeExtract %uint %x 1"
    assert "buffer" in wgsl.translate(spirv_tools.assemble(MODULE.format(body))).text


def test_an_operand_that_nothing_reads_ends_with_its_block() -> None:
    arm = "OpSelectionMerge %{0} None\nOpBranchConditional %b %{1} %{0}\n"
    arm += "%{1} = OpLabel\n{2}\nOpBranch %{0}\n%{0} = OpLabel"
    scope = "%unread = OpIMul %uint %u %u\nOpMemoryBarrier %unread %c0"
    body = f"{arm.format('after', 'inside', scope)}\n{arm.format('end', 'next', '')}\n%made = OpIAdd %uint %u %c1"
    assert "*" not in wgsl.translate(spirv_tools.assemble(MODULE.format(body))).text


def test_every_result_is_checked() -> None:
    """An instruction added without a rule would let through what no compiler takes."""
    results = {rule.name for rule in grammar.RULES.values() if rule.operands and rule.operands[0][0] == "t"}
    methods = {name.removeprefix("op_") for name in dir(FunctionWriter) if name.startswith("op_")}
    groups = {f"GroupNonUniform{name}" for name in GROUP_ROWS}
    written = (methods | set(ROWS) | set(SUBGROUP_ROWS) | groups) & results
    assert written - set(check.RULES) - set(check.GROUP_RULES) == check.OWN
