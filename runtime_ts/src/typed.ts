/** @file What `tvm-webgpu types` writes is made of: entry functions as types, and a model whose runs they check. */
import type { DType, HalfArray } from "./dtype.ts";
import type { Bound, Model, ProfileOptions, RunOptions } from "./model.ts";
import type { ImageInput, ImageSource } from "./pictures.ts";
import type { Profile } from "./profile.ts";
import type { GpuResult } from "./results.ts";
import type { GpuTensor, ModelObject } from "./tensor.ts";

/** The typed arrays of a dtype. Floats of 8 bits, bfloat16, and halves without `Float16Array` are their bits. */
export interface ArrayOf {
  float64: Float64Array;
  float32: Float32Array;
  float16: HalfArray | Uint16Array;
  bfloat16: Uint16Array;
  float8_e4m3fn: Uint8Array;
  float8_e5m2: Uint8Array;
  float8_e8m0fnu: Uint8Array;
  int64: BigInt64Array;
  int32: Int32Array;
  int16: Int16Array;
  int8: Int8Array;
  uint64: BigUint64Array;
  uint32: Uint32Array;
  uint16: Uint16Array;
  uint8: Uint8Array;
  bool: Uint8Array;
}

type Extents = readonly number[];

/** A tensor that an entry takes: numbers, a buffer on the model's device, or an image where one can become it. */
export type TensorInput<D extends DType, S extends Extents> =
  | { readonly data: ArrayOf[D] | Clamped<D>; readonly shape: Readonly<S>; readonly dtype?: D }
  | (GpuTensor & { readonly dtype: D; readonly shape: Readonly<S> })
  | Image<D, S>;

type Image<D extends DType, S extends Extents> =
  D extends "float32" | "float16" | "uint8" ? (S["length"] extends 3 | 4 ? ImageSource | ImageInput : never) : never;

type Clamped<D extends DType> = D extends "uint8" | "bool" ? Uint8ClampedArray : never;

/** A tensor that an entry gives. */
export interface TensorOutput<D extends DType, S extends Extents> {
  readonly data: ArrayOf[D];
  readonly shape: Readonly<S>;
  readonly dtype: D;
}

declare const marked: unique symbol;

/** A whole number that an entry gives; it never stays on the GPU. */
export interface IntOutput extends TensorOutput<"int64", []> {
  readonly [marked]: "int";
}

/** An object of the package `P`, such as its KV cache: to be passed on to its entries, and to be disposed of. */
export interface ObjectOf<P extends string> extends ModelObject {
  readonly [marked]: P;
}

/** One entry function. */
export interface EntryTypes {
  readonly inputs: object;
  readonly outputs: object;
}

/** Entry functions by name, as an interface that was generated has them. */
export type EntriesOf<M> = { readonly [N in keyof M]: EntryTypes };

type Name<M> = keyof M & string;

/** The entry that `run` calls if none is named: "main", or the only one. */
type DefaultEntry<M> = "main" extends keyof M ? "main" : IsUnion<Name<M>> extends true ? never : Name<M>;
type IsUnion<T, U = T> = [T] extends [never] ? false : T extends U ? ([U] extends [T] ? false : true) : never;

/** Results left on the GPU. */
export type OnGpu<Outputs> = {
  readonly [K in keyof Outputs]: Outputs[K] extends IntOutput ? Outputs[K]
    : Outputs[K] extends TensorOutput<infer D, infer S> ? GpuResult & { readonly dtype: D; readonly shape: Readonly<S> }
    : Outputs[K];
};

/** What of an entry's inputs can be bound: tensors in buffers, and whole numbers. */
export type BoundInputs<Inputs> = {
  readonly [K in keyof Inputs]: Inputs[K] extends number ? number : Extract<Inputs[K], GpuTensor>;
};

/** A binding that knows its outputs, which are tensors in buffers. */
export interface TypedBound<Outputs> extends Omit<Bound, "outputs"> {
  readonly outputs: {
    readonly [K in keyof Outputs]: Outputs[K] extends TensorOutput<infer D, infer S>
      ? GpuTensor & { readonly dtype: D; readonly shape: Readonly<S> } : never;
  };
}

interface Into<Outputs> {
  readonly outputs?: { readonly [K in keyof Outputs]?: GPUBuffer };
}

type Cpu = RunOptions & { readonly outputs?: "cpu" };
type Gpu = RunOptions & { readonly outputs: "gpu" };

/** A model that knows its entry functions: `const model = await loadModel<MobilenetV2>(url)`. */
export interface TypedModel<M extends EntriesOf<M>> extends Omit<Model, "run" | "bind" | "profile"> {
  /** Calls the entry named in the options. Errors are those of `Model.run`. */
  run<N extends Name<M>>(inputs: M[N]["inputs"], options: Gpu & { readonly entry: N }): Promise<OnGpu<M[N]["outputs"]>>;
  run<N extends Name<M>>(inputs: M[N]["inputs"], options: Cpu & { readonly entry: N }): Promise<M[N]["outputs"]>;
  /** Calls "main", or the only entry. */
  run(
    inputs: M[DefaultEntry<M>]["inputs"], options: Gpu & { readonly entry?: DefaultEntry<M> },
  ): Promise<OnGpu<M[DefaultEntry<M>]["outputs"]>>;
  run(
    inputs: M[DefaultEntry<M>]["inputs"], options?: Cpu & { readonly entry?: DefaultEntry<M> },
  ): Promise<M[DefaultEntry<M>]["outputs"]>;
  /** Binds the entry named in the options, "main", or the only one, to buffers; see `Model.bind`. */
  bind<N extends Name<M>>(
    inputs: BoundInputs<M[N]["inputs"]>, options: Into<M[N]["outputs"]> & { readonly entry: N },
  ): Promise<TypedBound<M[N]["outputs"]>>;
  bind(
    inputs: BoundInputs<M[DefaultEntry<M>]["inputs"]>,
    options?: Into<M[DefaultEntry<M>]["outputs"]> & { readonly entry?: DefaultEntry<M> },
  ): Promise<TypedBound<M[DefaultEntry<M>]["outputs"]>>;
  /** Measures the launches of the entry named in the options, of "main", or of the only one; see `Model.profile`. */
  profile<N extends Name<M>>(inputs: M[N]["inputs"], options: ProfileOptions & { readonly entry: N }): Promise<Profile>;
  profile(
    inputs: M[DefaultEntry<M>]["inputs"], options?: ProfileOptions & { readonly entry?: DefaultEntry<M> },
  ): Promise<Profile>;
}
