/** @file model.wasm in, its entry functions out: calls them with values, and serves the `webgpu` imports they use. */
import type { Buffers } from "./buffers.ts";
import type { Commands } from "./commands.ts";
import { dtypeOfWord, dtypeWord, type DType } from "./dtype.ts";
import { fromModel, messageOf, ModelError, OutOfMemoryError, PackageError, TvmWebgpuError } from "./errors.ts";
import { wasiImports } from "./wasi.ts";

/** What an entry takes and gives (docs/architecture.md, "Wasm interface"). */
export type Value =
  | { readonly kind: "none" }
  | { readonly kind: "tensor"; readonly dtype: DType; readonly shape: readonly number[];
      readonly handle: number; readonly offset: number; readonly object: number }
  | { readonly kind: "int"; readonly value: bigint }
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "object"; readonly object: number };

interface Exports {
  readonly memory: WebAssembly.Memory;
  _initialize(): void;
  malloc(bytes: number): number;
  free(at: number): void;
  tvmw_bind_params(values: number, count: number): number;
  tvmw_call(entry: number, values: number, count: number): number;
  tvmw_results(): number;
  tvmw_release(object: number): void;
  tvmw_error(): number;
  tvmw_trim(): void;
  /** Packages of earlier versions don't have these. */
  tvmw_unused?(): bigint;
  tvmw_wanted?(): number;
  tvmw_supplied?(): void;
}

const EXPORTS = [
  "memory", "_initialize", "malloc", "free", "tvmw_bind_params", "tvmw_call", "tvmw_results", "tvmw_release",
  "tvmw_error", "tvmw_trim",
] as const satisfies readonly (keyof Exports)[];

/** Places in a value's 32 bytes. */
const VALUE = { size: 32, handle: 4, object: 8, dtype: 12, ndim: 16, shape: 20, payload: 24 } as const;
const KINDS = ["none", "tensor", "int", "float", "object"] as const satisfies readonly Value["kind"][];

/** Bytes from the beginning of a device buffer; a multiple of 4. */
export interface Wanted {
  readonly handle: number;
  readonly bytes: number;
}
type Three = readonly [number, number, number];

/** What the last call did. */
export interface Trace {
  /** The command lists that it flushed. */
  lists: Uint32Array[];
  /** It flushed these and nothing else: it read or wrote no data, nor asked for the time or chance, nor printed. */
  repeatable: boolean;
}

/** The status of a call that pauses. */
const WANTS_DATA = 1;

export class Host {
  readonly #exports: Exports;
  readonly #buffers: Buffers;
  /** Set once something was thrown through the wasm's frames: its stack is no longer to be trusted. */
  #broken: TvmWebgpuError | undefined;

  private constructor(exports: Exports, buffers: Buffers, readonly trace: Trace) {
    this.#exports = exports;
    this.#buffers = buffers;
  }

  /** @throws PackageError if the module's interface is not this runtime's. */
  static async create(
    module: WebAssembly.Module, buffers: Buffers, commands: Commands, print: (line: string) => void,
  ): Promise<Host> {
    const linked: { exports?: Exports } = {};
    const trace: Trace = { lists: [], repeatable: true };
    const memory = (): WebAssembly.Memory => linked.exports!.memory;
    const webgpu: Record<string, (...args: never[]) => unknown> = {
      alloc: (size: number) => buffers.allocate(size >>> 0, "model"),
      free: (handle: number) => {
        commands.settle(); // lists before this may name it
        buffers.release(handle);
      },
      write: (handle: number, offset: number, at: number, length: number) => {
        trace.repeatable = false;
        commands.write(handle, offset >>> 0, new Uint8Array(memory().buffer, at >>> 0, length >>> 0));
      },
      flush: (at: number, words: number) => {
        const list = new Uint32Array(memory().buffer, at >>> 0, words >>> 0).slice();
        trace.lists.push(list);
        commands.flush(list);
      },
    };
    const wanted = WebAssembly.Module.imports(module);
    const unknown = wanted.find(({ module: from, name }) => !(from === "webgpu" ? name in webgpu : from === WASI));
    if (unknown) {
      throw new PackageError(`model.wasm imports ${unknown.module}.${unknown.name}: update the npm package tvm-webgpu`);
    }
    const wasi = wanted.filter(({ module: from }) => from === WASI).map(({ name }) => name);
    const instance = await WebAssembly.instantiate(module, {
      webgpu,
      [WASI]: wasiImports(wasi, { memory, print, called: () => { trace.repeatable = false; } }),
    });
    const missing = EXPORTS.find((name) => !(name in instance.exports));
    if (missing) throw new PackageError(`model.wasm has no export ${missing}: compile the model again`);
    const exports = (linked.exports = instance.exports as unknown as Exports);
    const host = new Host(exports, buffers, trace);
    host.#enter(() => { exports._initialize(); });
    return host;
  }

  /** Gives the model its parameters, in the manifest's order; once. */
  bindParams(values: readonly Value[]): void {
    const at = this.#place(values);
    const status = this.#enter(() => this.#exports.tvmw_bind_params(at, values.length));
    this.#exports.free(at);
    if (status !== 0) throw this.#error();
  }

  /**
   * Calls an entry by index. Yields what the model's code has to know of a buffer to go on, all earlier commands done;
   * resume it with those bytes. The results that have an object must be released, each once.
   */
  *call(entry: number, values: readonly Value[]): Generator<Wanted, Value[], Uint8Array> {
    const at = this.#place(values);
    this.trace.lists = [];
    this.trace.repeatable = true;
    try {
      for (;;) {
        const status = this.#enter(() => this.#exports.tvmw_call(entry, at, values.length));
        if (status === 0) return this.#enter(() => this.#results());
        if (status !== WANTS_DATA || !this.#exports.tvmw_wanted) throw this.#error();
        const place = this.#exports.tvmw_wanted() >>> 0;
        const [handle, bytes, to] = new Uint32Array(this.#exports.memory.buffer, place, 3) as unknown as Three;
        this.trace.repeatable = false;
        const data = yield { handle, bytes };
        this.#enter(() => {
          new Uint8Array(this.#exports.memory.buffer, to, bytes).set(data.subarray(0, bytes));
          this.#exports.tvmw_supplied!();
        });
      }
    } finally {
      if (!this.#broken) this.#exports.free(at);
    }
  }

  release(object: number): void {
    if (!this.#broken) this.#enter(() => { this.#exports.tvmw_release(object); });
  }

  /** Gives pooled device memory that is not in use back to the GPU. */
  trim(): void {
    this.#enter(() => { this.#exports.tvmw_trim(); });
  }

  /** Bytes of device memory that the model keeps for later runs. */
  unused(): number {
    return Number(this.#exports.tvmw_unused?.() ?? 0n);
  }

  /** Every call fails from now on. */
  get broken(): boolean {
    return this.#broken !== undefined;
  }

  /** From here on every call fails with this. */
  giveUp(error: TvmWebgpuError): void {
    this.#broken ??= error;
  }

  /** Runs code that calls into the wasm; what passes through its frames breaks the instance. */
  #enter<T>(action: () => T): T {
    if (this.#broken) throw new ModelError(`the model failed before and must be loaded again: ${this.#broken.message}`);
    try {
      return action();
    } catch (error) {
      const known = error instanceof TvmWebgpuError;
      const stopped = known ? error : new ModelError(`the model's code stopped: ${messageOf(error)}`);
      this.#broken = stopped;
      throw stopped;
    }
  }

  /** @throws OutOfMemoryError */
  #place(values: readonly Value[]): number {
    this.#buffers.refusal = "";
    const at = this.#enter(() => this.#writeValues(values));
    if (at === 0) throw new OutOfMemoryError("the model's linear memory is full: load the model again");
    return at;
  }

  #error(): TvmWebgpuError {
    const memory = new Uint8Array(this.#exports.memory.buffer);
    const from = this.#exports.tvmw_error() >>> 0;
    const text = new TextDecoder().decode(memory.slice(from, memory.indexOf(0, from)));
    return this.#buffers.refusal ? new OutOfMemoryError(this.#buffers.refusal) : fromModel(text);
  }

  /** Values and their shapes in one piece of linear memory; 0 if there is no room. */
  #writeValues(values: readonly Value[]): number {
    const dims = values.reduce((sum, value) => sum + (value.kind === "tensor" ? value.shape.length : 0), 0);
    const size = values.length * VALUE.size + dims * 8;
    const start = this.#exports.malloc(Math.max(size, 8)) >>> 0;
    if (start === 0) return 0;
    const memory = this.#exports.memory.buffer;
    new Uint8Array(memory, start, size).fill(0);
    const view = new DataView(memory, start, size);
    let shapeAt = values.length * VALUE.size;
    values.forEach((value, i) => {
      const at = i * VALUE.size;
      view.setUint32(at, KINDS.indexOf(value.kind), true);
      if (value.kind === "tensor") {
        view.setUint32(at + VALUE.handle, value.handle, true);
        view.setUint32(at + VALUE.object, value.object, true);
        view.setUint32(at + VALUE.dtype, dtypeWord(value.dtype), true);
        view.setUint32(at + VALUE.ndim, value.shape.length, true);
        view.setUint32(at + VALUE.shape, start + shapeAt, true);
        view.setUint32(at + VALUE.payload, value.offset, true);
        for (const extent of value.shape) {
          view.setBigInt64(shapeAt, BigInt(extent), true);
          shapeAt += 8;
        }
      } else if (value.kind === "object") {
        view.setUint32(at + VALUE.object, value.object, true);
      } else if (value.kind === "int") {
        view.setBigInt64(at + VALUE.payload, value.value, true);
      } else if (value.kind === "float") {
        view.setFloat64(at + VALUE.payload, value.value, true);
      }
    });
    return start;
  }

  #results(): Value[] {
    const at = this.#exports.tvmw_results() >>> 0;
    const view = new DataView(this.#exports.memory.buffer);
    const first = at + 8; // the count and its padding
    return Array.from({ length: view.getUint32(at, true) }, (_, i) => readValue(view, first + i * VALUE.size));
  }
}

const WASI = "wasi_snapshot_preview1";

function readValue(view: DataView, at: number): Value {
  const word = (place: number): number => view.getUint32(at + place, true);
  const kind = KINDS[view.getUint32(at, true)];
  switch (kind) {
    case "none": return { kind };
    case "int": return { kind, value: view.getBigInt64(at + VALUE.payload, true) };
    case "float": return { kind, value: view.getFloat64(at + VALUE.payload, true) };
    case "object": return { kind, object: word(VALUE.object) };
    case "tensor": {
      const dtype = dtypeOfWord(word(VALUE.dtype));
      if (!dtype) throw new ModelError(`a result has the unknown dtype ${word(VALUE.dtype).toString(16)}`);
      const shapeAt = word(VALUE.shape);
      const extent = (_: unknown, i: number): number => Number(view.getBigInt64(shapeAt + 8 * i, true));
      const shape = Array.from({ length: word(VALUE.ndim) }, extent);
      const [handle, offset, object] = [word(VALUE.handle), word(VALUE.payload), word(VALUE.object)];
      return { kind, dtype, shape, handle, offset, object };
    }
    default: throw new ModelError(`a result has the unknown kind ${view.getUint32(at, true)}`);
  }
}
