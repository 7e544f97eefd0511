"""Constant instructions in; their values out, with specialisation applied.

A scalar's value is its bits as an unsigned number (a bool's is 0 or 1), a composite's a tuple of values, and None is
zero of any type.
"""

import struct
from collections.abc import Callable, Mapping

from tvm_webgpu.codegen.wgsl import check, grammar, types
from tvm_webgpu.codegen.wgsl.module import Instruction, Module, invalid, literal, unsupported
from tvm_webgpu.codegen.wgsl.types import Scalar, Type

Value = int | tuple["Value", ...] | None


def _signed(bits: int, width: int) -> int:
    return bits - (1 << width) if bits >> (width - 1) & 1 else bits


def _quotient(a: int, b: int) -> int:
    """Truncating division; by zero it gives the dividend, as in WGSL."""
    if b == 0:
        return a
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


_Fold = Callable[[int, int], int]
_UNSIGNED: dict[str, _Fold] = {
    "IAdd": lambda a, b: a + b, "ISub": lambda a, b: a - b, "IMul": lambda a, b: a * b,
    "UDiv": _quotient, "UMod": lambda a, b: a % b if b else 0,
    "BitwiseAnd": lambda a, b: a & b, "BitwiseOr": lambda a, b: a | b, "BitwiseXor": lambda a, b: a ^ b,
    "ShiftLeftLogical": lambda a, b: a << (b & 63), "ShiftRightLogical": lambda a, b: a >> (b & 63),
    "IEqual": lambda a, b: a == b, "INotEqual": lambda a, b: a != b,
    "UGreaterThan": lambda a, b: a > b, "ULessThan": lambda a, b: a < b,
    "UGreaterThanEqual": lambda a, b: a >= b, "ULessThanEqual": lambda a, b: a <= b,
    "LogicalAnd": lambda a, b: a & b, "LogicalOr": lambda a, b: a | b,
    "LogicalEqual": lambda a, b: a == b, "LogicalNotEqual": lambda a, b: a != b,
}  # fmt: skip
_SIGNED: dict[str, _Fold] = {
    "SDiv": _quotient, "SRem": lambda a, b: a - _quotient(a, b) * b if b else 0, "SMod": lambda a, b: a % b if b else 0,
    "ShiftRightArithmetic": lambda a, b: a >> (b & 63),
    "SGreaterThan": lambda a, b: a > b, "SLessThan": lambda a, b: a < b,
    "SGreaterThanEqual": lambda a, b: a >= b, "SLessThanEqual": lambda a, b: a <= b,
}  # fmt: skip


class Constants:
    """Evaluates each constant once."""

    def __init__(self, module: Module, spec: Mapping[int, int | float | bool]):
        self.module = module
        self.spec = spec
        self.values: dict[int, Value] = {}

    def add(self, inst: Instruction) -> None:
        """Evaluates a constant, whose parts have been added before."""
        self.values[inst.id] = self._evaluate(inst)

    def value(self, id: int) -> Value:
        return self.values[id]

    def __contains__(self, id: int) -> bool:
        return id in self.values

    def integer(self, id: int) -> int | None:
        """The bits of an integer constant (specialised), None for anything else."""
        type = self.module.value_types.get(id)
        if id not in self.values or not isinstance(type, Scalar) or type.kind != "int":
            return None
        value = self.values[id]
        return 0 if value is None else value if isinstance(value, int) else None

    def _evaluate(self, inst: Instruction) -> Value:
        type = self.module.value_types[inst.id]
        match inst.op:
            case "ConstantTrue" | "SpecConstantTrue" | "ConstantFalse" | "SpecConstantFalse":
                return int(bool(self._specialised(inst, inst.op.endswith("True"))))
            case "Constant" | "SpecConstant":
                if not isinstance(type, Scalar) or type.kind == "bool":
                    raise invalid(inst, "the type is not a number")
                number = self._specialised(inst, None)
                return literal(inst, type) if number is None else _bits(number, type)
            case "ConstantComposite" | "SpecConstantComposite":
                if isinstance(type, types.SubgroupMatrix):
                    if [self.module.value_types.get(id) for id in inst.args] != [type.elem]:
                        raise invalid(inst, "a subgroup matrix is made of one number")
                    return (self.values[inst.args[0]],)
                for i, id in enumerate(inst.args):
                    part = types.child(type, i)
                    if part is None or part != self.module.value_types.get(id):
                        raise invalid(inst, "the constituents do not fit the type")
                if len(inst.args) != count_of(type):
                    raise invalid(inst, "the number of constituents does not fit the type")
                return tuple(self.values[id] for id in inst.args)
            case "ConstantNull":
                return None
            case "SpecConstantOp":
                return self._operation(inst, type)
        raise unsupported(inst, "this kind of constant is not known")

    def _specialised(self, inst: Instruction, default: bool | None) -> int | float | bool | None:
        id = self.module.decoration(inst.id, "SpecId")
        return self.spec.get(id, default) if id is not None and inst.op.startswith("Spec") else default

    def _operation(self, inst: Instruction, type: Type) -> Value:
        rule = grammar.RULES.get(inst.args[0])
        name, args = (rule.name if rule else f"#{inst.args[0]}"), inst.args[1:]
        if name == "CompositeExtract" and args and args[0] in self.values:
            found, at = self.values[args[0]], self.module.value_types.get(args[0])
            for i in args[1:]:
                found = found[i] if isinstance(found, tuple) and i < len(found) else None
                at = None if at is None else types.child(at, i)
            if at != type:
                raise invalid(inst, "the part is none, or of another type")
            return found
        operands = [self.values.get(id) for id in args]
        kinds = [self.module.value_types.get(id) for id in args]
        if any(id not in self.values for id in args) or not all(isinstance(k, Scalar) for k in kinds):
            raise unsupported(inst, f"the operation {name} on such operands", "freeze spec constants with spirv-opt")
        fits = check.RULES.get(name)
        if rule is None or len(args) != sum(kind == "i" for kind, _ in rule.operands):
            raise invalid(inst, f"the number of operands does not fit the operation {name}")
        if fits is not None and not fits(type, [k for k in kinds if k is not None]):
            raise invalid(inst, f"the types do not fit the operation {name}")
        numbers = [v if isinstance(v, int) else 0 for v in operands]
        widths = [max(k.width, 1) for k in kinds if isinstance(k, Scalar)]
        mask = (1 << max(type.width, 1)) - 1 if isinstance(type, Scalar) else 0
        if name in _UNSIGNED and len(numbers) == 2:
            return int(_UNSIGNED[name](*numbers)) & mask
        if name in _SIGNED and len(numbers) == 2:
            return int(_SIGNED[name](_signed(numbers[0], widths[0]), _signed(numbers[1], widths[1]))) & mask
        if name == "Select" and len(numbers) == 3:
            return operands[1] if numbers[0] else operands[2]
        if name in ("LogicalNot", "Not", "SNegate") and len(numbers) == 1:
            return {"LogicalNot": 1 - numbers[0], "Not": ~numbers[0], "SNegate": -numbers[0]}[name] & mask
        if name in ("UConvert", "Bitcast") and len(numbers) == 1:
            return numbers[0] & mask
        if name == "SConvert" and len(numbers) == 1:
            return _signed(numbers[0], widths[0]) & mask
        raise unsupported(inst, f"the operation {name}", "freeze spec constants with spirv-opt")


def count_of(type: Type) -> int | None:
    """The number of parts of a composite type; None for other types and runtime arrays."""
    match type:
        case types.Vector(count=count) | types.Matrix(count=count):
            return count
        case types.Array(length=length):
            return length
        case types.Struct(members=members):
            return len(members)
    return None


def _bits(number: int | float | bool, type: Scalar) -> int:
    if type.kind == "float":
        code = {16: "<e", 32: "<f", 64: "<d"}[type.width]
        return int.from_bytes(struct.pack(code, float(number)), "little")
    return int(number) & ((1 << type.width) - 1)
