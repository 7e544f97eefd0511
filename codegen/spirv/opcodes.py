"""The SPIR-V numbers that the emitter uses, by name; SPIR-V 1.3 unified specification, sections 3 and GLSL.std.450."""

from __future__ import annotations

from enum import IntEnum

MAGIC = 0x07230203
VERSION_1_3 = 0x00010300


class Op(IntEnum):
    """Instruction opcodes."""

    Name = 5
    MemberName = 6
    Extension = 10
    ExtInstImport = 11
    ExtInst = 12
    MemoryModel = 14
    EntryPoint = 15
    ExecutionMode = 16
    Capability = 17
    TypeVoid = 19
    TypeBool = 20
    TypeInt = 21
    TypeFloat = 22
    TypeVector = 23
    TypeArray = 28
    TypeRuntimeArray = 29
    TypeStruct = 30
    TypePointer = 32
    TypeFunction = 33
    ConstantTrue = 41
    ConstantFalse = 42
    Constant = 43
    ConstantComposite = 44
    Undef = 1
    Function = 54
    FunctionParameter = 55
    FunctionEnd = 56
    FunctionCall = 57
    Variable = 59
    Load = 61
    Store = 62
    AccessChain = 65
    Decorate = 71
    MemberDecorate = 72
    VectorShuffle = 79
    CompositeConstruct = 80
    CompositeExtract = 81
    ConvertFToU = 109
    ConvertFToS = 110
    ConvertSToF = 111
    ConvertUToF = 112
    FConvert = 115
    QuantizeToF16 = 116
    Bitcast = 124
    SNegate = 126
    FNegate = 127
    IAdd = 128
    FAdd = 129
    ISub = 130
    FSub = 131
    IMul = 132
    FMul = 133
    UDiv = 134
    SDiv = 135
    FDiv = 136
    UMod = 137
    SRem = 138
    FRem = 140
    LogicalEqual = 164
    LogicalNotEqual = 165
    LogicalOr = 166
    LogicalAnd = 167
    LogicalNot = 168
    Select = 169
    IEqual = 170
    INotEqual = 171
    UGreaterThan = 172
    SGreaterThan = 173
    UGreaterThanEqual = 174
    SGreaterThanEqual = 175
    ULessThan = 176
    SLessThan = 177
    ULessThanEqual = 178
    SLessThanEqual = 179
    FOrdEqual = 180
    FUnordNotEqual = 183
    FOrdLessThan = 184
    FOrdGreaterThan = 186
    FOrdLessThanEqual = 188
    FOrdGreaterThanEqual = 190
    ShiftRightLogical = 194
    ShiftRightArithmetic = 195
    ShiftLeftLogical = 196
    BitwiseOr = 197
    BitwiseXor = 198
    BitwiseAnd = 199
    Not = 200
    BitFieldSExtract = 202
    BitFieldUExtract = 203
    BitCount = 205
    ControlBarrier = 224
    AtomicCompareExchange = 230
    AtomicIAdd = 234
    AtomicSMin = 236
    AtomicUMin = 237
    AtomicSMax = 238
    AtomicUMax = 239
    AtomicAnd = 240
    AtomicOr = 241
    Phi = 245
    LoopMerge = 246
    SelectionMerge = 247
    Label = 248
    Branch = 249
    BranchConditional = 250
    Return = 253
    ReturnValue = 254
    Unreachable = 255
    GroupNonUniformShuffle = 345
    GroupNonUniformShuffleUp = 347
    GroupNonUniformShuffleDown = 348
    TypeCooperativeMatrixKHR = 4456
    CooperativeMatrixLoadKHR = 4457
    CooperativeMatrixStoreKHR = 4458
    CooperativeMatrixMulAddKHR = 4459


class Ext(IntEnum):
    """Instructions of the extended set GLSL.std.450."""

    RoundEven = 2
    Trunc = 3
    FAbs = 4
    SAbs = 5
    FSign = 6
    Floor = 8
    Ceil = 9
    Sin = 13
    Cos = 14
    Tan = 15
    Atan = 18
    Atan2 = 25
    Pow = 26
    Exp = 27
    Log = 28
    Exp2 = 29
    Log2 = 30
    Sqrt = 31
    InverseSqrt = 32
    FMin = 37
    UMin = 38
    SMin = 39
    FMax = 40
    UMax = 41
    SMax = 42
    Fma = 50
    Ldexp = 53
    PackHalf2x16 = 58
    UnpackHalf2x16 = 62
    FindUMsb = 75


class Storage(IntEnum):
    """Storage classes."""

    Input = 1
    Workgroup = 4
    Function = 7
    PushConstant = 9
    StorageBuffer = 12


class Capability(IntEnum):
    """Capabilities a module may declare."""

    Shader = 1
    Float16 = 9
    Float64 = 10
    GroupNonUniform = 61
    GroupNonUniformShuffle = 65
    GroupNonUniformShuffleRelative = 66
    StorageBuffer16BitAccess = 4433
    CooperativeMatrixKHR = 6022


class MatrixUse(IntEnum):
    """Operand "Use" of a cooperative matrix type."""

    A = 0
    B = 1
    Accumulator = 2


class MatrixLayout(IntEnum):
    """How a cooperative matrix lies in memory."""

    RowMajor = 0
    ColumnMajor = 1


class Decoration(IntEnum):
    """Decorations of types, members and variables."""

    Block = 2
    ArrayStride = 6
    BuiltIn = 11
    NonWritable = 24
    Binding = 33
    DescriptorSet = 34
    Offset = 35
    NoContraction = 42


class BuiltIn(IntEnum):
    """Built-in inputs of compute shaders."""

    NumWorkgroups = 24
    WorkgroupId = 26
    LocalInvocationId = 27


class Scope(IntEnum):
    """Scopes of barriers, atomics and subgroup operations."""

    Device = 1
    Workgroup = 2
    Subgroup = 3


ADDRESSING_LOGICAL = 0
MEMORY_MODEL_GLSL450 = 1
EXECUTION_GLCOMPUTE = 5
MODE_LOCAL_SIZE = 17
# AcquireRelease | UniformMemory and AcquireRelease | WorkgroupMemory
SEMANTICS_STORAGE = 0x8 | 0x40
SEMANTICS_WORKGROUP = 0x8 | 0x100
