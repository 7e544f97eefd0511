/** @file Parsed JSON in, a Manifest out, every field of it checked; a PackageError says which one is wrong. */
import { isDType, type DType } from "./dtype.ts";
import { PackageError } from "./errors.ts";

/** The package format that this runtime reads (docs/architecture.md, "Package"). */
export const FORMAT = 1;

export interface Manifest {
  readonly name: string;
  /** Versions of the programs that made the package. */
  readonly producer: Readonly<Record<string, string>>;
  readonly requires: Requirements;
  readonly files: readonly PackageFile[];
  readonly entries: readonly Entry[];
  readonly params: readonly Param[];
  readonly kernels: readonly Kernel[];
}

export interface Requirements {
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
}

export interface PackageFile {
  readonly path: string;
  readonly role: string;
  readonly bytes: number;
  readonly sha256: string;
}

export interface Entry {
  readonly name: string;
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  /** Indices of the parameters that it uses; the model's code adds them itself. */
  readonly params: readonly number[];
}

/** What an entry takes or gives: a tensor, or something simpler. */
export type Port = TensorPort | SimplePort;

/** A whole number (`int`, or `shape` where the model wants a shape of one extent), or an object, such as a KV cache. */
export interface SimplePort {
  readonly name: string;
  readonly kind: "int" | "shape" | "object";
}

export interface TensorPort {
  readonly name: string;
  readonly kind: "tensor";
  readonly dtype: DType;
  /** Numbers, and names of symbols; an output's may be an expression of symbols, for information. */
  readonly shape: readonly (number | string)[];
}

export interface Param {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
}

export interface Kernel {
  readonly name: string;
  /** Byte offset and length of its text in the kernels file. */
  readonly wgsl: readonly [number, number];
  readonly bindings: readonly ("read" | "read_write")[];
  /** How many 4-byte scalars its uniform block has, at the binding after the last buffer; 0 for no block. */
  readonly scalars: number;
}

/** @throws PackageError, naming the field, if `json` is not a manifest of this format. */
export function parseManifest(json: unknown): Manifest {
  const root = new Field(json, "manifest.json");
  const format = root.at("format").number();
  if (format !== FORMAT) {
    const advice = format > FORMAT ? "update the npm package tvm-webgpu" : "compile the model again";
    throw new PackageError(`the package has format ${format}, this runtime reads format ${FORMAT}: ${advice}`);
  }
  const manifest: Manifest = {
    name: root.at("name").text(),
    producer: root.at("producer").record((f) => f.text()),
    requires: {
      features: root.at("requires").at("features").list((f) => f.text()),
      limits: root.at("requires").at("limits").record((f) => f.number()),
    },
    files: root.at("files").list(parseFile),
    entries: root.at("entries").list(parseEntry),
    params: root.at("params").list(parseParam),
    kernels: root.at("kernels").list(parseKernel),
  };
  checkReferences(manifest);
  return manifest;
}

/** The one file of a role. @throws PackageError if there is none. */
export function fileOf(manifest: Manifest, role: string): PackageFile {
  const found = manifest.files.find((file) => file.role === role);
  if (!found) throw new PackageError(`manifest.json lists no file of role "${role}"`);
  return found;
}

function parseFile(file: Field): PackageFile {
  const path = file.at("path").text();
  // A plain name cannot leave the package's folder, whatever a server or file system makes of it.
  if (!/^[\w][\w.-]*$/.test(path)) file.at("path").fail("must be a plain file name");
  const sha256 = file.at("sha256").text();
  if (!/^[0-9a-f]{64}$/.test(sha256)) file.at("sha256").fail("must be 64 hexadecimal digits");
  return { path, role: file.at("role").text(), bytes: file.at("bytes").number(), sha256 };
}

function parseEntry(entry: Field): Entry {
  return {
    name: entry.at("name").text(),
    inputs: entry.at("inputs").list(parsePort),
    outputs: entry.at("outputs").list(parsePort),
    params: entry.at("params").list((f) => f.number()),
  };
}

function parsePort(port: Field): Port {
  const name = port.at("name").text();
  const kind = port.at("kind").value ?? "tensor";
  if (kind === "int" || kind === "shape" || kind === "object") return { name, kind };
  if (kind !== "tensor") port.at("kind").fail('must be "tensor", "int", "shape" or "object"');
  const shape = port.at("shape").list((f) => (typeof f.value === "string" ? f.value : f.number()));
  return { name, kind: "tensor", dtype: parseDType(port.at("dtype")), shape };
}

function parseParam(param: Field): Param {
  return {
    name: param.at("name").text(),
    dtype: parseDType(param.at("dtype")),
    shape: param.at("shape").list((f) => f.number()),
    file: param.at("file").text(),
    offset: param.at("offset").number(),
    bytes: param.at("bytes").number(),
  };
}

function parseKernel(kernel: Field): Kernel {
  const wgsl = kernel.at("wgsl").list((f) => f.number());
  if (wgsl.length !== 2) kernel.at("wgsl").fail("must be an offset and a length");
  const bindings = kernel.at("bindings").list((f) =>
    f.value === "read" || f.value === "read_write" ? f.value : f.fail('must be "read" or "read_write"'));
  return {
    name: kernel.at("name").text(),
    wgsl: [wgsl[0]!, wgsl[1]!],
    bindings,
    scalars: kernel.at("scalars").list((f) => f.at("name").text()).length,
  };
}

function parseDType(field: Field): DType {
  return isDType(field.value) ? field.value : field.fail("is not a dtype of tensors that this runtime knows");
}

function checkReferences({ entries, params, files }: Manifest): void {
  for (const entry of entries) {
    const bad = entry.params.find((index) => index >= params.length);
    if (bad !== undefined) {
      throw new PackageError(`manifest.json: entry "${entry.name}" names parameter ${bad} of ${params.length}`);
    }
  }
  for (const param of params) {
    const file = files.find(({ path, role }) => path === param.file && role === "params");
    if (!file || param.offset % 256 !== 0 || param.offset + param.bytes > file.bytes) {
      throw new PackageError(`manifest.json: parameter "${param.name}" does not lie within "${param.file}"`);
    }
  }
}

/** A value in the JSON and the way to it, for the message. */
class Field {
  constructor(readonly value: unknown, readonly path: string) {}

  at(key: string): Field {
    if (typeof this.value !== "object" || this.value === null) this.fail("must be an object");
    return new Field((this.value as Record<string, unknown>)[key], `${this.path}: ${key}`);
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
