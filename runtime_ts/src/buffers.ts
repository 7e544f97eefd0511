/** @file Sizes and GPU buffers in, handles out: the table of device memory that the wasm and the runtime share. */
import { USAGE } from "./device.ts";
import { InputError, ModelError, OutOfMemoryError, UnsupportedError } from "./errors.ts";

/** A piece of device memory that a handle names. */
export interface Block {
  readonly buffer: GPUBuffer;
  /** Where it starts in the buffer; a multiple of 256. */
  readonly offset: number;
  /** The bytes asked for. The rest up to `size` is padding that anyone may overwrite. */
  readonly bytes: number;
  /** The bytes to bind. */
  readonly size: number;
  /** Who made it: the model's code, the runtime for inputs and results, or someone outside the table. */
  readonly owner: "model" | "runtime" | "outside";
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

const HANDLE_STEP = 64; // host code takes data pointers to be 64-aligned
const MOST_RETIRED = 256;
const MOST_EXTERNAL = 64;

/** What the buffer of a tensor is used for. */
export const TENSOR_USAGE = USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST;

/** @throws InputError if a caller's buffer can't hold a tensor. */
export function checkUsage({ usage }: GPUBuffer, name: string): void {
  if (TENSOR_USAGE & ~usage) {
    throw new InputError(`"${name}": its buffer needs the usages STORAGE, COPY_SRC and COPY_DST`);
  }
}

/** A copy of what workers share, which makes Dawn's binding for Node crash. */
export function unshared(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  // Pages have SharedArrayBuffer only if they are isolated.
  const known = typeof SharedArrayBuffer === "function";
  return known && (bytes.buffer as ArrayBufferLike) instanceof SharedArrayBuffer ? bytes.slice() : bytes;
}

/** Writes whole words, the last one filled up with zeros. */
export function writeBytes(queue: GPUQueue, buffer: GPUBuffer, at: number, given: Uint8Array<ArrayBuffer>): void {
  const bytes = unshared(given);
  const whole = bytes.byteLength & ~3;
  if (whole > 0) queue.writeBuffer(buffer, at, bytes, 0, whole);
  if (whole === bytes.byteLength) return;
  const last = new Uint8Array(4);
  last.set(bytes.subarray(whole));
  queue.writeBuffer(buffer, at + whole, last);
}

/** No kernel's element is larger, so a binding of this size holds at least one, as WebGPU demands. */
const SMALLEST = 16;

export function padded(bytes: number): number {
  return Math.max(SMALLEST, Math.ceil(bytes / SMALLEST) * SMALLEST);
}

/** A size for `bytes` and what is a little larger: quarter steps between powers of two, unless that is above `most`. */
export function roomy(bytes: number, most: number): number {
  const step = Math.max(SMALLEST, 2 ** Math.floor(Math.log2(bytes)) / 4);
  return Math.max(bytes, Math.min(most, Math.ceil(bytes / step) * step));
}

export class Buffers {
  readonly #device: GPUDevice;
  /** The most bytes that a buffer can have and be bound with. */
  readonly largest: number;
  readonly #blocks: (Block | undefined)[] = [undefined]; // handle 0 is none
  readonly #external = new Map<GPUBuffer, number>();
  readonly #own = new WeakMap<GPUBuffer, number>();
  #free: number[] = [];
  #retired: number[] = [];
  #dying: GPUBuffer[] = [];
  /** Changes when handles come to name something else, and whatever was made from them must go. */
  epoch = 0;
  /** Of the buffers made here and not yet destroyed, by who asked for them, and the most there were in all. */
  readonly bytes = { model: 0, runtime: 0, peak: 0 };
  /** Buffers that the model's code gave back so far: what was recorded before may name them. */
  freed = 0;
  /** Why the last allocation was refused, if it was. */
  refusal = "";

  constructor(device: GPUDevice) {
    this.#device = device;
    this.largest = Math.min(device.limits.maxBufferSize, device.limits.maxStorageBufferBindingSize);
  }

  /** A new zeroed buffer; its handle, or 0 if no buffer can be so large (`refusal` says why). */
  allocate(bytes: number, owner: "model" | "runtime"): number {
    const size = padded(bytes);
    if (size > this.largest) {
      this.refusal = `a tensor of ${bytes} bytes does not fit a buffer of this device (at most ${this.largest} bytes)`;
      return 0;
    }
    const buffer = this.#device.createBuffer({ size, usage: TENSOR_USAGE });
    const handle = this.#add({ buffer, offset: 0, bytes, size, owner });
    this.bytes[owner] += size;
    this.bytes.peak = Math.max(this.bytes.peak, this.bytes.model + this.bytes.runtime);
    this.refusal = "";
    this.#own.set(buffer, handle);
    return handle;
  }

  /** The same for the runtime's own use. @throws OutOfMemoryError */
  make(bytes: number): number {
    const handle = this.allocate(bytes, "runtime");
    if (handle === 0) throw new OutOfMemoryError(this.refusal);
    return handle;
  }

  /** A handle for a piece of a buffer that outlives this table's use of it, such as one parameter of a shard. */
  view(buffer: GPUBuffer, offset: number, bytes: number): number {
    return this.#add({ buffer, offset, bytes, size: padded(bytes), owner: "outside" });
  }

  /** The handle that a buffer has, if it has one. */
  find(buffer: GPUBuffer): number | undefined {
    const known = this.#external.get(buffer) ?? this.#own.get(buffer);
    return known !== undefined && this.#blocks[known / HANDLE_STEP]?.buffer === buffer ? known : undefined;
  }

  /** A handle for a caller's buffer, the same one while it is in use. */
  import(buffer: GPUBuffer): number {
    const known = this.find(buffer);
    if (known !== undefined) return known;
    const handle = this.pin(buffer);
    this.#external.set(buffer, handle);
    return handle;
  }

  /** A handle of one's own for a caller's buffer, until it is released. */
  pin(buffer: GPUBuffer): number {
    return this.#add({ buffer, offset: 0, bytes: buffer.size, size: buffer.size, owner: "outside" });
  }

  /** Forgets the callers' buffers not used lately, which a table without end would keep alive. Between calls only. */
  trimImports(): void {
    for (const [buffer, handle] of this.#external) {
      if (this.#external.size <= MOST_EXTERNAL) break;
      this.#external.delete(buffer);
      this.release(handle);
    }
  }

  get(handle: number): Block {
    const block = this.#blocks[handle / HANDLE_STEP];
    if (!block) throw new ModelError(`the model's code named the device buffer ${handle}, which does not exist`);
    return block;
  }

  /** Takes a handle back. Its buffer is destroyed by the next sweep, when commands that use it are submitted. */
  release(handle: number): void {
    const { buffer, owner, size } = this.get(handle);
    this.#blocks[handle / HANDLE_STEP] = undefined;
    this.#retired.push(handle);
    if (owner === "outside") return;
    if (owner === "model") this.freed++;
    this.bytes[owner] -= size;
    this.#dying.push(buffer);
  }

  /** After a submit: destroys what was released, and lets retired handles be used again, a lot at a time. */
  sweep(): void {
    for (const buffer of this.#dying) buffer.destroy();
    this.#dying = [];
    if (this.#retired.length < MOST_RETIRED) return;
    this.#free.push(...this.#retired);
    this.#retired = [];
    this.epoch++;
  }

  destroy(): void {
    for (const block of this.#blocks) if (block && block.owner !== "outside") block.buffer.destroy();
    for (const buffer of this.#dying) buffer.destroy();
    this.#blocks.length = 0;
  }

  #add(block: Block): number {
    const handle = this.#free.pop() ?? this.#blocks.length * HANDLE_STEP;
    this.#blocks[handle / HANDLE_STEP] = block;
    return handle;
  }
}

/** @throws ModelError */
export function checkRange(block: Block, offset: number, bytes: number): void {
  if (offset + bytes > block.size) {
    throw new ModelError(`a command reaches byte ${offset + bytes} of a buffer of ${block.bytes} bytes`);
  }
}

/** The size to write at `offset`: WebGPU moves whole words, and may run over into padding only. */
export function wholeWords(block: Block, offset: number, bytes: number): number {
  const last = block.owner === "runtime" || offset + bytes >= block.bytes; // inputs' buffers are written as a whole
  if (offset % 4 !== 0 || (bytes % 4 !== 0 && !last)) throw unaligned(offset, bytes);
  return Math.ceil(bytes / 4) * 4;
}

export function unaligned(offset: number, bytes: number): UnsupportedError {
  return new UnsupportedError(`a copy of ${bytes} bytes at byte ${offset}: WebGPU copies multiples of 4 bytes only`);
}
