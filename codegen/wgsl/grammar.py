"""The SPIR-V grammar as data: opcode number -> name and operand kinds.

Operand kinds, one letter each: ``t`` result type, ``r`` result id, ``i`` id, ``n`` literal word, ``s`` string. A ``?``
or ``*`` after a letter makes it optional or repeated. Instructions that are not listed are kept by number and refused
only where they matter (SPIR-V specification 1.6, section 3.52).
"""

from typing import NamedTuple


class Rule(NamedTuple):
    """``plain`` is for instructions of ids and literals only, which are nearly all: (result type, result id, kinds).

    Its kinds are those of the operands after the result; the last one repeats where ``repeats``.
    """

    name: str
    operands: tuple[tuple[str, str], ...]  # (kind, quantifier)
    plain: tuple[bool, bool, str] | None
    repeats: bool


_TABLE = """
0 Nop
1 Undef tr
2 SourceContinued s
3 Source nni?s?
4 SourceExtension s
5 Name is
6 MemberName ins
7 String rs
8 Line inn
10 Extension s
11 ExtInstImport rs
12 ExtInst trini*
14 MemoryModel nn
15 EntryPoint nisi*
16 ExecutionMode inn*
17 Capability n
19 TypeVoid r
20 TypeBool r
21 TypeInt rnn
22 TypeFloat rnn?
23 TypeVector rin
24 TypeMatrix rin
25 TypeImage rin*
26 TypeSampler r
27 TypeSampledImage ri
28 TypeArray rii
29 TypeRuntimeArray ri
30 TypeStruct ri*
32 TypePointer rni
33 TypeFunction rii*
39 TypeForwardPointer in
41 ConstantTrue tr
42 ConstantFalse tr
43 Constant trnn*
44 ConstantComposite tri*
46 ConstantNull tr
48 SpecConstantTrue tr
49 SpecConstantFalse tr
50 SpecConstant trnn*
51 SpecConstantComposite tri*
52 SpecConstantOp trnn*
54 Function trni
55 FunctionParameter tr
56 FunctionEnd
57 FunctionCall trii*
59 Variable trni?
61 Load trin*
62 Store iin*
63 CopyMemory iin*
65 AccessChain trii*
66 InBoundsAccessChain trii*
67 PtrAccessChain triii*
68 ArrayLength trin
70 InBoundsPtrAccessChain triii*
71 Decorate inn*
72 MemberDecorate innn*
73 DecorationGroup r
74 GroupDecorate ii*
75 GroupMemberDecorate in*
77 VectorExtractDynamic trii
78 VectorInsertDynamic triii
79 VectorShuffle triin*
80 CompositeConstruct tri*
81 CompositeExtract trin*
82 CompositeInsert triin*
83 CopyObject tri
84 Transpose tri
109 ConvertFToU tri
110 ConvertFToS tri
111 ConvertSToF tri
112 ConvertUToF tri
113 UConvert tri
114 SConvert tri
115 FConvert tri
116 QuantizeToF16 tri
124 Bitcast tri
126 SNegate tri
127 FNegate tri
128 IAdd trii
129 FAdd trii
130 ISub trii
131 FSub trii
132 IMul trii
133 FMul trii
134 UDiv trii
135 SDiv trii
136 FDiv trii
137 UMod trii
138 SRem trii
139 SMod trii
140 FRem trii
141 FMod trii
142 VectorTimesScalar trii
143 MatrixTimesScalar trii
144 VectorTimesMatrix trii
145 MatrixTimesVector trii
146 MatrixTimesMatrix trii
147 OuterProduct trii
148 Dot trii
149 IAddCarry trii
150 ISubBorrow trii
151 UMulExtended trii
152 SMulExtended trii
154 Any tri
155 All tri
156 IsNan tri
157 IsInf tri
164 LogicalEqual trii
165 LogicalNotEqual trii
166 LogicalOr trii
167 LogicalAnd trii
168 LogicalNot tri
169 Select triii
170 IEqual trii
171 INotEqual trii
172 UGreaterThan trii
173 SGreaterThan trii
174 UGreaterThanEqual trii
175 SGreaterThanEqual trii
176 ULessThan trii
177 SLessThan trii
178 ULessThanEqual trii
179 SLessThanEqual trii
180 FOrdEqual trii
181 FUnordEqual trii
182 FOrdNotEqual trii
183 FUnordNotEqual trii
184 FOrdLessThan trii
185 FUnordLessThan trii
186 FOrdGreaterThan trii
187 FUnordGreaterThan trii
188 FOrdLessThanEqual trii
189 FUnordLessThanEqual trii
190 FOrdGreaterThanEqual trii
191 FUnordGreaterThanEqual trii
194 ShiftRightLogical trii
195 ShiftRightArithmetic trii
196 ShiftLeftLogical trii
197 BitwiseOr trii
198 BitwiseXor trii
199 BitwiseAnd trii
200 Not tri
201 BitFieldInsert triiii
202 BitFieldSExtract triii
203 BitFieldUExtract triii
204 BitReverse tri
205 BitCount tri
224 ControlBarrier iii
225 MemoryBarrier ii
227 AtomicLoad triii
228 AtomicStore iiii
229 AtomicExchange triiii
230 AtomicCompareExchange triiiiii
232 AtomicIIncrement triii
233 AtomicIDecrement triii
234 AtomicIAdd triiii
235 AtomicISub triiii
236 AtomicSMin triiii
237 AtomicUMin triiii
238 AtomicSMax triiii
239 AtomicUMax triiii
240 AtomicAnd triiii
241 AtomicOr triiii
242 AtomicXor triiii
245 Phi tri*
246 LoopMerge iinn*
247 SelectionMerge in
248 Label r
249 Branch i
250 BranchConditional iiin*
251 Switch iin*
252 Kill
253 Return
254 ReturnValue i
255 Unreachable
317 NoLine
330 ModuleProcessed s
331 ExecutionModeId ini*
332 DecorateId ini*
333 GroupNonUniformElect tri
334 GroupNonUniformAll trii
335 GroupNonUniformAny trii
336 GroupNonUniformAllEqual trii
337 GroupNonUniformBroadcast triii
338 GroupNonUniformBroadcastFirst trii
339 GroupNonUniformBallot trii
340 GroupNonUniformInverseBallot trii
341 GroupNonUniformBallotBitExtract triii
342 GroupNonUniformBallotBitCount trini
343 GroupNonUniformBallotFindLSB trii
344 GroupNonUniformBallotFindMSB trii
345 GroupNonUniformShuffle triii
346 GroupNonUniformShuffleXor triii
347 GroupNonUniformShuffleUp triii
348 GroupNonUniformShuffleDown triii
349 GroupNonUniformIAdd trinii?
350 GroupNonUniformFAdd trinii?
351 GroupNonUniformIMul trinii?
352 GroupNonUniformFMul trinii?
353 GroupNonUniformSMin trinii?
354 GroupNonUniformUMin trinii?
355 GroupNonUniformFMin trinii?
356 GroupNonUniformSMax trinii?
357 GroupNonUniformUMax trinii?
358 GroupNonUniformFMax trinii?
359 GroupNonUniformBitwiseAnd trinii?
360 GroupNonUniformBitwiseOr trinii?
361 GroupNonUniformBitwiseXor trinii?
362 GroupNonUniformLogicalAnd trinii?
363 GroupNonUniformLogicalOr trinii?
364 GroupNonUniformLogicalXor trinii?
365 GroupNonUniformQuadBroadcast triii
366 GroupNonUniformQuadSwap triii
400 CopyLogical tri
401 PtrEqual trii
402 PtrNotEqual trii
4416 TerminateInvocation
4421 SubgroupBallotKHR tri
4422 SubgroupFirstInvocationKHR tri
4428 SubgroupAllKHR tri
4429 SubgroupAnyKHR tri
4430 SubgroupAllEqualKHR tri
4431 GroupNonUniformRotateKHR triiii?
4432 SubgroupReadInvocationKHR trii
4450 SDot triin?
4451 UDot triin?
4452 SUDot triin?
4453 SDotAccSat triiin?
4454 UDotAccSat triiin?
4455 SUDotAccSat triiin?
4456 TypeCooperativeMatrixKHR riiiii
4457 CooperativeMatrixLoadKHR triii?n*
4458 CooperativeMatrixStoreKHR iiii?n*
4459 CooperativeMatrixMulAddKHR triiin?
4460 CooperativeMatrixLengthKHR tri
5632 DecorateString ins
5633 MemberDecorateString inns
"""


def _rules() -> dict[int, Rule]:
    rules = {}
    for line in _TABLE.split("\n"):
        number, _, rest = line.partition(" ")
        if not rest:
            continue
        name, _, letters = rest.partition(" ")
        operands: list[tuple[str, str]] = []
        for letter in letters:
            if letter in "?*":
                operands[-1] = (operands[-1][0], letter)
            else:
                operands.append((letter, ""))
        rules[int(number)] = Rule(name, tuple(operands), _plain(operands), bool(operands) and operands[-1][1] == "*")
    return rules


def _plain(operands: list[tuple[str, str]]) -> tuple[bool, bool, str] | None:
    kinds = "".join(kind for kind, _ in operands)
    if "s" in kinds or any(quantifier for _, quantifier in operands[:-1]) or (operands and operands[-1][1] == "?"):
        return None
    return "t" in kinds, "r" in kinds, kinds.lstrip("tr")


RULES = _rules()

STORAGE_CLASSES = {
    0: "UniformConstant", 1: "Input", 2: "Uniform", 3: "Output", 4: "Workgroup", 5: "CrossWorkgroup", 6: "Private",
    7: "Function", 8: "Generic", 9: "PushConstant", 10: "AtomicCounter", 11: "Image", 12: "StorageBuffer",
    5349: "PhysicalStorageBuffer",
}  # fmt: skip

DECORATIONS = {
    1: "SpecId", 2: "Block", 3: "BufferBlock", 4: "RowMajor", 5: "ColMajor", 6: "ArrayStride", 7: "MatrixStride",
    11: "BuiltIn", 24: "NonWritable", 25: "NonReadable", 33: "Binding", 34: "DescriptorSet", 35: "Offset",
}  # fmt: skip

BUILTINS = {
    24: "NumWorkgroups", 25: "WorkgroupSize", 26: "WorkgroupId", 27: "LocalInvocationId", 28: "GlobalInvocationId",
    29: "LocalInvocationIndex", 36: "SubgroupSize", 38: "NumSubgroups", 40: "SubgroupId",
    41: "SubgroupLocalInvocationId",
}  # fmt: skip

# GLSL.std.450 (the extended instruction set's specification, section 3).
GLSL = {
    1: "Round", 2: "RoundEven", 3: "Trunc", 4: "FAbs", 5: "SAbs", 6: "FSign", 7: "SSign", 8: "Floor", 9: "Ceil",
    10: "Fract", 11: "Radians", 12: "Degrees", 13: "Sin", 14: "Cos", 15: "Tan", 16: "Asin", 17: "Acos", 18: "Atan",
    19: "Sinh", 20: "Cosh", 21: "Tanh", 22: "Asinh", 23: "Acosh", 24: "Atanh", 25: "Atan2", 26: "Pow", 27: "Exp",
    28: "Log", 29: "Exp2", 30: "Log2", 31: "Sqrt", 32: "InverseSqrt", 33: "Determinant", 34: "MatrixInverse",
    35: "Modf", 36: "ModfStruct", 37: "FMin", 38: "UMin", 39: "SMin", 40: "FMax", 41: "UMax", 42: "SMax", 43: "FClamp",
    44: "UClamp", 45: "SClamp", 46: "FMix", 48: "Step", 49: "SmoothStep", 50: "Fma", 51: "Frexp", 52: "FrexpStruct",
    53: "Ldexp", 54: "PackSnorm4x8", 55: "PackUnorm4x8", 56: "PackSnorm2x16", 57: "PackUnorm2x16", 58: "PackHalf2x16",
    59: "PackDouble2x32", 60: "UnpackSnorm2x16", 61: "UnpackUnorm2x16", 62: "UnpackHalf2x16", 63: "UnpackSnorm4x8",
    64: "UnpackUnorm4x8", 65: "UnpackDouble2x32", 66: "Length", 67: "Distance", 68: "Cross", 69: "Normalize",
    70: "FaceForward", 71: "Reflect", 72: "Refract", 73: "FindILsb", 74: "FindSMsb", 75: "FindUMsb", 79: "NMin",
    80: "NMax", 81: "NClamp",
}  # fmt: skip

# Instructions that are known by name only, for messages.
NAMES = {
    60: "ImageTexelPointer", 64: "CopyMemorySized", 69: "GenericPtrMemSemantics", 86: "SampledImage",
    87: "ImageSampleImplicitLod", 88: "ImageSampleExplicitLod", 89: "ImageSampleDrefImplicitLod",
    90: "ImageSampleDrefExplicitLod", 95: "ImageFetch", 96: "ImageGather", 97: "ImageDrefGather", 98: "ImageRead",
    99: "ImageWrite", 100: "Image", 103: "ImageQuerySizeLod", 104: "ImageQuerySize", 106: "ImageQueryLevels",
    117: "ConvertPtrToU", 118: "SatConvertSToU", 119: "SatConvertUToS", 120: "ConvertUToPtr", 121: "PtrCastToGeneric",
    158: "IsFinite", 159: "IsNormal", 160: "SignBitSet", 162: "Ordered", 163: "Unordered", 207: "DPdx", 208: "DPdy",
    209: "Fwidth", 218: "EmitVertex", 219: "EndPrimitive", 231: "AtomicCompareExchangeWeak", 403: "PtrDiff",
    5056: "ReadClockKHR", 5380: "DemoteToHelperInvocation", 5614: "AtomicFMinEXT", 5615: "AtomicFMaxEXT",
    5630: "AssumeTrueKHR", 5631: "ExpectKHR", 6035: "AtomicFAddEXT",
}  # fmt: skip
