/** @file An entry's inputs in, form fields out, which give the inputs of a run when asked. */
import type { Entry, Port } from "../manifest.ts";
import type { Input, ModelObject } from "../tensor.ts";
import { choice, make } from "./dom.ts";
import { fitsPicture, imageField } from "./image_field.ts";
import { numberField } from "./number_field.ts";

/** An object that an earlier run returned, and how to call it. */
export interface Kept {
  readonly label: string;
  readonly name: string;
  readonly object: ModelObject;
}

export type Symbols = ReadonlyMap<string, number>;

export interface Field {
  readonly element: HTMLElement;
  /** @throws Error with a sentence for the user. */
  value(symbols: Symbols): Input;
  /** Extents that what was chosen here fixes, such as the length of a text. */
  implied?(): Symbols;
  /** Takes up objects that were kept since. */
  refresh?(): void;
  /** Whether its value changes by itself, as a camera's does. */
  moving?(): boolean;
  /** Lets go of a camera. */
  close?(): void;
}

export interface Form {
  readonly elements: HTMLElement[];
  /** @throws Error with a sentence for the user. */
  inputs(): Record<string, Input>;
  refresh(): void;
  moving(): boolean;
  close(): void;
}

/** `changed` is called when a field may have begun or ceased to move. */
export function entryForm(entry: Entry, kept: readonly Kept[], changed: () => void): Form {
  const fields = entry.inputs.map((port) => [port.name, fieldOf(port, kept, changed)] as const);
  const symbols = symbolFields(entry);
  const elements = fields.map(([, { element }]) => element);
  if (symbols.size > 0) {
    const labels = [...symbols].map(([name, input]) => make("label", {}, name, input));
    const row = make("div", { className: "row" }, ...labels);
    const title = head("Sizes", "which the model leaves open", "soft");
    elements.push(make("div", { className: "field" }, title, row));
  }
  if (elements.length === 0) elements.push(make("p", { className: "soft" }, "This entry takes no inputs."));
  return {
    elements,
    inputs() {
      for (const [, field] of fields) {
        for (const [name, extent] of field.implied?.() ?? []) {
          const input = symbols.get(name);
          if (input) input.value = String(extent);
        }
      }
      const sizes = new Map([...symbols].map(([name, input]) => [name, input.valueAsNumber]));
      return Object.fromEntries(fields.map(([name, field]) => [name, field.value(sizes)]));
    },
    refresh() { for (const [, field] of fields) field.refresh?.(); },
    moving: () => fields.some(([, field]) => field.moving?.() ?? false),
    close() { for (const [, field] of fields) field.close?.(); },
  };
}

/** A number for each symbol of the tensors' shapes; a picture's batch is one. */
function symbolFields(entry: Entry): Map<string, HTMLInputElement> {
  const names = entry.inputs.flatMap((port) => {
    if (port.kind !== "tensor") return [];
    return fitsPicture(port) ? port.shape.slice(1) : port.shape;
  }).filter((extent) => typeof extent === "string");
  return new Map(names.map((name) => {
    // A batch is one to begin with, a side of a picture many, a sequence a few.
    const value = /batch|^[nb]$/i.test(name) ? "1" : /height|width|^[hw]$/i.test(name) ? "224" : "8";
    return [name, make("input", { type: "number", min: "1", step: "1", required: true, value })];
  }));
}

function head(name: string, about: string, className = "type"): HTMLElement {
  return make("div", { className: "head" }, make("b", {}, name), make("span", { className }, about));
}

function fieldOf(port: Port, kept: readonly Kept[], changed: () => void): Field {
  const type = port.kind === "tensor" ? `${port.dtype}[${port.shape.join(", ")}]` : port.kind;
  const inner = bodyOf(port, kept, changed);
  return { ...inner, element: make("div", { className: "field" }, head(port.name, type), inner.element) };
}

function bodyOf(port: Port, kept: readonly Kept[], changed: () => void): Field {
  switch (port.kind) {
    case "int":
    case "shape": return intField(port.name);
    case "object": return objectField(port.name, kept);
    case "tensor": return fitsPicture(port) ? either(imageField(port, changed), numberField(port)) : numberField(port);
  }
}

/** A picture, or at the user's wish the numbers themselves. */
function either(picture: Field, plain: Field): Field {
  const how = choice(["as a picture", "as numbers"], "How to give it");
  const row = make("div", { className: "row" }, how);
  const element = make("div", { className: "stack" }, row, picture.element, plain.element);
  plain.element.hidden = true;
  how.addEventListener("change", () => {
    picture.close?.();
    picture.element.hidden = how.selectedIndex === 1;
    plain.element.hidden = how.selectedIndex === 0;
  });
  const chosen = (): Field => (how.selectedIndex === 0 ? picture : plain);
  return {
    element,
    value: (symbols) => chosen().value(symbols),
    implied: () => chosen().implied?.() ?? new Map(),
    moving: () => chosen().moving?.() ?? false,
    close: () => { picture.close?.(); },
  };
}

function intField(name: string): Field {
  const input = make("input", { type: "number", step: "1", required: true, value: "1", ariaLabel: name });
  return { element: make("div", { className: "row" }, input), value: () => input.valueAsNumber };
}

function objectField(name: string, kept: readonly Kept[]): Field {
  const element = make("div");
  let chosen: () => Kept | undefined = () => undefined;
  const refresh = (): void => {
    const latest = kept.filter((item) => item.name === name).at(-1) ?? kept.at(-1);
    const select = choice(kept.map(({ label }) => label), name, latest?.label);
    chosen = () => kept.find(({ label }) => label === select.value);
    const hint = make("p", { className: "soft" }, "Run an entry first that returns such an object.");
    element.replaceChildren(latest ? select : hint);
  };
  refresh();
  const value = (): ModelObject => {
    const object = chosen()?.object;
    if (!object) throw new Error(`There is no object for "${name}" yet: run an entry that makes one.`);
    return object;
  };
  return { element, value, refresh };
}
