/** @file What the tests share: a GPU, the fixture's package, and changed copies of it. */
import { createHash } from "node:crypto";
import { copyFile, cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { create } from "webgpu";

/** The runtime's folder; the tests run from dist/test or from anywhere that RUNTIME_TS names. */
export const ROOT = process.env["RUNTIME_TS"] ?? join(dirname(fileURLToPath(import.meta.url)), "../..");
export const FIXTURE = join(ROOT, "test/fixture/package");

// VK_DRIVER_FILES names a driver that Dawn takes (tests/vulkan has one); without it SwiftShader, as Debian's chromium
// has it, so that a machine without a GPU can run the tests.
const SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json";
if (existsSync(SWIFTSHADER)) process.env["VK_DRIVER_FILES"] ??= SWIFTSHADER;
process.env["XDG_RUNTIME_DIR"] ??= tmpdir(); // or drivers complain on stderr

export const gpu: GPU = create([]);

export async function adapter(): Promise<GPUAdapter> {
  const found = await gpu.requestAdapter();
  if (!found) throw new Error("no Vulkan driver: install chromium or mesa-vulkan-drivers, or set VK_DRIVER_FILES");
  return found;
}

// A change reaches into any corner of the JSON.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Json = any;
export type Change = (manifest: Json, folder: string) => unknown;

/** A copy of the fixture whose manifest and files `change` alters; sizes and hashes are made right again. */
export async function alteredPackage(
  change: Change, options = { rehash: true },
): Promise<string> {
  const folder = await temporaryFolder();
  await cp(FIXTURE, folder, { recursive: true });
  const manifest: Json = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8"));
  await change(manifest, folder);
  if (options.rehash) {
    for (const file of manifest.files as { path: string }[]) {
      const bytes = await readFile(join(folder, file.path)).catch(() => undefined);
      if (bytes) Object.assign(file, { bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") });
    }
  }
  await writeFile(join(folder, "manifest.json"), JSON.stringify(manifest));
  return folder;
}

/** An empty folder, until cleanUp. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "tvm-webgpu-test-"));
  temporary.push(folder);
  return folder;
}

/** The fixture with variants of these requirements; each has a wasm file of its own. */
export function packageWithVariants(variants: Record<string, object>): Promise<string> {
  return alteredPackage(async (manifest, folder) => {
    const records: object[] = [];
    for (const [name, given] of Object.entries(variants)) {
      const requires = { features: [], limits: {}, ...given };
      const files = (manifest.files as { path: string }[]).map((file) => (
        file.path === "model.wasm" ? { ...file, path: `${name}-model.wasm` } : file));
      await copyFile(join(folder, "model.wasm"), join(folder, `${name}-model.wasm`));
      const text = JSON.stringify({ ...manifest, requires, files });
      await writeFile(join(folder, `manifest-${name}.json`), text);
      const sha256 = createHash("sha256").update(text).digest("hex");
      records.push({ name, requires, manifest: `manifest-${name}.json`, bytes: Buffer.byteLength(text), sha256 });
    }
    manifest.variants = records;
  });
}

const temporary: string[] = [];

/** For `after`: removes what alteredPackage made. */
export async function cleanUp(): Promise<void> {
  await Promise.all(temporary.splice(0).map((folder) => rm(folder, { recursive: true })));
}

/** Asserts by name and message, whichever bundle the class came from. */
export function rejects(name: string, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    const { name: got, message: text } = error as Error;
    if (got === name && message.test(text)) return true;
    throw new Error(`expected ${name} ${String(message)}, got ${got}: ${text}`);
  };
}

/**
 * The fixture with kernels to begin with, whose results are greater by 100 so that tests can tell them; its entries are
 * those that take and give tensors only. With `n` its extent of that name is fixed.
 */
export function packageWithStart(n: number | string = "n"): Promise<string> {
  return alteredPackage(async (manifest, folder) => {
    manifest.entries = (manifest.entries as Json[]).slice(0, 2);
    for (const port of manifest.entries[0].inputs) port.shape[0] = n;
    const first = structuredClone<Json>(manifest);
    const wgsl = await readFile(join(folder, "kernels.wgsl"), "utf8");
    const text = wgsl.replace("bias[0]", "bias[0] + vec4f(100)");
    await writeFile(join(folder, "start-kernels.wgsl"), text);
    const sha256 = (data: string): string => createHash("sha256").update(data).digest("hex");
    const at = (first.files as { role: string }[]).findIndex(({ role }) => role === "kernels");
    first.files[at] = { path: "start-kernels.wgsl", role: "kernels", bytes: text.length, sha256: sha256(text) };
    first.kernels[0].wgsl = [0, text.length];
    const json = JSON.stringify(first);
    await writeFile(join(folder, "manifest-start.json"), json);
    manifest.start = { manifest: "manifest-start.json", bytes: Buffer.byteLength(json), sha256: sha256(json) };
  });
}

/** `target` with some members replaced, its own methods still called on itself. */
export function altered<T extends object>(target: T, members: Partial<Record<keyof T, unknown>>): T {
  return new Proxy(target, {
    get(_, name) {
      if (name in members) return members[name as keyof T];
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? (value as () => unknown).bind(target) : value;
    },
  });
}
