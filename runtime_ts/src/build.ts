/** @file A chosen manifest and a device in, a Session out: files, shaders, wasm and parameters, all at once. */
import { Buffers } from "./buffers.ts";
import { Commands } from "./commands.ts";
import { Decoder } from "./decode.ts";
import { guarded, onCpu } from "./device.ts";
import type { Downloads } from "./download.ts";
import { messageOf, PackageError, typed, UnsupportedError } from "./errors.ts";
import type { Bytes } from "./fetch.ts";
import { Host } from "./host.ts";
import { compileKernels, warmUp } from "./kernels.ts";
import { contentBytes, fileOf, type Manifest, type PackageFile } from "./manifest.ts";
import { loadParams } from "./params.ts";
import type { Phase, Tally } from "./progress.ts";
import { abortable, Turns } from "./queue.ts";
import type { Session } from "./session.ts";

/** Files of parameters on their way at the same time. Browsers take six connections to a server. */
const AT_ONCE = 6;

/** What a package's code was made into; it outlives the device. */
export interface Code {
  readonly module: Promise<WebAssembly.Module>;
  readonly kernels: Promise<Bytes>;
}

/** Milliseconds from the start of the build to the end of each part. */
export type Times = Record<"wasm" | "kernels" | "params" | "session", number>;

export interface Materials {
  readonly manifest: Manifest;
  readonly downloads: Downloads;
  readonly code: Code;
  readonly meter: Tally;
  readonly print: (line: string) => void;
  /** Whether to use every shader once before the first run does. */
  readonly warm: boolean;
  /** A session at work, whose parameters the new one shares. */
  readonly beside?: Session;
}

/** The files that running needs. */
export function neededFiles({ files }: Manifest): PackageFile[] {
  return files.filter(({ role }) => role === "wasm" || role === "kernels" || role === "params");
}

/** All of the work that building is, in bytes. */
export function workOf(manifest: Manifest): Record<Phase, number> {
  const files = neededFiles(manifest);
  const sum = (sizes: readonly number[]): number => sizes.reduce((a, b) => a + b, 0);
  const stored = sum(files.map(({ bytes }) => bytes));
  const content = (of: string): number => sum(files.filter(({ role }) => role === of).map(contentBytes));
  const kernels = sum(manifest.kernels.map(({ wgsl: [, length] }) => length));
  return { download: stored, verify: stored, upload: content("params"), compile: content("wasm") + kernels };
}

/** Starts to fetch and compile the wasm, and to fetch the kernels. */
export function loadCode(manifest: Manifest, downloads: Downloads, meter: Tally): Code {
  const wasm = fileOf(manifest, "wasm");
  const kernels = downloads.whole(fileOf(manifest, "kernels"));
  const module = downloads.whole(wasm).then(async (bytes) => {
    try {
      const compiled = await WebAssembly.compile(bytes);
      meter.add("compile", bytes.byteLength);
      return compiled;
    } catch (error) {
      const why = messageOf(error);
      if (typed(error) !== error) throw error;
      if (/content security policy|unsafe-eval/i.test(why)) {
        const needed = "script-src 'wasm-unsafe-eval'";
        throw new UnsupportedError(`the page's Content-Security-Policy must allow ${needed} (${why})`);
      }
      throw new PackageError(`${wasm.path} does not compile in this browser: ${why}`);
    }
  });
  for (const started of [kernels, module]) started.catch(() => undefined); // told where they are waited for
  return { module, kernels };
}

/** The device is the session's in the end; until then it is the caller's to destroy. @throws whatever goes wrong */
export async function buildSession(
  device: GPUDevice, ownsDevice: boolean, materials: Materials, times: Times, signal: AbortSignal,
): Promise<Session> {
  const { manifest, code, meter, print, warm, beside } = materials;
  const start = performance.now();
  const timed = async <T>(part: keyof Times, work: Promise<T>): Promise<T> => {
    const value = await work;
    times[part] = performance.now() - start;
    return value;
  };
  const scope = new Scope(signal);
  try {
    const buffers = scope.own(new Buffers(device));
    const shards = [...beside?.shards ?? []];
    const shared = beside && sharedParams(beside, buffers);
    const [module, kernels, params] = await abortable(Promise.all([
      timed("wasm", code.module),
      timed("kernels", code.kernels.then(async (text) => {
        const onCompiled = (bytes: number): void => { meter.add("compile", bytes); };
        const compiled = await compileKernels(device, manifest.kernels, text, onCompiled, beside !== undefined);
        if (warm && onCpu(device)) await warmUp(device, compiled);
        return compiled;
      })),
      timed("params", shared ? Promise.resolve(shared) :
        allParams(device, buffers, materials, (buffer) => {
          shards.push(buffer);
          return scope.own(buffer);
        })),
    ]), signal);
    const { value: commands, checked } = guarded(device, "preparing", () => new Commands(device, buffers, kernels));
    scope.own(commands);
    await checked;
    const host = await Host.create(module, buffers, commands, print);
    await guarded(device, "binding parameters", () => {
      host.bindParams(params);
      commands.submit();
    }).checked;
    signal.throwIfAborted();
    times.session = performance.now() - start;
    return { manifest, device, ownsDevice, buffers, commands, host, params, shards };
  } catch (error) {
    scope.destroy();
    throw error;
  } finally {
    scope.leave();
  }
}

function sharedParams(beside: Session, buffers: Buffers): Session["params"] {
  return beside.params.map((value) => {
    if (value.kind !== "tensor") return value;
    const { buffer, offset, bytes } = beside.buffers.get(value.handle);
    return { ...value, handle: buffers.view(buffer, offset, bytes) };
  });
}

async function allParams(
  device: GPUDevice, buffers: Buffers, { manifest, downloads, meter }: Materials, own: (b: GPUBuffer) => GPUBuffer,
): Promise<Parameters<Host["bindParams"]>[0]> {
  const turns = new Turns(AT_ONCE);
  const encoded = manifest.params.some(({ storage }) => storage);
  const decoder = encoded ? new Decoder(device, manifest.params) : undefined;
  const files = manifest.files.filter(({ role }) => role === "params");
  const loaded = await Promise.all(files.map(async (file) => {
    await turns.enter();
    try {
      const params = manifest.params.filter((param) => param.file === file.path);
      return await loadParams(device, buffers, file, params, decoder, downloads.content(file), own, (bytes) => {
        meter.add("upload", bytes);
      });
    } finally {
      turns.leave();
    }
  }));
  const placed = new Map(loaded.flat());
  return manifest.params.map((param) => placed.get(param)!);
}

/** What is destroyed when the work fails or is called off, things that come too late included. */
class Scope {
  readonly #signal: AbortSignal;
  readonly #owned: { destroy(): void }[] = [];
  #ended = false;
  readonly #stop = (): void => { this.destroy(); };

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", this.#stop, { once: true });
  }

  own<T extends { destroy(): void }>(thing: T): T {
    if (this.#ended) thing.destroy();
    else this.#owned.push(thing);
    return thing;
  }

  destroy(): void {
    this.#ended = true;
    for (const thing of this.#owned.splice(0)) thing.destroy();
  }

  leave(): void {
    this.#signal.removeEventListener("abort", this.#stop);
  }
}
