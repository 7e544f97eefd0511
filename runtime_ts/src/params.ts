/** @file A file of parameters in, as its bytes come; device buffers out, with a value for each parameter. */
import { padded, TENSOR_USAGE, writeBytes, type Buffers } from "./buffers.ts";
import type { Decoder } from "./decode.ts";
import { guarded } from "./device.ts";
import { product } from "./dtype.ts";
import { OutOfMemoryError } from "./errors.ts";
import type { Bytes } from "./fetch.ts";
import type { Value } from "./host.ts";
import { contentBytes, tensorBytes, type PackageFile, type Param } from "./manifest.ts";

const ALIGNMENT = 256;

/** Bytes written that the GPU may still hold in staging memory. */
const MOST_STAGED = 64 << 20;

/** A stretch of the file's content that goes into a buffer; starts are multiples of 4. */
interface Stretch {
  readonly from: number;
  readonly to: number;
  readonly buffer: GPUBuffer;
  readonly at: number;
}

/** A parameter to be decoded once its bytes are there. */
interface Encoded {
  readonly param: Param;
  readonly staging: GPUBuffer;
  readonly buffer: GPUBuffer;
  readonly at: number;
}

interface Layout {
  readonly stretches: readonly Stretch[];
  readonly encoded: readonly Encoded[];
  readonly values: readonly (readonly [Param, Value])[];
}

/** @throws OutOfMemoryError, GpuError, or what `content` throws */
export async function loadParams(
  device: GPUDevice, buffers: Buffers, file: PackageFile, params: readonly Param[], decoder: Decoder | undefined,
  content: AsyncIterable<Bytes>, own: (buffer: GPUBuffer) => GPUBuffer, onUpload: (bytes: number) => void,
): Promise<Layout["values"]> {
  const making = guarded(device, `making room for ${file.path}`, () => lay(device, buffers, file, params, own));
  await making.checked;
  const { stretches, encoded, values } = making.value;
  const writer = new Writer(device.queue, stretches, contentBytes(file));
  let staged = 0;
  for await (const chunk of content) {
    await guarded(device, `uploading ${file.path}`, () => { writer.write(chunk); }).checked;
    onUpload(chunk.byteLength);
    staged += chunk.byteLength;
    if (staged < MOST_STAGED) continue;
    staged = 0;
    device.queue.submit([]); // or staged bytes would wait for the next submit
    await device.queue.onSubmittedWorkDone();
  }
  if (encoded.length > 0) {
    await decoder!.run(encoded.map(({ param, staging, buffer, at }) => (
      { param, source: staging, scalesAt: scalesAt(param), target: buffer, targetAt: at })));
    for (const { staging } of encoded) staging.destroy();
  }
  return values;
}

function lay(
  device: GPUDevice, buffers: Buffers, file: PackageFile, params: readonly Param[], own: (b: GPUBuffer) => GPUBuffer,
): Layout {
  const { maxBufferSize, maxStorageBufferBindingSize } = device.limits;
  const make = (size: number): GPUBuffer => own(device.createBuffer({ size, usage: TENSOR_USAGE }));
  for (const param of params) {
    const most = Math.min(maxBufferSize, maxStorageBufferBindingSize);
    if (padded(tensorBytes(param)) > most) throw tooLarge(param, most);
  }
  const place = (param: Param, buffer: GPUBuffer, at: number): readonly [Param, Value] => {
    const handle = buffers.view(buffer, at, tensorBytes(param));
    return [param, { kind: "tensor", dtype: param.dtype, shape: param.shape, handle, offset: 0, object: 0 }];
  };
  const size = contentBytes(file);
  if (params.every(({ storage }) => !storage) && padded(size) <= maxBufferSize) {
    const buffer = make(padded(size));
    return {
      stretches: [{ from: 0, to: size, buffer, at: 0 }],
      encoded: [],
      values: params.map((param) => place(param, buffer, param.offset)),
    };
  }
  // Decoded parameters lie side by side; if even that is too large, each has a buffer of its own.
  const starts: number[] = [];
  const total = params.reduce((at, param) => (starts.push(at), align(at + padded(tensorBytes(param)))), 0);
  const common = total > 0 && total <= maxBufferSize ? make(total) : undefined;
  const stretches: Stretch[] = [];
  const encoded: Encoded[] = [];
  const values = params.map((param, i) => {
    const { offset: from, bytes, storage } = param;
    const buffer = common ?? make(padded(tensorBytes(param)));
    const at = common ? starts[i]! : 0;
    if (!storage) {
      stretches.push({ from, to: from + bytes, buffer, at });
      return place(param, buffer, at);
    }
    const scales = storage.scales ?? { offset: 0, shape: [0] };
    const scaleBytes = product(scales.shape) * 4;
    const staging = make(padded(scalesAt(param) + scaleBytes));
    stretches.push({ from, to: from + bytes, buffer: staging, at: 0 });
    if (scaleBytes > 0) {
      stretches.push({ from: scales.offset, to: scales.offset + scaleBytes, buffer: staging, at: scalesAt(param) });
    }
    encoded.push({ param, staging, buffer, at });
    return place(param, buffer, at);
  });
  return { stretches: stretches.sort((a, b) => a.from - b.from), encoded, values };
}

/** Where a parameter's scales begin in its staging buffer, behind its values. */
function scalesAt({ bytes }: Param): number {
  return align(bytes);
}

function align(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

/** Takes a file's content in chunks of any size, and writes whole words. */
class Writer {
  readonly #queue: GPUQueue;
  readonly #stretches: readonly Stretch[];
  readonly #size: number;
  #position = 0;
  #next = 0;
  /** Up to 3 bytes before `#position` that wait for the rest of their word. */
  #rest: Bytes = new Uint8Array(0);

  constructor(queue: GPUQueue, stretches: readonly Stretch[], size: number) {
    this.#queue = queue;
    this.#stretches = stretches;
    this.#size = size;
  }

  write(chunk: Bytes): void {
    const bytes = this.#rest.byteLength > 0 ? joined(this.#rest, chunk) : chunk;
    const start = this.#position - this.#rest.byteLength;
    this.#position += chunk.byteLength;
    const end = this.#position === this.#size ? this.#position : this.#position - (this.#position % 4);
    this.#rest = bytes.slice(end - start);
    for (let i = this.#next; i < this.#stretches.length; i++) {
      const { from, to, buffer, at } = this.#stretches[i]!;
      const [first, last] = [Math.max(from, start), Math.min(to, end)];
      if (first < last) {
        writeBytes(this.#queue, buffer, at + first - from, bytes.subarray(first - start, last - start));
      }
      if (to <= end) this.#next = i + 1;
      if (to > end) break;
    }
  }
}

function joined(a: Bytes, b: Bytes): Bytes {
  const both = new Uint8Array(a.byteLength + b.byteLength);
  both.set(a);
  both.set(b, a.byteLength);
  return both;
}

function tooLarge(param: Param, most: number): OutOfMemoryError {
  return new OutOfMemoryError(
    `parameter "${param.name}" has ${tensorBytes(param)} bytes; this device binds at most ${most}`);
}
