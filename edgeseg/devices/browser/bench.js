// The page: loads an artifact, checks its hash and golden images, measures it, shows the camera, and posts the result.
import { Camera } from "./camera.js";
import { aboutDevice, file, message, offers, pixelsOf, post } from "./desk.js";
import { abilities, needsNewPage, open } from "./engines.js";
import { colored, decode } from "./labels.js";
import { LEAST_FOR_P99, clockStep, measure, percentiles } from "./measuring.js";
import { prepare } from "./pixels.js";
import { sha256 } from "./sha256.js";

const $ = (id) => document.getElementById(id);
const NEWEST = 240, SHOW_MS = 250, SCHEMA = 1;
const picture = $("image").getContext("2d"), overlay = $("overlay").getContext("2d");
const camera = new Camera($("video"));
export const state = { about: null, can: null, device: null, ready: null, busy: false, last: null, unsent: [], reply: null };

// ---- what the user chose

function choice() {
  const accelerator = document.querySelector("[name=accelerator]:checked").value;
  return {
    offer: state.about.artifacts[$("offers").selectedIndex], accelerator,
    threads: accelerator === "wasm" ? Number($("threads").value) : 1, runs: Number($("runs").value),
  };
}

function store() {
  try {
    localStorage.setItem("edgeseg-device", $("name").value);
    const { offer, accelerator } = choice();
    sessionStorage.setItem("edgeseg", JSON.stringify({ sha256: offer.sha256, accelerator, threads: $("threads").value, runs: $("runs").value }));
  } catch { /* a browser that stores nothing only forgets the choices */ }
}

function recall() {
  try {
    $("name").value = localStorage.getItem("edgeseg-device") ?? state.device.model;
    const kept = JSON.parse(sessionStorage.getItem("edgeseg") ?? "{}");
    const index = state.about.artifacts.findIndex((offer) => offer.sha256 === kept.sha256);
    if (index >= 0) $("offers").selectedIndex = index;
    for (const id of ["threads", "runs"]) if (kept[id] && [...$(id).options].some(({ value }) => value === kept[id])) $(id).value = kept[id];
    const radio = document.querySelector(`[name=accelerator][value="${kept.accelerator === "webgpu" ? "webgpu" : "wasm"}"]`);
    if (!radio.disabled) radio.checked = true;
  } catch { /* as above */ }
}

async function newPage(next) {
  // A new page forgets what waits to be sent.
  if (state.unsent.length) await send();
  store();
  try { sessionStorage.setItem("edgeseg-next", next); } catch { /* the user presses the button again */ }
  location.reload();
  return new Promise(() => {});
}

// ---- what the page says

function status(name, text) {
  $("status").dataset.state = name;
  $("status").textContent = text;
}

function step(name, of, text) {
  const item = document.querySelector(`[data-step=${name}]`);
  item.dataset.state = of;
  item.querySelector("span").textContent = text;
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

const ms = (value) => value === null || value === undefined ? "–" : value.toFixed(value < 100 ? 1 : 0);
const percent = (share) => `${(Math.floor(share * 1e4) / 100).toFixed(2)}\u00a0%`;

function figures({ total, infer, preprocess, decode: decoded, frame_age: age }, what) {
  $("p50").textContent = ms(total[0]);
  $("p90").textContent = ms(total[1]);
  $("p99").textContent = total[2] === null ? "–" : ms(total[2]);
  $("p99").title = total[2] === null ? `A p99 takes ${LEAST_FOR_P99} runs.` : "";
  $("age").textContent = age ? ms(age[0]) : "–";
  $("detail").textContent = `${what} · p50: preprocess ${ms(preprocess[0])} ms, inference ${ms(infer[0])} ms, decode ${ms(decoded[0])} ms`;
}

function draw(image, labels) {
  const { offer } = state.ready, size = [image.height, image.width];
  for (const pen of [picture, overlay]) {
    if (pen.canvas.width !== image.width || pen.canvas.height !== image.height) [pen.canvas.width, pen.canvas.height] = [image.width, image.height];
  }
  picture.putImageData(image, 0, 0);
  overlay.putImageData(colored(labels, size, offer.palette), 0, 0);
  $("empty").hidden = true;
  state.last = { image, labels };
}

let sharesShownMs = 0, underWay = Promise.resolve();

function shares(labels) {
  if (performance.now() - sharesShownMs < SHOW_MS) return;
  sharesShownMs = performance.now();
  const counts = new Uint32Array(256);
  for (const id of labels) counts[id]++;
  document.querySelectorAll("#classes span").forEach((span, id) => { span.textContent = `${(100 * counts[id] / labels.length).toFixed(1)} %`; });
}

function legend({ classes, palette }) {
  $("classes").replaceChildren(...classes.map((name, id) => {
    const item = document.createElement("li"), swatch = document.createElement("i"), share = document.createElement("span");
    swatch.style.backgroundColor = `rgb(${palette[id].join(" ")})`;
    item.append(swatch, name, share);
    return item;
  }));
}

// ---- running

// Loads the chosen artifact and its engine, and proves the golden images; what is ready already is left alone.
async function makeReady(next) {
  const wanted = choice(), { offer } = wanted;
  const key = [offer.sha256, wanted.accelerator, wanted.threads].join();
  if (state.ready?.key === key) return state.ready;
  if (needsNewPage(offer, wanted)) await newPage(next);
  await state.ready?.runner.close();
  state.ready = null;
  ["golden", "measure", "send"].forEach((name) => step(name, "", "not run"));
  step("load", "busy", "loading");
  const model = await guarded("load", () => file(offer, offer.model));
  const golden = await guarded("load", () => Promise.all(offer.golden.map(async (sample) => pixelsOf((await file(offer, sample)).bytes))));
  const runner = await guarded("load", () => open(offer, model.bytes, wanted));
  step("load", "done", `${(model.bytes.length / 1e6).toFixed(2)} MB, SHA-256 ${model.sha256.slice(0, 12)}… as announced`);
  state.ready = { key, ...wanted, runner, golden, modelSha256: model.sha256 };
  legend(offer);
  try {
    await guarded("golden", prove);
  } catch (error) {
    state.ready = null;
    await runner.close();
    throw error;
  }
  return state.ready;
}

async function guarded(name, work) {
  try {
    return await work();
  } catch (error) {
    step(name, "bad", name === "load" ? "failed" : "refused");
    throw error;
  }
}

async function prove() {
  const { offer, runner, golden } = state.ready, inputs = [], outputs = [];
  step("golden", "busy", "running");
  for (const image of golden) {
    const tensor = prepare(image, offer.input, offer.preprocess);
    inputs.push(await sha256(new Uint8Array(tensor.buffer)));
    const output = (await runner.run(tensor)).slice();
    outputs.push(output);
    const labels = decode(output, offer, [image.height, image.width]);
    draw(image, labels);
    shares(labels);
  }
  Object.assign(state.ready, { inputs, outputs });
  await verdict();
}

// Without the desk, the golden images are judged when the result is sent.
async function verdict() {
  try {
    const { agreement, min_agreement: least, samples } = await post(message(described(null), state.ready.outputs));
    const images = samples === 1 ? "1 image" : `${samples} images`;
    step("golden", "done", `${percent(agreement)} of the labels (required: ${percent(least)}), ${images}, judged by the desk`);
  } catch (error) {
    if (error.refused) throw error;
    step("golden", "done", "run; the desk judges them with the result");
  }
}

function described(timing) {
  const { offer, accelerator, threads, modelSha256, inputs } = state.ready, { can } = state;
  const { model: _, ...device } = state.device;
  return {
    schema: SCHEMA, artifact_sha256: offer.sha256, model_sha256: modelSha256, device: { name: $("name").value.trim(), ...device },
    engine: offer.engine, accelerator, threads, adapter: accelerator === "webgpu" ? can.adapter : "",
    software_adapter: accelerator === "webgpu" && can.software, inputs_sha256: inputs, timing,
  };
}

// One image through the model: {times in ms, labels, image}; `grab` returns the pixels and counts as preprocessing.
function once(grab) {
  const run = timedRun(grab);
  underWay = run.catch(() => {});
  return run;
}

async function timedRun(grab) {
  const { offer, runner } = state.ready, started = performance.now();
  const image = grab(), tensor = prepare(image, offer.input, offer.preprocess), prepared = performance.now();
  const output = await runner.run(tensor), inferred = performance.now();
  const labels = decode(output, offer, [image.height, image.width]), decoded = performance.now();
  return { times: [prepared - started, inferred - prepared, decoded - inferred], labels, image };
}

// Null where `wanted()` is false by the time that a frame comes.
async function onCamera(wanted = () => true) {
  const atMs = await camera.next();
  if (atMs === null) throw new Error("The camera has ended.");
  if (!wanted()) return null;
  const run = await once(() => camera.pixels());
  draw(run.image, run.labels);
  return { ...run, ageMs: performance.now() - atMs };
}

async function live(wanted) {
  const kept = { total: [], preprocess: [], infer: [], decode: [], frame_age: [] };
  let shownMs = 0;
  while (wanted()) {
    const run = await onCamera(wanted);
    if (run === null) return;
    const { times: [preprocess, infer, decoded], ageMs, labels } = run;
    const row = { total: preprocess + infer + decoded, preprocess, infer, decode: decoded, frame_age: ageMs };
    for (const [name, times] of Object.entries(kept)) {
      times.push(row[name]);
      if (times.length > NEWEST) times.shift();
    }
    shares(labels);
    if (performance.now() - shownMs > SHOW_MS) {
      shownMs = performance.now();
      figures(Object.fromEntries(Object.entries(kept).map(([name, times]) => [name, percentiles(times)])), `newest ${kept.total.length} frames`);
    }
    document.body.dataset.frames = Number(document.body.dataset.frames ?? 0) + 1;
  }
}

async function measured() {
  const { golden, runs } = { ...state.ready, runs: choice().runs }, onLive = camera.running;
  step("measure", "busy", "warming up");
  step("send", "", "not sent");
  $("progress").hidden = false;
  let turn = 0, wasHidden = document.hidden;
  const look = () => { wasHidden ||= document.hidden; };
  document.addEventListener("visibilitychange", look);
  const result = await guarded("measure", () => measure(onLive ? onCamera : () => once(() => golden[turn++ % golden.length]), {
    runs,
    tell(phase, done, of) {
      $("progress").value = of ? done / of : 0;
      step("measure", "busy", of ? `${done} of ${of}` : `${phase.toLowerCase()}, ${done} runs`);
    },
    ended() {
      if (wasHidden) throw new Error("The page was hidden, and browsers slow hidden pages down. Measure again.");
    },
  })).finally(() => {
    document.removeEventListener("visibilitychange", look);
    $("progress").hidden = true;
  });
  figures(result.figures, `${result.runs} runs`);
  const what = onLive ? "the camera" : "the golden images";
  step("measure", "done", `${result.runs} runs on ${what} after ${result.warmup}${result.settled ? "" : " (not settled)"}: p50 ${ms(result.figures.total[0])} ms`);
  const { width, height } = onLive ? state.last.image : golden[0];
  const timing = {
    runs: result.runs, warmup: result.warmup, settled: result.settled, elapsed_ms: result.elapsedMs, clock_ms: clockStep(),
    images: onLive ? "camera" : "golden", image_size: [height, width], age_from: onLive ? camera.ageFrom : "", percentiles: result.figures,
  };
  return message(described(timing), [...state.ready.outputs, result.ticks, ...(result.ages ? [result.ages] : [])]);
}

// Sends what waits here, the oldest first, and then `bodies`.
async function send(...bodies) {
  state.unsent.push(...bodies);
  step("send", "busy", "sending");
  try {
    while (state.unsent.length) {
      state.reply = await post(state.unsent[0]);
      state.unsent.shift();
    }
    step("send", "done", `on the desk as ${state.reply.record}`);
  } catch (error) {
    if (error.refused) state.unsent.shift();
    step("send", "bad", error.refused ? "refused" : "waits here");
    throw new Error(error.refused ? error.message : `${error.message} The result waits here: send it again when the desk is back.`);
  } finally {
    $("again").hidden = state.unsent.length === 0;
  }
}

// ---- what the user does

async function busy(work) {
  if (state.busy) return;
  state.busy = true;
  trouble("");
  status("waiting", "Working");
  for (const id of ["measure", "offers", "threads", "runs"]) $(id).disabled = true;
  const lock = await navigator.wakeLock?.request("screen").catch(() => null);
  try {
    await underWay;  // an engine runs one image at a time
    await work();
    status("ready", "Ready");
  } catch (error) {
    console.error(error);
    trouble(String(error?.message ?? error));
    status("bad", "Stopped");
  } finally {
    lock?.release();
    state.busy = false;
    for (const id of ["measure", "offers", "threads", "runs"]) $(id).disabled = false;
    accelerators();
    showCamera();
    resumeLive();
  }
}

let liveTurn = 0;

// One that still waits for a frame ends when it comes.
function resumeLive() {
  if (!camera.running || !state.ready) return;
  const mine = ++liveTurn, newest = () => liveTurn === mine && camera.running;
  live(() => newest() && !state.busy && state.ready !== null).catch((error) => { if (newest()) trouble(error.message); showCamera(); });
}

function showCamera() {
  $("camera").textContent = camera.running ? "Stop camera" : "Start camera";
  $("camera").setAttribute("aria-pressed", String(camera.running));
  $("turn").hidden = !camera.running;
}

function toggleCamera() {
  if (camera.running) { camera.stop(); showCamera(); return; }
  busy(async () => {
    if (!requireName()) return;
    await makeReady("camera");
    await camera.start();
  });
}

function requireName() {
  store();
  return $("form").reportValidity();
}

function accelerators() {
  const { can } = state, radio = document.querySelector("[value=webgpu]");
  radio.disabled = !can.webgpu;
  $("threads").disabled = !document.querySelector("[value=wasm]").checked;
  const software = can.software ? " It is a CPU that imitates a GPU: its labels count, its times do not." : "";
  $("gpu-help").textContent = can.webgpu ? `GPU: ${can.adapter || "not named by the browser"}.${software}` : "WebGPU is not available in this browser.";
  $("insecure").hidden = globalThis.isSecureContext;
}

function connect() {
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    store();
    busy(async () => { await makeReady("measure"); await send(await measured()); });
  });
  $("form").addEventListener("change", () => { store(); accelerators(); named(); });
  $("again").addEventListener("click", () => busy(() => send()));
  $("camera").addEventListener("click", toggleCamera);
  $("turn").addEventListener("click", () => busy(() => camera.turn()));
  $("opacity").addEventListener("input", () => {
    $("percent").textContent = `${$("opacity").value} %`;
    $("overlay").style.opacity = $("opacity").value / 100;
  });
}

function named() {
  const { offer } = choice();
  $("artifact").textContent = `${offer.name} · ${offer.engine} ${offer.engine_version}`;
  $("notice").textContent = [offer.notice, `Licence of the model: ${offer.licence}.`].filter(Boolean).join(" ");
}

async function start() {
  connect();
  try {
    [state.about, state.can, state.device] = await Promise.all([offers(), abilities(), aboutDevice()]);
  } catch (error) {
    status("bad", "No desk");
    trouble(error.message);
    return;
  }
  $("offers").replaceChildren(...state.about.artifacts.map(({ name, precision }) => new Option(`${name} (${precision})`)));
  const counts = [1, 2, 3, 4, 6, 8, 12, 16].filter((count) => count <= state.can.threads);
  $("threads").replaceChildren(...counts.map((count) => new Option(String(count))));
  $("threads").value = String(counts.filter((count) => count <= 4).at(-1));
  $("adb").textContent = `adb reverse tcp:${location.port || 443} tcp:${location.port || 443}`;
  $("certificate").hidden = !state.about.certificate;
  $("no-certificate").hidden = state.about.certificate;
  accelerators();
  recall();
  accelerators();
  named();
  $("measure").disabled = false;
  status("ready", "Ready");
  const next = sessionStorage.getItem("edgeseg-next");
  sessionStorage.removeItem("edgeseg-next");
  if (next === "measure") $("form").requestSubmit();
  if (next === "camera") toggleCamera();
}

start();
