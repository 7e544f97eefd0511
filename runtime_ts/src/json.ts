/** @file Parsers of JSON that may be anything, put together like the types of what they give; errors name the place. */
import { PackageError } from "./errors.ts";

/** A value in the JSON and the way to it, for the message. */
export interface Field {
  readonly value: unknown;
  readonly path: string;
}

/** @throws PackageError if the field holds nothing of the kind. */
export type Parser<T> = (field: Field) => T;

export function fail({ path }: Field, problem: string): never {
  throw new PackageError(`${path} ${problem}; the package is damaged or was not written by tvm-webgpu`);
}

export function at(field: Field, key: string): Field {
  return { value: members(field)[key], path: `${field.path}: ${key}` };
}

/** What `right` accepts. */
export function checked<T>(right: (value: unknown) => boolean, problem: string): Parser<T> {
  return (field) => (right(field.value) ? (field.value as T) : fail(field, problem));
}

export const text = checked<string>((value) => typeof value === "string", "must be a string");

/** A number as the manifest has them: whole and not negative. */
export const number = checked<number>((value) => Number.isSafeInteger(value) && value as number >= 0,
  "must be a whole number");

/** Where a name may stand for a number. */
export const numberOrName: Parser<number | string> = (field) => (
  typeof field.value === "string" ? field.value : number(field));

export function pattern(wanted: RegExp, problem: string): Parser<string> {
  return checked((value) => typeof value === "string" && wanted.test(value), problem);
}

export function oneOf<const T>(...values: T[]): Parser<T> {
  const names = values.filter((value) => value !== undefined).map((value) => JSON.stringify(value));
  return checked((value) => values.includes(value as T), `must be ${names.join(" or ")}`);
}

export function optional<T>(parse: Parser<T>): Parser<T | undefined> {
  return (field) => (field.value === undefined ? undefined : parse(field));
}

export function list<T>(item: Parser<T>): Parser<T[]> {
  return (field) => (Array.isArray(field.value)
    ? field.value.map((value: unknown, i) => item({ value, path: `${field.path}[${i}]` }))
    : fail(field, "must be a list"));
}

/** Any names, each with a value of the same kind. */
export function record<T>(item: Parser<T>): Parser<Record<string, T>> {
  return (field) => Object.fromEntries(Object.keys(members(field)).map((key) => [key, item(at(field, key))]));
}

/** These names, each with a value of its own kind; others are left out. */
export function object<T>(parsers: { readonly [K in keyof Required<T>]: Parser<T[K]> }): Parser<T> {
  return (field) => Object.fromEntries(Object.entries<Parser<unknown>>(parsers).flatMap(([key, parse]) => {
    const value = parse(at(field, key));
    return value === undefined ? [] : [[key, value]];
  })) as T;
}

function members(field: Field): Record<string, unknown> {
  const { value } = field;
  if (typeof value !== "object" || value === null) fail(field, "must be an object");
  return value as Record<string, unknown>;
}
