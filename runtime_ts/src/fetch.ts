/** @file A package's address in, its files' verified bytes out, with progress; from HTTP or from a folder. */
import type * as NodeFs from "node:fs/promises";
import { messageOf, PackageError } from "./errors.ts";
import { importModule } from "./import.ts";
import type { PackageFile } from "./manifest.ts";

/** Bytes loaded so far, of all that running the package needs. */
export interface Progress {
  readonly loaded: number;
  readonly total: number;
}

/** Where a package lies. Files come whole; reading tells about each piece that arrives. */
export interface Source {
  /** What messages call it. */
  readonly name: string;
  read(path: string, options?: ReadOptions): Promise<Bytes>;
}

type Bytes = Uint8Array<ArrayBuffer>;

interface ReadOptions {
  /** The size that the manifest gives. */
  readonly bytes?: number;
  readonly onBytes?: (count: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/** A folder's URL (relative ones as the page resolves them), or in Node also its path. */
export function openSource(location: string | URL): Source {
  const text = String(location);
  const inPage = typeof document !== "undefined" || "importScripts" in globalThis;
  // Two letters at least, so that C:\models is a path.
  const isUrl = location instanceof URL || /^[a-z][a-z\d+.-]+:/i.test(text);
  if (!isUrl && !inPage) return folderSource(text);
  const pageBase = typeof document === "undefined" ? () => globalThis.location.href : () => document.baseURI;
  const base = new URL(text, inPage ? pageBase() : undefined);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return base.protocol === "file:" && !inPage ? folderSource(base) : httpSource(base);
}

/** The manifest's JSON, not yet checked. */
export async function readManifest(source: Source, signal?: AbortSignal): Promise<unknown> {
  const bytes = await source.read("manifest.json", { signal });
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as unknown;
  } catch (error) {
    throw new PackageError(`${source.name}: manifest.json is not JSON (${messageOf(error)})`);
  }
}

/** One file, its size and SHA-256 checked against the manifest. @throws PackageError */
export async function readFile(
  source: Source, file: PackageFile, onBytes: (count: number) => void, signal?: AbortSignal,
): Promise<Bytes> {
  const bytes = await source.read(file.path, { bytes: file.bytes, onBytes, signal });
  const again = "copy or compile the package again";
  if (bytes.byteLength !== file.bytes) {
    throw new PackageError(`${file.path} has ${bytes.byteLength} bytes, the manifest says ${file.bytes}: ${again}`);
  }
  // Browsers offer crypto.subtle, as they do WebGPU, in secure contexts only.
  const { subtle } = globalThis.crypto as Partial<Crypto>;
  if (!subtle) throw new PackageError("an insecure page can't verify files: serve it by https or from localhost");
  const digest = new Uint8Array(await subtle.digest("SHA-256", bytes));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== file.sha256) throw new PackageError(`${file.path} does not have the SHA-256 of the manifest: ${again}`);
  return bytes;
}

function httpSource(base: URL): Source {
  return {
    name: base.href,
    async read(path, { bytes, onBytes, signal } = {}) {
      const url = new URL(path, base);
      url.search = base.search;
      try {
        const response = await fetch(url, signal ? { signal } : {});
        if (!response.ok) throw new PackageError(`HTTP ${response.status} ${response.statusText}`);
        return await readBody(response, bytes, onBytes);
      } catch (error) {
        signal?.throwIfAborted();
        throw new PackageError(`${url.href} can't be fetched: ${messageOf(error)}`);
      }
    },
  };
}

/** Reads into one array of the known size, so that a large file is never in memory twice. */
async function readBody(response: Response, bytes?: number, onBytes?: (count: number) => void): Promise<Bytes> {
  if (bytes === undefined || !response.body) return new Uint8Array(await response.arrayBuffer());
  const all = new Uint8Array(bytes);
  const reader = response.body.getReader();
  let at = 0;
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    if (at + piece.value.byteLength > bytes) {
      await reader.cancel();
      throw new PackageError(`it has more than the ${bytes} bytes that the manifest says`);
    }
    all.set(piece.value, at);
    at += piece.value.byteLength;
    onBytes?.(piece.value.byteLength);
  }
  return all.subarray(0, at);
}

function folderSource(folder: string | URL): Source {
  return {
    name: String(folder),
    async read(path, { onBytes, signal } = {}) {
      const fs = await importModule<typeof NodeFs>("node:fs/promises");
      const file = folder instanceof URL ? new URL(path, folder) : `${folder}/${path}`;
      try {
        const bytes = new Uint8Array(await fs.readFile(file, signal ? { signal } : {}));
        onBytes?.(bytes.byteLength);
        return bytes;
      } catch (error) {
        signal?.throwIfAborted();
        throw new PackageError(`${String(file)} can't be read: ${messageOf(error)}`);
      }
    },
  };
}
