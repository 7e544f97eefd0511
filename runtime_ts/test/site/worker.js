import { infer } from "./infer.js";

postMessage(await infer());
