/** @file Bytes by their SHA-256, kept between visits: in Cache Storage, or in Node in a folder. */
import type * as NodeFs from "node:fs/promises";
import type { Bytes } from "./fetch.ts";
import { importModule } from "./import.ts";

/**
 * Where one package's pieces are kept. Keys are digests of the contents, so that nothing stale is ever found and
 * variants share what they have in common. What it gives back is verified again.
 */
export interface PackageCache {
  get(key: string): Promise<Bytes | undefined>;
  put(key: string, bytes: Bytes): Promise<void>;
  delete(key: string): Promise<void>;
  /** If given, what the package no longer names is deleted. */
  keys?(): Promise<readonly string[]>;
  /** How many more bytes there is room for, if that is known. */
  room?(): Promise<number | undefined>;
}

/** A load's cache, and why it keeps nothing more, if so. */
export interface Store {
  readonly cache?: PackageCache;
  readonly refusal?: string;
}

const PREFIX = "tvm-webgpu ";
// Keys of Cache Storage are addresses; this one is never asked.
const ADDRESS = "https://tvm-webgpu.invalid/";

/** The browser's Cache Storage for the package at this address, or why there is none. */
export async function openBrowserCache(address: string): Promise<Store> {
  // Insecure pages have none; where a user forbids it, it is there and fails.
  const storage = (globalThis as { caches?: CacheStorage }).caches;
  if (!storage) return { refusal: "this place has no Cache Storage" };
  let cache: Cache;
  try {
    cache = await storage.open(PREFIX + withoutQuery(address));
  } catch (error) {
    return { refusal: `the browser refuses Cache Storage (${String(error)})` };
  }
  const kept: PackageCache = {
    async get(key) {
      const found = await cache.match(ADDRESS + key);
      return found && new Uint8Array(await found.arrayBuffer());
    },
    put: (key, bytes) => cache.put(ADDRESS + key, new Response(bytes)),
    async delete(key) { await cache.delete(ADDRESS + key); },
    async keys() { return (await cache.keys()).map(({ url }) => url.slice(ADDRESS.length)); },
    async room() {
      const { quota, usage = 0 } = await navigator.storage.estimate();
      return quota === undefined ? undefined : quota - usage;
    },
  };
  return { cache: kept };
}

/** A folder as a cache, for Node. It may serve many packages; what they no longer use stays until it is deleted. */
export function folderCache(folder: string): PackageCache {
  const files = importModule<typeof NodeFs>("node:fs/promises");
  const place = (key: string): string => `${folder}/${key}`;
  return {
    async get(key) {
      return (await files).readFile(place(key)).then((bytes) => new Uint8Array(bytes), () => undefined);
    },
    async put(key, bytes) {
      const fs = await files;
      await fs.mkdir(folder, { recursive: true });
      const part = `${place(key)}.${crypto.randomUUID()}`;
      await fs.writeFile(part, bytes);
      await fs.rename(part, place(key)); // whole or not at all
    },
    async delete(key) { await (await files).rm(place(key), { force: true }); },
  };
}

/** Removes what earlier loads kept: of the package at an address, or of all. Only this origin's, in a browser. */
export async function clearCache(address?: string | URL): Promise<void> {
  const storage = (globalThis as { caches?: CacheStorage }).caches;
  if (!storage) return;
  const base = typeof document === "undefined" ? globalThis.location.href : document.baseURI;
  const only = address === undefined ? undefined : withoutQuery(new URL(address, base).href);
  for (const name of await storage.keys()) {
    if (!name.startsWith(PREFIX)) continue;
    const owner = name.slice(PREFIX.length);
    if (only === undefined || owner === only || owner === `${only}/`) await storage.delete(name);
  }
}

function withoutQuery(address: string): string {
  return address.replace(/[?#].*$/, "");
}
