/** @file An optional npm package's name in, the package out, from this program's, the user's or NODE_PATH's folder. */
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { messageOf, UnsupportedError } from "../errors.ts";
import { importModule } from "../import.ts";

/** @throws UnsupportedError that says how to get it. */
export async function requireOptional<T>(name: string): Promise<T> {
  try {
    return await importModule<T>(name);
  } catch {
    // A program inside a Python wheel has no node_modules above it: look where the user stands.
  }
  try {
    const path = createRequire(join(process.cwd(), "package.json")).resolve(name);
    const found = await importModule<T & { readonly default?: T }>(pathToFileURL(path).href);
    return found.default ?? found; // a CommonJS package, named by its path, has all its names there
  } catch (error) {
    const why = firstLine(messageOf(error));
    throw new UnsupportedError(`this needs the npm package "${name}": npm install ${name} (${why})`);
  }
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0]!;
}
