/** @file Scalars of launches in, one uniform buffer with a slot for each launch out; what is there already stays. */
import { USAGE } from "./device.ts";

/** Launches that one run can have before the slots begin anew, which costs a submit. */
export const SLOTS = 1024;

export class Uniforms {
  readonly #queue: GPUQueue;
  readonly #buffer: GPUBuffer;
  readonly #size: number;
  readonly #stride: number;
  /** What the buffer holds, or will after the next upload. */
  readonly #words: Uint32Array<ArrayBuffer>;
  #from = Infinity;
  #to = 0;

  /** `scalars`: the most that a launch has. */
  constructor(device: GPUDevice, scalars: number) {
    const alignment = device.limits.minUniformBufferOffsetAlignment;
    this.#size = Math.ceil(scalars / 4) * 16;
    this.#stride = Math.ceil(this.#size / alignment) * alignment;
    this.#words = new Uint32Array((this.#stride / 4) * SLOTS);
    this.#queue = device.queue;
    this.#buffer = device.createBuffer({ size: this.#words.byteLength, usage: USAGE.UNIFORM | USAGE.COPY_DST });
  }

  /** The slot after this one. SLOTS stands for slot 0 again, to be taken when the launches before are submitted. */
  static after(slot: number): number {
    return (slot % SLOTS) + 1;
  }

  binding(slot: number): GPUBufferBinding {
    return { buffer: this.#buffer, offset: slot * this.#stride, size: this.#size };
  }

  /** A launch's scalars: words[from..to). */
  set(slot: number, words: Uint32Array, from: number, to: number): void {
    const start = (slot * this.#stride) / 4;
    for (let i = from; i < to; i++) {
      const at = start + i - from;
      if (this.#words[at] === words[i]) continue;
      this.#words[at] = words[i]!;
      this.#from = Math.min(this.#from, at);
      this.#to = Math.max(this.#to, at + 1);
    }
  }

  /** Call right before the submit of the launches. */
  upload(): void {
    if (this.#to > this.#from) {
      this.#queue.writeBuffer(this.#buffer, this.#from * 4, this.#words, this.#from, this.#to - this.#from);
    }
    this.#from = Infinity;
    this.#to = 0;
  }

  destroy(): void {
    this.#buffer.destroy();
  }
}
