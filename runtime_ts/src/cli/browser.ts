/** @file A job in, its report out, run by a page in headless Chromium that a server on localhost feeds. */
import { createReadStream, existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BrowserContext, BrowserType } from "playwright-core";
import { messageOf, TvmWebgpuError, UnsupportedError } from "../errors.ts";
import type { Job, JobFiles, JobReport } from "./job.ts";
import type { PageOutcome } from "./job_page.ts";
import { requireOptional } from "./optional.ts";

/** Built beside this program. */
const PAGE_SCRIPT = new URL("job_page.mjs", import.meta.url);

// WebGPU on SwiftShader, which Chromium brings along, and nothing that calls home.
const FLAGS = [
  "--headless=new", "--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader",
  "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic",
  "--disable-extensions", "--disable-default-apps", "--disable-dev-shm-usage", "--no-first-run", "--no-pings",
];

/** @throws UnsupportedError without Chromium or playwright-core; else what loading and running throw. */
export async function runInBrowser(job: Job, folder: string, files: JobFiles, chromium?: string): Promise<JobReport> {
  const server = await serve((path) => resource(path, job, folder), files);
  const { port } = server.address() as AddressInfo;
  try {
    return await withBrowser(chromium, async (context) => {
      const page = await context.newPage();
      const problems: string[] = [];
      page.on("console", (message) => { if (message.type() === "error") problems.push(message.text()); });
      page.on("pageerror", (error) => { problems.push(error.message); });
      const crash = new Promise<never>((_, reject) => {
        page.on("crash", () => { reject(new TvmWebgpuError("the browser's page crashed")); });
      });
      await page.goto(`http://127.0.0.1:${port}/`);
      // page.evaluate sends text: the function runs in the page, where job_page.ts has put `outcome`.
      const outcome = await Promise.race([page.evaluate<PageOutcome>("outcome"), crash]).catch((error: unknown) => {
        throw new TvmWebgpuError([messageOf(error), ...problems].join("\n"));
      });
      if ("report" in outcome) return outcome.report;
      throw Object.defineProperty(new TvmWebgpuError(outcome.error), "name", { value: outcome.name });
    });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** Runs `action` with a browser that has WebGPU, and closes it. Flags beyond the usual ones go before them. */
export async function withBrowser<T>(
  path: string | undefined, action: (context: BrowserContext) => Promise<T>, flags: readonly string[] = [],
): Promise<T> {
  const executablePath = path ?? process.env["CHROMIUM"] ?? "/usr/bin/chromium";
  if (!existsSync(executablePath)) {
    throw new UnsupportedError(`no browser at ${executablePath}: apt-get install chromium, or give --chromium PATH`);
  }
  const { chromium } = await requireOptional<{ chromium: BrowserType }>("playwright-core");
  const profile = await mkdtemp(join(tmpdir(), "tvm-webgpu-chromium-"));
  try {
    const context = await chromium.launchPersistentContext(profile, {
      executablePath,
      headless: false, // Playwright's own headless flags turn the GPU off; FLAGS has Chromium's
      args: [...FLAGS, ...flags],
      ignoreDefaultArgs: ["--disable-gpu", "--enable-unsafe-swiftshader"],
    });
    try {
      return await action(context);
    } finally {
      await context.close();
    }
  } finally {
    await rm(profile, { recursive: true, force: true, maxRetries: 3 });
  }
}

const HTML = '<!doctype html><title>job</title><script type="module" src="job_page.mjs"></script>';

type Resource = { readonly type: string } & ({ readonly text: string } | { readonly file: string | URL });

/** What the page may fetch besides the job's own files. */
function resource(path: string, job: Job, folder: string): Resource | undefined {
  switch (path) {
    case "/": return { type: "text/html", text: HTML };
    case "/job_page.mjs": return { type: "text/javascript", file: PAGE_SCRIPT };
    case "/job.json": return { type: "application/json", text: JSON.stringify(job) };
  }
  const name = /^\/package\/(\w[\w.-]*)$/.exec(path)?.[1];
  return name === undefined ? undefined : { type: "application/octet-stream", file: join(folder, name) };
}

/** Listens on localhost only. `/file?path=` reaches what the job names, by GET and PUT. */
async function serve(find: (path: string) => Resource | undefined, files: JobFiles): Promise<Server> {
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? "/", "http://localhost");
    if (url.pathname === "/file") {
      const path = url.searchParams.get("path") ?? "";
      if (request.method === "PUT") await files.write(path, await body(request));
      response.end(request.method === "PUT" ? "" : await files.read(path));
      return;
    }
    const found = find(url.pathname);
    if (!found || ("file" in found && !existsSync(found.file))) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { "content-type": found.type, "cache-control": "no-store" });
    if ("text" in found) response.end(found.text);
    else createReadStream(found.file).pipe(response);
  };
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => { response.writeHead(500).end(messageOf(error)); });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

async function body(request: IncomingMessage): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  for await (const piece of request) pieces.push(piece as Uint8Array);
  return new Uint8Array(Buffer.concat(pieces));
}
