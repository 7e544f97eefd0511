/**
 * @file Calls of entries kept as the command lists that they flushed. Shapes and buffers decide what a call flushes, so
 * one that comes again with the same is repeated without the wasm, unless someone holds memory that it writes.
 */
import type { Buffers } from "./buffers.ts";
import type { Commands } from "./commands.ts";
import type { Host, Value } from "./host.ts";
import type { Entry } from "./manifest.ts";
import { handlesOf } from "./plan.ts";

/** A result of the wasm on the GPU: held by a caller, or kept for the call's next repetition, or else given back. */
export interface Lease {
  readonly handle: number;
  readonly object: number;
  held: boolean;
  kept: boolean;
}

export interface Recording {
  readonly entry: Entry;
  readonly outputs: "cpu" | "gpu";
  readonly values: readonly Value[];
  readonly lists: readonly Uint32Array[];
  readonly results: readonly Value[];
  /** Of the results that stay on the GPU. Held and kept both, they can't be given out again. */
  readonly leases: readonly Lease[];
  /** The model's memory that it uses, other than its inputs and kept results: only passing contents. */
  readonly passing: readonly number[];
}

const MOST = 8;
/** Device memory of results that wait for the next repetition. */
const MOST_KEPT_BYTES = 16 << 20;

export class Recordings {
  readonly #buffers: Buffers;
  readonly #commands: Commands;
  readonly #host: Host;
  /** The one used last comes first. */
  #all: Recording[] = [];
  /** How often a handle is held by callers. */
  readonly #held = new Map<number, number>();
  #freed = 0;
  /** Grows when recordings of before are void. */
  version = 0;

  constructor(buffers: Buffers, commands: Commands, host: Host) {
    this.#buffers = buffers;
    this.#commands = commands;
    this.#host = host;
  }

  /** One that can be repeated now; `fits` compares the arguments with its values. */
  find(entry: Entry, outputs: "cpu" | "gpu", fits: (recording: Recording) => boolean): Recording | undefined {
    this.check();
    const at = this.#all.findIndex((each) =>
      each.entry === entry && each.outputs === outputs && !each.leases.some(({ held }) => held) &&
      this.free(each.passing) && fits(each));
    if (at < 0) return undefined;
    const found = this.#all[at]!;
    if (at > 0) {
      this.#all.splice(at, 1);
      this.#all.unshift(found);
    }
    return found;
  }

  /** Keeps the host's last call, where it can be repeated. Leases must be held already. */
  add(
    entry: Entry, outputs: "cpu" | "gpu", values: readonly Value[], results: readonly Value[], leases: readonly Lease[],
  ): void {
    const { trace } = this.#host;
    const simple = (value: Value): boolean => value.kind !== "object";
    const gone = this.#freed !== this.#buffers.freed;
    if (gone || !trace.repeatable || !values.every(simple) || !results.every(simple)) return;
    // Results that are inputs or parameters are copied each time, to buffers of their own.
    if (outputs === "gpu" && results.some((value) => value.kind === "tensor" && !this.owned(value))) return;
    const known = values.map((value) => (value.kind === "tensor" ? { ...value, shape: [...value.shape] } : value));
    for (const lease of leases) lease.kept = true;
    const passing = this.passing(trace.lists, values, leases);
    this.#all.unshift({ entry, outputs, values: known, lists: trace.lists, results, leases, passing });
    this.#limit();
  }

  /** Whether a result is the model's to give: neither an input, nor a parameter, nor memory that it goes on using. */
  owned({ handle, object }: { readonly handle: number; readonly object: number }): boolean {
    return object !== 0 && this.#ofModel(handle);
  }

  /** The model's memory that lists use, less the values' and the leases'. */
  passing(lists: readonly Uint32Array[], values: readonly Value[], leases: readonly Lease[]): number[] {
    const handles = new Set(lists.flatMap((list) => [...handlesOf(list, this.#commands.kernels)]));
    for (const value of values) if (value.kind === "tensor") handles.delete(value.handle);
    for (const { handle } of leases) handles.delete(handle);
    return [...handles].filter((handle) => this.#ofModel(handle));
  }

  /** No caller holds any of these. */
  free(handles: readonly number[]): boolean {
    return this.#held.size === 0 || !handles.some((handle) => this.#held.has(handle));
  }

  /** A caller gets it. */
  hold(lease: Lease): void {
    lease.held = true;
    this.#held.set(lease.handle, (this.#held.get(lease.handle) ?? 0) + 1);
  }

  /** The caller is done with it. */
  letGo(lease: Lease): void {
    lease.held = false;
    const left = this.#held.get(lease.handle)! - 1;
    if (left > 0) this.#held.set(lease.handle, left);
    else this.#held.delete(lease.handle);
    if (lease.kept) this.#limit();
    else this.#host.release(lease.object);
  }

  /** Forgets everything, as after a call that may have changed what the model holds. */
  clear(): void {
    this.version++;
    for (const each of [...this.#all]) this.#drop(each);
  }

  /** Bytes that only wait for the next repetition. */
  get bytes(): number {
    return this.#all.reduce((sum, each) => sum + this.#waiting(each), 0);
  }

  /** Forgets everything if buffers that it may name are gone, or the model is broken: that it is to say each time. */
  check(): void {
    if (this.#freed === this.#buffers.freed && !this.#host.broken) return;
    this.clear();
    this.#freed = this.#buffers.freed;
  }

  #ofModel(handle: number): boolean {
    return this.#buffers.get(handle).owner === "model";
  }

  #waiting({ leases }: Recording): number {
    return leases.reduce((sum, { held, handle }) => sum + (held ? 0 : this.#buffers.get(handle).size), 0);
  }

  /** The one used last is kept, however large: it is the likeliest to be used next. */
  #limit(): void {
    let bytes = 0;
    const over = this.#all.filter((each, i) => {
      bytes += this.#waiting(each);
      return i >= MOST || (i > 0 && bytes > MOST_KEPT_BYTES);
    });
    for (const each of over) this.#drop(each);
  }

  #drop(recording: Recording): void {
    this.#all.splice(this.#all.indexOf(recording), 1);
    for (const lease of recording.leases) {
      lease.kept = false;
      if (!lease.held) this.#host.release(lease.object);
    }
  }
}
