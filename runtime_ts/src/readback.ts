/** @file Pieces of device memory in, typed arrays out, through staging buffers that are mapped and then used again. */
import { roomy } from "./buffers.ts";
import type { Commands, Counters } from "./commands.ts";
import { MAP_READ, USAGE } from "./device.ts";
import { dtypeInfo, product, viewAs, type DType } from "./dtype.ts";
import type { Value } from "./host.ts";
import type { Tensor } from "./tensor.ts";

type TensorValue = Value & { kind: "tensor" };

/** Buffers that wait for the next read, and bytes of all but the last one used. */
const MOST_KEPT = 16;
const MOST_KEPT_BYTES = 64 << 20;

export class Readback {
  readonly #device: GPUDevice;
  /** The one used last comes first. */
  #idle: GPUBuffer[] = [];
  readonly #busy = new Set<GPUBuffer>();
  readonly #counters: Counters;
  /** Of the staging buffers that there are, and the most there were. */
  bytes = 0;
  peak = 0;

  constructor(device: GPUDevice, counters: Counters) {
    this.#device = device;
    this.#counters = counters;
  }

  /** Appends the copies; the function it gives reads them once they are submitted. Call it, whatever comes. */
  plan(commands: Commands, values: readonly TensorValue[]): () => Promise<(Tensor & { dtype: DType })[]> {
    let size = 0;
    const places = values.map((value) => {
      const bytes = product(value.shape) * dtypeInfo(value.dtype).bytes;
      const place = { value, bytes, at: size };
      size += Math.ceil(bytes / 8) * 8;
      return place;
    });
    if (size === 0) return () => Promise.resolve(places.map(({ value }) => arrayOf(value, new ArrayBuffer(0))));
    const staging = this.#take(size);
    this.#busy.add(staging);
    for (const { value, bytes, at } of places) {
      this.#counters.downloaded += bytes;
      if (bytes > 0) commands.copyOut(value.handle, value.offset, bytes, staging, at);
    }
    return async () => {
      await staging.mapAsync(MAP_READ, 0, size);
      const mapped = staging.getMappedRange(0, size);
      const read = places.map(({ value, bytes, at }) => arrayOf(value, mapped.slice(at, at + bytes)));
      staging.unmap();
      this.#keep(staging);
      return read;
    };
  }

  /** Ends the reads under way, too. */
  destroy(): void {
    for (const buffer of [...this.#idle, ...this.#busy]) this.#drop(buffer);
    this.#idle = [];
    this.#busy.clear();
  }

  /** Gives back what no read needs. */
  trim(): void {
    for (const buffer of this.#idle) this.#drop(buffer);
    this.#idle = [];
  }

  #drop(buffer: GPUBuffer): void {
    this.bytes -= buffer.size;
    buffer.destroy();
  }

  #take(least: number): GPUBuffer {
    // Not one that is far too large: its memory would be held for nothing.
    const fit = this.#idle.findIndex(({ size }) => size >= least && size <= 4 * least);
    if (fit >= 0) return this.#idle.splice(fit, 1)[0]!;
    const size = roomy(least, this.#device.limits.maxBufferSize);
    this.bytes += size;
    this.peak = Math.max(this.peak, this.bytes);
    return this.#device.createBuffer({ size, usage: USAGE.MAP_READ | USAGE.COPY_DST });
  }

  #keep(buffer: GPUBuffer): void {
    if (!this.#busy.delete(buffer)) return;
    this.#idle.unshift(buffer);
    let bytes = -buffer.size;
    const kept = this.#idle.filter(({ size }, i) => i < MOST_KEPT && (bytes += size) <= MOST_KEPT_BYTES);
    for (const each of this.#idle) if (!kept.includes(each)) this.#drop(each);
    this.#idle = kept;
  }
}

function arrayOf({ dtype, shape }: TensorValue, bytes: ArrayBuffer): Tensor & { dtype: DType } {
  return { data: viewAs(dtype, bytes, product(shape)), shape, dtype };
}
