/** @file Checked arguments in, results out: one session's runs, encoded in turn and read back. */
import { guarded, onCpu, USAGE } from "./device.ts";
import {
  DeviceLostError, DisposedError, ModelError, OutOfMemoryError, TvmWebgpuError, UnsupportedError,
} from "./errors.ts";
import type { Memory } from "./buffers.ts";
import type { Host, Value, Wanted } from "./host.ts";
import { InputBuffers } from "./inputs.ts";
import type { Entry } from "./manifest.ts";
import { Binding, type Bound } from "./bound.ts";
import { abortable, Turns } from "./queue.ts";
import { Outputs, type Finish, type TensorValue } from "./outputs.ts";
import { Readback } from "./readback.ts";
import { Recordings, type Lease, type Recording } from "./recordings.ts";
import type { RunRequest } from "./requests.ts";
import type { GpuResult } from "./results.ts";
import type { Session } from "./session.ts";
import type { Argument, Input } from "./tensor.ts";

interface Started {
  readonly finish: Finish;
  readonly checked: Promise<unknown>;
}

/** Submits that the GPU has before it while a run that can be called off encodes the next, and the launches of each. */
const SUBMITS_AHEAD = 2;
const LAUNCHES_PER_SUBMIT = 14;

export class Runner {
  readonly session: Session;
  readonly recordings: Recordings;
  readonly #readback: Readback;
  readonly #inputs: InputBuffers;
  readonly outputs: Outputs;
  /** Encoding may pause for a run that can be called off; commands of two runs never mix. */
  readonly #encoding = new Turns(1);
  /** The workgroups of a rehearsal's launches. */
  #zeros: GPUBuffer | undefined;
  #paused = false;
  destroyed = false;
  /** The device is gone, and with it all that this session's results held. */
  lost = false;
  /** An error that nobody waited for: from here on runs are checked again, so that the next that fails says so. */
  readonly #doubt = (): void => { this.recordings.clear(); };

  constructor(session: Session) {
    const { device, buffers, commands, host } = session;
    this.session = session;
    this.recordings = new Recordings(buffers, commands, host);
    this.#readback = new Readback(device, commands.counters);
    this.#inputs = new InputBuffers(device, buffers, commands, this);
    this.outputs = new Outputs(session, this.recordings, this.#readback, this);
    device.addEventListener("uncapturederror", this.#doubt);
    void device.lost.then(() => { this.lost = true; });
  }

  async run(request: RunRequest): Promise<Record<string, unknown>> {
    const { entry, signal, encoded } = request;
    await this.#encoding.enter(signal);
    let started: Started;
    try {
      started = await this.#start(request);
    } finally {
      this.session.commands.timer = this.session.commands.rehearsal = undefined;
      this.#encoding.leave();
      encoded?.();
    }
    const finishing = started.finish();
    try {
      const [found] = await Promise.all([finishing, started.checked]);
      // A lost device fails no command, and results that stay there are not looked at.
      if (this.lost) throw new DeviceLostError("the GPU device was lost");
      return named(entry, found);
    } catch (error) {
      await this.#giveBack(finishing, error);
      throw error;
    }
  }

  /** Makes a call again, from buffers to the GPU, at once; undefined if it was not made before in just this way. */
  repeat(entry: Entry, inputs: Readonly<Record<string, Input>>): Record<string, unknown> | undefined {
    if (this.#paused) return undefined;
    const recording = this.recordings.find(entry, "gpu", ({ values }) => this.#inputs.same(entry, inputs, values));
    if (!recording) return undefined;
    const { commands } = this.session;
    if (!commands.repeat(recording.lists)) for (const list of recording.lists) commands.flush(list);
    const found = this.outputs.toGpu(recording.results, recording.leases);
    this.#submit();
    return named(entry, found);
  }

  /** Checks that a binding may encode now. */
  checkFree(): void {
    if (this.destroyed) throw new DisposedError("the model was disposed of, or made anew: bind the entry again");
    if (this.lost) throw new DeviceLostError("the GPU device was lost: bind the entry again");
    if (this.#paused) throw new ModelError("a run that can be called off is being encoded: wait for it first");
  }

  /** Binds an entry to buffers, and runs it once. */
  async bind(entry: Entry, args: readonly Argument[], outputs: Readonly<Record<string, GPUBuffer>>): Promise<Bound> {
    await this.#encoding.enter();
    let binding: Binding | undefined;
    try {
      const { checked } = guarded(this.session.device, `binding "${entry.name}"`, () => {
        binding = new Binding(this, entry, args, outputs);
        binding.run();
      });
      await checked;
      return binding!;
    } catch (error) {
      this.session.commands.discard();
      binding?.dispose();
      throw error;
    } finally {
      this.#encoding.leave();
    }
  }

  memory(): Memory {
    const { buffers, host, shards } = this.session;
    const parameters = shards.reduce((sum, buffer) => sum + buffer.size, 0);
    const unused = this.lost ? 0 : host.unused() + this.recordings.bytes;
    const transfer = buffers.bytes.runtime + this.#readback.bytes + this.#inputs.imageBytes;
    const peak = parameters + buffers.bytes.peak + this.#readback.peak + this.#inputs.imageBytes;
    return { parameters, used: buffers.bytes.model - unused, unused, transfer, peak };
  }

  /** Gives device memory that the model pools between runs back to the GPU. */
  trim(): void {
    if (this.lost) return; // with all there was
    this.recordings.clear();
    this.session.host.trim();
    this.session.commands.submit();
    this.#readback.trim();
    this.#inputs.trim();
  }

  /** Ends the reads under way, too. */
  destroy(): void {
    this.destroyed = true;
    this.session.device.removeEventListener("uncapturederror", this.#doubt);
    this.#readback.destroy();
    this.#inputs.trim();
    this.#zeros?.destroy();
  }

  /** Encodes and submits one call: at one go, unless the model asks for data or a signal may call it off. */
  async #start(request: RunRequest): Promise<Started> {
    const { entry, args, outputs, signal, timer, rehearse } = request;
    const { device, commands, host, manifest } = this.session;
    const checks: Promise<void>[] = [];
    const recording = this.#find(request);
    // What was right once is right again, unless the caller destroyed a buffer: then old bytes would be read back.
    const safe = recording && (outputs === "gpu" || args.every((arg) => !("tensor" in arg && "buffer" in arg.tensor)));
    const step = <T>(action: () => T): T => {
      if (safe) return action();
      const { value, checked } = guarded(device, `running "${entry.name}"`, action);
      checks.push(checked);
      return value;
    };
    let call: ReturnType<Host["call"]> | undefined;
    /** Set while this function has to give the results back if something fails. */
    let results: Value[] | undefined;
    let values: Value[] = [];
    const proceed = (data?: Uint8Array): IteratorResult<Wanted> => {
      if (!call) {
        if (args.some((arg) => "object" in arg)) this.recordings.clear();
        values = args.map((arg, i) => this.#inputs.place(arg, slotOf(entry, i)));
        call = host.call(manifest.entries.indexOf(entry), values);
      }
      const next = data ? call.next(data) : call.next();
      if (next.done) results = next.value;
      return next;
    };
    const end = (): Finish => {
      commands.settle();
      if (recording) return this.#end(recording.results, outputs, recording.leases);
      const found = results!;
      results = undefined;
      return this.#finishNew(entry, values, found, outputs);
    };
    try {
      commands.timer = timer;
      if (rehearse) commands.rehearsal = { zeros: this.#noGroups() };
      let { next, finish } = step(() => {
        if (recording) this.#replay(recording, request);
        const next = recording ? { done: true } as const : proceed();
        return { next, finish: next.done && !signal ? end() : undefined };
      });
      while (!next.done) {
        const { value } = next;
        if (rehearse) throw new UnsupportedError(`entry "${entry.name}" looks at data on its way`);
        const data = await this.#pause(abortable(step(() => this.#read(value))(), signal));
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
    const pieces = commands.encode(LAUNCHES_PER_SUBMIT);
    const ahead: Promise<unknown>[] = [];
    while (!step(() => pieces.next()).done) {
      ahead.push(device.queue.onSubmittedWorkDone());
      if (ahead.length > SUBMITS_AHEAD) await this.#pause(abortable(ahead.shift()!, signal));
    }
  }

  async #pause<T>(wait: Promise<T>): Promise<T> {
    this.#paused = true;
    try {
      return await wait;
    } finally {
      this.#paused = false;
    }
  }

  /** Only drivers on the CPU have something left to make when a launch comes; elsewhere one costs 0.4 ms in Chrome. */
  #noGroups(): GPUBuffer | undefined {
    const { device } = this.session;
    if (onCpu(device)) this.#zeros ??= device.createBuffer({ size: 12, usage: USAGE.INDIRECT });
    return this.#zeros;
  }

  #find({ entry, args, outputs }: RunRequest): Recording | undefined {
    return this.recordings.find(entry, outputs, ({ values }) =>
      args.every((arg, i) => this.#inputs.fits(arg, slotOf(entry, i), values[i]!)));
  }

  #replay({ values, lists }: Recording, { args, timer }: RunRequest): void {
    const { commands } = this.session;
    args.forEach((arg, i) => { this.#inputs.refill(arg, values[i]!); });
    commands.timer = timer;
    for (const list of lists) commands.flush(list);
  }

  /** What the model's code wants to know. */
  #read({ handle, bytes }: Wanted): () => Promise<Uint8Array> {
    const { commands } = this.session;
    const value = { kind: "tensor", dtype: "uint8", shape: [bytes], handle, offset: 0, object: 0 } as const;
    const read = this.#readback.plan(commands, [value]);
    commands.submit();
    return async () => (await read())[0]!.data as Uint8Array;
  }

  #finishNew(entry: Entry, values: readonly Value[], results: readonly Value[], outputs: "cpu" | "gpu"): Finish {
    const { host } = this.session;
    const tensors = results.filter((value): value is TensorValue => value.kind === "tensor");
    const left = outputs === "gpu" ? tensors.filter((value) => this.recordings.owned(value)) : [];
    const leases = left.map(({ handle, object }): Lease => ({ handle, object, held: true, kept: false }));
    const finish = this.#end(results, outputs, leases);
    this.recordings.add(entry, outputs, values, results, leases);
    // The copies are encoded: what later calls do to this memory comes after them.
    if (outputs === "cpu") for (const { object } of tensors) if (object !== 0) host.release(object);
    if (results.some(({ kind }) => kind === "object")) this.recordings.clear();
    return finish;
  }

  #end(results: readonly Value[], outputs: "cpu" | "gpu", leases: readonly Lease[]): Finish {
    const gpu = outputs === "gpu" ? this.outputs.toGpu(results, leases) : undefined;
    const finish = gpu ? () => Promise.resolve(gpu) : this.outputs.toCpu(results);
    this.#submit();
    return finish;
  }

  #submit(): void {
    this.session.commands.submit();
    this.session.buffers.trimImports();
  }

  /** After a failure that was told late: nothing of the run may be used, nor buffers that were not to be had. */
  async #giveBack(finishing: Promise<unknown[]>, error: unknown): Promise<void> {
    for (const result of await finishing.catch(() => [])) (result as Partial<GpuResult> | null)?.dispose?.();
    if (this.destroyed || this.lost) return;
    this.recordings.clear();
    if (!(error instanceof OutOfMemoryError) || this.#paused) return;
    this.#inputs.clear();
    this.trim();
  }
}

const slotOf = (entry: Entry, input: number): string => `${entry.name} ${input}`;

function named({ outputs }: Entry, found: readonly unknown[]): Record<string, unknown> {
  const results: Record<string, unknown> = {};
  for (let i = 0; i < outputs.length; i++) results[outputs[i]!.name] = found[i];
  return results;
}
