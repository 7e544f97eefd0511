/**
 * @file Command lists in (docs/architecture.md, "Wasm interface"), WebGPU commands out: one compute pass between
 * copies, and a submit every few launches.
 */
import { checkRange, unaligned, wholeWords, writeBytes, type Buffers } from "./buffers.ts";
import { USAGE } from "./device.ts";
import type { CompiledKernel } from "./kernels.ts";
import { dispatch, OPCODE, Plans, type Launch, type Move, type Plan } from "./plan.ts";
import { Uniforms } from "./uniforms.ts";

/** What the model's code made the GPU do so far. */
export interface Counters {
  dispatches: number;
  copies: number;
  submits: number;
  bindGroups: number;
  /** Bytes that went from the host to device buffers, and back. */
  uploaded: number;
  downloaded: number;
}

/** Gives each launch a compute pass of its own, described so that the GPU notes its times. */
export interface LaunchTimer {
  describe(launch: Launch, words: Uint32Array): GPUComputePassDescriptor;
}

export class Commands {
  readonly counters: Counters = { dispatches: 0, copies: 0, submits: 0, bindGroups: 0, uploaded: 0, downloaded: 0 };
  /** Set while launches are timed. */
  timer: LaunchTimer | undefined;
  /** Set while all is done but the launches: these are left out, or take their counts of workgroups from zeros. */
  rehearsal: { readonly zeros: GPUBuffer | undefined } | undefined;
  readonly kernels: readonly CompiledKernel[];
  readonly #device: GPUDevice;
  /** Kept at hand: asking the device for it is a call in Node. */
  readonly #queue: GPUQueue;
  readonly #buffers: Buffers;
  readonly #uniforms: Uniforms | undefined;
  readonly #plans: Plans;
  /** Lists that the model's code flushed, not yet encoded. */
  #pending: Uint32Array[] = [];
  #slot = 0;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #pipeline: GPUComputePipeline | undefined;
  #group: GPUBindGroup | undefined;
  /** Encoded since the last submit. */
  #launches = 0;
  #scratch: GPUBuffer[] = [];
  /** For the next repetition: making one takes as long as a launch or two, for which the GPU would wait. */
  #spare: GPUCommandEncoder | undefined;

  constructor(device: GPUDevice, buffers: Buffers, kernels: readonly CompiledKernel[]) {
    this.#device = device;
    this.#queue = device.queue;
    this.kernels = kernels;
    this.#buffers = buffers;
    const scalars = Math.max(0, ...kernels.map((kernel) => kernel.scalars));
    if (scalars > 0) this.#uniforms = new Uniforms(device, scalars);
    this.#plans = new Plans(device, buffers, kernels, this.#uniforms);
  }

  /** Takes a command list, not to be changed, which encode() or anything that comes after it turns into commands. */
  flush(words: Uint32Array): void {
    this.#pending.push(words);
  }

  /** Drops what was flushed and not encoded. */
  forget(): void {
    this.#pending = [];
  }

  /**
   * Encodes and submits the list of a call once more, if it was the last one and nothing waits. Flat, since it is to be
   * quick before engines have optimised it.
   */
  repeat(lists: readonly Uint32Array[]): boolean {
    const submits = lists.length === 1 ? this.#plans.again(lists[0]!) : undefined;
    if (!submits || this.#pending.length > 0 || this.#encoder || this.timer || this.rehearsal) return false;
    for (const launches of submits) {
      const encoder = this.#spare ?? this.#device.createCommandEncoder();
      this.#spare = undefined;
      const pass = encoder.beginComputePass();
      let pipeline: GPUComputePipeline | undefined;
      let group: GPUBindGroup | undefined;
      for (const launch of launches) {
        if (pipeline !== launch.pipeline) pass.setPipeline(pipeline = launch.pipeline);
        if (group !== launch.group) pass.setBindGroup(0, group = launch.group);
        dispatch(pass, launch);
      }
      pass.end();
      this.#queue.submit([encoder.finish()]);
      this.#spare = this.#device.createCommandEncoder();
      this.counters.dispatches += launches.length;
      this.counters.submits++;
    }
    this.#buffers.sweep();
    return true;
  }

  /** Encodes what was flushed; pauses after each submit, of `most` launches. @throws ModelError if a list is none. */
  *encode(most = Infinity): Generator<undefined, void> {
    for (let words = this.#pending.shift(); words; words = this.#pending.shift()) {
      const plan = this.#plan(words);
      for (let at = 0; (at = this.#steps(plan, words, at, most)) < plan.steps.length;) {
        this.#handOver();
        yield;
      }
    }
  }

  /** Encodes all of what was flushed. */
  settle(): void {
    if (this.#pending.length === 0) return;
    for (const pieces = this.encode(); !pieces.next().done;);
  }

  /** Bytes from the host into a buffer, after all that was flushed before. */
  write(handle: number, offset: number, data: Uint8Array<ArrayBuffer>): void {
    const block = this.#buffers.get(handle);
    checkRange(block, offset, data.byteLength);
    this.submit();
    this.counters.uploaded += data.byteLength;
    wholeWords(block, offset, data.byteLength);
    writeBytes(this.#queue, block.buffer, block.offset + offset, data);
  }

  /** Appends a copy from a handle's memory to any buffer. Bytes are rounded up to whole words. */
  copyOut(handle: number, offset: number, bytes: number, target: GPUBuffer, targetOffset: number): void {
    this.settle();
    const block = this.#buffers.get(handle);
    checkRange(block, offset, bytes);
    const size = Math.ceil(bytes / 4) * 4;
    this.outsidePass().copyBufferToBuffer(block.buffer, block.offset + offset, target, targetOffset, size);
  }

  /** Appends launches that are not the model's. */
  custom(encode: (pass: GPUComputePassEncoder) => void): void {
    this.settle();
    encode(this.#insidePass());
    this.#pipeline = this.#group = undefined;
  }

  /** Hands everything flushed or encoded so far to the GPU. */
  submit(): void {
    this.settle();
    this.#handOver();
    this.#slot = 0;
    this.#buffers.sweep();
  }

  /** Drops what was not submitted, after a failure. */
  discard(): void {
    this.#pending = [];
    this.#plans.broken();
    this.#slot = 0;
    this.#endPass();
    this.#encoder = undefined;
    this.#launches = 0;
    for (const buffer of this.#scratch) buffer.destroy();
    this.#scratch = [];
  }

  destroy(): void {
    this.discard();
    this.#spare = undefined;
    this.#uniforms?.destroy();
    this.#plans.clear();
  }

  /** For commands that have no place in a compute pass. */
  outsidePass(): GPUCommandEncoder {
    this.#endPass();
    return (this.#encoder ??= this.#device.createCommandEncoder());
  }

  #plan(words: Uint32Array): Plan {
    const plan = this.#plans.of(words, this.#slot);
    this.#slot = plan.nextSlot;
    this.counters.bindGroups = this.#plans.groupsMade;
    return plan;
  }

  /**
   * Encodes steps until the next submit is due; gives the step to go on with. This loop is what a launch costs: it
   * calls WebGPU, and little else.
   */
  #steps(plan: Plan, words: Uint32Array, from: number, most: number): number {
    const { steps, fresh } = plan;
    const perSubmit = Math.min(plan.perSubmit, most);
    const uniforms = this.#uniforms;
    const { rehearsal } = this;
    let pass = this.#pass;
    let pipeline = this.#pipeline;
    let group = this.#group;
    let launches = this.#launches;
    let at = from;
    for (; at < steps.length; at++) {
      const step = steps[at]!;
      if (step.kernel === undefined) {
        this.#move(step, words);
        pass = pipeline = group = undefined;
        continue;
      }
      if (launches >= perSubmit || (step.again && launches > 0)) break;
      if (fresh && step.slot >= 0) uniforms!.set(step.slot, words, step.scalars, step.end);
      if (this.timer || !pass) {
        if (this.timer) this.#endPass();
        pass = this.#insidePass(this.timer?.describe(step, words));
        pipeline = group = undefined;
      }
      if (pipeline !== step.pipeline) pass.setPipeline(pipeline = step.pipeline);
      if (group !== step.group) pass.setBindGroup(0, group = step.group);
      if (!rehearsal) dispatch(pass, step);
      else if (rehearsal.zeros) pass.dispatchWorkgroupsIndirect(rehearsal.zeros, 0);
      launches++;
    }
    this.counters.dispatches += launches - this.#launches;
    this.#launches = launches;
    this.#pipeline = pipeline;
    this.#group = group;
    return at;
  }

  #move({ opcode, at }: Move, words: Uint32Array): void {
    if (opcode === OPCODE.copy) this.#copy(words, at);
    else this.#fill(words, at);
  }

  #copy(words: Uint32Array, at: number): void {
    const source = this.#buffers.get(words[at]!);
    const target = this.#buffers.get(words[at + 2]!);
    const [from, to, bytes] = [words[at + 1]!, words[at + 3]!, words[at + 4]!];
    checkRange(source, from, bytes);
    checkRange(target, to, bytes);
    const size = wholeWords(target, to, bytes);
    if (from % 4 !== 0) throw unaligned(from, bytes);
    const encoder = this.outsidePass();
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
    const encoder = this.outsidePass();
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

  #insidePass(descriptor?: GPUComputePassDescriptor): GPUComputePassEncoder {
    this.#encoder ??= this.#device.createCommandEncoder();
    return (this.#pass ??= this.#encoder.beginComputePass(descriptor));
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = this.#pipeline = this.#group = undefined;
  }

  #handOver(): void {
    if (!this.#encoder) return;
    this.#endPass();
    this.#uniforms?.upload();
    this.#queue.submit([this.#encoder.finish()]);
    this.#encoder = undefined;
    this.#launches = 0;
    this.counters.submits++;
    for (const buffer of this.#scratch) buffer.destroy();
    this.#scratch = [];
  }
}
