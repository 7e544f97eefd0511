/** @file The element types of tensors: their size, DLPack code and typed arrays. Storage is NumPy's, little-endian. */

export type DType =
  | "float64" | "float32" | "float16" | "bfloat16"
  | "float8_e4m3fn" | "float8_e5m2" | "float8_e8m0fnu"
  | "int64" | "int32" | "int16" | "int8"
  | "uint64" | "uint32" | "uint16" | "uint8"
  | "bool";

// The name `Float16Array` itself would ask a library of 2025 of every project that reads our declarations.
export type HalfArray = typeof globalThis extends { Float16Array: { prototype: infer Array } } ? Array : never;

export type TypedArray =
  | Float64Array | Float32Array | HalfArray
  | BigInt64Array | Int32Array | Int16Array | Int8Array
  | BigUint64Array | Uint32Array | Uint16Array | Uint8Array | Uint8ClampedArray;

interface ArrayType {
  readonly name: string;
  new (buffer: ArrayBuffer, offset?: number, length?: number): TypedArray;
}

export interface DTypeInfo {
  /** Bytes of one element. */
  readonly bytes: number;
  /** DLPack's type code (dlpack.h, DLDataTypeCode). */
  readonly code: number;
  /** The typed arrays that hold it: outputs come as the first, inputs may be any. */
  readonly arrays: readonly [ArrayType, ...ArrayType[]];
}

// Typed arrays of half floats are new (2025); where they are missing the bits are given as uint16.
const half: readonly [ArrayType, ...ArrayType[]] =
  typeof Float16Array === "undefined" ? [Uint16Array] : [Float16Array, Uint16Array];

const TABLE: Readonly<Record<DType, DTypeInfo>> = {
  float64: { bytes: 8, code: 2, arrays: [Float64Array] },
  float32: { bytes: 4, code: 2, arrays: [Float32Array] },
  float16: { bytes: 2, code: 2, arrays: half },
  bfloat16: { bytes: 2, code: 4, arrays: [Uint16Array] },
  float8_e4m3fn: { bytes: 1, code: 10, arrays: [Uint8Array] },
  float8_e5m2: { bytes: 1, code: 12, arrays: [Uint8Array] },
  float8_e8m0fnu: { bytes: 1, code: 14, arrays: [Uint8Array] },
  int64: { bytes: 8, code: 0, arrays: [BigInt64Array] },
  int32: { bytes: 4, code: 0, arrays: [Int32Array] },
  int16: { bytes: 2, code: 0, arrays: [Int16Array] },
  int8: { bytes: 1, code: 0, arrays: [Int8Array] },
  uint64: { bytes: 8, code: 1, arrays: [BigUint64Array] },
  uint32: { bytes: 4, code: 1, arrays: [Uint32Array] },
  uint16: { bytes: 2, code: 1, arrays: [Uint16Array] },
  uint8: { bytes: 1, code: 1, arrays: [Uint8Array, Uint8ClampedArray] },
  bool: { bytes: 1, code: 6, arrays: [Uint8Array, Uint8ClampedArray] },
};

export function isDType(name: unknown): name is DType {
  return typeof name === "string" && Object.hasOwn(TABLE, name);
}

export function dtypeInfo(dtype: DType): DTypeInfo {
  return TABLE[dtype];
}

/** DLPack's type in one word: code | bits << 8 | lanes << 16. */
export function dtypeWord(dtype: DType): number {
  const { code, bytes } = TABLE[dtype];
  return code | (bytes * 8) << 8 | 1 << 16;
}

/** The inverse of dtypeWord; undefined for a type that tensors of a package never have. */
export function dtypeOfWord(word: number): DType | undefined {
  return (Object.keys(TABLE) as DType[]).find((name) => dtypeWord(name) === word);
}

/** The elements in `buffer` (from its start) as a typed array of the dtype's own kind. */
export function viewAs(dtype: DType, buffer: ArrayBuffer, elements: number): TypedArray {
  return new TABLE[dtype].arrays[0](buffer, 0, elements);
}

/** A new typed array of the dtype's own kind, all zero. */
export function zeros(dtype: DType, elements: number): TypedArray {
  return viewAs(dtype, new ArrayBuffer(elements * TABLE[dtype].bytes), elements);
}

export function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}
