/** @file Checked arguments in, results out: one session's runs, encoded in turn and read back. */
import { guarded, USAGE } from "./device.ts";
import { dtypeInfo, product, type DType } from "./dtype.ts";
import { InputError, OutOfMemoryError, TvmWebgpuError } from "./errors.ts";
import type { LaunchTimer } from "./commands.ts";
import type { Value } from "./host.ts";
import { ImageWriter } from "./images.ts";
import type { Entry } from "./manifest.ts";
import { abortable, Turns } from "./queue.ts";
import { Readback } from "./readback.ts";
import { HeldObject, HeldTensor, referenceOf, type GpuResult } from "./results.ts";
import type { Session } from "./session.ts";
import type { Argument, ModelObject, Tensor } from "./tensor.ts";

export type CpuTensor = Tensor & { readonly dtype: DType };

export interface RunRequest {
  readonly entry: Entry;
  readonly args: readonly Argument[];
  readonly outputs: "cpu" | "gpu";
  readonly signal?: AbortSignal | undefined;
  readonly timer?: LaunchTimer | undefined;
}

/** Device memory in bytes. */
export interface Memory {
  readonly parameters: number;
  /** Intermediates, results and objects that the model holds now. */
  readonly used: number;
  /** What the model keeps for its next run; trim() gives it back. */
  readonly unused: number;
  /** Inputs, results that were copied, and staging for reading back. */
  readonly transfer: number;
  /** The most there ever was, of all of these together. */
  readonly peak: number;
}

type TensorValue = Value & { kind: "tensor" };
type Finish = () => Promise<unknown[]>;

/** Submits that the GPU has before it while a run that can be called off encodes the next. */
const SUBMITS_AHEAD = 2;
const NEEDED_USAGE = USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST;

export class Runner {
  readonly session: Session;
  readonly #readback: Readback;
  readonly #images: ImageWriter;
  /** Encoding may pause for a run that can be called off; commands of two runs never mix. */
  readonly #encoding = new Turns(1);
  /** Buffers that inputs are copied to, by entry and input, used again while they are large enough. */
  readonly #inputs = new Map<string, number>();
  #destroyed = false;
  #lost = false;

  constructor(session: Session) {
    this.session = session;
    this.#readback = new Readback(session.device, session.commands.counters);
    this.#images = new ImageWriter(session.device);
    void session.device.lost.then(() => { this.#lost = true; });
  }

  /** The device is gone, and with it all that this session's results held. */
  get lost(): boolean {
    return this.#lost;
  }

  async run(request: RunRequest): Promise<Record<string, unknown>> {
    const { entry, signal } = request;
    await this.#encoding.enter(signal);
    let started: { finish: Finish; checked: Promise<unknown> };
    try {
      started = await this.#start(request);
    } finally {
      this.session.commands.timer = undefined;
      this.#encoding.leave();
    }
    const [found] = await Promise.all([started.finish(), started.checked]);
    return Object.fromEntries(entry.outputs.map(({ name }, i) => [name, found[i]]));
  }

  memory(): Memory {
    const { buffers, host, shards } = this.session;
    const parameters = shards.reduce((sum, buffer) => sum + buffer.size, 0);
    const unused = host.unused();
    const transfer = buffers.bytes.runtime + this.#readback.bytes + this.#images.bytes;
    const peak = parameters + buffers.bytes.peak + this.#readback.peak + this.#images.bytes;
    return { parameters, used: buffers.bytes.model - unused, unused, transfer, peak };
  }

  /** Gives device memory that the model pools between runs back to the GPU. */
  trim(): void {
    this.session.host.trim();
    this.session.commands.submit();
    this.#readback.trim();
    this.#images.destroy();
  }

  /** Ends the reads under way, too. */
  destroy(): void {
    this.#destroyed = true;
    this.#readback.destroy();
    this.#images.destroy();
  }

  /** Encodes and submits one call; without a signal at one go, else in pieces between which it can be called off. */
  async #start(request: RunRequest): Promise<{ finish: Finish; checked: Promise<unknown> }> {
    const { entry, signal, timer } = request;
    const { device, commands, host } = this.session;
    const what = `running "${entry.name}"`;
    /** Set while this function has to give the results back if something fails. */
    let results: Value[] | undefined;
    const begin = (): void => { results = this.#call(request); };
    const end = (): Finish => {
      commands.settle();
      const found = results!;
      results = undefined;
      return this.#end(found, request.outputs);
    };
    try {
      commands.timer = timer;
      if (!signal) {
        const { value, checked } = guarded(device, what, () => {
          begin();
          return end();
        });
        return { finish: value, checked };
      }
      const checks = [guarded(device, what, begin).checked];
      const steps = commands.encode();
      const ahead: Promise<unknown>[] = [];
      for (;;) {
        const { value, checked } = guarded(device, what, () => steps.next());
        checks.push(checked);
        if (value.done) break;
        ahead.push(device.queue.onSubmittedWorkDone());
        if (ahead.length > SUBMITS_AHEAD) await abortable(ahead.shift()!, signal);
      }
      const { value, checked } = guarded(device, what, end);
      return { finish: value, checked: Promise.all([...checks, checked]) };
    } catch (error) {
      commands.discard();
      // A list that can't be encoded is the model's own mistake: it is in no known state.
      if (results && error instanceof TvmWebgpuError) host.giveUp(error);
      for (const value of results ?? []) if ("object" in value && value.object !== 0) host.release(value.object);
      throw error;
    }
  }

  #call({ entry, args }: RunRequest): Value[] {
    const { host, manifest } = this.session;
    const values = args.map((arg, i) => this.#value(arg, `${entry.name} ${i}`));
    return host.call(manifest.entries.indexOf(entry), values);
  }

  #end(results: readonly Value[], outputs: "cpu" | "gpu"): Finish {
    const { commands, buffers } = this.session;
    const finish = outputs === "cpu" ? this.#toCpu(results) : this.#toGpu(results);
    commands.submit();
    buffers.trimImports();
    return finish;
  }

  #toCpu(results: readonly Value[]): Finish {
    const tensors = results.filter((value): value is TensorValue => value.kind === "tensor");
    const read = this.#readback.plan(this.session.commands, tensors);
    // The copies are encoded: what later calls do to this memory comes after them.
    for (const { object } of tensors) if (object !== 0) this.session.host.release(object);
    return async () => {
      const arrays = (await read())[Symbol.iterator]();
      return results.map((value) => (value.kind === "tensor" ? arrays.next().value : this.#plain(value)));
    };
  }

  #toGpu(results: readonly Value[]): Finish {
    const found = results.map((value) => (value.kind === "tensor" ? this.#gpuResult(value) : this.#plain(value)));
    return () => Promise.resolve(found);
  }

  #gpuResult(value: TensorValue): GpuResult {
    const { buffers, commands, host } = this.session;
    const { dtype, shape } = value;
    const block = buffers.get(value.handle);
    if (block.owner === "model") return new HeldTensor(value, block, this.#releaser(value.object), this);
    // The model gave an input or a parameter back; the result must not change when those do.
    const bytes = product(shape) * dtypeInfo(dtype).bytes;
    const handle = this.#allocate(bytes);
    const own = buffers.get(handle);
    commands.copyOut(value.handle, value.offset, bytes, own.buffer, 0);
    if (value.object !== 0) host.release(value.object);
    const release = (): void => { if (!this.#destroyed) buffers.release(handle); };
    return new HeldTensor({ ...value, offset: 0, object: 0 }, own, release, this);
  }

  /** Gives a result's reference back to the model's code. */
  #releaser(object: number): () => void {
    return () => { if (!this.#destroyed) this.session.host.release(object); };
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
    const { commands, buffers } = this.session;
    const { dtype, name } = arg.port;
    if ("picture" in arg) {
      const { shape } = arg.picture;
      const handle = this.#inputBuffer(slot, product(shape) * dtypeInfo(dtype).bytes);
      this.#images.write(commands, arg.picture, buffers.get(handle));
      return { kind: "tensor", dtype, shape, handle, offset: 0, object: 0 };
    }
    const { tensor } = arg;
    const { shape } = tensor;
    if ("buffer" in tensor) {
      const object = tensor instanceof HeldTensor ? referenceOf(tensor, this, name) : 0;
      if (NEEDED_USAGE & ~tensor.buffer.usage) {
        throw new InputError(`input "${name}": its buffer needs the usages STORAGE, COPY_SRC and COPY_DST`);
      }
      const handle = buffers.import(tensor.buffer);
      return { kind: "tensor", dtype, shape, handle, offset: tensor.offset ?? 0, object };
    }
    const { data } = tensor;
    const handle = this.#inputBuffer(slot, data.byteLength);
    const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    commands.write(handle, 0, bytes);
    return { kind: "tensor", dtype, shape, handle, offset: 0, object: 0 };
  }

  #inputBuffer(slot: string, bytes: number): number {
    const { buffers } = this.session;
    const known = this.#inputs.get(slot);
    if (known !== undefined && buffers.get(known).bytes >= bytes) return known;
    const handle = this.#allocate(bytes);
    if (known !== undefined) buffers.release(known);
    this.#inputs.set(slot, handle);
    return handle;
  }

  #allocate(bytes: number): number {
    const { buffers } = this.session;
    const handle = buffers.allocate(bytes, "runtime");
    if (handle === 0) throw new OutOfMemoryError(buffers.refusal);
    return handle;
  }
}

