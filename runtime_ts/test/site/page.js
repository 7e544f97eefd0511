/** @file Runs the model in the context that ?in= names, and leaves what came of it in `outcome`. */
import { infer } from "./infer.js";

const contexts = {
  page: infer,
  worker: () => new Promise((resolve) => {
    const worker = new Worker("worker.js", { type: "module" });
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => resolve({ error: message });
  }),
  async service_worker() {
    const registration = await navigator.serviceWorker.register("service_worker.js", { type: "module" });
    const { active } = await navigator.serviceWorker.ready;
    const answer = new Promise((resolve) => {
      navigator.serviceWorker.onmessage = ({ data }) => resolve(data);
    });
    active.postMessage("infer");
    const outcome = await answer;
    await registration.unregister();
    return outcome;
  },
};

const violations = [];
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
  violations.push(`${violatedDirective}: ${blockedURI}`);
});
const context = new URLSearchParams(location.search).get("in");
globalThis.outcome = contexts[context]().then((outcome) => ({ ...outcome, violations }));
