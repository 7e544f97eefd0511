import { infer } from "./infer.js";

void infer().then(postMessage);
