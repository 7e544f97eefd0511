/** @file Several variants in one package: the best that the device runs is loaded, and nothing of the others. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { missingOf } from "../src/device.ts";
import { loadModel, type LoadOptions } from "../src/index.ts";
import { serve } from "./serve.ts";
import { adapter, altered, alteredPackage, cleanUp, gpu, packageWithVariants, rejects } from "./support.ts";

after(cleanUp);

const X = { data: Float32Array.of(1, 2, 3, 4), shape: [1, 4] };

/** What loading it by HTTP chooses, and the files that it asks for. */
async function chosen(folder: string, options: LoadOptions): Promise<{ variant: string; asked: string[] }> {
  const site = await serve({ "/": folder }, {});
  try {
    const model = await loadModel(site.url, options);
    assert.deepEqual((await model.run({ x: X }))["y"]!.data, Float32Array.of(2, 4, 6, 8));
    const { variant } = model.loading;
    model.dispose();
    return { variant, asked: site.asked.map((path) => path.slice(1)).sort() };
  } finally {
    site.close();
  }
}

const SHARED = ["kernels.wgsl", "manifest.json", "params-0.bin"];

describe("the best variant", () => {
  let folder: string;
  before(async () => {
    folder = await packageWithVariants({
      magic: { features: ["warp-drive"] },
      vast: { limits: { maxStorageBuffersPerShaderStage: 9999 } },
      modest: { limits: { maxStorageBuffersPerShaderStage: 4 } },
      never: {},
    });
  });

  test("of the model's own device", async () => {
    assert.deepEqual(await chosen(folder, { gpu }),
      { variant: "modest", asked: [...SHARED, "manifest-modest.json", "modest-model.wasm"].sort() });
  });

  test("of a caller's device", async () => {
    const device = await (await adapter()).requestDevice();
    assert.equal((await chosen(folder, { device })).variant, "modest");
    device.destroy();
  });

  test("for an adapter that is a program, on such a one only", async () => {
    const software = await packageWithVariants({ software: { features: ["software-adapter"] } });
    const { isFallbackAdapter } = (await adapter()).info;
    const expected = isFallbackAdapter ? "software" : "baseline";
    assert.equal((await chosen(software, { gpu })).variant, expected);
    const device = await (await adapter()).requestDevice();
    assert.equal((await chosen(software, { device })).variant, expected);
    device.destroy();
  });

  test("for adapters whose subgroups are all as large as kernels count on", async () => {
    const shuffling = await packageWithVariants({ shuffling: { features: ["subgroups", "subgroups-of-32"] } });
    const found = await adapter();
    const { features, info } = found;
    const fits = features.has("subgroups") && info.subgroupMinSize === 32 && info.subgroupMaxSize === 32;
    assert.equal((await chosen(shuffling, { gpu })).variant, fits ? "shuffling" : "baseline");
    const requires = { features: ["subgroups", "subgroups-of-32"], limits: {} };
    const missing = (least: number, most: number): string[] => missingOf(requires, {
      features: new Set(["subgroups"]), limits: found.limits,
      info: altered(info, { subgroupMinSize: least, subgroupMaxSize: most }),
    });
    assert.deepEqual(missing(32, 32), []);
    for (const [least, most] of [[4, 4], [8, 32], [32, 64]] as const) {
      assert.deepEqual(missing(least, most), ['feature "subgroups-of-32"']);
    }
  });

  test("that the caller names", async () => {
    assert.equal((await chosen(folder, { gpu, variant: "never" })).variant, "never");
    assert.deepEqual(await chosen(folder, { gpu, variant: "baseline" }),
      { variant: "baseline", asked: [...SHARED, "model.wasm"].sort() });
  });

  test("is the baseline if the device runs no other", async () => {
    const magic = await packageWithVariants({ magic: { features: ["warp-drive"] } });
    assert.equal((await chosen(magic, { gpu })).variant, "baseline");
  });
});

describe("refused, with nothing downloaded", () => {
  async function refused(folder: string, options: LoadOptions, name: string, message: RegExp): Promise<void> {
    const site = await serve({ "/": folder }, {});
    try {
      await assert.rejects(loadModel(site.url, { gpu, ...options }), rejects(name, message));
      assert.deepEqual(site.asked, ["/manifest.json"]);
    } finally {
      site.close();
    }
  }

  test("a variant that is named and can't run", async () => {
    const folder = await packageWithVariants({ magic: { features: ["warp-drive"] } });
    await refused(folder, { variant: "magic" }, "UnsupportedError", /variant "magic" needs feature "warp-drive"/);
  });

  test("an unknown one", async () => {
    const folder = await packageWithVariants({ magic: {} });
    await refused(folder, { variant: "x" }, "InputError", /no variant "x", only "baseline", "magic"/);
  });

  test("a package whose baseline can't run", async () => {
    const folder = await alteredPackage((manifest) => { manifest.requires.features = ["warp-drive", "time-travel"]; });
    await refused(folder, {}, "UnsupportedError", /feature "warp-drive" and feature "time-travel"/);
  });
});

test("a variant's manifest is verified", async () => {
  const folder = await packageWithVariants({ modest: {} });
  const path = join(folder, "manifest-modest.json");
  await writeFile(path, (await readFile(path, "utf8")).replace("fixture", "Fixture"));
  await assert.rejects(loadModel(folder, { gpu }), rejects("PackageError", /manifest-modest\.json .*SHA-256/));
});

for (const path of [
  "../x", "..", "a/b", "a\\b", "%2e%2e", "%2e%2e%2fx", "x?y", "x#y", "//host/x", "http://host/x", "data:,", "C:x", "", ".x",
]) {
  test(`the file name "${path}" is refused`, async () => {
    const message = /must be a plain file name/;
    const ofFile = await alteredPackage((manifest) => { manifest.files[2].path = path; });
    await assert.rejects(loadModel(ofFile, { gpu }), rejects("PackageError", message));
    const record = { name: "a", requires: { features: [], limits: {} }, bytes: 1, sha256: "0".repeat(64) };
    const ofVariant = await alteredPackage((manifest) => { manifest.variants = [{ ...record, manifest: path }]; });
    await assert.rejects(loadModel(ofVariant, { gpu }), rejects("PackageError", message));
  });
}

describe("a manifest with a wrong", () => {
  for (const [what, change, message] of [
    ["encoding", { encoding: "brotli" }, /encoding must be "gzip"/],
    ["count of pieces", { pieces: [] }, /pieces must cover the file/],
    ["digest of a piece", { pieces: ["00"] }, /64 hexadecimal digits/],
    ["size unpacked", { encoding: "gzip" }, /decoded_bytes must be a whole number/],
  ] as const) {
    test(what, async () => {
      const folder = await alteredPackage((manifest) => { Object.assign(manifest.files[2], change); });
      await assert.rejects(loadModel(folder, { gpu }), rejects("PackageError", message));
    });
  }
  for (const [what, storage, message] of [
    ["storage", { dtype: "int4" }, /storage: dtype must be "float16" or "int8"/],
    ["size of its values", { dtype: "float16" }, /other bytes than its shape and dtype say/],
    ["place of scales", { dtype: "int8", scales: { offset: 512, shape: [4] } }, /does not lie within/],
    ["shape of scales", { dtype: "int8", scales: { offset: 0, shape: [3] } }, /other bytes than/],
  ] as const) {
    test(what, async () => {
      const folder = await alteredPackage((manifest) => { manifest.params[1].storage = storage; });
      await assert.rejects(loadModel(folder, { gpu }), rejects("PackageError", message));
    });
  }
});
