/** @file Parsed JSON that may be anything in, values of the expected types out; errors name the place. */
import { PackageError } from "./errors.ts";

/** A value in the JSON and the way to it, for the message. */
export class Field {
  constructor(readonly value: unknown, readonly path: string) {}

  at(key: string): Field {
    if (typeof this.value !== "object" || this.value === null) this.fail("must be an object");
    return new Field((this.value as Record<string, unknown>)[key], `${this.path}: ${key}`);
  }

  has(key: string): boolean {
    return (this.value as Record<string, unknown> | null)?.[key] !== undefined;
  }

  text(): string {
    return typeof this.value === "string" ? this.value : this.fail("must be a string");
  }

  /** A number as the manifest has them: whole and not negative. */
  number(): number {
    return Number.isSafeInteger(this.value) && (this.value as number) >= 0
      ? (this.value as number)
      : this.fail("must be a whole number");
  }

  list<T>(parse: (item: Field) => T): T[] {
    if (!Array.isArray(this.value)) return this.fail("must be a list");
    return this.value.map((item, i) => parse(new Field(item, `${this.path}[${i}]`)));
  }

  record<T>(parse: (item: Field) => T): Record<string, T> {
    if (typeof this.value !== "object" || this.value === null) return this.fail("must be an object");
    return Object.fromEntries(Object.keys(this.value).map((key) => [key, parse(this.at(key))]));
  }

  fail(problem: string): never {
    throw new PackageError(`${this.path} ${problem}; the package is damaged or was not written by tvm-webgpu`);
  }
}
