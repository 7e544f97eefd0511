/** @file Short ways to find and make the page's elements, and to write numbers for people. */

/** @throws if the page has no such element of that kind. */
export function find<T extends HTMLElement>(id: string, kind: new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`the page has no #${id}`);
  return element;
}

type Props<K extends keyof HTMLElementTagNameMap> = Partial<Omit<HTMLElementTagNameMap[K], "style">>;

/** An element with properties and children: `make("p", { className: "soft" }, "text")`. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K, props: Props<K> = {}, ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), props);
  element.append(...children);
  return element;
}

/** A select of these choices, the first or `chosen` one selected. */
export function choice(choices: readonly string[], label: string, chosen = choices[0]): HTMLSelectElement {
  const select = make("select", { ariaLabel: label });
  select.append(...choices.map((text) => make("option", { value: text, selected: text === chosen }, text)));
  return select;
}

export function button(text: string, action: () => void): HTMLButtonElement {
  const made = make("button", { type: "button" }, text);
  made.addEventListener("click", action);
  return made;
}

/** A button that asks for a file. */
export function fileButton(text: string, accept: string, take: (file: File) => void): HTMLLabelElement {
  const input = make("input", { type: "file", accept });
  input.addEventListener("change", () => {
    const file = input.files?.[0];
    if (file) take(file);
    input.value = ""; // so that the same file can be chosen again
  });
  return make("label", { className: "file" }, text, input);
}

/** Names and what they stand for. */
export function facts(pairs: readonly (readonly [string, string])[]): HTMLElement[] {
  return pairs.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));
}

export interface Column {
  readonly title: string;
  /** Numbers are set to the right. */
  readonly numeric?: boolean;
}

export function table(columns: readonly Column[], rows: readonly (readonly (Node | string)[])[]): HTMLElement {
  const cell = (tag: "th" | "td", content: Node | string, i: number): HTMLElement =>
    make(tag, { className: columns[i]!.numeric ? "numeric" : "" }, content);
  const head = make("thead", {}, make("tr", {}, ...columns.map(({ title }, i) => cell("th", title, i))));
  const line = (row: readonly (Node | string)[]): HTMLElement =>
    make("tr", {}, ...row.map((content, i) => cell("td", content, i)));
  const body = make("tbody", {}, ...rows.map(line));
  return make("div", { className: "scroll", tabIndex: 0 }, make("table", {}, head, body));
}

/** Offers bytes or text as a file to keep. */
export function download(name: string, content: BlobPart, type: string): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => { URL.revokeObjectURL(url); }, 10_000);
}

export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(bytes < 1e5 ? 1 : 0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

export function time(ms: number): string {
  return ms < 10 ? `${ms.toFixed(2)} ms` : ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

/** Four digits are enough to look at. */
export function short(value: number): string {
  return String(Number(value.toPrecision(4)));
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}
