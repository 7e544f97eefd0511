/** @file Parameters on a GPU: of every storage, in chunks of any size, in one buffer or many; and what has no room. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Buffers } from "../src/buffers.ts";
import { Decoder } from "../src/decode.ts";
import { dtypeInfo, product, type DType } from "../src/dtype.ts";
import type { Bytes } from "../src/fetch.ts";
import type { PackageFile, Param } from "../src/manifest.ts";
import { loadParams } from "../src/params.ts";
import { adapter, rejects } from "./support.ts";

const READBACK = 0x1 | 0x8; // MAP_READ, COPY_DST

interface Case {
  readonly shape: readonly number[];
  readonly dtype?: DType;
  readonly storage?: "float16" | "int8";
  readonly scales?: readonly number[];
}

/** Repeatable numbers from 0 to 2^32. */
function* numbers(seed: number): Generator<number, never> {
  for (let x = seed; ;) yield (x = (Math.imul(x, 1_664_525) + 1_013_904_223) >>> 0);
}

/** The half float's value, worked out from its bits. */
function halfToNumber(bits: number): number {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** A file of parameters, and the bytes that each must have on the GPU. */
function fileOf(
  cases: readonly Case[],
): { file: PackageFile; params: Param[]; content: Bytes; expected: Uint8Array[] } {
  const random = numbers(1);
  const parts: Uint8Array[] = [];
  let size = 0;
  const append = (bytes: Uint8Array): number => {
    const gap = -size & 255;
    parts.push(new Uint8Array(gap), bytes);
    const offset = size + gap;
    size = offset + bytes.byteLength;
    return offset;
  };
  const expected: Uint8Array[] = [];
  const params = cases.map(({ shape, dtype = "float32", storage, scales }, i): Param => {
    const elements = product(shape);
    const bytes = elements * dtypeInfo(storage ?? dtype).bytes;
    const stored = Uint8Array.from({ length: bytes }, () => random.next().value >>> 24);
    if (storage === "float16") for (let at = 1; at < bytes; at += 2) stored[at]! &= 0xbb; // finite
    const offset = append(stored);
    const param = { name: `p${i}`, dtype, shape, file: "params-0.bin", offset, bytes };
    if (!storage) {
      expected.push(stored);
      return param;
    }
    if (storage === "float16") {
      const halves = new Uint16Array(stored.buffer);
      expected.push(new Uint8Array(Float32Array.from(halves, halfToNumber).buffer));
      return { ...param, storage: { dtype: "float16" } };
    }
    // Powers of two, so that products are exact as halves, too.
    const factors = Float32Array.from({ length: product(scales!) }, () => 2 ** ((random.next().value >>> 29) - 4));
    const at = append(new Uint8Array(factors.buffer));
    const signed = new Int8Array(stored.buffer);
    const values = Float32Array.from(signed, (value, element) => value * factors[scaleOf(element, shape, scales!)]!);
    expected.push(dtype === "float32" ? new Uint8Array(values.buffer) : halvesOf(values));
    return { ...param, storage: { dtype: "int8", scales: { offset: at, shape: scales! } } };
  });
  const content = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    content.set(part, at);
    at += part.byteLength;
  }
  return { file: { path: "params-0.bin", role: "params", bytes: size, sha256: "" }, params, content, expected };
}

function scaleOf(element: number, shape: readonly number[], scales: readonly number[]): number {
  let [rest, at, stride] = [element, 0, 1];
  for (let d = shape.length - 1; d >= 0; d--) {
    const index = rest % shape[d]!;
    rest = Math.floor(rest / shape[d]!);
    if (scales[d] !== 1) at += index * stride;
    stride *= scales[d]!;
  }
  return at;
}

/** Of small integers times powers of two, which halves hold exactly. */
function halvesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(Uint16Array.from(values, (value) => {
    if (value === 0) return 0;
    const exponent = Math.floor(Math.log2(Math.abs(value)));
    return (value < 0 ? 0x8000 : 0) | (exponent + 15) << 10 | (Math.abs(value) / 2 ** exponent - 1) * 1024;
  }).buffer);
}

async function* inChunks(bytes: Bytes, sizes: Generator<number>): AsyncGenerator<Bytes> {
  for (let at = 0; at < bytes.byteLength;) {
    const end = at + (sizes.next().value as number);
    yield bytes.subarray(at, end);
    await Promise.resolve();
    at = end;
  }
}

function* always(size: number): Generator<number, never> {
  for (;;) yield size;
}

function* odd(): Generator<number, never> {
  for (const x of numbers(7)) yield 1 + (x >>> 22);
  throw new Error("numbers end");
}

/** Loads the cases' parameters and compares every byte of them on the GPU. Gives the number of their buffers. */
async function check(
  cases: readonly Case[], chunks: Generator<number>, limits: Record<string, number> = {},
): Promise<number> {
  const device = await (await adapter()).requestDevice();
  const limited = new Proxy(device, {
    get(target, name) {
      if (name === "limits") {
        const { most = 65_535, ...others } = limits;
        const room = { maxBufferSize: 1 << 28, maxStorageBufferBindingSize: 1 << 27 };
        return { ...room, maxComputeWorkgroupsPerDimension: most, ...others };
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? (value as () => unknown).bind(target) : value;
    },
  });
  try {
    const { file, params, content, expected } = fileOf(cases);
    const owned: GPUBuffer[] = [];
    let uploaded = 0;
    const buffers = new Buffers(limited);
    const decoder = new Decoder(limited, params);
    const own = (buffer: GPUBuffer): GPUBuffer => (owned.push(buffer), buffer);
    const values = new Map(await loadParams(
      limited, buffers, file, params, decoder, inChunks(content, chunks), own, (count) => { uploaded += count; }));
    assert.equal(uploaded, content.byteLength);
    for (const [i, param] of params.entries()) {
      const value = values.get(param)!;
      assert.ok(value.kind === "tensor");
      const { buffer, offset, size, bytes } = buffers.get(value.handle);
      assert.equal(bytes, expected[i]!.byteLength);
      const staging = device.createBuffer({ size, usage: READBACK });
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer, offset, staging, 0, size);
      device.queue.submit([encoder.finish()]);
      await staging.mapAsync(1);
      const found = new Uint8Array(staging.getMappedRange()).slice(0, bytes);
      assert.ok(Buffer.from(found).equals(expected[i]!), param.name);
      staging.destroy();
    }
    return new Set(params.map((param) => buffers.get((values.get(param)! as { handle: number }).handle).buffer)).size;
  } finally {
    device.destroy();
  }
}

const PLAIN: Case[] = [
  { shape: [3] }, { shape: [7], dtype: "int8" }, { shape: [0] }, { shape: [33, 5] }, { shape: [5], dtype: "float16" },
  { shape: [], dtype: "int64" }, { shape: [1000] },
];
const STORED: Case[] = [
  { shape: [5], storage: "float16" },
  { shape: [31, 33], storage: "float16" },
  { shape: [3], dtype: "bool" },
  { shape: [16, 3, 5], storage: "int8", scales: [16, 1, 1] },
  { shape: [6, 10], storage: "int8", scales: [1, 10] },
  { shape: [7, 11], storage: "int8", scales: [1, 1] },
  { shape: [4, 1, 9, 5], storage: "int8", scales: [4, 1, 1, 5] },
  { shape: [2, 3, 4, 5], storage: "int8", scales: [1, 3, 1, 5] },
  { shape: [4, 6, 8], storage: "int8", scales: [4, 6, 1], dtype: "float16" },
  { shape: [13], storage: "int8", scales: [13], dtype: "float16" },
  { shape: [0, 4], storage: "int8", scales: [0, 1] },
];

describe("parameters", () => {
  for (const [name, chunks] of [
    ["in one chunk", () => always(1 << 20)],
    ["byte by byte", () => always(1)],
    ["in chunks of odd sizes", odd],
  ] as const) {
    test(`${name}, as they are, in one buffer`, async () => { assert.equal(await check(PLAIN, chunks()), 1); });
    test(`${name}, decoded, in one buffer`, async () => { assert.equal(await check(STORED, chunks()), 1); });
  }

  test("as they are, where a file is larger than a buffer", async () => {
    assert.equal(await check(PLAIN, odd(), { maxBufferSize: 4096 }), PLAIN.length);
  });

  test("decoded, where they are larger than a buffer together", async () => {
    assert.equal(await check(STORED, odd(), { maxBufferSize: 4224 }), STORED.length);
  });

  test("of more words than a row of workgroups takes", async () => {
    const shape = [64, 33];
    await check([{ shape, storage: "float16" }, { shape, storage: "int8", scales: [64, 1] }], odd(), { most: 2 });
  });

  for (const limit of ["maxBufferSize", "maxStorageBufferBindingSize"]) {
    test(`beyond ${limit} are an OutOfMemoryError that names one`, () =>
      assert.rejects(check(PLAIN, odd(), { [limit]: 2048 }),
        rejects("OutOfMemoryError", /parameter "p6" has 4000 bytes; this device binds at most 2048/)));
  }
});
