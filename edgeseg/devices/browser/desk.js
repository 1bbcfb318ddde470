// The desk that serves this page: what it offers, the files that it sends, and posting what was run.
import { sha256 } from "./sha256.js";

export async function offers() {
  return (await asked("about")).json();
}

async function asked(path) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store" });
  } catch {
    throw new Error("The desk does not answer. Is edgeseg serve still running, and this device on its network?");
  }
  if (!answer.ok) throw new Error((await answer.text()).trim() || `The desk answers ${answer.status}.`);
  return answer;
}

// A file of an artifact; one whose hash is another than the desk announced is refused.
export async function file(offer, { path, sha256: expected }) {
  const bytes = new Uint8Array(await (await asked(`artifacts/${offer.sha256}/${path}`)).arrayBuffer());
  const found = await sha256(bytes);
  if (found !== expected) throw new Error(`${path} arrived damaged: SHA-256 ${found.slice(0, 12)}, not ${expected.slice(0, 12)}.`);
  return { bytes, sha256: found };
}

// An image file as {data: RGBA, width, height}, its pixels as stored: no colour profile, no premultiplied alpha.
export async function pixelsOf(bytes) {
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  return pen.getImageData(0, 0, canvas.width, canvas.height);
}

// The bytes of a message: each part behind its length.
export function message(run, parts) {
  const all = [new TextEncoder().encode(JSON.stringify(run)), ...parts.map((part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength))];
  const whole = new Uint8Array(all.reduce((sum, part) => sum + 4 + part.length, 0)), view = new DataView(whole.buffer);
  let at = 0;
  for (const part of all) {
    view.setUint32(at, part.length);
    whole.set(part, at + 4);
    at += 4 + part.length;
  }
  return whole;
}

// The desk's judgement. `refused` is set on the error where the desk said no; otherwise posting again may help.
export async function post(body) {
  let answer;
  try {
    answer = await fetch("runs", { method: "POST", body, headers: { "Content-Type": "application/octet-stream" } });
  } catch {
    throw new Error("The desk does not answer.");
  }
  if (answer.ok) return answer.json();
  const text = await answer.text();
  let said = text.trim();
  try { said = JSON.parse(text).error; } catch { /* plain text says it as it is */ }
  throw Object.assign(new Error(said || `The desk answers ${answer.status}.`), { refused: answer.status === 422 });
}

// What the browser says of itself; "" where it does not.
export async function aboutDevice() {
  const data = navigator.userAgentData, agent = navigator.userAgent;
  const more = await data?.getHighEntropyValues?.(["architecture", "bitness", "platformVersion", "fullVersionList", "model"]).catch(() => null);
  const brand = more?.fullVersionList?.find(({ brand: name }) => !/not.?a.?brand|^chromium$/i.test(name)) ?? more?.fullVersionList?.find(({ brand: name }) => name === "Chromium");
  const named = agent.match(/(Firefox|Edg|OPR|Chrome|CriOS|FxiOS)\/([\d.]+)/) ?? agent.match(/Version\/([\d.]+).*(Safari)/)?.reverse();
  const system = more?.platform ? `${more.platform} ${more.platformVersion ?? ""}` : agent.match(/\(([^;)]+(?:; [^;)]+)?)/)?.[1] ?? "";
  return {
    browser: (brand ? `${brand.brand} ${brand.version}` : named ? `${named[1]} ${named[2]}` : "").slice(0, 80),
    system: system.trim().slice(0, 80),
    architecture: more?.architecture ? `${more.architecture}${more.bitness ? `-${more.bitness}` : ""}` : "",
    cores: navigator.hardwareConcurrency || 1,
    model: more?.model ?? "",
  };
}
