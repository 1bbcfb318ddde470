// The page of `edgeseg serve` without a browser: a document, a camera and an engine of a few lines.
import fs from "node:fs";
import { createHash } from "node:crypto";
import { pathToFileURL } from "node:url";

const elements = new Map(), seen = new Set();
function element(id = "") {
  const heard = {};
  const made = {
    id, dataset: {}, style: {}, value: "", textContent: "", hidden: false, options: [], selectedIndex: 0, width: 0, height: 0,
    addEventListener(name, work) { heard[name] = work; },
    fire(name) { return heard[name]({ preventDefault() {} }); },
    replaceChildren(...children) { made.options = children; },
    append() {}, setAttribute() {}, querySelector: () => element(), reportValidity: () => true,
    getContext: () => ({ canvas: made, putImageData() {}, drawImage() {}, getImageData: (x, y, width, height) => pixels(width, height) }),
    play: async () => {}, videoWidth: 16, videoHeight: 16,
    requestVideoFrameCallback(work) { world.waiting.push(work); },
  };
  return made;
}
const byId = (id) => elements.get(id) ?? elements.set(id, element(id)).get(id);
const pixels = (width, height) => ({ width, height, data: new Uint8ClampedArray(4 * width * height) });
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const bytes = new Uint8Array([1, 2, 3]);
const tensor = (dtype, channels, side) => ({ name: "x", dtype, layout: "NCHW", shape: [1, channels, side, side], scale: null, zero_point: null, role: "logits" });
const offer = (name) => ({
  name, sha256: name, engine: "onnxruntime-web", engine_version: "1", precision: "fp32", classes: ["a", "b"], palette: [[0, 0, 0], [9, 9, 9]],
  model: { path: "model.onnx", sha256: sha256(bytes) }, golden: [{ path: "golden.png", sha256: sha256(bytes) }],
  input: tensor("float32", 3, 16), output: tensor("float32", 2, 4), licence: "", notice: "", min_agreement: 1,
  preprocess: { resize: "stretch", interpolation: "bilinear", color_order: "rgb", in_graph: true, scale: 1, mean: [0, 0, 0], std: [1, 1, 1] },
});

export const world = { online: true, posted: [], reloads: 0, runs: 0, most: 0, active: 0, waiting: [], gate: null };
const reply = (body, ok = true) => ({ ok, status: ok ? 200 : 422, json: async () => body, text: async () => JSON.stringify(body), arrayBuffer: async () => bytes.buffer });
Object.assign(globalThis, {
  world, crossOriginIsolated: true, isSecureContext: true,
  document: {
    getElementById: byId, createElement: () => element(), querySelectorAll: () => [], body: { dataset: {} }, hidden: false,
    addEventListener(name, work) { seen.add(work); }, removeEventListener(name, work) { seen.delete(work); },
    hide(hidden) { document.hidden = hidden; seen.forEach((work) => work()); },
    querySelector: (text) => (text.includes("data-step") ? byId(text) : Object.assign(byId("wasm"), { value: "wasm", checked: true })),
  },
  location: { port: "1", href: "http://desk/", reload() { world.reloads++; } },
  sessionStorage: { getItem: () => null, setItem() {}, removeItem() {} }, localStorage: { getItem: () => null, setItem() {} },
  Option: function (text) { this.value = text; }, ImageData: function (width, height) { return pixels(width, height); },
  createImageBitmap: async () => ({ width: 16, height: 16, close() {} }),
  fetch: async (path, { body } = {}) => {
    if (path === "about") return reply({ artifacts: [offer("one"), offer("two")], certificate: false });
    if (path !== "runs") { await world.gate; return reply(null); }
    if (!world.online) throw new TypeError("offline");
    const length = new DataView(body.buffer).getUint32(0), run = JSON.parse(new TextDecoder().decode(body.subarray(4, 4 + length)));
    if (run.timing) world.posted.push(run);
    return world.refuses ? reply({ error: "no" }, false) : reply({ agreement: 1, min_agreement: 1, samples: 1, record: "r.json" });
  },
});
const track = { stop() {}, addEventListener() {} };
Object.defineProperty(globalThis, "navigator", { value: {
  hardwareConcurrency: 4, userAgent: "", mediaDevices: { getUserMedia: async () => ({ getTracks: () => [track], getVideoTracks: () => [track] }) },
} });

export const frame = () => world.waiting.splice(0).forEach((work) => work(performance.now(), {}));
export const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
export const $ = byId;
export const until = async (is) => { for (let left = 400; left && !is(); left--) await new Promise((resolve) => setTimeout(resolve, 5)); return Boolean(is()); };
export const page = await import(pathToFileURL(process.argv[2] + "/bench.js"));
export const idle = () => until(() => !page.state.busy);
await until(() => $("status").textContent === "Ready");
$("runs").value = "200";
$("threads").value = "1";
