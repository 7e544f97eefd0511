/** @file Memory that really runs out: the driver of the tests (tests/vulkan) gives no more than it is told. */
import assert from "node:assert/strict";
import { truncateSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, describe, test } from "node:test";
import { loadModel, type GpuResult, type Model } from "../src/index.ts";
import { adapter, alteredPackage, cleanUp, FIXTURE, gpu } from "./support.ts";

const MIB = 1 << 20;
const ROWS = MIB / 2; // of 16 bytes

/** The bytes that the driver gives from now on, in all. */
function limit(bytes?: number): void {
  process.env["LAVAPIPE_MEMORY"] = bytes === undefined ? "" : String(bytes);
}

/** Whether the driver knows the limit: that of a test environment without it does not. */
async function canBeLimited(): Promise<boolean> {
  const device = await (await adapter()).requestDevice();
  limit(0);
  device.pushErrorScope("out-of-memory");
  device.createBuffer({ size: 64 * MIB, usage: 0x80 });
  const error = await device.popErrorScope();
  limit();
  device.destroy();
  return error !== null;
}

const skip = await canBeLimited() ? false : "VK_DRIVER_FILES names no driver of tests/vulkan";

const small = async (model: Model): Promise<number[]> => {
  const { y } = await model.run({ x: { data: Float32Array.of(1, 2, 3, 4), shape: [1, 4] } });
  return [...y!.data as Float32Array];
};

async function failure(work: Promise<unknown>): Promise<Error> {
  return work.then(() => new Error("it went well"), (error: unknown) => error as Error);
}

describe("memory that really runs out", { skip }, () => {
  after(cleanUp);
  afterEach(() => { limit(); });

  // Buffers have 8 MiB each. What is made first is the input's, or what brings data there, or one of two results.
  const outcomes = new Set<string>();
  for (const room of [0, 4, 8, 12]) {
    test(`in a run, after ${96 + room} MiB`, async () => {
      const model = await loadModel(FIXTURE, { gpu });
      const x = { data: new Float32Array(4 * ROWS).fill(1), shape: [ROWS, 4] };
      assert.deepEqual(await small(model), [2, 4, 6, 8]);
      const held: Record<string, GpuResult>[] = [await model.run({ x }, { outputs: "gpu" })];
      limit((96 + room) * MIB);
      let error: Error | undefined;
      for (let i = 0; i < 20 && !error; i++) {
        x.data.fill(i + 2);
        const run = model.run({ x }, { outputs: "gpu" });
        error = await run.then((results) => void held.push(results), (e: unknown) => e as Error);
      }
      assert.ok(error, "memory did not run out");
      outcomes.add(error.name);
      assert.match(error.name, /^(OutOfMemoryError|DeviceLostError)$/);
      assert.match(error.message, /out.?of.?(device.?)?memory/i);
      limit();
      // What is held is right, or lost with the device and said to be.
      for (const [i, { z }] of held.entries()) {
        const seen = await model.run({ x: z! }).catch((e: unknown) => e as Error);
        if (seen instanceof Error) assert.equal(seen.name, "DeviceLostError");
        else assert.deepEqual([...seen["y"]!.data.slice(-4)], [1, 2, 3, 4].map((bias) => i + 1 + 3 * bias));
      }
      for (const { y, z } of held) {
        y!.dispose();
        z!.dispose();
      }
      assert.deepEqual(await small(model), [2, 4, 6, 8]);
      model.dispose();
    });
  }

  test("is an OutOfMemoryError unless the browser itself lost the device by it", () => {
    assert.ok(outcomes.has("OutOfMemoryError"), [...outcomes].join());
  });

  test("while parameters are loaded, beside a model that goes on", async () => {
    const model = await loadModel(FIXTURE, { gpu });
    const large = await alteredPackage(({ files }: { files: { path: string; bytes: number }[] }, folder) => {
      const params = files.find(({ path }) => path === "params-0.bin")!;
      params.bytes = 256 * MIB;
      truncateSync(join(folder, params.path), params.bytes);
    }, { rehash: false });
    limit(192 * MIB);
    const { name, message } = await failure(loadModel(large, { gpu }));
    assert.equal(name, "OutOfMemoryError");
    assert.match(message, /making room for params-0.bin/);
    assert.deepEqual(await small(model), [2, 4, 6, 8]);
    model.dispose();
  });

  test("from the start, no device is to be had and that is said; later there is one", async () => {
    limit(0);
    const error = await failure(loadModel(FIXTURE, { gpu }));
    assert.match(error.name, /^(OutOfMemoryError|UnsupportedError|DeviceLostError|GpuError)$/, String(error));
    limit();
    const model = await loadModel(FIXTURE, { gpu });
    assert.deepEqual(await small(model), [2, 4, 6, 8]);
    model.dispose();
  });
});
