/**
 * @file Gives packages random parameters of the sizes that their manifests name, and sets the hashes to match.
 *
 * node fill.mjs PACKAGE ...
 *
 * Times hardly depend on the values, and the parameters are most of a package's bytes: without them, packages can be
 * taken to a machine that takes little. Small values keep activations finite and normal.
 */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const PIECE = 8 << 20;
const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");

function randomBytes(length) {
  let seed = 1;
  const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  return Buffer.from(Float32Array.from({ length: length / 4 }, () => (random() - 0.5) / 8).buffer);
}

for (const folder of process.argv.slice(2)) {
  const filled = new Map(); // manifests share files
  const mended = new Map();
  const mend = (name) => {
    if (mended.has(name)) return mended.get(name);
    const manifest = JSON.parse(readFileSync(join(folder, name)));
    for (const file of manifest.files.filter(({ role }) => role === "params")) {
      const bytes = filled.get(file.path) ?? randomBytes(file.bytes);
      if (!filled.has(file.path)) writeFileSync(join(folder, file.path), bytes);
      filled.set(file.path, bytes);
      file.sha256 = digest(bytes);
      if (file.pieces) file.pieces = file.pieces.map((_, i) => digest(bytes.subarray(i * PIECE, (i + 1) * PIECE)));
    }
    for (const other of [...(manifest.variants ?? []), ...(manifest.start ? [manifest.start] : [])]) {
      const bytes = mend(other.manifest);
      Object.assign(other, { bytes: bytes.length, sha256: digest(bytes) });
    }
    const bytes = Buffer.from(JSON.stringify(manifest));
    writeFileSync(join(folder, name), bytes);
    mended.set(name, bytes);
    return bytes;
  };
  mend("manifest.json");
}
