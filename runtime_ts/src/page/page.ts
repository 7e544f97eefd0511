/** @file The page that `tvm-webgpu serve` shows: loads the package at ?package= (or model/) and runs its entries. */
import { messageOf, TvmWebgpuError } from "../errors.ts";
import { loadModel } from "../load.ts";
import type { Entry } from "../manifest.ts";
import type { CpuTensor, Model } from "../model.ts";
import type { ModelObject } from "../tensor.ts";
import { details, memory, summary, variantsAt } from "./about.ts";
import { find, make } from "./dom.ts";
import { failure } from "./failure.ts";
import { entryForm, type Form, type Kept } from "./fields.ts";
import { loadingBars } from "./loading.ts";
import { profileView, timing, type Times } from "./speed.ts";
import { resultView } from "./views.ts";

const MOST_KEPT = 64;
const SERIES = 20;

type Results = Record<string, CpuTensor | ModelObject | null>;

const form = find("form", HTMLFormElement);
const live = find("live", HTMLButtonElement);
const actions = ["run", "measure", "profile"].map((id) => find(id, HTMLButtonElement));
const kept: Kept[] = [];
/** By entry. */
const times = new Map<string, Times>();
let runs = 0;

async function start(): Promise<void> {
  const query = new URLSearchParams(location.search);
  const variant = query.get("variant");
  const where = query.get("package") ?? "model/";
  const model = await loadModel(where, {
    ...(variant === null ? {} : { variant }),
    cache: false, // it comes from this machine
    onProgress: loadingBars(find("loading", HTMLElement)),
  });
  find("loading", HTMLElement).hidden = true;
  document.title = `${model.name} \u00b7 tvm-webgpu`;
  find("name", HTMLElement).textContent = model.name;
  find("facts", HTMLElement).replaceChildren(...summary(model, await variantsAt(where), (name) => {
    query.set("variant", name);
    location.search = query.toString();
  }));
  showAbout(model);
  showEntries(model);
}

function showAbout(model: Model): void {
  find("about", HTMLElement).replaceChildren(...details(model), make("h3", {}, "Memory on the GPU"), memory(model));
}

function showEntries(model: Model): void {
  const nav = find("entries", HTMLElement);
  const tabs = model.entries.map((entry) => make("button", { type: "button" }, entry.name));
  let close = (): void => undefined;
  const open = (index: number): void => {
    close();
    tabs.forEach((tab, i) => { tab.ariaPressed = String(i === index); });
    close = openEntry(model, model.entries[index]!);
  };
  tabs.forEach((tab, i) => { tab.addEventListener("click", () => { open(i); }); });
  nav.replaceChildren(...tabs);
  nav.hidden = tabs.length < 2;
  find("main", HTMLElement).hidden = false;
  open(Math.max(0, model.entries.findIndex(({ name }) => name === "main")));
}

/** Shows an entry's form; the function that it gives lets go of it. */
function openEntry(model: Model, entry: Entry): () => void {
  const fields = entryForm(entry, kept, () => {
    live.hidden = !fields.moving();
    if (live.hidden) live.ariaPressed = "false";
  });
  find("inputs", HTMLElement).replaceChildren(...fields.elements);
  showTimes(entry);
  find("profiled", HTMLElement).replaceChildren();
  const on = (what: string, action: () => Promise<void>) => (event: Event): void => {
    event.preventDefault();
    if (form.reportValidity()) void busy(what, action);
  };
  form.onsubmit = on("Running", () => run(model, entry, fields, 1));
  actions[1]!.onclick = on("Timing", () => run(model, entry, fields, SERIES));
  actions[2]!.onclick = on("Profiling", () => profile(model, entry, fields));
  live.onclick = (): void => {
    live.ariaPressed = String(live.ariaPressed !== "true");
    if (live.ariaPressed === "true") void busy("Live", () => frames(model, entry, fields));
  };
  return () => { fields.close(); };
}

async function run(model: Model, entry: Entry, fields: Form, count: number): Promise<void> {
  const inputs = fields.inputs();
  const ms: number[] = [];
  let last: Results = {};
  for (let i = 0; i < count; i++) {
    for (const result of Object.values(last)) if (isObject(result)) result.dispose();
    const begin = performance.now();
    last = await model.run<Results>(inputs, { entry: entry.name });
    ms.push(performance.now() - begin);
  }
  times.set(entry.name, { first: times.get(entry.name)?.first ?? ms[0]!, last: ms });
  showTimes(entry);
  showResults(model, entry, last);
  fields.refresh();
}

/** Runs on the camera's frames as they come, until the button is pressed again. */
async function frames(model: Model, entry: Entry, fields: Form): Promise<void> {
  while (live.ariaPressed === "true" && fields.moving()) {
    await run(model, entry, fields, 1);
    await new Promise(requestAnimationFrame);
  }
}

async function profile(model: Model, entry: Entry, fields: Form): Promise<void> {
  const place = find("profiled", HTMLElement);
  try {
    place.replaceChildren(...profileView(await model.profile(fields.inputs(), { entry: entry.name })));
  } catch (error) {
    if (!(error instanceof TvmWebgpuError) || error.name !== "UnsupportedError") throw error;
    place.replaceChildren(make("p", { className: "problem" }, messageOf(error)));
  }
}

function showTimes(entry: Entry): void {
  const known = times.get(entry.name);
  const none = make("p", { className: "soft" }, "Not measured yet.");
  find("timing", HTMLElement).replaceChildren(...(known ? timing(known) : [none]));
}

function showResults(model: Model, entry: Entry, results: Results): void {
  const views = Object.entries(results).map(([name, result]) => {
    if (result === null) return make("p", { className: "soft" }, `${name}: nothing`);
    if (!isObject(result)) return resultView(entry.name, name, result);
    keep(entry, name, result);
    return make("p", { className: "soft" }, `${name}: an object, kept for the inputs of later runs.`);
  });
  if (views.length === 0) views.push(make("p", { className: "soft" }, "This entry has no results."));
  find("results", HTMLElement).replaceChildren(...views);
  showAbout(model);
}

function keep(entry: Entry, name: string, object: ModelObject): void {
  kept.push({ label: `${name}, from ${entry.name} #${++runs}`, name, object });
  if (kept.length > MOST_KEPT) kept.shift()!.object.dispose();
}

function isObject(result: CpuTensor | ModelObject | null): result is ModelObject {
  return result !== null && "dispose" in result;
}

/** Runs an action with the buttons off; what it throws is shown by the form. */
async function busy(what: string, action: () => Promise<void>): Promise<void> {
  const problem = find("problem", HTMLElement);
  const status = find("status", HTMLElement);
  problem.hidden = true;
  for (const one of actions) one.disabled = true;
  status.textContent = `${what} \u2026`;
  try {
    await action();
  } catch (thrown) {
    const name = thrown instanceof TvmWebgpuError ? thrown.name : "";
    const more = name === "DeviceLostError" ? " Press Run: the model builds itself up again on a new device." : "";
    problem.replaceChildren(...(name ? [make("b", {}, `${name}: `)] : []), messageOf(thrown) + more);
    problem.hidden = false;
  } finally {
    status.textContent = "";
    for (const one of actions) one.disabled = false;
  }
}

start().catch((error: unknown) => {
  const place = find("failure", HTMLElement);
  place.replaceChildren(...failure(error, () => { location.reload(); }));
  place.hidden = false;
  find("loading", HTMLElement).hidden = true;
  find("name", HTMLElement).textContent = "Not loaded";
});
