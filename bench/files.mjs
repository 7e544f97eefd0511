/** @file Files by the prefix of their address in, a server on this machine out, for pages and processes that are measured. */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";

const TYPES = { html: "text/html", mjs: "text/javascript", json: "application/json", wasm: "application/wasm" };
const ISOLATED = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };
const CHUNK = 1 << 16;

/**
 * A file is served where the path is its name, a folder's files where the path begins with its name and "/"; "/" is
 * `page`. With `mbit` all answers share a line of so many Mbit/s, on which each begins `latency` ms late.
 *
 * @returns its address, which ends in "/", and `close`
 */
export async function serveFiles({ page = "", files = {}, mbit, latency = 0 }) {
  const sleep = (ms) => new Promise((later) => setTimeout(later, ms));
  let free = 0; // when the line has sent all that it was given
  const send = async (response, body) => {
    if (mbit === undefined) return response.end(body);
    await sleep(latency);
    for (let at = 0; at < body.length; at += CHUNK) {
      const chunk = body.subarray(at, at + CHUNK);
      free = Math.max(free, performance.now()) + chunk.length / (125 * mbit);
      await sleep(free - performance.now());
      response.write(chunk);
    }
    return response.end();
  };
  const read = (path) => {
    if (path === "") return Buffer.from(page);
    const name = Object.keys(files).find((each) => path === each || path.startsWith(`${each}/`));
    return readFile(join(files[name], path.slice(name.length)));
  };
  const server = createServer(async (request, response) => {
    try {
      const path = new URL(request.url, "http://localhost").pathname.slice(1);
      const body = await read(path);
      const type = TYPES[path === "" ? "html" : path.split(".").at(-1)] ?? "application/octet-stream";
      response.writeHead(200, {
        ...ISOLATED, "content-type": type, "content-length": body.length, "cache-control": "no-cache",
      });
      await send(response, body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    address: `http://127.0.0.1:${server.address().port}/`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
