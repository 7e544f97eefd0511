/** @file Checked arguments in, results out: one session's runs, encoded in turn and read back. */
import { guarded, USAGE } from "./device.ts";
import { dtypeInfo, product, type DType } from "./dtype.ts";
import { InputError, OutOfMemoryError, TvmWebgpuError } from "./errors.ts";
import type { LaunchTimer } from "./commands.ts";
import type { Host, Value, Wanted } from "./host.ts";
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

interface Started {
  readonly finish: Finish;
  readonly checked: Promise<unknown>;
}

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
    let started: Started;
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

  /** Encodes and submits one call: at one go, unless the model asks for data or a signal may call it off. */
  async #start({ entry, args, outputs, signal, timer }: RunRequest): Promise<Started> {
    const { device, commands, host, manifest } = this.session;
    const checks: Promise<void>[] = [];
    const step = <T>(action: () => T): T => {
      const { value, checked } = guarded(device, `running "${entry.name}"`, action);
      checks.push(checked);
      return value;
    };
    let call: ReturnType<Host["call"]> | undefined;
    /** Set while this function has to give the results back if something fails. */
    let results: Value[] | undefined;
    const proceed = (data?: Uint8Array): IteratorResult<Wanted> => {
      call ??= host.call(manifest.entries.indexOf(entry), args.map((arg, i) => this.#value(arg, `${entry.name} ${i}`)));
      const next = data ? call.next(data) : call.next();
      if (next.done) results = next.value;
      return next;
    };
    const end = (): Finish => {
      commands.settle();
      const found = results!;
      results = undefined;
      return this.#end(found, outputs);
    };
    try {
      commands.timer = timer;
      let { next, finish } = step(() => {
        const next = proceed();
        return { next, finish: next.done && !signal ? end() : undefined };
      });
      while (!next.done) {
        const { value } = next;
        const data = await abortable(step(() => this.#read(value))(), signal);
        next = step(() => proceed(data));
      }
      if (signal) await this.#encodeInPieces(signal, step);
      finish ??= step(end);
      return { finish, checked: Promise.all(checks) };
    } catch (error) {
      commands.discard();
      // A list that can't be encoded is the model's own mistake: it is in no known state.
      if (results && error instanceof TvmWebgpuError) host.giveUp(error);
      for (const value of results ?? []) if ("object" in value && value.object !== 0) host.release(value.object);
      call?.return([]);
      throw error;
    }
  }

  /** Waits for the GPU now and then. @throws the signal's reason, with the rest not encoded */
  async #encodeInPieces(signal: AbortSignal, step: <T>(action: () => T) => T): Promise<void> {
    const { device, commands } = this.session;
    const pieces = commands.encode();
    const ahead: Promise<unknown>[] = [];
    while (!step(() => pieces.next()).done) {
      ahead.push(device.queue.onSubmittedWorkDone());
      if (ahead.length > SUBMITS_AHEAD) await abortable(ahead.shift()!, signal);
    }
  }

  /** What the model's code wants to know. */
  #read({ handle, bytes }: Wanted): () => Promise<Uint8Array> {
    const { commands } = this.session;
    const value = { kind: "tensor", dtype: "uint8", shape: [bytes], handle, offset: 0, object: 0 } as const;
    const read = this.#readback.plan(commands, [value]);
    commands.submit();
    return async () => (await read())[0]!.data as Uint8Array;
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

