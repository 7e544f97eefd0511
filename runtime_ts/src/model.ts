/** @file A loaded package: inputs in, results out, run by run; the first place to read. */
import type { Buffers } from "./buffers.ts";
import type { Commands, Counters } from "./commands.ts";
import { deviceLost, guarded, USAGE } from "./device.ts";
import { dtypeInfo, product, type DType } from "./dtype.ts";
import { DisposedError, InputError, OutOfMemoryError, TvmWebgpuError } from "./errors.ts";
import type { Host, Value } from "./host.ts";
import type { Entry, Manifest } from "./manifest.ts";
import { abortable, Turns } from "./queue.ts";
import { Readback } from "./readback.ts";
import { checkInputs, type Argument, type GpuTensor, type Input, type ModelObject, type Tensor } from "./tensor.ts";

export interface RunOptions {
  /** The entry function's name; if left out "main", or the only one. */
  readonly entry?: string;
  readonly signal?: AbortSignal;
  /** Where tensors are left: "cpu" (the default) reads them back, "gpu" gives them as `GpuResult`. */
  readonly outputs?: "cpu" | "gpu";
}

/** A result left on the GPU. Its memory is the model's, and kept until dispose(). */
export interface GpuResult extends GpuTensor {
  readonly offset: number;
  dispose(): void;
}

export type CpuTensor = Tensor & { readonly dtype: DType };

/** What a run gives, by name; an entry without objects in its results gives tensors only. */
export type Results<T = CpuTensor> = Record<string, T>;

/** The parts that loading puts together. */
export interface Parts {
  readonly manifest: Manifest;
  readonly device: GPUDevice;
  readonly ownsDevice: boolean;
  readonly buffers: Buffers;
  readonly commands: Commands;
  readonly host: Host;
  /** The parameters as values, in the manifest's order. */
  readonly params: readonly Value[];
  /** Buffers of the parameters, to be destroyed at the end. */
  readonly shards: readonly GPUBuffer[];
}

type TensorValue = Value & { kind: "tensor" };

/** Two: while the GPU works on one run the next is prepared. More would only hold memory. */
const RUNS_IN_FLIGHT = 2;

export class Model {
  readonly #parts: Parts;
  readonly #readback: Readback;
  readonly #turns = new Turns(RUNS_IN_FLIGHT);
  /** Buffers that inputs are copied to, by entry and input, used again while they are large enough. */
  readonly #inputs = new Map<string, number>();
  #disposed = false;
  #lost: GPUDeviceLostInfo | undefined;

  /** @internal Use loadModel. */
  constructor(parts: Parts) {
    this.#parts = parts;
    this.#readback = new Readback(parts.device);
    void parts.device.lost.then((info) => { this.#lost = info; });
  }

  get name(): string {
    return this.#parts.manifest.name;
  }

  get device(): GPUDevice {
    return this.#parts.device;
  }

  /** The entry functions: names, inputs and outputs. */
  get entries(): readonly Entry[] {
    return this.#parts.manifest.entries;
  }

  get manifest(): Manifest {
    return this.#parts.manifest;
  }

  /** GPU commands since the model was loaded. */
  get counters(): Readonly<Counters> {
    return this.#parts.commands.counters;
  }

  /**
   * Calls an entry function. Calls may overlap: they take effect in order. Leave the inputs' data as it is until the
   * promise settles.
   *
   * @throws InputError, UnsupportedError, ModelError, OutOfMemoryError, GpuError, DeviceLostError, DisposedError, or
   * the signal's reason. After the first three and OutOfMemoryError the model can be used on.
   */
  run(inputs: Readonly<Record<string, Input>>, options?: RunOptions & { readonly outputs?: "cpu" }): Promise<Results>;
  run(inputs: Readonly<Record<string, Input>>, options: RunOptions & { readonly outputs: "gpu" }): Promise<Results<GpuResult>>;
  /** For an entry whose results include objects, such as a KV cache. */
  run(inputs: Readonly<Record<string, Input>>, options?: RunOptions): Promise<Results<CpuTensor & GpuResult & ModelObject>>;
  async run(inputs: Readonly<Record<string, Input>>, options: RunOptions = {}): Promise<unknown> {
    this.#checkUsable();
    const entry = this.#entry(options.entry);
    const args = checkInputs(entry, inputs);
    await this.#turns.enter(options.signal);
    let work: Promise<unknown>;
    try {
      this.#checkUsable();
      work = this.#start(entry, args, options.outputs ?? "cpu");
    } catch (error) {
      this.#turns.leave();
      throw error;
    }
    const settled = work.catch(async (error: unknown) => { throw await this.#explain(error); });
    settled.then(() => { this.#turns.leave(); }, () => { this.#turns.leave(); });
    return abortable(settled, options.signal);
  }

  /** Gives device memory that the model pools between runs back to the GPU. */
  trim(): void {
    this.#checkUsable();
    this.#parts.host.trim();
    this.#parts.commands.submit();
  }

  /** Frees everything; runs under way are rejected with a DisposedError. A caller's own device is left alone. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    const { buffers, commands, shards, device, ownsDevice } = this.#parts;
    this.#readback.destroy();
    commands.destroy();
    buffers.destroy();
    for (const shard of shards) shard.destroy();
    if (ownsDevice) device.destroy();
  }

  /** Encodes and submits one call, all at once, so that calls never mix; the promise is for its results. */
  #start(entry: Entry, args: readonly Argument[], outputs: "cpu" | "gpu"): Promise<unknown> {
    const { device, host, commands, buffers, params, manifest } = this.#parts;
    const { value: read, checked } = guarded(device, `running "${entry.name}"`, () => {
      try {
        const values = args.map((arg, i) => this.#value(arg, `${entry.name} ${i}`));
        for (const index of entry.params) values.push(params[index]!);
        const results = host.call(manifest.entries.indexOf(entry), values);
        const finish = outputs === "cpu" ? this.#toCpu(results) : this.#toGpu(results);
        commands.submit();
        buffers.trimImports();
        return finish;
      } catch (error) {
        commands.discard();
        throw error;
      }
    });
    return Promise.all([read(), checked]).then(([found]) =>
      Object.fromEntries(entry.outputs.map(({ name }, i) => [name, found[i]])));
  }

  #toCpu(results: readonly Value[]): () => Promise<unknown[]> {
    const tensors = results.filter((value): value is TensorValue => value.kind === "tensor");
    const read = this.#readback.plan(this.#parts.commands, tensors);
    // The copies are encoded: what later calls do to this memory comes after them.
    for (const { object } of tensors) if (object !== 0) this.#parts.host.release(object);
    return async () => {
      const arrays = (await read())[Symbol.iterator]();
      return results.map((value) => (value.kind === "tensor" ? arrays.next().value : this.#plain(value)));
    };
  }

  #toGpu(results: readonly Value[]): () => Promise<unknown[]> {
    const found = results.map((value) => (value.kind === "tensor" ? this.#gpuResult(value) : this.#plain(value)));
    return () => Promise.resolve(found);
  }

  #gpuResult(value: TensorValue): GpuResult {
    const { buffers, commands, host } = this.#parts;
    let { handle, offset } = value;
    if (value.object === 0) {
      // The model gave an input or a parameter back; the result must not change when those do.
      const bytes = product(value.shape) * dtypeInfo(value.dtype).bytes;
      handle = buffers.allocate(bytes);
      if (handle === 0) throw new OutOfMemoryError(buffers.refusal);
      commands.copyOut(value.handle, offset, bytes, buffers.get(handle).buffer, 0);
      offset = 0;
    }
    const block = buffers.get(handle);
    const release = once(() => {
      if (this.#disposed) return;
      if (value.object === 0) buffers.release(handle);
      else host.release(value.object);
    });
    const { dtype, shape } = value;
    return { buffer: block.buffer, offset: block.offset + offset, dtype, shape, dispose: release };
  }

  /** A result that is no tensor. */
  #plain(value: Exclude<Value, TensorValue>): ModelObject | CpuTensor | null {
    switch (value.kind) {
      case "none": return null;
      case "int": return { data: BigInt64Array.of(value.value), shape: [], dtype: "int64" };
      case "float": return { data: Float32Array.of(value.value), shape: [], dtype: "float32" };
      case "object": return new HeldObject(value.object, () => {
        if (!this.#disposed) this.#parts.host.release(value.object);
      }, this);
    }
  }

  #value(arg: Argument, slot: string): Value {
    if ("value" in arg) return { kind: "int", value: arg.value };
    if ("object" in arg) return { kind: "object", object: HeldObject.idOf(arg.object, this, arg.port.name) };
    const { dtype } = arg.port;
    const { tensor } = arg;
    const { shape } = tensor;
    if ("buffer" in tensor) {
      const lacking = NEEDED_USAGE & ~tensor.buffer.usage;
      if (lacking) throw new InputError(`input "${arg.port.name}": its buffer needs the usages STORAGE, COPY_SRC and COPY_DST`);
      const handle = this.#parts.buffers.import(tensor.buffer);
      return { kind: "tensor", dtype, shape, handle, offset: tensor.offset ?? 0, object: 0 };
    }
    const { data } = tensor;
    const handle = this.#inputBuffer(slot, data.byteLength);
    const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    this.#parts.commands.write(handle, 0, bytes);
    return { kind: "tensor", dtype, shape, handle, offset: 0, object: 0 };
  }

  #inputBuffer(slot: string, bytes: number): number {
    const { buffers } = this.#parts;
    const known = this.#inputs.get(slot);
    if (known !== undefined && buffers.get(known).bytes >= bytes) return known;
    const handle = buffers.allocate(bytes);
    if (handle === 0) throw new OutOfMemoryError(buffers.refusal);
    if (known !== undefined) buffers.release(known);
    this.#inputs.set(slot, handle);
    return handle;
  }

  #entry(name?: string): Entry {
    const { entries } = this.#parts.manifest;
    const found = name === undefined
      ? (entries.find((entry) => entry.name === "main") ?? (entries.length === 1 ? entries[0] : undefined))
      : entries.find((entry) => entry.name === name);
    if (found) return found;
    const names = entries.map((entry) => `"${entry.name}"`).join(", ");
    throw new InputError(name === undefined ? `say which entry to run: ${names}` : `there is no entry "${name}", only ${names}`);
  }

  #checkUsable(): void {
    if (this.#disposed) throw new DisposedError("the model was disposed of");
    if (this.#lost) throw deviceLost(this.#lost);
  }

  /** What lies behind an error of WebGPU's own: a map that fails says little, the reason comes beside it. */
  async #explain(error: unknown): Promise<unknown> {
    if (this.#disposed) return new DisposedError("the model was disposed of while it ran");
    if (error instanceof TvmWebgpuError && !this.#lost) return error;
    const soon = new Promise<undefined>((resolve) => setTimeout(resolve, 100, undefined));
    const info = this.#lost ?? (await Promise.race([this.#parts.device.lost, soon]));
    return info ? deviceLost(info) : error;
  }
}

const NEEDED_USAGE = USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST;

class HeldObject implements ModelObject {
  #object: number;
  readonly #release: () => void;
  readonly #model: Model;

  constructor(object: number, release: () => void, model: Model) {
    this.#object = object;
    this.#release = release;
    this.#model = model;
  }

  dispose(): void {
    if (this.#object !== 0) this.#release();
    this.#object = 0;
  }

  /** The wasm's name for an object. @throws InputError, DisposedError */
  static idOf(object: ModelObject, model: Model, port: string): number {
    if (!(object instanceof HeldObject) || object.#model !== model) {
      throw new InputError(`input "${port}" must be an object that this model returned`);
    }
    if (object.#object === 0) throw new DisposedError(`input "${port}" was disposed of`);
    return object.#object;
  }
}

function once(action: () => void): () => void {
  let done = false;
  return () => {
    if (!done) action();
    done = true;
  };
}
