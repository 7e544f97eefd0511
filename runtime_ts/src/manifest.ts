/** @file Parsed JSON in, a Manifest out, every field of it checked; a PackageError says which one is wrong. */
import { dtypeInfo, isDType, product, type DType } from "./dtype.ts";
import { PackageError } from "./errors.ts";
import {
  at, checked, fail, list, number, numberOrName, object, oneOf, optional, pattern, record, text, type Parser,
} from "./json.ts";
import { imageOptions, type ImageOptions } from "./pictures.ts";
import { postfix, type Postfix } from "./postfix.ts";

/** The newest package format that this runtime reads (docs/architecture.md, "Package"). */
export const FORMAT = 2;

/** The name of the manifest that stands for itself, beside its variants. */
export const BASELINE = "baseline";

export interface Manifest {
  readonly name: string;
  /** Versions of the programs that made the package. */
  readonly producer: Readonly<Record<string, string>>;
  readonly requires: Requirements;
  readonly files: readonly PackageFile[];
  readonly entries: readonly Entry[];
  readonly params: readonly Param[];
  readonly kernels: readonly Kernel[];
  /** The same model for more capable devices, best first, each with a manifest of its own in the same folder. */
  readonly variants: readonly Variant[];
  /** The manifest of the same model in kernels that drivers compile sooner: what to begin with. */
  readonly start?: PackageFile;
}

export interface Variant {
  readonly name: string;
  readonly requires: Requirements;
  /** Its manifest. */
  readonly file: PackageFile;
}

export interface Requirements {
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
}

export interface PackageFile {
  readonly path: string;
  readonly role: string;
  /** Of the file as it lies there. */
  readonly bytes: number;
  readonly sha256: string;
  /** Digests of a large file's pieces of PIECE_BYTES, which are verified, kept and fetched again one by one. */
  readonly pieces?: readonly string[];
  /** How it is packed, and how many bytes come out. */
  readonly packed?: { readonly encoding: "gzip"; readonly bytes: number };
}

/** Of a file with `pieces`, all but the last have this many bytes. */
export const PIECE_BYTES = 8 << 20;

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
  /** How images become this input, if the package says it. */
  readonly image?: ImageOptions;
}

export interface Param {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly file: string;
  /** Where it lies in the file, unpacked, and how many bytes it takes there. */
  readonly offset: number;
  readonly bytes: number;
  /** How its elements are stored, where that is not how kernels read them. */
  readonly storage?: Storage;
}

/**
 * Elements as halves, or as bytes times a scale. Scales are float32, lie in the same file and broadcast to the
 * parameter's shape as NumPy would.
 */
export interface Storage {
  readonly dtype: "float16" | "int8";
  /** Of bytes. */
  readonly scales?: { readonly offset: number; readonly shape: readonly number[] };
}

export interface Kernel {
  readonly name: string;
  /** Byte offset and length of its text in the kernels file. */
  readonly wgsl: readonly [number, number];
  readonly bindings: readonly ("read" | "read_write")[];
  /** Names of the 4-byte scalars in its uniform block, at the binding after the last buffer; none for no block. */
  readonly scalars: readonly string[];
  /** What a launch must move and compute at least, over the scalars' names. */
  readonly bytes?: Postfix;
  readonly flops?: Postfix;
}

/** How many bytes the file's content has. */
export function contentBytes({ bytes, packed }: PackageFile): number {
  return packed?.bytes ?? bytes;
}

/** How many bytes the parameter has as kernels read it. */
export function tensorBytes({ dtype, shape }: Param): number {
  return product(shape) * dtypeInfo(dtype).bytes;
}

/** The one file of a role. @throws PackageError if there is none. */
export function fileOf(manifest: Manifest, role: string): PackageFile {
  const found = manifest.files.find((file) => file.role === role);
  if (!found) throw new PackageError(`manifest.json lists no file of role "${role}"`);
  return found;
}

const FILE_NAME = pattern(/^\w[\w.-]*$/, "must be a plain file name"); // which can't leave the package's folder
const DIGEST = pattern(/^[0-9a-f]{64}$/, "must be 64 hexadecimal digits");
const DTYPE = checked<DType>(isDType, "is not a dtype of tensors that this runtime knows");

const requirements = object<Requirements>({ features: list(text), limits: record(number) });

const manifestFile: Parser<PackageFile> = (field) => ({
  path: FILE_NAME(at(field, "manifest")),
  role: "manifest",
  bytes: number(at(field, "bytes")),
  sha256: DIGEST(at(field, "sha256")),
});

const variant: Parser<Variant> = (field) => ({
  ...object<Omit<Variant, "file">>({ name: text, requires: requirements })(field), file: manifestFile(field),
});

const plainFile = object<Omit<PackageFile, "packed"> & { readonly encoding?: "gzip" }>({
  path: FILE_NAME, role: text, bytes: number, sha256: DIGEST, pieces: optional(list(DIGEST)),
  encoding: optional(oneOf("gzip")),
});

const file: Parser<PackageFile> = (field) => {
  const { encoding, ...plain } = plainFile(field);
  if (plain.pieces && plain.pieces.length !== Math.ceil(plain.bytes / PIECE_BYTES)) {
    fail(at(field, "pieces"), "must cover the file");
  }
  return encoding ? { ...plain, packed: { encoding, bytes: number(at(field, "decoded_bytes")) } } : plain;
};

const tensorPort = object<TensorPort>({
  name: text, kind: () => "tensor", dtype: DTYPE, shape: list(numberOrName), image: optional(imageOptions),
});
const simplePort = object<SimplePort>({ name: text, kind: oneOf("int", "shape", "object") });
const port: Parser<Port> = (field) => (
  oneOf(undefined, "tensor", "int", "shape", "object")(at(field, "kind")) ?? "tensor") === "tensor"
  ? tensorPort(field) : simplePort(field);

const entry = object<Entry>({ name: text, inputs: list(port), outputs: list(port), params: list(number) });

const scales = object<NonNullable<Storage["scales"]>>({ offset: number, shape: list(number) });
const storage: Parser<Storage> = (field) => {
  const dtype = oneOf("float16", "int8")(at(field, "dtype"));
  return dtype === "int8" ? { dtype, scales: scales(at(field, "scales")) } : { dtype };
};

const param = object<Param>({
  name: text, dtype: DTYPE, shape: list(number), file: text, offset: number, bytes: number, storage: optional(storage),
});

const kernel = object<Kernel>({
  name: text,
  wgsl: (field) => {
    const [offset, length] = list(number)(field);
    return length === undefined ? fail(field, "must be an offset and a length") : [offset!, length];
  },
  bindings: list(oneOf("read", "read_write")),
  scalars: list((field) => text(at(field, "name"))),
  bytes: optional(postfix),
  flops: optional(postfix),
});

const manifest = object<Manifest>({
  name: text, producer: record(text), requires: requirements, files: list(file), entries: list(entry),
  params: list(param), kernels: list(kernel), variants: (field) => optional(list(variant))(field) ?? [],
  start: optional(manifestFile),
});

/** @throws PackageError, naming the field, if `json` is not a manifest of this format. */
export function parseManifest(json: unknown, path = "manifest.json"): Manifest {
  const root = { value: json, path };
  const format = number(at(root, "format"));
  if (format < 1 || format > FORMAT) {
    const advice = format > FORMAT ? "update the npm package tvm-webgpu" : "compile the model again";
    throw new PackageError(`the package has format ${format}, this runtime reads format 1 to ${FORMAT}: ${advice}`);
  }
  const parsed = manifest(root);
  checkReferences(parsed, path);
  return parsed;
}

function checkReferences({ entries, params, files }: Manifest, path: string): void {
  for (const entry of entries) {
    const bad = entry.params.find((index) => index >= params.length);
    if (bad !== undefined) {
      throw new PackageError(`${path}: entry "${entry.name}" names parameter ${bad} of ${params.length}`);
    }
  }
  const shards = files.filter(({ role }) => role === "params");
  const contents = new Map(shards.map((file) => [file.path, contentBytes(file)]));
  for (const param of params) {
    const whole = contents.get(param.file) ?? -1;
    const inside = (offset: number, bytes: number): boolean => offset % 256 === 0 && offset + bytes <= whole;
    const { storage, shape, bytes } = param;
    const scales = storage?.scales;
    if (!inside(param.offset, bytes) || (scales && !inside(scales.offset, product(scales.shape) * 4))) {
      throw new PackageError(`${path}: parameter "${param.name}" does not lie within "${param.file}"`);
    }
    const fits = product(shape) * dtypeInfo(storage?.dtype ?? param.dtype).bytes === bytes
      && (!storage || param.dtype === "float32" || (param.dtype === "float16" && scales !== undefined))
      && (!scales || broadcasts(scales.shape, shape));
    if (!fits) {
      throw new PackageError(`${path}: parameter "${param.name}" has other bytes than its shape and dtype say`);
    }
  }
}

function broadcasts(from: readonly number[], to: readonly number[]): boolean {
  return from.length === to.length && from.every((extent, i) => extent === 1 || extent === to[i]);
}
