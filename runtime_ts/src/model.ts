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
import { HeldObject, HeldTensor, referenceOf, type GpuResult } from "./results.ts";
import { checkInputs, type Argument, type Input, type ModelObject, type Tensor } from "./tensor.ts";

export interface RunOptions {
  /** The entry function's name; if left out "main", or the only one. */
  readonly entry?: string;
  readonly signal?: AbortSignal;
  /** Where tensors are left: "cpu" (the default) reads them back, "gpu" gives them as `GpuResult`. */
  readonly outputs?: "cpu" | "gpu";
}

export type CpuTensor = Tensor & { readonly dtype: DType };

export type Inputs = Readonly<Record<string, Input>>;


/** The parts that loading puts together. */
export interface Parts {
  readonly manifest: Manifest;
  readonly device: GPUDevice;
  readonly ownsDevice: boolean;
  readonly buffers: Buffers;
  readonly commands: Commands;
  readonly host: Host;
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
   * promise settles. Name the results' types as `R` where they are not all tensors, such as
   * `run<{ logits: CpuTensor; cache: ModelObject }>(...)`.
   *
   * @throws InputError, UnsupportedError, ModelError, OutOfMemoryError, GpuError, DeviceLostError, DisposedError, or
   * the signal's reason. After the first three and OutOfMemoryError the model can be used on.
   */
  run<R = Record<string, GpuResult>>(inputs: Inputs, options: RunOptions & { readonly outputs: "gpu" }): Promise<R>;
  run<R = Record<string, CpuTensor>>(inputs: Inputs, options?: RunOptions): Promise<R>;
  async run(inputs: Inputs, options: RunOptions = {}): Promise<unknown> {
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
    const { device, host, commands, buffers, manifest } = this.#parts;
    const { value: read, checked } = guarded(device, `running "${entry.name}"`, () => {
      try {
        const values = args.map((arg, i) => this.#value(arg, `${entry.name} ${i}`));
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
    const { dtype, shape } = value;
    const block = buffers.get(value.handle);
    if (block.owner === "model") return new HeldTensor(value, block, this.#releaser(value.object), this);
    // The model gave an input or a parameter back; the result must not change when those do.
    const bytes = product(shape) * dtypeInfo(dtype).bytes;
    const handle = this.#allocate(bytes);
    const own = buffers.get(handle);
    commands.copyOut(value.handle, value.offset, bytes, own.buffer, 0);
    if (value.object !== 0) host.release(value.object);
    const release = (): void => { if (!this.#disposed) buffers.release(handle); };
    return new HeldTensor({ ...value, offset: 0, object: 0 }, own, release, this);
  }

  /** Gives a result's reference back to the model's code. */
  #releaser(object: number): () => void {
    return () => { if (!this.#disposed) this.#parts.host.release(object); };
  }

  /** A result that is no tensor. */
  #plain(value: Exclude<Value, TensorValue>): ModelObject | CpuTensor | null {
    switch (value.kind) {
      case "none": return null;
      case "int": return { data: BigInt64Array.of(value.value), shape: [], dtype: "int64" };
      case "float": return { data: Float32Array.of(value.value), shape: [], dtype: "float32" };
      case "object": return new HeldObject(value.object, this.#releaser(value.object), this);
    }
  }

  #value(arg: Argument, slot: string): Value {
    if ("value" in arg) return { kind: "int", value: arg.value };
    if ("object" in arg) return { kind: "object", object: referenceOf(arg.object, this, arg.port.name) };
    const { dtype } = arg.port;
    const { tensor } = arg;
    const { shape } = tensor;
    if ("buffer" in tensor) {
      if (NEEDED_USAGE & ~tensor.buffer.usage) {
        throw new InputError(`input "${arg.port.name}": its buffer needs the usages STORAGE, COPY_SRC and COPY_DST`);
      }
      const handle = this.#parts.buffers.import(tensor.buffer);
      const object = tensor instanceof HeldTensor ? referenceOf(tensor, this, arg.port.name) : 0;
      return { kind: "tensor", dtype, shape, handle, offset: tensor.offset ?? 0, object };
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
    const handle = this.#allocate(bytes);
    if (known !== undefined) buffers.release(known);
    this.#inputs.set(slot, handle);
    return handle;
  }

  #allocate(bytes: number): number {
    const { buffers } = this.#parts;
    const handle = buffers.allocate(bytes, "runtime");
    if (handle === 0) throw new OutOfMemoryError(buffers.refusal);
    return handle;
  }

  #entry(name?: string): Entry {
    const { entries } = this.#parts.manifest;
    const found = name === undefined
      ? (entries.find((entry) => entry.name === "main") ?? (entries.length === 1 ? entries[0] : undefined))
      : entries.find((entry) => entry.name === name);
    if (found) return found;
    const names = entries.map((entry) => `"${entry.name}"`).join(", ");
    const problem = name === undefined ? "say which entry to run:" : `there is no entry "${name}", only`;
    throw new InputError(`${problem} ${names}`);
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
