import { infer } from "./infer.js";

addEventListener("message", (event) => {
  event.waitUntil(infer().then((outcome) => event.source.postMessage(outcome)));
});
