/** @file The page side of a job in the browser: fetches the job, runs it, and sends results to its own server. */
import { TvmWebgpuError, messageOf } from "../errors.ts";
import { runJob, type Job, type JobReport } from "./job.ts";

export type PageOutcome = { readonly report: JobReport } | { readonly error: string; readonly name: string };

async function start(): Promise<PageOutcome> {
  const job = (await (await fetch("job.json")).json()) as Job;
  const read = async (path: string): Promise<Uint8Array<ArrayBuffer>> => {
    const response = await fetch(`file?path=${encodeURIComponent(path)}`);
    if (!response.ok) throw new Error(`${path}: ${await response.text()}`);
    return new Uint8Array(await response.arrayBuffer());
  };
  const write = async (path: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> => {
    const response = await fetch(`file?path=${encodeURIComponent(path)}`, { method: "PUT", body: bytes });
    if (!response.ok) throw new Error(`${path}: ${await response.text()}`);
  };
  try {
    return { report: await runJob(job, "package/", { read, write }) };
  } catch (error) {
    return { error: messageOf(error), name: error instanceof TvmWebgpuError ? error.name : "Error" };
  }
}

Object.assign(globalThis, { outcome: start() });
