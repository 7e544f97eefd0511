/** @file Loading: from a path, a file URL and HTTP; progress; and every way in which a package or device is refused. */
import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { loadModel, type LoadOptions, type Phase, type Progress } from "../src/index.ts";
import type { PackageFile } from "../src/manifest.ts";
import { adapter, alteredPackage, type Change, cleanUp, FIXTURE, gpu, rejects } from "./support.ts";
import { serve } from "./serve.ts";

after(cleanUp);

const X = { data: Float32Array.of(1, 2, 3, 4), shape: [1, 4] };

async function loadsAndRuns(location: string | URL): Promise<void> {
  const model = await loadModel(location, { gpu });
  assert.deepEqual((await model.run({ x: X }))["y"]!.data, Float32Array.of(2, 4, 6, 8));
  model.dispose();
}

describe("from", () => {
  let server: Server;
  let base: string;
  const asked: string[] = [];
  before(async () => {
    server = createServer((request, response) => {
      const { pathname } = new URL(request.url!, "http://localhost");
      asked.push(request.url!);
      readFile(join(FIXTURE, pathname.replace("/model", ""))).then(
        (bytes) => response.end(bytes),
        () => response.writeHead(404).end(),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(() => { server.close(); });

  test("a path", () => loadsAndRuns(FIXTURE));
  test("a path with a slash", () => loadsAndRuns(`${FIXTURE}/`));
  test("a file URL", () => loadsAndRuns(pathToFileURL(FIXTURE)));
  test("HTTP", () => loadsAndRuns(`${base}/model`));
  test("HTTP with a query, which all files keep", async () => {
    asked.length = 0;
    await loadsAndRuns(`${base}/model/?v=7`);
    assert.deepEqual(asked.filter((url) => !url.endsWith("?v=7")), []);
  });
  test("HTTP where nothing is", () =>
    assert.rejects(loadModel(`${base}/none`, { gpu }), rejects("PackageError", /manifest\.json.*HTTP 404/)));
  test("a port where nobody listens", () =>
    assert.rejects(loadModel("http://127.0.0.1:9/", { gpu }), rejects("PackageError", /can't be fetched/)));
});

test("progress counts the bytes of each phase up to the whole, which is known from the start", async () => {
  const seen: Progress[] = [];
  const model = await loadModel(FIXTURE, { gpu, onProgress: (progress) => seen.push(progress) });
  model.dispose();
  const { files } = JSON.parse(await readFile(join(FIXTURE, "manifest.json"), "utf8")) as { files: PackageFile[] };
  const size = (role: string): number => files.find((file) => file.role === role)!.bytes;
  const [code, params] = [size("wasm") + size("kernels"), size("params")];
  const sizes = { download: code + params, verify: code + params, upload: params, compile: code };
  for (const [name, bytes] of Object.entries(sizes) as [Phase, number][]) {
    assert.ok(seen.every(({ phases }) => phases[name].total === bytes), name);
    assert.ok(seen.every(({ phases }, i) => i === 0 || phases[name].done >= seen[i - 1]!.phases[name].done), name);
    assert.equal(seen.at(-1)!.phases[name].done, bytes);
  }
  assert.deepEqual([seen.at(-1)!.loaded, seen.at(-1)!.total], [sizes.download, sizes.download]);
});

describe("warming up", () => {
  type Entries = { name: string; inputs: object[] }[];
  /** The fixture with one more entry that zeros are given to. */
  const offering = (name: string): Promise<string> => alteredPackage((manifest) => {
    const port = { name: "x", dtype: "float32", shape: ["n"] };
    (manifest.entries as Entries).find((entry) => entry.name === name)!.inputs = [port];
  });
  /** Launches before the first run, which makes no bind group where extents of 1 came before it. */
  const made = async (location: string, options: LoadOptions = {}): Promise<number> => {
    const model = await loadModel(location, { gpu, ...options });
    const { dispatches, bindGroups } = model.counters;
    assert.deepEqual((await model.run({ x: X }))["y"]!.data, Float32Array.of(2, 4, 6, 8));
    if (dispatches > 0) assert.equal(model.counters.bindGroups, bindGroups);
    model.dispose();
    return dispatches;
  };

  test("runs entries, after which a run makes nothing", async () => {
    assert.ok(await made(FIXTURE) >= 2);
    assert.equal(await made(FIXTURE, { warmUp: false }), 0);
  });

  test("takes extents to be what is given, the last of a list for all that come, and else 1", async () => {
    const shapes = async (warmUp: Record<string, number[]>): Promise<string[]> => {
      const [seen, device] = [new Set<string>(), await (await adapter()).requestDevice()];
      const createBuffer = device.createBuffer.bind(device);
      // Inputs and results of n x 4 floats; the fixture has no others of these sizes.
      device.createBuffer = (descriptor) => {
        if ((descriptor.usage & 0x80) !== 0) seen.add(String(descriptor.size / 16));
        return createBuffer(descriptor);
      };
      (await loadModel(FIXTURE, { device, warmUp })).dispose();
      device.destroy();
      return [...seen];
    };
    const few = await shapes({});
    for (const n of ["5", "77"]) assert.ok(!few.includes(n));
    const many = await shapes({ n: [77, 5], m: [1, 1, 1] });
    for (const n of ["5", "77"]) assert.ok(many.includes(n), n);
  });

  test("goes on with the others where an entry refuses zeros", async () => {
    assert.ok(await made(await offering("refuse")) >= 2);
    assert.ok(await made(await offering("too_large")) >= 2);
  });

  for (const name of ["trap", "exit", "out_of_range"]) {
    test(`does no harm where zeros break the model (${name}), and fetches and counts nothing twice`, async () => {
      const site = await serve({ "/": await offering(name) }, {});
      let last: Progress | undefined;
      assert.equal(await made(site.url, { onProgress: (progress) => { last = progress; } }), 0);
      assert.deepEqual(site.asked.sort(), [...new Set(site.asked)]);
      for (const { done, total } of Object.values(last!.phases)) assert.equal(done, total);
      site.close();
    });
  }
});

test("an aborted load rejects with the reason", async () => {
  const reason = new Error("enough");
  await assert.rejects(loadModel(FIXTURE, { gpu, signal: AbortSignal.abort(reason) }), reason);
  const stop = new AbortController();
  const loading = loadModel(FIXTURE, { gpu, signal: stop.signal, onProgress: () => { stop.abort(reason); } });
  await assert.rejects(loading, reason);
});

const overwrite = (folder: string, file: string, data: string | Uint8Array): Promise<void> =>
  writeFile(join(folder, file), data);

/** What is changed in the package, and the error that it must give. */
const REFUSED: Record<string, [Change, string, RegExp, boolean?]> = {
  "a newer format": [(m) => { m.format = 3; }, "PackageError", /format 3.*reads format 1 to 2: update/],
  "an older format": [(m) => { m.format = 0; }, "PackageError", /compile the model again/],
  "no format": [(m) => { delete m.format; }, "PackageError", /manifest\.json: format must be a whole number/],
  "a path out of the folder": [(m) => { m.files[0].path = "../x"; }, "PackageError", /plain file name/],
  "an unknown dtype": [(m) => { m.params[0].dtype = "float7"; }, "PackageError", /params\[0\]: dtype/],
  "a parameter beyond its file": [(m) => { m.params[1].bytes = 99; }, "PackageError", /"bias" does not lie within/],
  "a missing file": [(_, dir) => rm(join(dir, "params-0.bin")), "PackageError", /params-0\.bin can't be read/],
  "a shorter file": [(_, dir) => overwrite(dir, "params-0.bin", "x"), "PackageError", /has 1 bytes.*says 272/, false],
  "other bytes": [(_, dir) => overwrite(dir, "params-0.bin", new Uint8Array(272)), "PackageError", /SHA-256/, false],
  "no wasm": [(_, dir) => overwrite(dir, "model.wasm", "hello"), "PackageError", /model\.wasm does not compile/],
  "a missing feature": [(m) => { m.requires.features = ["warp-drive"]; }, "UnsupportedError", /feature "warp-drive"/],
  "a limit too high": [
    (m) => { m.requires.limits.maxStorageBuffersPerShaderStage = 9999; }, "UnsupportedError",
    /maxStorageBuffersPerShaderStage of 9999 \(it has \d+\)/],
  "a shader that is wrong": [
    (_, dir) => readFile(join(dir, "kernels.wgsl"), "utf8").then((text) =>
      overwrite(dir, "kernels.wgsl", text.replace("bias[0]", "bias[0u]!"))),
    "GpuError", /kernel "add_bias" does not compile.*\n.*add_bias\.wgsl:9/],
  "a shader of other bindings": [(m) => { m.kernels[0].bindings[1] = "read_write"; }, "GpuError", /add_bias/],
};
for (const [what, [change, name, message, rehash = true]] of Object.entries(REFUSED)) {
  test(`${what} is refused`, async () => {
    const folder = await alteredPackage(change, { rehash });
    await assert.rejects(loadModel(folder, { gpu }), rejects(name, message));
  });
}

test("a folder without a package is refused", () =>
  assert.rejects(loadModel("/nowhere", { gpu }), rejects("PackageError", /\/nowhere\/manifest\.json can't be read/)));

test("a caller's device that lacks a limit is refused before anything is loaded", async () => {
  const device = await (await adapter()).requestDevice();
  const folder = await alteredPackage((m) => {
    m.requires.limits = { maxComputeInvocationsPerWorkgroup: 512 };
  });
  await rm(join(folder, "model.wasm"));
  await assert.rejects(loadModel(folder, { device }), rejects("UnsupportedError", /of 512 .*the given device/));
  device.destroy();
});
