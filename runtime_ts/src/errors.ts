/** @file The typed errors of the runtime: a caller meets one of these, or the reason of its own abort signal. */

/** Base of all errors thrown by this package. `name` is the class's name and survives minification. */
export class TvmWebgpuError extends Error {
  override readonly name: string = "TvmWebgpuError";
}

/** The package's files are missing, damaged, or of a format that this runtime does not read. */
export class PackageError extends TvmWebgpuError {
  override readonly name = "PackageError";
}

/** The package, or what it was asked to do, needs something that this device or runtime does not have. */
export class UnsupportedError extends TvmWebgpuError {
  override readonly name = "UnsupportedError";
}

/** An input or option does not fit the entry function: a name, dtype, shape or length. */
export class InputError extends TvmWebgpuError {
  override readonly name = "InputError";
}

/** The compiled model reported a failure while it ran; the message is its own. */
export class ModelError extends TvmWebgpuError {
  override readonly name = "ModelError";
}

/** WebGPU refused a shader, buffer or command. With an intact package this is a bug worth reporting. */
export class GpuError extends TvmWebgpuError {
  override readonly name = "GpuError";
}

/** The GPU, or the model's linear memory, has no room left. */
export class OutOfMemoryError extends TvmWebgpuError {
  override readonly name = "OutOfMemoryError";
}

/** The GPU device is gone (driver reset, tab in the background, device.destroy()); load the model again. */
export class DeviceLostError extends TvmWebgpuError {
  override readonly name = "DeviceLostError";
}

/** The model, or one of its objects, was used after dispose(). */
export class DisposedError extends TvmWebgpuError {
  override readonly name = "DisposedError";
}

/** `Kind: message`, as the wasm's tvmw_error gives it, turned into the class that the kind names. */
export function fromModel(text: string): TvmWebgpuError {
  const [, kind = "", message = ""] = /^(\w+): ([^]*)$/.exec(text) ?? [];
  const known = MODEL_KINDS[kind];
  return known ? new known(message) : new ModelError(text || "the model failed without saying why");
}

const MODEL_KINDS: Readonly<Record<string, new (message: string) => TvmWebgpuError>> = {
  InputError,
  UnsupportedError,
  PackageError,
  OutOfMemoryError,
  DeviceError: OutOfMemoryError, // the C runtime's word for device memory it was refused
};

/** What was thrown, typed where the program itself got no memory: engines throw RangeErrors in words of their own. */
export function typed(thrown: unknown): unknown {
  const why = messageOf(thrown);
  return thrown instanceof RangeError && /memory|alloc|length/i.test(why)
    ? new OutOfMemoryError(`the program has no memory left (${why})`) : thrown;
}

/** The text of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
