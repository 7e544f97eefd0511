"""How a TIR dtype is computed with (`Repr`) and laid out in memory (`Packing`): the tables of the legalisation.

| dtype | computed as | in buffers |
|---|---|---|
| bool | bool | 8 bits, four to a u32 |
| int8, int16 / uint8, uint16 | i32 / u32, kept in range | 8 or 16 bits, packed in u32 |
| int32, uint32, float32 | itself | itself |
| int64, uint64 | i32 or u32 where its range is known to fit, else two u32 | vec2 of u32, low word first |
| float16 | f16 with `feature.f16`, else f32, rounded where cast to | f16, or two to a u32 |
| bfloat16 | f32, rounded where cast to | two to a u32 |
| float8_e4m3fn, float8_e5m2, float8_e8m0fnu | f32, rounded where cast to | four to a u32 |
| float64 | f64, which the WGSL translation computes exactly out of u32 | 64 bits |
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import ir

INT_RANGE = {f"{sign}int{bits}": ((-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if not sign else (0, 2**bits - 1))
             for sign in ("", "u") for bits in (8, 16, 32, 64)} | {"bool": (0, 1)}

FLOAT8 = ("float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu")
# Computed as; float16 is decided by the target's feature, 64 bits by range.
REPR = {
    "bool": "bool",
    "int8": "i32", "int16": "i32", "int32": "i32",
    "uint8": "u32", "uint16": "u32", "uint32": "u32",
    "int64": "i64", "uint64": "u64",
    "float16": "f32", "bfloat16": "f32", "float32": "f32", "float64": "f64",
    **dict.fromkeys(FLOAT8, "f32"),
}
# Elements of a u32 word in packed storage.
PACKED = {"bool": 4, "int8": 4, "uint8": 4, "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2,
          **dict.fromkeys(FLOAT8, 4)}
BYTES = {"bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2, "int32": 4,
         "uint32": 4, "float32": 4, "int64": 8, "uint64": 8, "float64": 8, **dict.fromkeys(FLOAT8, 1)}


@dataclass(frozen=True, slots=True)
class DType:
    """A TIR dtype: the scalar's name and the number of lanes."""

    name: str
    lanes: int = 1

    @property
    def is_float(self) -> bool:
        return "float" in self.name

    @property
    def is_int(self) -> bool:
        return self.name in INT_RANGE

    @property
    def is_wide(self) -> bool:
        return self.name in ("int64", "uint64")

    def __str__(self) -> str:
        return self.name if self.lanes == 1 else f"{self.name}x{self.lanes}"


_parsed: dict[str, DType] = {}


def parse(text: str) -> DType:
    """`float32x4` to DType("float32", 4)."""
    if text not in _parsed:
        name, _, lanes = text.partition("x")
        _parsed[text] = DType(name, int(lanes or 1))
    return _parsed[text]


def dtype_of(expr: ir.Expr) -> DType:
    """The dtype of a primitive expression."""
    return parse(str(expr.ty.dtype))
