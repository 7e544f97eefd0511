/** @file Numbers to the elements of a tensor and back, for every dtype; half floats where no typed array has them. */
import { zeros, type DType, type TypedArray } from "../dtype.ts";

const FLOATS: ReadonlySet<DType> = new Set(["float64", "float32", "float16", "bfloat16"]);

export function isFloat(dtype: DType): boolean {
  return FLOATS.has(dtype);
}

/** `elements` values of a rule that takes their index. */
export function filled(dtype: DType, elements: number, rule: (index: number) => number): TypedArray {
  const data = zeros(dtype, elements);
  const asBits = isFloat(dtype) && data instanceof Uint16Array;
  for (let i = 0; i < elements; i++) {
    const value = rule(i);
    if (data instanceof BigInt64Array || data instanceof BigUint64Array) data[i] = BigInt(Math.trunc(value));
    else data[i] = asBits ? bits16(value, dtype) : value;
  }
  return data;
}

export function numbers(dtype: DType, data: TypedArray): Float64Array {
  if (data instanceof Uint16Array && dtype === "float16") return Float64Array.from(data, halfValue);
  if (dtype === "bfloat16") {
    return Float64Array.from(data as Uint16Array, (bits) => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!);
  }
  return Float64Array.from(data as ArrayLike<number>, Number);
}

/** The upper bits of a float32 as bfloat16; half floats likewise, cut off, and zero below their normal numbers. */
function bits16(value: number, dtype: DType): number {
  const word = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  if (dtype === "bfloat16") return word >>> 16;
  const exponent = (word >>> 23 & 0xff) - 112;
  const sign = word >>> 16 & 0x8000;
  if (exponent <= 0) return sign;
  return exponent >= 31 ? sign | 0x7c00 : sign | exponent << 10 | word >>> 13 & 0x3ff;
}

function halfValue(bits: number): number {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, bits >> 10 & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}
