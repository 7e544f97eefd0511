/**
 * @file tvm-webgpu as an engine of the comparison in ../shared/peers: `extra:tvm_webgpu[:VARIANT]`.
 *
 * `prepare.py` puts this file, the runtime and the compiled models into that comparison's folder `bench/extra`:
 * the package of a model lies in `extra/tvm_webgpu/VARIANT/MODEL`, VARIANT being `default` if none is named.
 */
import { fromF16, makeInput, toF16 } from "../lib/prng.mjs";

const HOME = "extra/tvm_webgpu";
const STORAGE = 0x80 | 0x4 | 0x8; // STORAGE, COPY_SRC, COPY_DST

const encode = {
  float32: (values) => values,
  float16: (values) => toF16(values),
  int64: (values) => BigInt64Array.from(values, BigInt),
};

export default function engine(variant = "default") {
  let loadModel;
  let tensors;
  return {
    name: `tvm-webgpu${variant === "default" ? "" : `-${variant}`}`,
    backend: "webgpu",
    bundle: [`${HOME}/tvm-webgpu.mjs`],

    supports(work, { f16 }) {
      return work.dtype !== "float16" || f16 || "no shader-f16";
    },

    async init(ctx) {
      ({ loadModel } = await import(ctx.url(`${HOME}/tvm-webgpu.mjs`)));
    },

    async prepare(work) {
      tensors = work.inputs.map(({ name, dtype, shape, ...rest }) => {
        return { name, dtype, shape, data: encode[dtype](makeInput({ name, dtype, shape, ...rest })) };
      });
    },

    async load(work, ctx) {
      const model = await loadModel(ctx.url(`${HOME}/${variant}/${work.name}/`));
      const { device } = model;
      const [output] = model.entries[0].outputs;
      const onCpu = Object.fromEntries(tensors.map(({ name, data, shape }) => [name, { data, shape }]));
      const onGpu = Object.fromEntries(tensors.map(({ name, dtype, shape, data }) => {
        const buffer = device.createBuffer({ size: Math.ceil(data.byteLength / 4) * 4, usage: STORAGE });
        device.queue.writeBuffer(buffer, 0, data);
        return [name, { buffer, dtype, shape }];
      }));
      let bound; // made at the first use: binding waits for a package's tuned kernels, a first result does not
      return {
        device,
        layout: "NCHW",
        norm: (data) => (data instanceof Float32Array ? data : fromF16(new Uint16Array(data.buffer, data.byteOffset, data.length))),
        e2e: async () => (await model.run(onCpu))[output.name].data,
        run: () => (bound ? bound.run() : model.bind(onGpu).then((made) => (bound = made).run())),
        flush() {},
        dispose: () => model.dispose(),
      };
    },
  };
}
