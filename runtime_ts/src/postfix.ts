/** @file Arithmetic as the manifest has it in, a number out: a number, or a postfix list such as `[2, "n", "*"]`. */
import { PackageError } from "./errors.ts";
import { list, numberOrName, type Parser } from "./json.ts";

export type Postfix = number | readonly (number | string)[];

const OPERATORS: Readonly<Record<string, (a: number, b: number) => number>> = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "//": (a, b) => Math.floor(a / b),
  "%": (a, b) => a - b * Math.floor(a / b),
  min: Math.min,
  max: Math.max,
};

/** @throws PackageError if the expression is none over these names. */
export function evaluate(expression: Postfix, values: Readonly<Record<string, number>>): number {
  const stack: number[] = [];
  for (const item of typeof expression === "number" ? [expression] : expression) {
    const operator = Object.hasOwn(OPERATORS, item) ? OPERATORS[item] : undefined;
    if (operator) {
      const b = stack.pop() ?? NaN;
      stack.push(operator(stack.pop() ?? NaN, b));
    } else {
      stack.push(typeof item === "number" ? item : (values[item] ?? NaN));
    }
  }
  if (stack.length !== 1 || Number.isNaN(stack[0])) {
    const names = Object.keys(values).join(", ");
    throw new PackageError(`manifest.json: "${String(expression)}" is no expression of ${names}`);
  }
  return stack[0]!;
}

export const postfix: Parser<Postfix> = (field) => (
  typeof field.value === "number" ? field.value : list(numberOrName)(field));
