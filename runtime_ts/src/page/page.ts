/** @file The page that `tvm-webgpu serve` shows: loads the package at ?package= (or model/) and runs its entries. */
import { messageOf, TvmWebgpuError } from "../errors.ts";
import { loadModel } from "../load.ts";
import type { Entry } from "../manifest.ts";
import type { CpuTensor, Model } from "../model.ts";
import type { ModelObject } from "../tensor.ts";
import { find, make } from "./dom.ts";
import { entryForm, type Form, type Kept } from "./fields.ts";
import { resultView, timing } from "./views.ts";

const MOST_KEPT = 64;
const REPEATS = 20;

const form = find("form", HTMLFormElement);
const buttons = [find("run", HTMLButtonElement), find("repeat", HTMLButtonElement)];
const results = find("results", HTMLElement);
const kept: Kept[] = [];

async function start(): Promise<void> {
  const progress = find("progress", HTMLProgressElement);
  const facts = find("facts", HTMLElement);
  const where = new URLSearchParams(location.search).get("package") ?? "model/";
  const begin = performance.now();
  const model = await loadModel(where, {
    onProgress: ({ loaded, total }) => {
      progress.value = loaded / total;
      facts.textContent = loaded < total
        ? `${megabytes(loaded)} of ${megabytes(total)}`
        : `${megabytes(total)}; compiling shaders for this GPU`;
    },
  });
  const seconds = ((performance.now() - begin) / 1000).toFixed(2);
  progress.hidden = true;
  document.title = `${model.name} · tvm-webgpu`;
  find("name", HTMLElement).textContent = model.name;
  facts.textContent = describe(model, seconds);
  showEntries(model);
}

/** One line on what was loaded, onto what. */
function describe(model: Model, seconds: string): string {
  const { files, kernels } = model.manifest;
  const bytes = files.filter(({ role }) => role !== "debug").reduce((sum, file) => sum + file.bytes, 0);
  const { vendor, architecture, description } = model.device.adapterInfo;
  const adapter = description || [vendor, architecture].filter(Boolean).join(" ") || "this GPU";
  const count = kernels.length === 1 ? "1 kernel" : `${kernels.length} kernels`;
  return `${megabytes(bytes)}, ${count}, ready in ${seconds} s on ${adapter}`;
}

function showEntries(model: Model): void {
  const nav = find("entries", HTMLElement);
  const tabs = model.entries.map((entry) => make("button", { type: "button" }, entry.name));
  const open = (index: number): void => {
    tabs.forEach((tab, i) => { tab.ariaPressed = String(i === index); });
    openEntry(model, model.entries[index]!);
  };
  tabs.forEach((tab, i) => { tab.addEventListener("click", () => { open(i); }); });
  nav.replaceChildren(...tabs);
  nav.hidden = tabs.length < 2;
  open(Math.max(0, model.entries.findIndex(({ name }) => name === "main")));
  form.hidden = false;
}

function openEntry(model: Model, entry: Entry): void {
  const fields = entryForm(entry, kept);
  find("inputs", HTMLElement).replaceChildren(...fields.elements);
  const run = (times: number) => (event: Event): void => {
    event.preventDefault();
    if (!form.reportValidity()) return;
    for (const button of buttons) button.disabled = true;
    void attempt(() => runEntry(model, entry, fields, times)).finally(() => {
      for (const button of buttons) button.disabled = false;
    });
  };
  form.onsubmit = run(1);
  buttons[1]!.onclick = run(REPEATS);
}

async function runEntry(model: Model, entry: Entry, fields: Form, times: number): Promise<void> {
  const inputs = fields.inputs();
  const ms: number[] = [];
  let last: Record<string, CpuTensor | ModelObject> = {};
  for (let i = 0; i < times; i++) {
    for (const result of Object.values(last)) if ("dispose" in result) result.dispose();
    const begin = performance.now();
    last = await model.run<Record<string, CpuTensor | ModelObject>>(inputs, { entry: entry.name });
    ms.push(performance.now() - begin);
  }
  find("timing", HTMLElement).replaceChildren(...timing(ms));
  const views = Object.entries(last).map(([name, result]) => {
    if (!("dispose" in result)) return resultView(name, result);
    keep(entry, name, result);
    return make("p", { className: "soft" }, `${name}: an object, kept for the inputs of later runs.`);
  });
  results.replaceChildren(...views);
  fields.refresh();
  if (views.length === 0) results.append(make("p", { className: "soft" }, "This entry has no results."));
}

let runs = 0;

function keep(entry: Entry, name: string, object: ModelObject): void {
  kept.push({ label: `${name}, from ${entry.name} #${++runs}`, name, object });
  if (kept.length > MOST_KEPT) kept.shift()!.object.dispose();
}

/** Runs an action; what it throws is shown. */
async function attempt(action: () => Promise<void>): Promise<void> {
  const error = find("error", HTMLElement);
  error.hidden = true;
  try {
    await action();
  } catch (thrown) {
    const name = thrown instanceof TvmWebgpuError ? make("b", {}, `${thrown.name}: `) : "";
    error.replaceChildren(name, messageOf(thrown));
    error.hidden = false;
  }
}

function megabytes(bytes: number): string {
  return bytes < 1e5 ? `${(bytes / 1e3).toFixed(1)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

void attempt(start).then(() => {
  if (form.hidden) find("name", HTMLElement).textContent = "Not loaded";
});
