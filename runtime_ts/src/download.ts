/** @file A file of the manifest in, its verified bytes out: from the cache, else from the source, piece by piece. */
import type { PackageCache, Store } from "./cache.ts";
import { messageOf, PackageError } from "./errors.ts";
import { chunksOf, TransferError, type Bytes, type Source } from "./fetch.ts";
import { contentBytes, PIECE_BYTES, type PackageFile } from "./manifest.ts";
import type { Tally } from "./progress.ts";
import { abortable, sleep, Turns } from "./queue.ts";

const TRIES = 4;
const FIRST_PAUSE_MS = 200;
/** Pieces that wait to be written to the cache; more would be a copy of the package in memory. */
const WRITES = 4;

interface Piece {
  readonly offset: number;
  readonly bytes: number;
  readonly sha256: string;
}

/** One package's files, for one load. */
export class Downloads {
  readonly #source: Source;
  readonly #meter: Tally;
  readonly #signal: AbortSignal;
  readonly #turns = new Turns(WRITES);
  readonly #writes: Promise<void>[] = [];
  readonly #cache: PackageCache | undefined;
  /** Bytes that came from the source, and from the cache. */
  fetched = 0;
  cached = 0;
  /** Why nothing more is kept, if that is so. */
  refusal: string | undefined;

  constructor(source: Source, { cache, refusal }: Store, meter: Tally, signal: AbortSignal) {
    this.#source = source;
    this.#meter = meter;
    this.#signal = signal;
    this.#cache = cache;
    this.refusal = refusal;
  }

  /** A file's content whole. @throws PackageError, or the signal's reason */
  async whole(file: PackageFile): Promise<Bytes> {
    const all = new Uint8Array(contentBytes(file));
    let at = 0;
    for await (const chunk of this.content(file)) {
      all.set(chunk, at);
      at += chunk.byteLength;
    }
    return all;
  }

  /** A file's content, unpacked, as it comes. */
  async *content(file: PackageFile): AsyncGenerator<Bytes, void> {
    const chunks = file.packed ? unpacked(this.#verified(file), file) : this.#verified(file);
    let bytes = 0;
    for await (const chunk of chunks) {
      bytes += chunk.byteLength;
      if (bytes > contentBytes(file)) break;
      yield chunk;
    }
    if (bytes !== contentBytes(file)) {
      throw new PackageError(`${file.path} does not unpack to the ${contentBytes(file)} bytes that the manifest says`);
    }
  }

  /** Settles when everything is kept that can be, and says why not all is. */
  async kept(): Promise<string | undefined> {
    await Promise.all(this.#writes);
    return this.refusal;
  }

  async *#verified(file: PackageFile): AsyncGenerator<Bytes, void> {
    const transfer = new Transfer(this.#source, file, this.#meter, this.#signal);
    try {
      for (const piece of piecesOf(file)) {
        const bytes = (await this.#fromCache(piece)) ?? (await this.#fetch(transfer, file, piece));
        this.#meter.add("verify", piece.bytes);
        yield bytes;
      }
    } finally {
      await transfer.end();
    }
  }

  async #fromCache(piece: Piece): Promise<Bytes | undefined> {
    const bytes = await this.#cache?.get(piece.sha256).catch(() => undefined);
    this.#signal.throwIfAborted();
    if (!bytes) return undefined;
    if (!(await isRight(bytes, piece))) {
      await this.#cache!.delete(piece.sha256);
      return undefined;
    }
    this.cached += bytes.byteLength;
    this.#meter.add("download", bytes.byteLength);
    return bytes;
  }

  async #fetch(transfer: Transfer, file: PackageFile, piece: Piece): Promise<Bytes> {
    let bytes = await transfer.take(piece);
    if (!(await isRight(bytes, piece))) {
      // Once more, past the browser's cache: a proxy, or an update of the package between two files, may be to blame.
      this.#meter.add("download", -bytes.byteLength);
      bytes = await transfer.take(piece, true);
      if (!(await isRight(bytes, piece))) throw wrong(file, piece, bytes.byteLength);
    }
    this.fetched += bytes.byteLength;
    if (this.#cache && this.refusal === undefined) await this.#keep(this.#cache, piece.sha256, bytes);
    return bytes;
  }

  async #keep(cache: PackageCache, key: string, bytes: Bytes): Promise<void> {
    await this.#turns.enter();
    const write = cache.put(key, bytes).catch((error: unknown) => {
      this.refusal = `the cache takes no more (${String(error)})`;
    });
    this.#writes.push(write.finally(() => { this.#turns.leave(); }));
  }
}

/** What of a file is verified, kept and fetched again at a time. */
export function piecesOf(file: PackageFile): Piece[] {
  const { bytes, sha256, pieces } = file;
  if (!pieces) return [{ offset: 0, bytes, sha256 }];
  return pieces.map((digest, i) => (
    { offset: i * PIECE_BYTES, bytes: Math.min(PIECE_BYTES, bytes - i * PIECE_BYTES), sha256: digest }));
}

/** A file on its way: goes on where it broke off, when the network fails. */
class Transfer {
  readonly #source: Source;
  readonly #file: PackageFile;
  readonly #meter: Tally;
  readonly #signal: AbortSignal;
  #chunks: AsyncGenerator<Bytes, void> | undefined;
  #rest: Bytes = new Uint8Array(0);
  /** Where `#rest` starts. */
  #position = 0;

  constructor(source: Source, file: PackageFile, meter: Tally, signal: AbortSignal) {
    this.#source = source;
    this.#file = file;
    this.#meter = meter;
    this.#signal = signal;
  }

  /** The piece's bytes, or fewer where the file ends early. */
  async take({ offset, bytes }: Piece, fresh = false): Promise<Bytes> {
    const all = new Uint8Array(bytes);
    let at = 0;
    if (fresh || offset !== this.#position) await this.#open(offset, fresh);
    for (let failures = 0; at < bytes;) {
      try {
        const chunk = await this.#next();
        if (!chunk) break;
        const used = Math.min(chunk.byteLength, bytes - at);
        all.set(used < chunk.byteLength ? chunk.subarray(0, used) : chunk, at);
        at += used;
        this.#rest = chunk.subarray(used);
        this.#position = offset + at;
        this.#meter.add("download", used);
      } catch (error) {
        if (!(error instanceof TransferError) || ++failures === TRIES) throw error;
        await abortable(sleep(FIRST_PAUSE_MS * 2 ** failures), this.#signal);
        await this.#open(offset + at, fresh);
      }
    }
    if (at === bytes && offset + bytes === this.#file.bytes && (this.#rest.byteLength > 0 || (await this.#next()))) {
      throw new PackageError(`${this.#file.path} has more than the ${this.#file.bytes} bytes that the manifest says`);
    }
    return at === bytes ? all : all.subarray(0, at);
  }

  async end(): Promise<void> {
    await this.#chunks?.return();
  }

  async #next(): Promise<Bytes | undefined> {
    const rest = this.#rest;
    this.#rest = new Uint8Array(0);
    if (rest.byteLength > 0) return rest;
    this.#chunks ??= this.#source.read(this.#file.path, { offset: this.#position, signal: this.#signal });
    const next = await this.#chunks.next();
    return next.done ? undefined : next.value;
  }

  async #open(offset: number, fresh: boolean): Promise<void> {
    await this.end();
    this.#rest = new Uint8Array(0);
    this.#position = offset;
    this.#chunks = this.#source.read(this.#file.path, { offset, fresh, signal: this.#signal });
  }
}

async function* unpacked(
  pieces: AsyncGenerator<Bytes, void>, { path, packed }: PackageFile,
): AsyncGenerator<Bytes, void> {
  const { readable, writable } = new DecompressionStream(packed!.encoding);
  const writer = writable.getWriter();
  let failure: { readonly reason: unknown } | undefined; // of the pieces, not of what they hold
  const next = (): ReturnType<typeof pieces.next> => pieces.next().catch((reason: unknown) => {
    failure = { reason };
    throw reason;
  });
  const feed = async (): Promise<void> => {
    for (let piece = await next(); !piece.done; piece = await next()) await writer.write(piece.value);
    await writer.close();
  };
  feed().catch((error: unknown) => writer.abort(error)).catch(() => undefined);
  try {
    yield* chunksOf(readable);
  } catch (error) {
    throw failure ? failure.reason : new PackageError(`${path} can't be unpacked: ${messageOf(error)}`);
  } finally {
    await pieces.return();
  }
}

async function isRight(bytes: Bytes, piece: Piece): Promise<boolean> {
  if (bytes.byteLength !== piece.bytes) return false;
  // Browsers offer crypto.subtle, as they do WebGPU, in secure contexts only.
  const { subtle } = globalThis.crypto as Partial<Crypto>;
  if (!subtle) throw new PackageError("an insecure page can't verify files: serve it by https or from localhost");
  const digest = new Uint8Array(await subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") === piece.sha256;
}

function wrong(file: PackageFile, { offset, bytes }: Piece, got: number): PackageError {
  const again = "copy or compile the package again";
  if (got < bytes) {
    return new PackageError(`${file.path} has ${offset + got} bytes, the manifest says ${file.bytes}: ${again}`);
  }
  const where = bytes < file.bytes ? ` in bytes ${offset} to ${offset + bytes - 1}` : "";
  return new PackageError(`${file.path} does not have the SHA-256 of the manifest${where}: ${again}`);
}
