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

for (const folder of process.argv.slice(2)) {
  const manifest = JSON.parse(readFileSync(`${folder}/manifest.json`));
  for (const file of manifest.files.filter(({ role }) => role === "params")) {
    let seed = 1;
    const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
    const bytes = Buffer.from(Float32Array.from({ length: file.bytes / 4 }, () => (random() - 0.5) / 8).buffer);
    writeFileSync(`${folder}/${file.path}`, bytes);
    file.sha256 = createHash("sha256").update(bytes).digest("hex");
  }
  writeFileSync(`${folder}/manifest.json`, JSON.stringify(manifest));
}
