import { InputError } from "tvm-webgpu";
import { infer } from "./infer.js";

async function inWorker(): Promise<number[]> {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<number[]>) => { resolve(data); };
    worker.onerror = ({ message }) => { reject(new Error(message)); };
  });
}

let loaded = 0;
const page = infer({ onProgress: (progress) => { loaded = progress.loaded; } });
Object.assign(globalThis, {
  outcome: Promise.all([page, inWorker()]).then(([page, worker]) =>
    ({ page, worker, progress: loaded > 0, error: new InputError("no").name })),
});
