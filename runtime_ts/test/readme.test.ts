/** @file The manual's word: examples hold for the compiler, tables name what there is, sizes are measured. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { before, test } from "node:test";
import { gzipSync } from "node:zlib";
import ts from "typescript";
import * as api from "../src/index.ts";
import { ROOT } from "./support.ts";

/** What the examples take for granted. */
const GIVEN = `
  declare var bar: HTMLProgressElement, label: HTMLElement, video: HTMLVideoElement;
  declare var data: Float32Array<ArrayBuffer>, pixels: Float32Array<ArrayBuffer>;
  declare var device: GPUDevice, buffer: GPUBuffer, myBuffer: GPUBuffer;
  declare var model: import("tvm-webgpu").Model;
  declare var input: import("tvm-webgpu").Input;
  declare var loadModel: typeof import("tvm-webgpu").loadModel;
`;

const DECLARED = `
  import type { TensorInput, TensorOutput } from "tvm-webgpu";
  export interface Mobilenet { main: {
    inputs: { input: TensorInput<"float32", [1, 3, 224, 224]> };
    outputs: { logits: TensorOutput<"float32", [1, 1000]> };
  } }
`;

let manual = "";
before(async () => { manual = await readFile(join(ROOT, "README.md"), "utf8"); });

/** A program of the runtime's sources and files that are only here, by their names in a folder beside them. */
function compiled(files: Readonly<Record<string, string>>): ts.Program {
  const read = ts.readConfigFile(join(ROOT, "tsconfig.json"), (path) => ts.sys.readFile(path));
  const { options } = ts.parseJsonConfigFileContent(read.config, ts.sys, ROOT);
  const paths = { "tvm-webgpu": [join(ROOT, "src/index.ts")] };
  // As in most projects: strict, and no stricter.
  Object.assign(options, { noEmit: true, noUnusedLocals: false, noUncheckedIndexedAccess: false, paths });
  const host = ts.createCompilerHost(options);
  const plain = { ...host };
  const folder = join(ROOT, "manual");
  const here = new Map(Object.entries(files).map(([name, text]) => [join(folder, name), text]));
  host.fileExists = (path) => here.has(path) || plain.fileExists(path);
  host.directoryExists = (path) => path === folder || ts.sys.directoryExists(path);
  host.getSourceFile = (path, target, ...more) => {
    const text = here.get(path);
    return text === undefined ? plain.getSourceFile(path, target, ...more) : ts.createSourceFile(path, text, target);
  };
  return ts.createProgram([...here.keys()].filter((path) => !path.endsWith("mobilenet.d.ts")), options, host);
}

test("every example is right for the compiler, and every option is named", () => {
  const examples = Array.from(manual.matchAll(/^```ts\n([^]*?)^```/gm), (match) => match[1]!);
  assert.ok(examples.length >= 5);
  const files: Record<string, string> = { "given.d.ts": GIVEN, "mobilenet.d.ts": DECLARED };
  examples.forEach((example, i) => { files[`example${i}.ts`] = `${example}\nexport {};\n`; });
  const program = compiled(files);
  const wrong = program.getSourceFiles()
    .filter(({ fileName }) => dirname(fileName).endsWith("manual"))
    .flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)])
    .map(({ file, start, messageText }) => {
      const { line } = file!.getLineAndCharacterOfPosition(start!);
      return `${file!.text.split("\n")[line]}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`;
    });
  assert.deepEqual(wrong, []);

  const source = program.getSourceFile(join(ROOT, "src/load.ts"))!;
  const options = source.statements.filter(ts.isInterfaceDeclaration).find(({ name }) => name.text === "LoadOptions")!;
  const names = options.members.map(({ name }) => name!.getText(source));
  assert.deepEqual(names.filter((name) => !manual.includes(`\`${name}\``)), []);
});

test("every error that is thrown is in its table, and nothing else is", () => {
  const thrown = Object.keys(api).filter((name) => name.endsWith("Error") && name !== "TvmWebgpuError");
  const told = Array.from(manual.matchAll(/^\| `(\w+Error)` \|/gm), (match) => match[1]!);
  assert.deepEqual(told.sort(), thrown.sort());
});

test("its sizes are those of the bundles, to 1 kB", async () => {
  const read = async (...paths: string[]): Promise<Buffer[]> =>
    Promise.all(paths.map((path) => readFile(join(ROOT, "dist", path))));
  const rows = {
    "the runtime": await read("tvm-webgpu.mjs"),
    "runtime included": await read("page/page.js", "page/page.css", "page/index.html"),
  };
  for (const [what, files] of Object.entries(rows)) {
    const told = new RegExp(`^\\|.*${what} \\| (\\d+) \\| (\\d+) \\|$`, "m").exec(manual)!;
    const sizes = [(bytes: Buffer) => bytes.length, (bytes: Buffer) => gzipSync(bytes, { level: 9 }).length]
      .map((size) => files.reduce((sum, bytes) => sum + size(bytes), 0) / 1000);
    sizes.forEach((size, i) => { assert.ok(Math.abs(size - Number(told[i + 1])) <= 1, `${what}: ${size} kB`); });
  }
});
