/** @file Parsed JSON in, a Manifest out, every field of it checked; a PackageError says which one is wrong. */
import { dtypeInfo, isDType, product, type DType } from "./dtype.ts";
import { PackageError } from "./errors.ts";
import { Field } from "./json.ts";
import { parseImageOptions, type ImageOptions } from "./pictures.ts";
import { parsePostfix, type Postfix } from "./postfix.ts";

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
export type Storage =
  | { readonly dtype: "float16" }
  | { readonly dtype: "int8"; readonly scales: { readonly offset: number; readonly shape: readonly number[] } };

export interface Kernel {
  readonly name: string;
  /** Byte offset and length of its text in the kernels file. */
  readonly wgsl: readonly [number, number];
  readonly bindings: readonly ("read" | "read_write")[];
  /** How many 4-byte scalars its uniform block has, at the binding after the last buffer; 0 for no block. */
  readonly scalars: number;
  readonly scalarNames: readonly string[];
  /** What a launch must move and compute at least, over the scalars' names. */
  readonly bytes?: Postfix;
  readonly flops?: Postfix;
}

/** @throws PackageError, naming the field, if `json` is not a manifest of this format. */
export function parseManifest(json: unknown, path = "manifest.json"): Manifest {
  const root = new Field(json, path);
  const format = root.at("format").number();
  if (format < 1 || format > FORMAT) {
    const advice = format > FORMAT ? "update the npm package tvm-webgpu" : "compile the model again";
    throw new PackageError(`the package has format ${format}, this runtime reads format 1 to ${FORMAT}: ${advice}`);
  }
  const manifest: Manifest = {
    name: root.at("name").text(),
    producer: root.at("producer").record((f) => f.text()),
    requires: parseRequirements(root.at("requires")),
    files: root.at("files").list(parseFile),
    entries: root.at("entries").list(parseEntry),
    params: root.at("params").list(parseParam),
    kernels: root.at("kernels").list(parseKernel),
    variants: root.has("variants") ? root.at("variants").list(parseVariant) : [],
    ...(root.has("start") ? { start: parseManifestFile(root.at("start")) } : {}),
  };
  checkReferences(manifest, path);
  return manifest;
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

function parseRequirements(requires: Field): Requirements {
  return {
    features: requires.at("features").list((f) => f.text()),
    limits: requires.at("limits").record((f) => f.number()),
  };
}

function parseVariant(variant: Field): Variant {
  return {
    name: variant.at("name").text(),
    requires: parseRequirements(variant.at("requires")),
    file: parseManifestFile(variant),
  };
}

function parseManifestFile(record: Field): PackageFile {
  const [path, bytes, sha256] = [record.at("manifest"), record.at("bytes"), record.at("sha256")];
  return { path: parsePath(path), role: "manifest", bytes: bytes.number(), sha256: parseDigest(sha256) };
}

function parseFile(file: Field): PackageFile {
  const bytes = file.at("bytes").number();
  const pieces = file.has("pieces") ? file.at("pieces").list(parseDigest) : undefined;
  if (pieces && pieces.length !== Math.ceil(bytes / PIECE_BYTES)) file.at("pieces").fail("must cover the file");
  if (file.has("encoding") && file.at("encoding").value !== "gzip") file.at("encoding").fail('must be "gzip"');
  return {
    path: parsePath(file.at("path")),
    role: file.at("role").text(),
    bytes,
    sha256: parseDigest(file.at("sha256")),
    ...(pieces ? { pieces } : {}),
    ...(file.has("encoding") ? { packed: { encoding: "gzip", bytes: file.at("decoded_bytes").number() } } : {}),
  };
}

/** A plain name cannot leave the package's folder, whatever a server or file system makes of it. */
function parsePath(field: Field): string {
  const path = field.text();
  return /^[\w][\w.-]*$/.test(path) ? path : field.fail("must be a plain file name");
}

function parseDigest(field: Field): string {
  const sha256 = field.text();
  return /^[0-9a-f]{64}$/.test(sha256) ? sha256 : field.fail("must be 64 hexadecimal digits");
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
  const image = port.has("image") ? { image: parseImageOptions(port.at("image")) } : {};
  return { name, kind: "tensor", dtype: parseDType(port.at("dtype")), shape, ...image };
}

function parseParam(param: Field): Param {
  return {
    name: param.at("name").text(),
    dtype: parseDType(param.at("dtype")),
    shape: param.at("shape").list((f) => f.number()),
    file: param.at("file").text(),
    offset: param.at("offset").number(),
    bytes: param.at("bytes").number(),
    ...(param.has("storage") ? { storage: parseStorage(param.at("storage")) } : {}),
  };
}

function parseStorage(storage: Field): Storage {
  const dtype = storage.at("dtype");
  if (dtype.value === "float16") return { dtype: "float16" };
  if (dtype.value !== "int8") dtype.fail('must be "float16" or "int8"');
  const scales = storage.at("scales");
  return {
    dtype: "int8",
    scales: { offset: scales.at("offset").number(), shape: scales.at("shape").list((f) => f.number()) },
  };
}

function parseKernel(kernel: Field): Kernel {
  const wgsl = kernel.at("wgsl").list((f) => f.number());
  if (wgsl.length !== 2) kernel.at("wgsl").fail("must be an offset and a length");
  const bindings = kernel.at("bindings").list((f) =>
    f.value === "read" || f.value === "read_write" ? f.value : f.fail('must be "read" or "read_write"'));
  const scalarNames = kernel.at("scalars").list((f) => f.at("name").text());
  return {
    name: kernel.at("name").text(),
    wgsl: [wgsl[0]!, wgsl[1]!],
    bindings,
    scalars: scalarNames.length,
    scalarNames,
    ...(kernel.has("bytes") ? { bytes: parsePostfix(kernel.at("bytes")) } : {}),
    ...(kernel.has("flops") ? { flops: parsePostfix(kernel.at("flops")) } : {}),
  };
}

function parseDType(field: Field): DType {
  return isDType(field.value) ? field.value : field.fail("is not a dtype of tensors that this runtime knows");
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
    const scales = storage?.dtype === "int8" ? storage.scales : undefined;
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
