/** @file Files on their way: broken, damaged, resumed, unpacked, kept, and called off; with a source made of arrays. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { folderCache, type PackageCache } from "../src/cache.ts";
import { Downloads } from "../src/download.ts";
import { PackageError } from "../src/errors.ts";
import { TransferError, type Bytes, type Source } from "../src/fetch.ts";
import { PIECE_BYTES, type PackageFile } from "../src/manifest.ts";
import { Meter } from "../src/progress.ts";
import { cleanUp, rejects, temporaryFolder } from "./support.ts";

after(cleanUp);

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

function noise(bytes: number): Bytes {
  return new Uint8Array(randomBytes(bytes));
}

function fileOf(content: Uint8Array, packed?: PackageFile["packed"]): PackageFile {
  const starts = Array.from({ length: Math.ceil(content.byteLength / PIECE_BYTES) }, (_, i) => i * PIECE_BYTES);
  const pieces = starts.map((start) => sha256(content.subarray(start, start + PIECE_BYTES)));
  return {
    path: "data.bin", role: "params", bytes: content.byteLength, sha256: sha256(content),
    ...(pieces.length > 1 ? { pieces } : {}), ...(packed ? { packed } : {}),
  };
}

/** Gives what `serve` makes of each request, the first being number 0, in chunks of odd sizes. */
function source(serve: (request: number, offset: number, fresh: boolean) => { bytes: Bytes; breaks?: boolean }) {
  const requests: { offset: number; fresh: boolean }[] = [];
  const made: Source = {
    name: "test:",
    remote: true,
    async *read(_, { offset = 0, fresh = false } = {}) {
      await Promise.resolve();
      const { bytes, breaks } = serve(requests.push({ offset, fresh }) - 1, offset, fresh);
      for (let at = 0; at < bytes.byteLength; at += 100_003) yield bytes.subarray(at, at + 100_003);
      if (breaks) throw new TransferError("the connection was lost");
    },
  };
  return { made, requests };
}

class MemoryCache implements PackageCache {
  readonly kept = new Map<string, Bytes>();
  get = (key: string): Promise<Bytes | undefined> => Promise.resolve(this.kept.get(key));
  put(key: string, bytes: Bytes): Promise<void> {
    this.kept.set(key, bytes.slice());
    return Promise.resolve();
  }
  delete(key: string): Promise<void> {
    this.kept.delete(key);
    return Promise.resolve();
  }
}

function downloads(from: Source, cache?: PackageCache, signal = new AbortController().signal) {
  const done = { download: 0, verify: 0, upload: 0, compile: 0 };
  const meter = new Meter(done, ({ phases }) => {
    done.download = phases.download.done;
    done.verify = phases.verify.done;
  });
  return { loads: new Downloads(from, cache ? { cache } : { refusal: "none" }, meter, signal), done };
}

describe("a transfer", () => {
  const content = noise(2 * PIECE_BYTES + 12_345);
  const file = fileOf(content);

  test("that breaks goes on where it broke", async () => {
    const { made, requests } = source((request, offset) => request === 0
      ? { bytes: content.subarray(0, PIECE_BYTES + 1000), breaks: true }
      : { bytes: content.subarray(offset) });
    const { loads, done } = downloads(made);
    assert.ok(Buffer.from(await loads.whole(file)).equals(content));
    assert.deepEqual(requests, [{ offset: 0, fresh: false }, { offset: PIECE_BYTES + 1000, fresh: false }]);
    assert.deepEqual([done.download, done.verify, loads.fetched], [file.bytes, file.bytes, file.bytes]);
  });

  test("that breaks again and again fails in the end", async () => {
    const { made, requests } = source(() => ({ bytes: new Uint8Array(0), breaks: true }));
    await assert.rejects(downloads(made).loads.whole(file), rejects("PackageError", /connection was lost/));
    assert.equal(requests.length, 4);
  });

  test("whose source refuses is not tried again", async () => {
    let requests = 0;
    const made = source(() => {
      requests++;
      throw new PackageError("HTTP 404");
    }).made;
    await assert.rejects(downloads(made).loads.whole(file), rejects("PackageError", /HTTP 404/));
    assert.equal(requests, 1);
  });

  test("of a flipped byte is fetched once more, from that piece on and past the browser's cache", async () => {
    const flipped = content.slice();
    flipped[PIECE_BYTES + 5]! ^= 1;
    const { made, requests } = source((_, offset, fresh) => ({ bytes: (fresh ? content : flipped).subarray(offset) }));
    const { loads, done } = downloads(made);
    assert.ok(Buffer.from(await loads.whole(file)).equals(content));
    assert.deepEqual(requests, [{ offset: 0, fresh: false }, { offset: PIECE_BYTES, fresh: true }]);
    assert.equal(done.download, file.bytes);
  });

  test("of a byte that stays flipped names it", async () => {
    const flipped = content.slice();
    flipped[PIECE_BYTES + 5]! ^= 1;
    const { made, requests } = source((_, offset) => ({ bytes: flipped.subarray(offset) }));
    const where = new RegExp(`data\\.bin .*SHA-256.* in bytes ${PIECE_BYTES} to ${2 * PIECE_BYTES - 1}`);
    await assert.rejects(downloads(made).loads.whole(file), rejects("PackageError", where));
    assert.equal(requests.length, 2);
  });

  for (const [what, bytes, message] of [
    ["too short", content.subarray(0, -1), /data\.bin has 16789560 bytes, the manifest says 16789561/],
    ["far too short", content.subarray(0, 1), /data\.bin has 1 bytes/],
  ] as const) {
    test(`that is ${what} is refused`, async () => {
      const { made } = source((_, offset) => ({ bytes: bytes.subarray(offset) }));
      await assert.rejects(downloads(made).loads.whole(file), rejects("PackageError", message));
    });
  }

  test("with bytes behind its end is refused", async () => {
    const small = noise(100);
    const { made } = source(() => ({ bytes: Uint8Array.of(...small, 0) }));
    const whole = downloads(made).loads.whole(fileOf(small));
    await assert.rejects(whole, rejects("PackageError", /more than the 100 bytes/));
  });

  test("ends with its signal, also while it waits to try again", async () => {
    const stop = new AbortController();
    const { made } = source(() => ({ bytes: new Uint8Array(0), breaks: true }));
    const { loads } = downloads(made, undefined, stop.signal);
    const whole = loads.whole(file);
    whole.catch(() => undefined);
    setTimeout(() => { stop.abort(new Error("enough")); }, 20);
    await assert.rejects(whole, /enough/);
  });
});

describe("a cache", () => {
  const content = noise(PIECE_BYTES + 1000);
  const file = fileOf(content);
  const right = source((_, offset) => ({ bytes: content.subarray(offset) })).made;
  const nothing = source(() => { throw new PackageError("not asked"); }).made;

  async function filled(): Promise<MemoryCache> {
    const cache = new MemoryCache();
    const { loads } = downloads(right, cache);
    await loads.whole(file);
    assert.equal(await loads.kept(), undefined);
    return cache;
  }

  test("serves everything the second time", async () => {
    const { loads, done } = downloads(nothing, await filled());
    assert.ok(Buffer.from(await loads.whole(file)).equals(content));
    assert.deepEqual([loads.fetched, loads.cached, done.download], [0, file.bytes, file.bytes]);
  });

  test("keeps what had arrived when a download broke off for good", async () => {
    const cache = new MemoryCache();
    const broken = source(() => ({ bytes: content.subarray(0, PIECE_BYTES + 10) })).made;
    await assert.rejects(downloads(broken, cache).loads.whole(file), rejects("PackageError", /manifest says/));
    const { made, requests } = source((_, offset) => ({ bytes: content.subarray(offset) }));
    const { loads } = downloads(made, cache);
    assert.ok(Buffer.from(await loads.whole(file)).equals(content));
    assert.deepEqual(requests, [{ offset: PIECE_BYTES, fresh: false }]);
    assert.deepEqual([loads.cached, loads.fetched], [PIECE_BYTES, 1000]);
  });

  test("with a flipped byte drops the piece, which is fetched again", async () => {
    const cache = await filled();
    cache.kept.get(file.pieces![0]!)![7]! ^= 1;
    const { loads } = downloads(right, cache);
    assert.ok(Buffer.from(await loads.whole(file)).equals(content));
    assert.deepEqual([loads.fetched, loads.cached], [PIECE_BYTES, 1000]);
    await loads.kept();
    assert.equal(sha256(cache.kept.get(file.pieces![0]!)!), file.pieces![0]);
  });

  test("that fails is done without, and says why", async () => {
    const cache = new MemoryCache();
    cache.put = () => Promise.reject(new Error("QuotaExceededError"));
    cache.get = () => Promise.reject(new Error("broken"));
    const { loads } = downloads(right, cache);
    assert.ok(Buffer.from(await loads.whole(file)).equals(content));
    assert.match((await loads.kept())!, /QuotaExceededError/);
  });

  test("is a folder, if one likes", async () => {
    const cache = folderCache(`${await temporaryFolder()}/deep/cache`);
    assert.equal(await cache.get(file.pieces![1]!), undefined);
    const first = downloads(right, cache).loads;
    await first.whole(file);
    assert.equal(await first.kept(), undefined);
    const { loads } = downloads(nothing, cache);
    assert.ok(Buffer.from(await loads.whole(file)).equals(content));
    await cache.delete(file.pieces![0]!);
    assert.equal(await cache.get(file.pieces![0]!), undefined);
  });
});

describe("a packed file", () => {
  const content = new Uint8Array(300_001).map((_, i) => (i * i) % 251);
  const packed = new Uint8Array(gzipSync(content));
  const served = source(() => ({ bytes: packed })).made;

  test("is unpacked", async () => {
    const { loads, done } = downloads(served);
    const file = fileOf(packed, { encoding: "gzip", bytes: content.byteLength });
    assert.ok(Buffer.from(await loads.whole(file)).equals(content));
    assert.equal(done.download, packed.byteLength);
  });

  for (const bytes of [content.byteLength - 1, content.byteLength + 1]) {
    test(`that unpacks to ${content.byteLength} bytes, not ${bytes}, is refused`, async () => {
      const whole = downloads(served).loads.whole(fileOf(packed, { encoding: "gzip", bytes }));
      await assert.rejects(whole, rejects("PackageError", /does not unpack to/));
    });
  }

  test("with a wrong digest says so", async () => {
    const file = { ...fileOf(packed, { encoding: "gzip", bytes: content.byteLength }), sha256: "0".repeat(64) };
    await assert.rejects(downloads(served).loads.whole(file), rejects("PackageError", /SHA-256/));
  });

  test("that is no gzip is refused", async () => {
    const other = noise(1000);
    const { made } = source(() => ({ bytes: other }));
    const whole = downloads(made).loads.whole(fileOf(other, { encoding: "gzip", bytes: 1000 }));
    await assert.rejects(whole, rejects("PackageError", /data\.bin/));
  });
});
