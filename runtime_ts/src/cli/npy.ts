/** @file NumPy's .npy files to and from tensors (numpy/lib/format.py, versions 1 to 3; C order, little-endian). */
import { dtypeInfo, isDType, viewAs, type DType } from "../dtype.ts";
import { InputError } from "../errors.ts";
import type { CpuTensor } from "../model.ts";

const MAGIC = "\x93NUMPY";
// Not NumPy's own: the package ml_dtypes saves bfloat16 and floats of 8 bits as bytes without a meaning.
const CODES: Readonly<Record<DType, string>> = {
  float64: "<f8", float32: "<f4", float16: "<f2", bfloat16: "<V2", bool: "|b1",
  float8_e4m3fn: "|V1", float8_e5m2: "|V1", float8_e8m0fnu: "|V1",
  int64: "<i8", int32: "<i4", int16: "<i2", int8: "|i1",
  uint64: "<u8", uint32: "<u4", uint16: "<u2", uint8: "|u1",
};

/** @throws InputError if the bytes are no .npy file of a dtype that packages have. `name` is for the message. */
export function readNpy(bytes: Uint8Array<ArrayBuffer>, name: string): CpuTensor {
  const fail = (problem: string): InputError => new InputError(`${name}: ${problem}`);
  const text = (from: number, to: number): string => String.fromCharCode(...bytes.subarray(from, to));
  if (bytes.length < 12 || text(0, 6) !== MAGIC) throw fail("not a .npy file");
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const start = bytes[6] === 1 ? 10 : 12;
  const dataAt = start + (bytes[6] === 1 ? view.getUint16(8, true) : view.getUint32(8, true));
  const header = text(start, dataAt);
  const code = /'descr': *'([^']*)'/.exec(header)?.[1] ?? "";
  const dims = /'shape': *\(([\d, ]*)\)/.exec(header)?.[1];
  const dtype = Object.keys(CODES).find((key) => CODES[key as DType].slice(1) === code.slice(1));
  if (!isDType(dtype) || code.startsWith(">")) throw fail(`elements of type "${code}" are not supported`);
  if (dims === undefined || !/'fortran_order': *False/.test(header)) {
    throw fail("only C order is supported: save np.ascontiguousarray(x)");
  }
  const shape = dims.split(",").filter((extent) => extent.trim() !== "").map(Number);
  const elements = shape.reduce((a, b) => a * b, 1);
  const size = elements * dtypeInfo(dtype).bytes;
  if (bytes.length - dataAt < size) throw fail("the file breaks off");
  const own = bytes.slice(dataAt, dataAt + size).buffer; // aligned, whatever the header's length
  return { dtype, shape, data: viewAs(dtype, own, elements) };
}

export function writeNpy({ dtype, shape, data }: CpuTensor): Uint8Array<ArrayBuffer> {
  const dims = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const header = `{'descr': '${CODES[dtype]}', 'fortran_order': False, 'shape': (${dims}), }`;
  const unpadded = 10 + header.length + 1;
  const start = Math.ceil(unpadded / 64) * 64; // the data is 64-aligned, as NumPy writes it
  const bytes = new Uint8Array(start + data.byteLength);
  const head = `${MAGIC}\x01\x00\x00\x00${header}${" ".repeat(start - unpadded)}\n`;
  bytes.set(Uint8Array.from(head, (letter) => letter.charCodeAt(0)));
  new DataView(bytes.buffer).setUint16(8, start - 10, true);
  bytes.set(new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength), start);
  return bytes;
}
