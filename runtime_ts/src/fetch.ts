/** @file A package's address in, its files' bytes out as they arrive; from HTTP, or in Node from a folder. */
import type * as NodeFs from "node:fs/promises";
import { inBrowser } from "./browser.ts";
import { messageOf, PackageError } from "./errors.ts";
import { importModule } from "./import.ts";

export type Bytes = Uint8Array<ArrayBuffer>;

/** Where a package lies. */
export interface Source {
  /** What messages call it. */
  readonly name: string;
  /** Whether its bytes cross a network, so that it pays to keep them. */
  readonly remote: boolean;
  /** A file's bytes as they come. @throws TransferError if it may work at another time; PackageError */
  read(path: string, options?: ReadOptions): AsyncGenerator<Bytes, void>;
}

interface ReadOptions {
  /** Where to start, if not at the file's first byte. */
  readonly offset?: number;
  /** Past all caches of the browser, whose copy was wrong. */
  readonly fresh?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** The network or the server failed: the same may work when it is tried again. */
export class TransferError extends PackageError {}

/** A folder's URL (relative ones as the page resolves them), or in Node also its path. */
export function openSource(location: string | URL): Source {
  const text = String(location);
  const inPage = inBrowser();
  // Two letters at least, so that C:\models is a path.
  const isUrl = location instanceof URL || /^[a-z][a-z\d+.-]+:/i.test(text);
  if (!isUrl && !inPage) return folderSource(text);
  const pageBase = typeof document === "undefined" ? () => globalThis.location.href : () => document.baseURI;
  const base = new URL(text, inPage ? pageBase() : undefined);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return base.protocol === "file:" && !inPage ? folderSource(base) : httpSource(base);
}

function httpSource(base: URL): Source {
  return {
    name: base.href,
    remote: true,
    async *read(path, { offset = 0, fresh = false, signal } = {}) {
      const url = new URL(path, base);
      url.search = base.search;
      try {
        const response = await fetch(url, {
          ...(signal ? { signal } : {}),
          ...(fresh ? { cache: "reload" } : {}),
          headers: offset > 0 ? { range: `bytes=${offset}-` } : {},
        });
        if (!response.ok) {
          const Failure = response.status >= 500 || response.status === 429 ? TransferError : PackageError;
          throw new Failure(`HTTP ${response.status} ${response.statusText}`);
        }
        // A server that knows no ranges sends the file from its start.
        yield* skipping(bodyOf(response), response.status === 206 ? 0 : offset);
      } catch (error) {
        signal?.throwIfAborted();
        const final = error instanceof PackageError && !(error instanceof TransferError);
        const Failure = final ? PackageError : TransferError;
        throw new Failure(`${url.href} can't be fetched: ${messageOf(error)}`);
      }
    },
  };
}

async function* bodyOf(response: Response): AsyncGenerator<Bytes, void> {
  if (response.body) yield* chunksOf(response.body);
}

/** A stream's chunks: not every browser lets `for await` have them. A reader that stops early ends the stream. */
export async function* chunksOf(stream: ReadableStream<Bytes>): AsyncGenerator<Bytes, void> {
  const reader = stream.getReader();
  try {
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) yield piece.value;
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

async function* skipping(chunks: AsyncGenerator<Bytes, void>, count: number): AsyncGenerator<Bytes, void> {
  for await (const chunk of chunks) {
    if (count < chunk.byteLength) yield count > 0 ? chunk.subarray(count) : chunk;
    count = Math.max(0, count - chunk.byteLength);
  }
}

const FOLDER_CHUNK = 8 << 20;

function folderSource(folder: string | URL): Source {
  return {
    name: String(folder),
    remote: false,
    async *read(path, { offset = 0, signal } = {}) {
      const fs = await importModule<typeof NodeFs>("node:fs/promises");
      const name = folder instanceof URL ? new URL(path, folder) : `${folder}/${path}`;
      let file: NodeFs.FileHandle | undefined;
      try {
        file = await fs.open(name);
        for (let at = offset; ;) {
          signal?.throwIfAborted();
          const { size } = await file.stat();
          const chunk = new Uint8Array(Math.min(FOLDER_CHUNK, Math.max(0, size - at)));
          const { bytesRead } = await file.read(chunk, 0, chunk.byteLength, at);
          if (bytesRead === 0) return;
          at += bytesRead;
          yield chunk.subarray(0, bytesRead);
        }
      } catch (error) {
        signal?.throwIfAborted();
        throw new PackageError(`${String(name)} can't be read: ${messageOf(error)}`);
      } finally {
        await file?.close();
      }
    },
  };
}
