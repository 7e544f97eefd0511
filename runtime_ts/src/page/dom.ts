/** @file Short ways to find and make the page's elements. */

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
