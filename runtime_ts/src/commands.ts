/**
 * @file Command lists in (docs/architecture.md, "Wasm interface"), WebGPU commands out: one compute pass between
 * copies, and a submit every LAUNCHES_PER_SUBMIT launches.
 */
import type { Block, Buffers } from "./buffers.ts";
import { USAGE } from "./device.ts";
import { ModelError, UnsupportedError } from "./errors.ts";
import type { CompiledKernel, KernelLayout } from "./kernels.ts";

const OPCODE = { dispatch: 1, copy: 2, fill: 3 } as const;

/** What the model's code made the GPU do so far. */
export interface Counters {
  dispatches: number;
  copies: number;
  submits: number;
  bindGroups: number;
}

interface CachedGroup {
  readonly layout: KernelLayout;
  readonly handles: Uint32Array;
  readonly group: GPUBindGroup;
}

/**
 * The GPU works on the first launches while the rest are encoded. On an H100, MobileNetV2's 54 take 0.48 ms with 16 to
 * 28 in a submit, 0.59 ms all in one; fewer cost more in submits than they hide.
 */
const LAUNCHES_PER_SUBMIT = 24;
const UNIFORM_SLOTS = LAUNCHES_PER_SUBMIT;
const MOST_GROUPS = 65_536;

export class Commands {
  readonly counters: Counters = { dispatches: 0, copies: 0, submits: 0, bindGroups: 0 };
  readonly #device: GPUDevice;
  readonly #buffers: Buffers;
  readonly #kernels: readonly CompiledKernel[];
  readonly #uniforms: Uniforms | undefined;
  /** By a hash of layout and handles; the few of one hash are told apart by comparing. */
  readonly #groups = new Map<number, CachedGroup[]>();
  #epoch = 0;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #pipeline: GPUComputePipeline | undefined;
  /** Encoded since the last submit. */
  #launches = 0;
  #scratch: GPUBuffer[] = [];
  /** The dynamic offset of a launch: one array for all of them spares each an allocation. */
  readonly #offset = new Uint32Array(1);

  constructor(device: GPUDevice, buffers: Buffers, kernels: readonly CompiledKernel[]) {
    this.#device = device;
    this.#buffers = buffers;
    this.#kernels = kernels;
    const scalars = Math.max(0, ...kernels.map((kernel) => kernel.scalars));
    if (scalars > 0) this.#uniforms = new Uniforms(device, scalars);
  }

  /** Encodes a command list. @throws ModelError if it is not one. */
  flush(words: Uint32Array): void {
    if (this.#epoch !== this.#buffers.epoch || this.#groups.size > MOST_GROUPS) {
      this.#groups.clear();
      this.#epoch = this.#buffers.epoch;
    }
    for (let at = 0; at < words.length;) {
      const head = words[at]!;
      const end = at + (head >>> 8);
      if (end === at || end > words.length) throw new ModelError(`the command list breaks off at word ${at}`);
      switch (head & 0xff) {
        case OPCODE.dispatch: this.#dispatch(words, at + 1, end); break;
        case OPCODE.copy: this.#copy(words, at + 1); break;
        case OPCODE.fill: this.#fill(words, at + 1); break;
        default: throw new ModelError(`the command list has the unknown opcode ${head & 0xff}: update tvm-webgpu`);
      }
      at = end;
    }
  }

  /** Bytes from the host into a buffer, after all that was flushed before. */
  write(handle: number, offset: number, data: Uint8Array<ArrayBuffer>): void {
    const block = this.#buffers.get(handle);
    checkRange(block, offset, data.byteLength);
    this.submit();
    const whole = data.byteLength & ~3;
    this.#device.queue.writeBuffer(block.buffer, block.offset + offset, data, 0, whole);
    if (whole === data.byteLength) return;
    wholeWords(block, offset, data.byteLength);
    const last = new Uint8Array(4);
    last.set(data.subarray(whole));
    this.#device.queue.writeBuffer(block.buffer, block.offset + offset + whole, last);
  }

  /** Appends a copy from a handle's memory to any buffer. Bytes are rounded up to whole words. */
  copyOut(handle: number, offset: number, bytes: number, target: GPUBuffer, targetOffset: number): void {
    const block = this.#buffers.get(handle);
    checkRange(block, offset, bytes);
    const size = Math.ceil(bytes / 4) * 4;
    this.#outsidePass().copyBufferToBuffer(block.buffer, block.offset + offset, target, targetOffset, size);
  }

  /** Hands everything encoded so far to the GPU. */
  submit(): void {
    if (this.#encoder) {
      this.#endPass();
      this.#uniforms?.upload();
      this.#device.queue.submit([this.#encoder.finish()]);
      this.#encoder = undefined;
      this.#launches = 0;
      this.counters.submits++;
      for (const buffer of this.#scratch) buffer.destroy();
      this.#scratch = [];
    }
    this.#buffers.sweep();
  }

  /** Drops what was encoded and not submitted, after a failure. */
  discard(): void {
    this.#endPass();
    this.#encoder = undefined;
    this.#launches = 0;
    this.#uniforms?.reset();
  }

  destroy(): void {
    this.discard();
    this.#uniforms?.buffer.destroy();
    this.#groups.clear();
  }

  #dispatch(words: Uint32Array, at: number, end: number): void {
    const kernel = this.#kernels[words[at]!];
    if (!kernel) throw new ModelError(`the command list names kernel ${words[at]} of ${this.#kernels.length}`);
    const handles = at + 4;
    const scalars = handles + kernel.bindings;
    if (scalars + kernel.scalars !== end) {
      throw new ModelError(`a launch of "${kernel.name}" has ${end - handles} arguments`);
    }
    if (this.#launches === LAUNCHES_PER_SUBMIT) this.submit();
    const group = this.#group(kernel, words, handles);
    this.#encoder ??= this.#device.createCommandEncoder();
    const pass = (this.#pass ??= this.#encoder.beginComputePass());
    if (this.#pipeline !== kernel.pipeline) pass.setPipeline(this.#pipeline = kernel.pipeline);
    if (kernel.scalars > 0) {
      this.#offset[0] = this.#uniforms!.push(words, scalars, end);
      pass.setBindGroup(0, group, this.#offset, 0, 1);
    } else {
      pass.setBindGroup(0, group);
    }
    pass.dispatchWorkgroups(words[at + 1]!, words[at + 2], words[at + 3]);
    this.#launches++;
    this.counters.dispatches++;
  }

  #group(kernel: CompiledKernel, words: Uint32Array, at: number): GPUBindGroup {
    const { layout, bindings } = kernel;
    let hash = layout.id;
    for (let i = 0; i < bindings; i++) hash = (Math.imul(hash, 31) + (words[at + i]! >>> 6)) | 0;
    let bucket = this.#groups.get(hash);
    if (!bucket) this.#groups.set(hash, (bucket = []));
    search: for (const cached of bucket) {
      if (cached.layout !== layout) continue;
      for (let i = 0; i < bindings; i++) if (cached.handles[i] !== words[at + i]) continue search;
      return cached.group;
    }
    const handles = words.slice(at, at + bindings);
    const resources: GPUBufferBinding[] = Array.from(handles, (handle) => this.#buffers.get(handle));
    if (kernel.scalars > 0) resources.push(this.#uniforms!.binding);
    const entries = resources.map(({ buffer, offset = 0, size }, binding) => (
      { binding, resource: { buffer, offset, ...(size === undefined ? {} : { size }) } }));
    const group = this.#device.createBindGroup({ label: kernel.name, layout: layout.group, entries });
    bucket.push({ layout, handles, group });
    this.counters.bindGroups++;
    return group;
  }

  #copy(words: Uint32Array, at: number): void {
    const source = this.#buffers.get(words[at]!);
    const target = this.#buffers.get(words[at + 2]!);
    const [from, to, bytes] = [words[at + 1]!, words[at + 3]!, words[at + 4]!];
    checkRange(source, from, bytes);
    checkRange(target, to, bytes);
    const size = wholeWords(target, to, bytes);
    if (from % 4 !== 0) throw unaligned(from, bytes);
    const encoder = this.#outsidePass();
    this.counters.copies++;
    if (source.buffer !== target.buffer) {
      encoder.copyBufferToBuffer(source.buffer, source.offset + from, target.buffer, target.offset + to, size);
      return;
    }
    // WebGPU copies between two buffers only.
    const aside = this.#scratchBuffer(size);
    encoder.copyBufferToBuffer(source.buffer, source.offset + from, aside, 0, size);
    encoder.copyBufferToBuffer(aside, 0, target.buffer, target.offset + to, size);
  }

  #fill(words: Uint32Array, at: number): void {
    const block = this.#buffers.get(words[at]!);
    const [offset, bytes, value] = [words[at + 1]!, words[at + 2]!, words[at + 3]!];
    checkRange(block, offset, bytes);
    const size = wholeWords(block, offset, bytes);
    const encoder = this.#outsidePass();
    this.counters.copies++;
    if (value === 0) {
      encoder.clearBuffer(block.buffer, block.offset + offset, size);
      return;
    }
    const pattern = this.#scratchBuffer(size, value); // WebGPU fills with zeros only
    encoder.copyBufferToBuffer(pattern, 0, block.buffer, block.offset + offset, size);
  }

  #scratchBuffer(size: number, value = 0): GPUBuffer {
    const mappedAtCreation = value !== 0;
    const buffer = this.#device.createBuffer({ size, usage: USAGE.COPY_SRC | USAGE.COPY_DST, mappedAtCreation });
    if (mappedAtCreation) {
      new Uint32Array(buffer.getMappedRange()).fill(value);
      buffer.unmap();
    }
    this.#scratch.push(buffer);
    return buffer;
  }

  #outsidePass(): GPUCommandEncoder {
    this.#endPass();
    return (this.#encoder ??= this.#device.createCommandEncoder());
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
    this.#pipeline = undefined;
  }
}

/** One buffer that holds the scalars of all launches of a submit, each launch at an offset of its own. */
class Uniforms {
  readonly buffer: GPUBuffer;
  readonly binding: GPUBufferBinding;
  readonly #queue: GPUQueue;
  readonly #stride: number;
  readonly #words: Uint32Array<ArrayBuffer>;
  #used = 0; // bytes

  constructor(device: GPUDevice, scalars: number) {
    const size = Math.ceil(scalars / 4) * 16;
    const alignment = device.limits.minUniformBufferOffsetAlignment;
    this.#stride = Math.ceil(size / alignment) * alignment;
    this.#words = new Uint32Array((this.#stride / 4) * UNIFORM_SLOTS);
    this.#queue = device.queue;
    this.buffer = device.createBuffer({ size: this.#words.byteLength, usage: USAGE.UNIFORM | USAGE.COPY_DST });
    this.binding = { buffer: this.buffer, size };
  }

  /** Takes a launch's scalars, words[from..to); gives their dynamic offset. */
  push(words: Uint32Array, from: number, to: number): number {
    const offset = this.#used;
    for (let i = from; i < to; i++) this.#words[offset / 4 + i - from] = words[i]!;
    this.#used += this.#stride;
    return offset;
  }

  /** Call right before the submit of the launches. */
  upload(): void {
    if (this.#used > 0) this.#queue.writeBuffer(this.buffer, 0, this.#words, 0, this.#used / 4);
    this.#used = 0;
  }

  reset(): void {
    this.#used = 0;
  }
}

function checkRange(block: Block, offset: number, bytes: number): void {
  if (offset + bytes > block.size) {
    throw new ModelError(`a command reaches byte ${offset + bytes} of a buffer of ${block.bytes} bytes`);
  }
}

/** The size to write at `offset`: WebGPU moves whole words, and may run over into padding only. */
function wholeWords(block: Block, offset: number, bytes: number): number {
  if (offset % 4 !== 0 || (bytes % 4 !== 0 && offset + bytes < block.bytes)) throw unaligned(offset, bytes);
  return Math.ceil(bytes / 4) * 4;
}

function unaligned(offset: number, bytes: number): UnsupportedError {
  return new UnsupportedError(`a copy of ${bytes} bytes at byte ${offset}: WebGPU copies multiples of 4 bytes only`);
}
