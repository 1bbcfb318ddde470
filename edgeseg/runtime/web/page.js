"use strict";
// The newest frame comes as one message: figures, a JPEG of the image, a paletted PNG of the labels. Image and
// labels are combined here, so hiding a class or changing the opacity costs the device nothing.
const $ = (id) => document.getElementById(id);
const canvas = $("canvas"), pen = canvas.getContext("2d");
// Where the PNG's transparency chunk lies: signature 8, IHDR 25, PLTE 780 bytes.
const TRNS = 8 + 25 + 780, ALPHA = TRNS + 8, CLASSES_MOST = 256;
const RETRY_MS = 1000, FETCH_MS = 10000, STALE_MS = 3000;
const hidden = new Set();
let about = { classes: [], palette: [], title: "" };
let arrivedMs = 0, ageMs = 0;
let run = null, seen = 0, image = null, labelBytes = null, labels = null, paused = false, rows = [];

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});

function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = crcTable[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

// The label map is never decoded to be changed: the alpha of each class stands in the file's own table.
async function colored(bytes) {
  const changed = bytes.slice();
  hidden.forEach((index) => { changed[ALPHA + index] = 0; });
  const crc = crc32(changed.subarray(TRNS + 4, ALPHA + CLASSES_MOST));
  new DataView(changed.buffer).setUint32(ALPHA + CLASSES_MOST, crc);
  return createImageBitmap(new Blob([changed], { type: "image/png" }));
}

function draw() {
  if (!image) return;
  if (canvas.width !== image.width || canvas.height !== image.height) {
    canvas.width = image.width;
    canvas.height = image.height;
  }
  pen.globalAlpha = 1;
  pen.drawImage(image, 0, 0);
  pen.globalAlpha = $("opacity").value / 100;
  pen.imageSmoothingEnabled = false;
  if (labels) pen.drawImage(labels, 0, 0, canvas.width, canvas.height);
}

async function redraw() {
  if (labelBytes) labels = await colored(labelBytes);
  draw();
}

function parts(buffer) {
  const view = new DataView(buffer), found = [];
  for (let at = 0; at < buffer.byteLength;) {
    const length = view.getUint32(at);
    found.push(new Uint8Array(buffer, at + 4, length));
    at += 4 + length;
  }
  return found;
}

async function show(buffer) {
  const [text, jpeg, png] = parts(buffer);
  const figures = JSON.parse(new TextDecoder().decode(text));
  const [nextImage, nextLabels] = await Promise.all([
    createImageBitmap(new Blob([jpeg], { type: "image/jpeg" })), colored(png),
  ]);
  image?.close();
  labels?.close();
  [image, labels, labelBytes] = [nextImage, nextLabels, png.slice()];
  draw();
  tell(figures);
}

function tell(figures) {
  [arrivedMs, ageMs] = [performance.now(), figures.age_ms];
  $("fps").textContent = figures.fps.toFixed(1);
  $("infer").textContent = (figures.stages_ms.infer?.[0] ?? 0).toFixed(1);
  $("skipped").textContent = figures.skipped ?? 0;
  $("corrupt").textContent = figures.corrupt ? `${figures.corrupt} corrupt` : "";
  const stages = Object.entries(figures.stages_ms).map(([name, times]) => `${name} ${times.map((ms) => ms.toFixed(1)).join("/")} ms`);
  const queues = Object.entries(figures.queues).map(([name, [waiting, room]]) => `${name} ${waiting}/${room}`);
  const score = figures.miou == null ? [] : [`mIoU ${(100 * figures.miou).toFixed(1)} %`];
  $("detail").textContent = [
    `Frame ${figures.frame}`, figures.size.join(" × "), figures.title, ...stages, `queues: ${queues.join(", ")}`, ...score,
  ].join("  ·  ");
  rows.forEach(({ share, bar }, index) => {
    const area = figures.areas[index];
    share.textContent = area >= 0.0005 ? `${(100 * area).toFixed(1)} %` : "–";
    bar.style.transform = `scaleX(${area})`;
  });
  document.body.dataset.frame = figures.frame;
}

function state(name, text, trouble = "") {
  $("status").dataset.state = name;
  $("status").textContent = text;
  $("trouble").textContent = trouble;
  $("trouble").hidden = !trouble;
}

// A frozen device or a lost network sends nothing, not even an error.
function watchAge() {
  if (!arrivedMs) return;
  const now = ageMs + performance.now() - arrivedMs, stale = now > STALE_MS && !paused;
  $("age").textContent = now.toFixed(0);
  document.body.dataset.stale = stale;
  if (stale && $("status").dataset.state === "live") state("waiting", "Stale", "");
  $("stale").textContent = stale ? `This image is ${(now / 1000).toFixed(0)} s old.` : "";
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function follow() {
  for (;;) {
    if (paused || document.hidden) { await wait(150); continue; }
    try {
      const answer = await fetch(`frame?after=${seen}`, { cache: "no-store", signal: AbortSignal.timeout(FETCH_MS) });
      // Another run at this address: its frames count from 0, and its model may have other classes.
      if (answer.ok && answer.headers.get("X-Run") !== run) { location.reload(); return; }
      if (answer.status === 200) {
        seen = Number(answer.headers.get("X-Frame"));
        $("viewers").textContent = answer.headers.get("X-Viewers") ?? "";
        await show(await answer.arrayBuffer());
        if (!paused) state("live", "Live");
      } else if (answer.status === 202) {
        const { trouble } = await answer.json();
        state("waiting", "Waiting", trouble || "No new frame yet.");
      } else {
        state("lost", answer.status === 503 ? "Full" : "No access", await answer.text());
        await wait(5 * RETRY_MS);
      }
    } catch {
      state("lost", "Disconnected", "The loop has ended, or the network is down. Trying again.");
      await wait(RETRY_MS);
    }
  }
}

function remember() {
  try {
    const names = [...hidden].map((index) => about.classes[index]);
    localStorage.setItem("edgeseg", JSON.stringify({ hidden: names, opacity: $("opacity").value }));
  } catch { /* a browser that stores nothing still shows everything */ }
}

function recall() {
  try {
    const kept = JSON.parse(localStorage.getItem("edgeseg") ?? "{}");
    (kept.hidden ?? []).map((name) => about.classes.indexOf(name)).filter((i) => i >= 0).forEach((i) => hidden.add(i));
    $("opacity").value = kept.opacity ?? 55;
  } catch { /* as above */ }
  $("percent").textContent = `${$("opacity").value} %`;
}

function mark() {
  rows.forEach(({ button }, index) => button.setAttribute("aria-checked", String(!hidden.has(index))));
  remember();
  redraw();
}

function element(kind, name, parent) {
  const made = document.createElement(kind);
  made.className = name;
  parent.append(made);
  return made;
}

function row(name, index) {
  const button = element("button", "", element("li", "", $("classes")));
  button.type = "button";
  button.setAttribute("role", "switch");
  button.setAttribute("aria-label", `Show ${name}`);
  element("span", "swatch", button).style.backgroundColor = `rgb(${about.palette[index].join(" ")})`;
  element("span", "name", button).textContent = name;
  const share = element("span", "share", button);
  const bar = element("i", "", element("span", "meter", button));
  bar.style.backgroundColor = `rgb(${about.palette[index].join(" ")})`;
  element("span", "switch", button);
  button.addEventListener("click", () => {
    if (!hidden.delete(index)) hidden.add(index);
    mark();
  });
  return { button, share, bar };
}

function snapshot() {
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `edgeseg-${document.body.dataset.frame ?? 0}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), RETRY_MS);
  }, "image/png");
}

function connect() {
  $("opacity").addEventListener("input", () => {
    $("percent").textContent = `${$("opacity").value} %`;
    remember();
    draw();
  });
  $("pause").addEventListener("click", () => {
    paused = !paused;
    $("pause").setAttribute("aria-pressed", String(paused));
    $("pause").textContent = paused ? "Resume" : "Pause";
    if (paused) state("waiting", "Paused");
  });
  $("all").addEventListener("click", () => { hidden.clear(); mark(); });
  $("none").addEventListener("click", () => { about.classes.forEach((_, index) => hidden.add(index)); mark(); });
  $("snapshot").addEventListener("click", snapshot);
  $("full").hidden = !document.fullscreenEnabled;
  $("full").addEventListener("click", () => {
    if (document.fullscreenElement) document.exitFullscreen(); else $("stage").requestFullscreen();
  });
}

async function start() {
  connect();
  for (;;) {
    try {
      const answer = await fetch("about", { signal: AbortSignal.timeout(FETCH_MS) });
      if (answer.ok) { run = answer.headers.get("X-Run"); about = await answer.json(); break; }
      state("lost", answer.status === 503 ? "Full" : "No access", await answer.text());
    } catch {
      state("lost", "Disconnected", "The loop does not respond. Trying again.");
    }
    await wait(RETRY_MS);
  }
  document.title = `${about.title} · edgeseg`;
  $("artifact").textContent = about.title;
  $("notice").textContent = about.notice;
  rows = about.classes.map(row);
  recall();
  mark();
  setInterval(watchAge, RETRY_MS / 4);
  follow();
}

start();
