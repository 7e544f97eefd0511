/** @file A package's address in, a Model ready to run out; what the device lacks is said before large files come. */
import { Buffers, padded } from "./buffers.ts";
import { Commands } from "./commands.ts";
import { checkRequirements, findGpu, guarded, requestDevice, USAGE } from "./device.ts";
import { OutOfMemoryError, PackageError, messageOf } from "./errors.ts";
import { openSource, readFile, readManifest, type Progress, type Source } from "./fetch.ts";
import { Host, type Value } from "./host.ts";
import { compileKernels } from "./kernels.ts";
import { fileOf, parseManifest, type Manifest, type PackageFile, type Param } from "./manifest.ts";
import { Model } from "./model.ts";
import { abortable } from "./queue.ts";
import type { EntriesOf, TypedModel } from "./typed.ts";

export interface LoadOptions {
  /** A device of your own, so that tensors can stay in its buffers; if left out the model makes one. */
  readonly device?: GPUDevice;
  /** Where to ask for a device; if left out navigator.gpu, or in Node the npm package "webgpu". */
  readonly gpu?: GPU;
  readonly signal?: AbortSignal;
  /** Called as bytes arrive. */
  readonly onProgress?: (progress: Progress) => void;
  /** Takes the lines that the model's code prints; if left out they go to the console. */
  readonly onPrint?: (line: string) => void;
}

/**
 * Loads a package from the folder at a URL, or in Node at a path.
 *
 * @throws PackageError, UnsupportedError, GpuError, OutOfMemoryError, or the signal's reason.
 */
export function loadModel(location: string | URL, options?: LoadOptions): Promise<Model>;
/** The same, with runs checked by the types `M` that `tvm-webgpu types` wrote for the package. */
export function loadModel<M extends EntriesOf<M>>(
  location: string | URL, options?: LoadOptions,
): Promise<TypedModel<M>>;
export async function loadModel(location: string | URL, options: LoadOptions = {}): Promise<Model> {
  const { signal } = options;
  signal?.throwIfAborted();
  const source = openSource(location);
  const manifest = parseManifest(await readManifest(source, signal));
  const { requires } = manifest;
  if (options.device) checkRequirements(requires, options.device.features, options.device.limits, "the given device");
  const device = options.device ?? (await requestDevice(options.gpu ?? (await findGpu()), requires));
  const resources: { destroy(): void }[] = options.device ? [] : [device];
  try {
    const model = await abortable(assemble(source, manifest, device, resources, options), signal);
    signal?.throwIfAborted();
    return model;
  } catch (error) {
    for (const resource of resources) resource.destroy();
    throw error;
  }
}

async function assemble(
  source: Source, manifest: Manifest, device: GPUDevice, resources: { destroy(): void }[], options: LoadOptions,
): Promise<Model> {
  // One failure ends the other downloads.
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const shardFiles = manifest.files.filter(({ role }) => role === "params");
  const wasmFile = fileOf(manifest, "wasm");
  const kernelFile = fileOf(manifest, "kernels");
  const total = [wasmFile, kernelFile, ...shardFiles].reduce((sum, file) => sum + file.bytes, 0);
  let loaded = 0;
  const read = (file: PackageFile): Promise<Uint8Array<ArrayBuffer>> =>
    readFile(source, file, (count) => options.onProgress?.({ loaded: loaded += count, total }), signal);
  const buffers = new Buffers(device);
  resources.push(buffers);
  try {
    const [module, kernels, shards] = await Promise.all([
      read(wasmFile).then(compileModule),
      read(kernelFile).then((text) => compileKernels(device, manifest.kernels, text)),
      Promise.all(shardFiles.map((file) => read(file).then((bytes) => {
        const params = manifest.params.filter((param) => param.file === file.path);
        return upload(device, buffers, file.path, bytes, params, resources);
      }))),
    ]);
    const { value: commands, checked } = guarded(device, "preparing", () => new Commands(device, buffers, kernels));
    resources.push(commands);
    await checked;
    const host = await Host.create(module, buffers, commands, options.onPrint ?? ((line) => { console.log(line); }));
    const placed = new Map(shards.flatMap((shard) => [...shard.values]));
    const params = manifest.params.map((param) => placed.get(param)!);
    guarded(device, "binding parameters", () => {
      host.bindParams(params);
      commands.submit();
    });
    return new Model({
      manifest, device, ownsDevice: !options.device, buffers, commands, host,
      shards: shards.flatMap((shard) => shard.owned),
    });
  } catch (error) {
    stop.abort(error);
    throw error;
  }
}

async function compileModule(bytes: Uint8Array<ArrayBuffer>): Promise<WebAssembly.Module> {
  try {
    return await WebAssembly.compile(bytes);
  } catch (error) {
    throw new PackageError(`model.wasm does not compile in this browser: ${messageOf(error)}`);
  }
}

interface Shard {
  readonly owned: readonly GPUBuffer[];
  readonly values: readonly (readonly [Param, Value])[];
}

/** A file of parameters as one device buffer, or as one for each parameter where the device's buffers are too small. */
async function upload(
  device: GPUDevice, buffers: Buffers, name: string, bytes: Uint8Array<ArrayBuffer>, params: readonly Param[],
  resources: { destroy(): void }[],
): Promise<Shard> {
  const whole = padded(bytes.byteLength) <= device.limits.maxBufferSize;
  const pieces = whole
    ? [{ from: 0, to: bytes.byteLength, params }]
    : params.map((param) => ({ from: param.offset, to: param.offset + param.bytes, params: [param] }));
  const { value: shard, checked } = guarded(device, `uploading ${name}`, (): Shard => {
    const owned: GPUBuffer[] = [];
    const values = pieces.flatMap(({ from, to, params: inside }) => {
      const size = padded(to - from);
      if (size > device.limits.maxBufferSize) throw tooLarge(inside[0]!, device.limits.maxBufferSize);
      const buffer = device.createBuffer({ size, usage: USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST });
      owned.push(buffer);
      resources.push(buffer);
      const end = to - ((to - from) % 4);
      device.queue.writeBuffer(buffer, 0, bytes, from, end - from);
      if (end < to) {
        const last = new Uint8Array(4);
        last.set(bytes.subarray(end, to));
        device.queue.writeBuffer(buffer, end - from, last);
      }
      return inside.map((param) => {
        if (padded(param.bytes) > device.limits.maxStorageBufferBindingSize) {
          throw tooLarge(param, device.limits.maxStorageBufferBindingSize);
        }
        const handle = buffers.view(buffer, param.offset - from, param.bytes);
        const value: Value = { kind: "tensor", dtype: param.dtype, shape: param.shape, handle, offset: 0, object: 0 };
        return [param, value] as const;
      });
    });
    return { owned, values };
  });
  await checked;
  return shard;
}

function tooLarge(param: Param, most: number): OutOfMemoryError {
  return new OutOfMemoryError(`parameter "${param.name}" has ${param.bytes} bytes; this device binds at most ${most}`);
}
