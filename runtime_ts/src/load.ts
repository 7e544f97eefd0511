/** @file A package's address in, a Model ready to run out; what the device lacks is said before large files come. */
import { buildSession, loadCode, neededFiles, workOf, type Code, type Materials, type Times } from "./build.ts";
import { openBrowserCache, type PackageCache, type Store } from "./cache.ts";
import { deviceLost, findAdapter, findGpu, onCpu, openDevice } from "./device.ts";
import { Downloads, piecesOf } from "./download.ts";
import { InputError, messageOf, PackageError, typed } from "./errors.ts";
import { openSource, TransferError, type Bytes, type Source } from "./fetch.ts";
import { BASELINE, parseManifest, type Manifest, type PackageFile } from "./manifest.ts";
import { Model } from "./model.ts";
import { Meter, SILENT, type Progress } from "./progress.ts";
import { abortable } from "./queue.ts";
import { RenewedSessions } from "./rebuild.ts";
import { destroySession, type Session, type Tune } from "./session.ts";
import type { EntriesOf, TypedModel } from "./typed.ts";
import { chooseVariant } from "./variants.ts";
import { prepared, warmRuns, type Warm, type WarmExtents } from "./warm.ts";

export interface LoadOptions {
  /** A device of your own, so that tensors can stay in its buffers; if left out the model makes one. */
  readonly device?: GPUDevice;
  /** Where to ask for a device; if left out navigator.gpu, or in Node the npm package "webgpu". */
  readonly gpu?: GPU;
  /** The variant of the package, "baseline" for the one that needs least; if left out the best that the device runs. */
  readonly variant?: string;
  /**
   * Where files are kept for the next time: if left out, and for true, Cache Storage where there is one and the package
   * comes over a network; false for nowhere; or a place of your own, such as `folderCache(path)` in Node.
   */
  readonly cache?: boolean | PackageCache;
  /**
   * Whether to use every shader once and to run entries on zeros, so that the first run is as quick as the tenth
   * (default true). On software adapters, and of kernels to begin with, such a run is only rehearsed: all is made that
   * it needs, and nothing computed.
   * Extents that have names are taken to be 1, or what is given for them: `{ length: [128, 512] }`.
   */
  readonly warmUp?: boolean | WarmExtents;
  /**
   * Whether to begin with kernels that drivers compile soon, where the package has some (default true): the tuned ones
   * take their place between two runs, as soon as they are compiled (`Model.tuned`). False waits for those, warmed up.
   */
  readonly start?: boolean;
  readonly signal?: AbortSignal;
  /** Called as bytes arrive, are verified, uploaded and compiled. */
  readonly onProgress?: (progress: Progress) => void;
  /** The same for the tuned kernels of a model that begins with others (`start`), which come when it can be used. */
  readonly onTuning?: (progress: Progress) => void;
  /** Takes the lines that the model's code prints; if left out they go to the console. */
  readonly onPrint?: (line: string) => void;
}

/** How a model came to be. */
export interface LoadReport {
  /** The variant's name, or "baseline". */
  readonly variant: string;
  /** Bytes of files that came from the package's address, and from the cache. */
  readonly fetchedBytes: number;
  readonly cachedBytes: number;
  /** Settles when everything is in the cache: with undefined, or with why not all of it is. */
  readonly kept: Promise<string | undefined>;
  /** Milliseconds: to the manifest and the device, then to the end of each part, and in all. */
  readonly ms: Readonly<Times & Record<"manifest" | "device" | "warmUp" | "total", number>>;
}

/**
 * Loads a package from the folder at a URL, or in Node at a path.
 *
 * @throws PackageError, UnsupportedError, InputError, GpuError, OutOfMemoryError, or the signal's reason.
 */
export function loadModel(location: string | URL, options?: LoadOptions): Promise<Model>;
/** The same, with runs checked by the types `M` that `tvm-webgpu types` wrote for the package. */
export function loadModel<M extends EntriesOf<M>>(
  location: string | URL, options?: LoadOptions,
): Promise<TypedModel<M>>;
export async function loadModel(location: string | URL, options: LoadOptions = {}): Promise<unknown> {
  options.signal?.throwIfAborted();
  const stop = new AbortController(); // one failure ends everything else
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  try {
    return await abortable(load(openSource(location), options, signal), options.signal);
  } catch (error) {
    stop.abort(error);
    throw typed(error);
  }
}

async function load(source: Source, options: LoadOptions, signal: AbortSignal): Promise<Model> {
  const start = performance.now();
  if (options.device && !("lost" in options.device)) throw new InputError("the option device is no GPUDevice");
  const store = await openStore(source, options.cache);
  const [offered, top] = await Promise.all([
    options.device ?? (options.gpu ? Promise.resolve(options.gpu) : findGpu()).then((gpu) => findAdapter(gpu)),
    readManifest(source, store.cache, signal),
  ]);
  const owner = options.device ? "the given device" : "this graphics adapter";
  const variant = chooseVariant(top, offered, owner, options.variant);
  const manifest = variant ? await readVariant(source, store, variant.file, signal) : top;
  // What the variant's own manifest requires counts, whatever the first one said of it.
  if (variant) chooseVariant({ ...manifest, variants: [] }, offered, owner);
  const manifestMs = performance.now() - start;
  const opening = "requestDevice" in offered ? openDevice(offered, manifest.requires) : Promise.resolve(offered);
  const times: Times = { wasm: 0, kernels: 0, params: 0, session: 0 };
  const { warmUp = true } = options;
  const print = options.onPrint ?? ((line: string) => { console.log(line); });
  const ownsDevice = !options.device;
  const warm = warmUp !== false;
  let first = manifest;
  let report!: LoadReport;
  /** What a new device is given: the program at work. */
  let program!: Pick<Materials, "manifest" | "code">;

  const warmer: Warm = (runner, stop) => {
    const { session } = runner;
    const rehearse = session.manifest !== manifest || onCpu(session.device);
    const model = new Model(new RenewedSessions(session), runner, report);
    return warmRuns(model, session, typeof warmUp === "object" ? warmUp : {}, stop, rehearse);
  };
  const ms = { ...times, manifest: manifestMs, device: 0, warmUp: 0, total: 0 };

  const runner = await owning(opening, ownsDevice, async () => {
    if (manifest.start && options.start !== false) {
      // With the same entries, not equal ones, a call may be taken to either.
      first = { ...await readVariant(source, store, manifest.start, signal), entries: manifest.entries };
    }
    const meter = new Meter(workOf(first), options.onProgress);
    const downloads = new Downloads(source, await withRoom(store, manifest), meter, signal);
    const code = loadCode(first, downloads, meter);
    const device = await opening;
    ms.device = performance.now() - start;
    const materials = { manifest: first, downloads, code, meter, print, warm };
    program = materials;
    return prepared(async (broken) => {
      if (broken) {
        const again = { ...materials, meter: SILENT, warm: false, beside: broken };
        return buildSession(device, ownsDevice, again, ms, signal);
      }
      const session = await buildSession(device, ownsDevice, materials, ms, signal);
      report = {
        variant: variant?.name ?? BASELINE,
        fetchedBytes: downloads.fetched,
        cachedBytes: downloads.cached,
        kept: downloads.kept().then(async (refusal) => {
          if (store.cache) await tidy(store.cache, top, [first, manifest]);
          return refusal;
        }),
        ms,
      };
      return session;
    }, warm ? warmer : undefined, signal, destroySession);
  });
  ms.warmUp = ms.total = performance.now() - start;
  const renew = async (): Promise<Session> => rebuild(source, store, options, { ...program, print });
  /** The tuned kernels, beside a session of those to begin with. */
  const tune: Tune = async (beside, stop, idle) => {
    await idle(); // drivers do one thing at a time, or processors do: the first result is before these
    const files = manifest.files.filter(({ role }) => role !== "params"); // those are there
    const meter = new Meter(workOf({ ...manifest, files }), options.onTuning);
    const downloads = new Downloads(source, store, meter, stop);
    const code = loadCode(manifest, downloads, meter);
    const materials = { manifest, downloads, code, meter, print, warm, beside };
    const { device } = beside;
    const tuned = await Promise.race([buildSession(device, ownsDevice, materials, times, stop), lossOf(device)]);
    program = materials;
    return tuned;
  };
  return new Model(
    new RenewedSessions(runner.session, ownsDevice ? renew : undefined), runner, report, warm ? warmer : undefined,
    first === manifest ? undefined : tune);
}

/** Destroys a device of the model's own if `work` fails. What waits for a lost device may wait for ever. */
async function owning<T>(opening: Promise<GPUDevice>, owns: boolean, work: () => Promise<T>): Promise<T> {
  try {
    return await Promise.race([work(), opening.then(lossOf)]);
  } catch (error) {
    if (owns) opening.then((device) => { device.destroy(); }, () => undefined);
    throw error;
  }
}

/** Never comes, but for an error when the device is lost. */
function lossOf(device: GPUDevice): Promise<never> {
  return device.lost.then((info) => { throw deviceLost(info); });
}

/** How long a browser may take to start its GPU process again. */
const PATIENCE_MS = 3000;

/** After a lost device: code is at hand, parameters come from the cache, or else once more from the source. */
async function rebuild(
  source: Source, store: Store, options: LoadOptions,
  { manifest, code, print }: { manifest: Manifest; code: Code; print: (line: string) => void },
): Promise<Session> {
  const adapter = await findAdapter(options.gpu ?? (await findGpu()), PATIENCE_MS);
  chooseVariant({ ...manifest, variants: [] }, adapter, "the graphics adapter that is left");
  const device = await openDevice(adapter, manifest.requires);
  const stop = new AbortController();
  const downloads = new Downloads(source, store, SILENT, stop.signal);
  const materials: Materials = { manifest, downloads, code, meter: SILENT, print, warm: options.warmUp !== false };
  const times: Times = { wasm: 0, kernels: 0, params: 0, session: 0 };
  try {
    return await owning(Promise.resolve(device), true, () => buildSession(device, true, materials, times, stop.signal));
  } catch (error) {
    stop.abort(error);
    throw error;
  }
}

async function openStore(source: Source, wanted: LoadOptions["cache"] = true): Promise<Store> {
  if (typeof wanted === "object") return { cache: wanted };
  if (!wanted) return { refusal: "the caller wants none" };
  return source.remote ? openBrowserCache(source.name) : { refusal: "the package lies on this machine" };
}

/** Not the key of any content; for a visit without network. */
const MANIFEST_KEY = "manifest.json";

async function readManifest(source: Source, kept: PackageCache | undefined, signal: AbortSignal): Promise<Manifest> {
  let bytes: Bytes;
  try {
    bytes = await gathered(source.read("manifest.json", { signal }));
  } catch (error) {
    const earlier = error instanceof TransferError ? await kept?.get(MANIFEST_KEY).catch(() => undefined) : undefined;
    if (!earlier) throw error;
    return parsed(source, "manifest.json", earlier);
  }
  const manifest = parsed(source, "manifest.json", bytes);
  kept?.put(MANIFEST_KEY, bytes).catch(() => undefined); // without it the package just needs the network
  return manifest;
}

async function readVariant(
  source: Source, store: Store, file: PackageFile, signal: AbortSignal,
): Promise<Manifest> {
  const bytes = await new Downloads(source, store, SILENT, signal).whole(file);
  return parsed(source, file.path, bytes);
}

function parsed(source: Source, path: string, bytes: Bytes): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as unknown;
  } catch (error) {
    throw new PackageError(`${source.name}: ${path} is not JSON (${messageOf(error)})`);
  }
  return parseManifest(json, path);
}

async function gathered(chunks: AsyncIterable<Bytes>): Promise<Bytes> {
  const all: Bytes[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return new Uint8Array(await new Blob(all).arrayBuffer());
}

/** The store, which keeps no more if it has no room for all that it lacks. */
async function withRoom(store: Store, manifest: Manifest): Promise<Store> {
  const { cache } = store;
  const [room, keys] = await Promise.all([cache?.room?.(), cache?.keys?.()]).catch(() => []);
  if (room === undefined) return store;
  const there = new Set(keys);
  const lacking = neededFiles(manifest).flatMap(piecesOf).filter(({ sha256 }) => !there.has(sha256));
  const bytes = lacking.reduce((sum, piece) => sum + piece.bytes, 0);
  if (bytes <= room) return store;
  return { ...store, refusal: `the cache has room for ${room} bytes, the package needs ${bytes}` };
}

/** Deletes what an earlier version of the package left. */
async function tidy(cache: PackageCache, top: Manifest, programs: readonly Manifest[]): Promise<void> {
  const manifests = [...top.variants.map(({ file }) => file), ...programs.flatMap(({ start }) => start ?? [])];
  const files = [...programs.flatMap(neededFiles), ...manifests];
  const named = new Set([MANIFEST_KEY, ...files.flatMap(piecesOf).map(({ sha256 }) => sha256)]);
  for (const key of (await cache.keys?.().catch(() => [])) ?? []) {
    if (!named.has(key)) await cache.delete(key).catch(() => undefined);
  }
}
