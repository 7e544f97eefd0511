/**
 * @file How the runtime's one file is made. Everything else is esbuild's; this file is what pages download, and its
 * minifier leaves 1 kB less of it.
 */

/** Of texts marked as WGSL the white space that means nothing goes, as the rest's does. */
const shaders = {
  name: "shaders",
  transform: {
    filter: { code: "/* wgsl */" },
    handler: (code) => code.replace(/\/\* wgsl \*\/ (`[^`]*`)/g, (_, text) => (
      text.replace(/\s+/g, " ").replace(/ ?([^\w\s$]) ?/g, "$1"))),
  },
};

export default {
  input: "src/index.ts",
  platform: "neutral",
  transform: { target: "es2022" },
  plugins: [shaders],
  output: { file: "dist/tvm-webgpu.mjs", format: "esm", minify: true },
};
