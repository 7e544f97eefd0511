/** @file Whether this is a page or one of its workers. */

export function inBrowser(): boolean {
  return typeof document !== "undefined" || "importScripts" in globalThis;
}
