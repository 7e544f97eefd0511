/** @file The npm package's face: everything a user of tvm-webgpu may import. */
export { loadModel, type LoadOptions, type LoadReport } from "./load.ts";
export type { WarmExtents } from "./warm.ts";
export { clearCache, folderCache, type PackageCache } from "./cache.ts";
export type { BindOptions, Bound, CpuTensor, Inputs, Memory, Model, ProfileOptions, RunOptions } from "./model.ts";
export type { ImageInput, ImageOptions, ImageSource, RawImage } from "./pictures.ts";
export type { KernelProfile, LaunchProfile, Profile } from "./profile.ts";
export type { GpuResult } from "./results.ts";
export type { GpuTensor, Input, ModelObject, Tensor } from "./tensor.ts";
export type { DType, TypedArray } from "./dtype.ts";
export type {
  ArrayOf, BoundInputs, EntriesOf, EntryTypes, IntOutput, ObjectOf, OnGpu, TensorInput, TensorOutput, TypedBound,
  TypedModel,
} from "./typed.ts";
export type {
  Entry, Kernel, Manifest, PackageFile, Param, Port, Requirements, SimplePort, TensorPort, Variant,
} from "./manifest.ts";
export type { Phase, PhaseProgress, Progress } from "./progress.ts";
export type { Counters } from "./commands.ts";
export {
  DeviceLostError, DisposedError, GpuError, InputError, ModelError, OutOfMemoryError, PackageError, TvmWebgpuError,
  UnsupportedError,
} from "./errors.ts";
