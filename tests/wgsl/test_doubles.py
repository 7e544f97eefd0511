"""Doubles in WGSL are those of IEEE 754: every instruction on them against NumPy, bit for bit (any NaN is as good)."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tvm_webgpu import spirv_tools
from tvm_webgpu.codegen import wgsl

sys.path.insert(0, str(Path(__file__).parent))

import compilers
import execute_wgsl

SIZE = 4096  # pairs of operands; one invocation each
SPECIAL = [
    0.0, 1.0, 0.5, 1.5, 2.5, 3.0, 10.0, 1 / 3, 1e-5, 0.49999999999999994, 2.0**31, 2.0**32 - 1, 2.0**52 + 1, 2.0**63,
    2.0**64, 3.4028235677973366e38, 3.4028234663852886e38, 2.0**-126, 2.0**-149, 2.0**-150, 1e300, 1e-300, 2.0**-1022,
    2.0**-1074, 3 * 2.0**-1074, 2.0**-1022 - 2.0**-1074, np.finfo(np.float64).max, np.inf, np.nan,
]  # fmt: skip

Array = np.ndarray
TYPES = {"double": np.float64, "float": np.float32, "uint": np.uint32, "int": np.int32, "long": np.int64,
         "ulong": np.uint64}  # fmt: skip


def operands() -> tuple[Array, Array]:
    """Every pair of special values, random bits, and random numbers near each other."""
    special = np.array(SPECIAL + [-x for x in SPECIAL])
    first, second = (half.ravel() for half in np.meshgrid(special, special))
    dice = np.random.default_rng(1)
    bits = dice.integers(0, 2**64, (2, SIZE - len(first)), dtype=np.uint64)
    near = slice(None, None, 2)  # exponents from -15 to 16, so that sums and quotients meet in every bit
    bits[:, near] = bits[:, near] & np.uint64(~(0x7C0 << 52) & (2**64 - 1)) | np.uint64(0x3E0 << 52)
    a, b = bits.view(np.float64)
    return np.concatenate([first, a]), np.concatenate([second, b])


HEAD = """
OpCapability Shader
OpCapability Float64
OpCapability Int64
%glsl = OpExtInstImport "GLSL.std.450"
OpMemoryModel Logical GLSL450
OpEntryPoint GLCompute %main "main" %id
OpExecutionMode %main LocalSize 64 1 1
OpDecorate %id BuiltIn GlobalInvocationId
OpDecorate %doubles ArrayStride 8
OpDecorate %uints ArrayStride 4
OpDecorate %in_block Block
OpMemberDecorate %in_block 0 Offset 0
OpMemberDecorate %in_block 0 NonWritable
OpDecorate %out_block Block
OpMemberDecorate %out_block 0 Offset 0
OpDecorate %a DescriptorSet 0
OpDecorate %a Binding 0
OpDecorate %b DescriptorSet 0
OpDecorate %b Binding 1
OpDecorate %out DescriptorSet 0
OpDecorate %out Binding 2
%void = OpTypeVoid
%bool = OpTypeBool
%uint = OpTypeInt 32 0
%int = OpTypeInt 32 1
%long = OpTypeInt 64 1
%ulong = OpTypeInt 64 0
%float = OpTypeFloat 32
%double = OpTypeFloat 64
%uint2 = OpTypeVector %uint 2
%uint3 = OpTypeVector %uint 3
%double2 = OpTypeVector %double 2
%doubles = OpTypeRuntimeArray %double
%uints = OpTypeRuntimeArray %uint
%in_block = OpTypeStruct %doubles
%out_block = OpTypeStruct %uints
%in_ptr = OpTypePointer StorageBuffer %in_block
%out_ptr = OpTypePointer StorageBuffer %out_block
%double_ptr = OpTypePointer StorageBuffer %double
%uint_ptr = OpTypePointer StorageBuffer %uint
%id_ptr = OpTypePointer Input %uint3
%a = OpVariable %in_ptr StorageBuffer
%b = OpVariable %in_ptr StorageBuffer
%out = OpVariable %out_ptr StorageBuffer
%id = OpVariable %id_ptr Input
%zero = OpConstant %uint 0
%one = OpConstant %uint 1
%three = OpConstant %double 3
%main_type = OpTypeFunction %void
"""
# x and y are an invocation's operands; the others are the bits of x as numbers of other types.
ENTRY = """
%main = OpFunction %void None %main_type
%entry = OpLabel
%ids = OpLoad %uint3 %id
%index = OpCompositeExtract %uint %ids 0
%pa = OpAccessChain %double_ptr %a %zero %index
%pb = OpAccessChain %double_ptr %b %zero %index
%x = OpLoad %double %pa
%y = OpLoad %double %pb
%xy = OpCompositeConstruct %double2 %x %y
%yx = OpCompositeConstruct %double2 %y %x
%words = OpBitcast %uint2 %x
%xu = OpCompositeExtract %uint %words 0
%xi = OpBitcast %int %xu
%xh = OpCompositeExtract %uint %words 1
%xf = OpBitcast %float %xh
%xl = OpBitcast %long %x
%xul = OpBitcast %ulong %x
"""
WIDE = ("double", "long", "ulong")


def assemble(lines: list[tuple[str, str]]) -> bytes:
    """A module that stores the words of each (type of the result, expression), one stretch of SIZE for each word."""
    body: list[str] = []
    stored: list[str] = []
    for i, (kind, text) in enumerate(lines):
        if kind == "bool":
            body += [f"%b{i} = {text}", f"%c{i} = OpSelect %uint %b{i} %one %zero"]
        else:
            same = "OpCopyObject %uint" if kind == "uint" else f"OpBitcast {'%uint2' if kind in WIDE else '%uint'}"
            body += [f"%r{i} = {text}", f"%c{i} = {same} %r{i}"]
        if kind in WIDE:
            body += [f"%w{i}_{word} = OpCompositeExtract %uint %c{i} {word}" for word in (0, 1)]
        stored += [f"%w{i}_0", f"%w{i}_1"] if kind in WIDE else [f"%c{i}"]
    for at, value in enumerate(stored):
        body += [f"%at{at} = OpIAdd %uint %index %k{at}", f"%p{at} = OpAccessChain %uint_ptr %out %zero %at{at}",
                 f"OpStore %p{at} {value}"]  # fmt: skip
    starts = [f"%k{at} = OpConstant %uint {at * SIZE}" for at in range(len(stored))]
    return spirv_tools.assemble("\n".join([HEAD, *starts, ENTRY, *body, "OpReturn", "OpFunctionEnd"]))


def run(spirv: bytes, a: Array, b: Array, kinds: list[str]) -> list[Array]:
    shader = wgsl.translate(spirv)
    words = sum(2 if kind in WIDE else 1 for kind in kinds)
    buffers = {(0, 0): a.tobytes(), (0, 1): b.tobytes(), (0, 2): bytes(4 * SIZE * words)}
    access = {(x.group, x.binding): execute_wgsl.KINDS[x.kind, x.access] for x in shader.bindings}
    used = {key: data for key, data in buffers.items() if key in access}
    out = execute_wgsl.run(shader.text, shader.entry_points[0].wgsl_name, used, access, (SIZE // 64, 1, 1))[0, 2]
    columns = iter(np.frombuffer(out, np.uint32).reshape(words, SIZE))
    results = []
    for kind in kinds:
        if kind in WIDE:
            low, high = next(columns), next(columns)
            results.append((low | high.astype(np.uint64) << np.uint64(32)).view(TYPES[kind]))
        else:
            results.append(next(columns).view(TYPES.get(kind, np.uint32)))
    return results


def same(found: Array, wanted: Array) -> Array:
    """Where the bits are equal, or both are NaN."""
    equal = found.view(f"u{found.itemsize}") == wanted.astype(found.dtype).view(f"u{found.itemsize}")
    return equal | (np.isnan(found) & np.isnan(wanted)) if found.dtype.kind == "f" else equal


def saturated(x: Array, kind: str) -> Array:
    """The whole part, as WGSL converts: beyond the type's range its end, of NaN 0."""
    ends = np.iinfo(TYPES[kind])
    finite = np.nan_to_num(x, nan=0.0).tolist()
    return np.array([min(max(int(v), ends.min), ends.max) for v in finite], TYPES[kind])


def mod(a: Array, b: Array) -> Array:
    """The exact remainder with the divisor's sign; NumPy's own rounds a / b first."""
    rest = np.fmod(a, b)
    return np.where((rest != 0) & (np.signbit(rest) != np.signbit(b)), rest + b, rest)


def glsl(kind: str, name: str, args: str) -> str:
    return f"OpExtInst %{kind} %glsl {name} {args}"


Case = tuple[str, str, Callable[[Array, Array], Array]]
ARITHMETIC: list[Case] = [
    ("double", "OpFAdd %double %x %y", lambda a, b: a + b), ("double", "OpFSub %double %x %y", lambda a, b: a - b),
    ("double", "OpFMul %double %x %y", lambda a, b: a * b), ("double", "OpFDiv %double %x %y", lambda a, b: a / b),
    ("double", "OpFRem %double %x %y", np.fmod), ("double", "OpFMod %double %x %y", mod),
    ("double", glsl("double", "Sqrt", "%x"), lambda a, b: np.sqrt(a)),
    ("double", "OpFNegate %double %x", lambda a, b: -a),
    ("double", glsl("double", "Fma", "%x %y %three"), lambda a, b: a * b + 3),
    ("double", "OpDot %double %xy %yx", lambda a, b: a * b + b * a),
]  # fmt: skip
COMPARISONS: list[Case] = [
    ("bool", f"OpF{order}{name} %bool %x %y",
     lambda a, b, f=f, none=order == "Unord": f(a, b) | none & (np.isnan(a) | np.isnan(b)))
    for order in ("Ord", "Unord")
    for name, f in (("Equal", np.equal), ("LessThan", np.less), ("GreaterThan", np.greater),
                    ("LessThanEqual", np.less_equal), ("GreaterThanEqual", np.greater_equal))
] + [
    ("bool", "OpFUnordNotEqual %bool %x %y", np.not_equal),
    ("bool", "OpFOrdNotEqual %bool %x %y", lambda a, b: (a < b) | (a > b)),
    ("bool", "OpIsNan %bool %x", lambda a, b: np.isnan(a)), ("bool", "OpIsInf %bool %x", lambda a, b: np.isinf(a)),
]  # fmt: skip
ROUNDING: list[Case] = [
    ("double", glsl("double", "Floor", "%x"), lambda a, b: np.floor(a)),
    ("double", glsl("double", "Ceil", "%x"), lambda a, b: np.ceil(a)),
    ("double", glsl("double", "Trunc", "%x"), lambda a, b: np.trunc(a)),
    ("double", glsl("double", "RoundEven", "%x"), lambda a, b: np.rint(a)),
    ("double", glsl("double", "FAbs", "%x"), lambda a, b: np.abs(a)),
    ("double", glsl("double", "FSign", "%x"), lambda a, b: np.where(a == 0, a, np.sign(a))),
    ("double", glsl("double", "NMin", "%x %y"), lambda a, b: np.where(np.isnan(a), b, np.where(b < a, b, a))),
    ("double", glsl("double", "NMax", "%x %y"), lambda a, b: np.where(np.isnan(a), b, np.where(a < b, b, a))),
    ("double", glsl("double", "Ldexp", "%y %xi"), lambda a, b: np.ldexp(b, a.view(np.int32)[::2])),
]  # fmt: skip
LOW = slice(None, None, 2)  # of words
CONVERSIONS: list[Case] = [
    ("float", "OpFConvert %float %x", lambda a, b: a.astype(np.float32)),
    ("double", "OpFConvert %double %xf", lambda a, b: a.view(np.float32)[1::2].astype(np.float64)),
    *(("double", f"OpConvert{letter}ToF %double %{name}", lambda a, b, t=t, s=s: a.view(t)[s].astype(np.float64))
      for letter, name, t, s in (("S", "xi", np.int32, LOW), ("U", "xu", np.uint32, LOW),
                                 ("S", "xl", np.int64, slice(None)), ("U", "xul", np.uint64, slice(None)))),
    *((kind, f"OpConvertFTo{letter} %{kind} %x", lambda a, b, kind=kind: saturated(a, kind))
      for letter, kind in (("S", "int"), ("U", "uint"), ("S", "long"), ("U", "ulong"))),
]  # fmt: skip


@pytest.fixture(scope="module")
def gpu() -> Iterator[None]:
    if compilers.device() is None:
        pytest.skip("no Vulkan device")
    yield


@pytest.mark.parametrize("cases", [ARITHMETIC, COMPARISONS, ROUNDING, CONVERSIONS],
                         ids=["arithmetic", "comparisons", "rounding", "conversions"])  # fmt: skip
def test_instructions(gpu: None, cases: list[Case]) -> None:
    a, b = operands()
    spirv = assemble([case[:2] for case in cases])
    spirv_tools.validate(spirv)
    found = run(spirv, a, b, [case[0] for case in cases])
    wrong = {}
    with np.errstate(all="ignore"):
        for (_, text, f), got in zip(cases, found):
            wanted = np.asarray(f(a, b))
            bad = np.flatnonzero(~same(got, wanted))
            if len(bad):
                i = bad[0]
                wrong[text] = f"{len(bad)} wrong, first x={a[i]!r} y={b[i]!r}: {got[i]!r}, not {wanted[i]!r}"
    assert not wrong
