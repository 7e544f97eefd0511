/** @file A model in, elements that say what it is out: in one line, and in full. */
import type { Entry, Port } from "../manifest.ts";
import type { Model } from "../model.ts";
import { choice, facts, make, size, table, time } from "./dom.ts";

/** Loading times by the names that LoadReport has for them. */
const PARTS: Readonly<Record<string, string>> = {
  manifest: "manifest", device: "device", wasm: "wasm compiled", kernels: "shaders compiled",
  params: "parameters on the GPU", session: "model started", total: "ready",
};

/** The variants that the package at an address names in its manifest, before the one that was chosen. */
export async function variantsAt(location: string): Promise<string[]> {
  const response = await fetch(`${location.replace(/\/*$/, "/")}manifest.json`);
  const { variants = [] } = (await response.json()) as { variants?: { name: string }[] };
  return variants.length > 0 ? ["baseline", ...variants.map(({ name }) => name)] : [];
}

/** In one line. Where there are several variants, another one can be chosen. */
export function summary(model: Model, variants: readonly string[], choose: (variant: string) => void): HTMLElement[] {
  const { vendor, architecture, description } = model.device.adapterInfo;
  const { files, kernels } = model.manifest;
  const bytes = files.filter(({ role }) => role !== "debug").reduce((sum, file) => sum + file.bytes, 0);
  const { variant, cachedBytes, fetchedBytes, ms } = model.loading;
  const from = cachedBytes > 0 && fetchedBytes === 0 ? " from the cache" : "";
  const select = choice(variants, "Variant", variant);
  select.addEventListener("change", () => { choose(select.value); });
  const others = variants.length > 0 ? [make("div", {}, make("dt", {}, "Variant"), make("dd", {}, select))] : [];
  return [...facts([
    ["Size", size(bytes)],
    ["Kernels", String(kernels.length)],
    ["Ready in", time(ms.total) + from],
    ["GPU", description || [vendor, architecture].filter(Boolean).join(" ") || "unnamed"],
  ]), ...others];
}

export function details(model: Model): HTMLElement[] {
  const { manifest, loading } = model;
  const entries = table([{ title: "Entry" }, { title: "Takes" }, { title: "Gives" }], manifest.entries.map((entry) =>
    [make("code", {}, entry.name), ports(entry.inputs), ports(entry.outputs)]));
  const files = table([{ title: "File" }, { title: "Holds" }, { title: "Size", numeric: true }],
    manifest.files.map(({ path, role, bytes }) => [make("code", {}, path), role, size(bytes)]));
  const producer = Object.entries(manifest.producer).map(([name, version]) => `${name} ${version}`).join(", ");
  const times = Object.entries(PARTS).flatMap(([key, name]) => {
    const ms = (loading.ms as Readonly<Record<string, number | undefined>>)[key];
    return ms === undefined ? [] : [`${name} ${time(ms)}`];
  });
  const { features } = manifest.requires;
  return [entries, files, make("dl", { className: "facts" }, ...facts([
    ["Made by", producer || "unknown"],
    ["Variant", loading.variant],
    ["Asks for", features.length > 0 ? features.join(", ") : "no optional feature"],
    ["Fetched", `${size(loading.fetchedBytes)}, ${size(loading.cachedBytes)} from the cache`],
  ])), make("p", { className: "soft" }, `Loading: ${times.join(", ")}, counted from the start.`)];
}

/** Device memory after a run. */
export function memory(model: Model): HTMLElement {
  const { parameters, used, unused, transfer, peak } = model.memory();
  return make("dl", { className: "facts" }, ...facts([
    ["Parameters", size(parameters)], ["In use", size(used)], ["Kept for the next run", size(unused)],
    ["In and out", size(transfer)], ["Peak", size(peak)],
  ]));
}

function ports(all: Entry["inputs"]): HTMLElement {
  const text = (port: Port): string => (port.kind === "tensor" ? `${port.dtype}[${port.shape.join(", ")}]` : port.kind);
  return make("ul", { className: "ports" }, ...all.map((port) =>
    make("li", {}, `${port.name}: `, make("span", { className: "type" }, text(port)))));
}
