/** @file An entry bound to buffers: one call of its wasm, and from then on only what the GPU has to be told. */
import { checkUsage } from "./buffers.ts";
import { dtypeInfo, product } from "./dtype.ts";
import { DisposedError, InputError, UnsupportedError } from "./errors.ts";
import type { Value } from "./host.ts";
import type { Entry } from "./manifest.ts";
import { renamed } from "./plan.ts";
import type { Lease } from "./recordings.ts";
import type { Runner } from "./run.ts";
import type { Argument, GpuTensor } from "./tensor.ts";

/** An entry with its inputs and outputs in fixed buffers; see `Model.bind`. */
export interface Bound {
  /** Where each run leaves its results: the buffers that were given, or the binding's own. */
  readonly outputs: Readonly<Record<string, GpuTensor>>;
  /**
   * Runs it: encodes and submits, at once. Whatever is submitted to the device afterwards sees the results.
   *
   * @throws DisposedError; DeviceLostError, after which it must be bound again; ModelError while a run of the same
   * model that has a signal, or reads data on its way, is half encoded
   */
  run(): void;
  /** Frees the buffers that are its own. */
  dispose(): void;
}

interface Copy {
  readonly from: number;
  readonly offset: number;
  readonly bytes: number;
  readonly to: GPUBuffer;
}

/** The call as it was recorded last. */
interface Call {
  readonly version: number;
  readonly lists: readonly Uint32Array[];
  readonly copies: readonly Copy[];
  readonly passing: readonly number[];
}

export class Binding implements Bound {
  readonly outputs: Record<string, GpuTensor> = {};
  readonly #runner: Runner;
  readonly #entry: Entry;
  readonly #given: Readonly<Record<string, GPUBuffer>>;
  readonly #inputs: readonly Value[];
  /** The handle of each output's buffer. */
  readonly #targets: number[] = [];
  /** All handles of its own. */
  readonly #pins: number[] = [];
  /** The results of its first recording that runs leave where they are. */
  readonly #leases: Lease[] = [];
  #call: Call | undefined;
  #disposed = false;

  /** @throws InputError, UnsupportedError */
  constructor(
    runner: Runner, entry: Entry, args: readonly Argument[], outputs: Readonly<Record<string, GPUBuffer>>,
  ) {
    const unknown = Object.keys(outputs).find((name) => !entry.outputs.some((port) => port.name === name));
    if (unknown !== undefined) throw new InputError(`entry "${entry.name}" has no output "${unknown}"`);
    const given = Object.values(outputs);
    if (new Set(given).size < given.length) throw new InputError("two outputs are to go to one buffer");
    this.#runner = runner;
    this.#entry = entry;
    this.#given = outputs;
    this.#inputs = args.map((arg) => this.#input(arg));
  }

  run(): void {
    const { recordings, session: { commands } } = this.#runner;
    if (this.#disposed) throw new DisposedError("the binding was disposed of");
    this.#runner.checkFree();
    recordings.check();
    let call = this.#call;
    if (call?.version !== recordings.version || !recordings.free(call.passing)) call = this.#call = this.#record();
    if (call.copies.length === 0 && commands.repeat(call.lists)) return;
    for (const list of call.lists) commands.flush(list);
    for (const { from, offset, bytes, to } of call.copies) commands.copyOut(from, offset, bytes, to, 0);
    commands.submit();
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (this.#runner.destroyed) return;
    for (const handle of this.#pins) this.#runner.session.buffers.release(handle);
    for (const lease of this.#leases) this.#runner.recordings.letGo(lease);
  }

  #input(arg: Argument): Value {
    if ("value" in arg) return { kind: "int", value: arg.value };
    if (!("tensor" in arg && "buffer" in arg.tensor)) {
      throw new UnsupportedError(`input "${arg.port.name}": only tensors in buffers and whole numbers can be bound`);
    }
    const { buffer, dtype, shape, offset = 0 } = arg.tensor;
    return { kind: "tensor", dtype, shape: [...shape], handle: this.#pin(arg.port.name, buffer), offset, object: 0 };
  }

  #pin(name: string, buffer: GPUBuffer): number {
    checkUsage(buffer, name);
    const handle = this.#runner.session.buffers.pin(buffer);
    this.#pins.push(handle);
    return handle;
  }

  /** Calls the wasm for its lists, and puts this binding's buffers in them in place of the results'. */
  #record(): Call {
    const { recordings, session: { buffers, commands, host, manifest } } = this.#runner;
    commands.settle();
    const call = host.call(manifest.entries.indexOf(this.#entry), this.#inputs);
    let next: ReturnType<typeof call.next>;
    try {
      next = call.next();
    } finally {
      commands.forget();
    }
    const { done, value: results } = next;
    const simple = done && host.trace.repeatable && !results.some(({ kind }) => kind === "object");
    if (!done) call.return([]);
    const names = new Map<number, number>();
    const copies: Copy[] = [];
    const lists = host.trace.lists;
    if (done) {
      if (simple) results.forEach((value, i) => { this.#direct(value, i, names, copies); });
      for (const value of results) {
        const held = this.#leases.some(({ object }) => "object" in value && value.object === object);
        if ("object" in value && value.object !== 0 && !held) host.release(value.object);
      }
    }
    if (!simple) {
      recordings.clear();
      throw new UnsupportedError(`entry "${this.#entry.name}" gives objects, or looks at data on its way: run it`);
    }
    const bound = lists.map((list) => renamed(list, commands.kernels, names));
    const passing = recordings.passing(bound, this.#inputs, this.#leases);
    passing.push(...copies.map(({ from }) => from).filter((handle) => buffers.get(handle).owner === "model"));
    recordings.check(); // the call may have freed buffers
    return { version: recordings.version, lists: bound, copies, passing };
  }

  /** Leads a result to its buffer: written there in the first place if it fits the result's memory, else copied. */
  #direct(value: Value, i: number, names: Map<number, number>, copies: Copy[]): void {
    const { recordings, session: { buffers } } = this.#runner;
    const { name } = this.#entry.outputs[i]!;
    if (value.kind !== "tensor") throw new UnsupportedError(`output "${name}" is no tensor: run the entry`);
    const { handle, offset, dtype, shape } = value;
    const bytes = product(shape) * dtypeInfo(dtype).bytes;
    const block = buffers.get(handle);
    if (this.#targets[i] === undefined && !this.#given[name] && recordings.owned(value) && offset === 0 &&
        !this.#targets.includes(handle)) {
      const lease = { handle, object: value.object, held: false, kept: false };
      recordings.hold(lease);
      this.#leases.push(lease);
      this.#targets[i] = handle;
    }
    this.#targets[i] ??= this.#target(name, bytes, block.bytes);
    const target = this.#targets[i];
    const { buffer, size } = buffers.get(target);
    this.outputs[name] ??= { buffer, dtype, shape, offset: 0 };
    const fits = recordings.owned(value) && offset === 0 && size >= block.bytes && !names.has(handle);
    // What goes back into an input may only do so when all has been read.
    const isInput = this.#inputs.some((each) => each.kind === "tensor" && buffers.get(each.handle).buffer === buffer);
    if (fits && !isInput) names.set(handle, target);
    else if (bytes > 0) copies.push({ from: names.get(handle) ?? handle, offset, bytes, to: buffer });
  }

  #target(name: string, bytes: number, room: number): number {
    const { buffers } = this.#runner.session;
    const given = this.#given[name];
    if (given) {
      const least = Math.ceil(bytes / 4) * 4;
      if (given.size < least) {
        throw new InputError(`output "${name}" takes ${least} bytes, its buffer has ${given.size}`);
      }
      return this.#pin(name, given);
    }
    const handle = buffers.make(Math.max(bytes, room));
    this.#pins.push(handle);
    return handle;
  }
}
