/** @file References into a model, as callers hold them: objects, and tensors that stay on the GPU. */
import type { Block } from "./buffers.ts";
import type { DType } from "./dtype.ts";
import { DeviceLostError, DisposedError, InputError } from "./errors.ts";
import type { GpuTensor, ModelObject } from "./tensor.ts";

/** A result left on the GPU. Its memory is the model's, and kept until dispose(). */
export interface GpuResult extends GpuTensor {
  readonly offset: number;
  dispose(): void;
}

/** Whom a reference belongs to. */
export interface Owner {
  readonly lost: boolean;
  readonly destroyed: boolean;
}

/** A reference held in the wasm (0 for none), released once. */
class Held implements ModelObject {
  readonly object: number;
  readonly owner: Owner;
  readonly #release: () => void;
  disposed = false;

  constructor(object: number, release: () => void, owner: Owner) {
    this.object = object;
    this.#release = release;
    this.owner = owner;
  }

  dispose(): void {
    if (!this.disposed) this.#release();
    this.disposed = true;
  }
}

export class HeldObject extends Held {}

export class HeldTensor extends Held implements GpuResult {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly dtype: DType;
  readonly shape: readonly number[];

  constructor(
    value: { dtype: DType; shape: readonly number[]; offset: number; object: number }, block: Block,
    release: () => void, owner: Owner,
  ) {
    super(value.object, release, owner);
    this.buffer = block.buffer;
    this.offset = block.offset + value.offset;
    this.dtype = value.dtype;
    this.shape = value.shape;
  }
}

/**
 * The wasm's name for what a caller hands back.
 *
 * @throws InputError if it is not this model's; DisposedError; DeviceLostError if it went with a lost device
 */
export function referenceOf(held: ModelObject, owner: Owner, input: string): number {
  if (held instanceof Held && held.owner !== owner && held.owner.lost) {
    throw new DeviceLostError(`input "${input}" was on a GPU device that is lost: begin anew without it`);
  }
  if (!(held instanceof Held) || held.owner !== owner) {
    throw new InputError(`input "${input}" must be an object that this model returned`);
  }
  if (held.disposed) throw new DisposedError(`input "${input}" was disposed of`);
  return held.object;
}
