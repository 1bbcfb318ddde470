// The engines: each opens a model and gives back run(tensor) -> the raw output, as the array of its type.
const ORT = "./runtime/onnxruntime-web/dist/", LITERT = "./runtime/@litertjs/core/";
const INT8 = 9;
let loaded = null;

// What this browser can do; "" or false where it cannot.
export async function abilities() {
  const isolated = globalThis.crossOriginIsolated === true, adapter = await gpuAdapter();
  return { threads: isolated ? navigator.hardwareConcurrency || 1 : 1, isolated, ...adapter };
}

async function gpuAdapter() {
  const none = { webgpu: false, adapter: "", software: false };
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    if (!adapter) return none;
    const { vendor, architecture, description, isFallbackAdapter } = adapter.info;
    const name = [vendor, architecture, description].filter(Boolean).join(" ").slice(0, 80);
    return { webgpu: true, adapter: name, software: Boolean(isFallbackAdapter) || /swiftshader|llvmpipe|basic render/i.test(name) };
  } catch {
    return none;
  }
}

// An engine loads once a page, with its threads and accelerator: others need a new page.
export function needsNewPage(offer, { accelerator, threads }) {
  return loaded !== null && loaded !== [offer.engine, accelerator, threads].join();
}

export async function open(offer, model, { accelerator, threads }) {
  loaded = [offer.engine, accelerator, threads].join();
  return offer.engine === "litertjs" ? openTflite(offer, model, accelerator, threads) : openOnnx(offer, model, accelerator, threads);
}

async function openOnnx(offer, model, accelerator, threads) {
  const ort = await import(`${ORT}ort.${accelerator}.min.mjs`);
  ort.env.wasm.wasmPaths = new URL(ORT, location.href).href;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(model, { executionProviders: [accelerator], graphOptimizationLevel: "all" });
  const [input] = session.inputNames, [output] = session.outputNames, { dtype, shape } = offer.input;
  return {
    async run(tensor) {
      const results = await session.run({ [input]: new ort.Tensor(dtype, tensor, shape) });
      return results[output].data;
    },
    close: () => session.release(),
  };
}

async function openTflite(offer, model, accelerator, threads) {
  const litert = await litertWithInt8();
  const jspi = accelerator === "webgpu" && await litert.supportsFeature("jspi");
  if (!document.querySelector("[data-litert]")) {
    await litert.loadLiteRt(`${LITERT}wasm/`, { threads: accelerator === "wasm" && threads > 1, jspi });
    document.documentElement.setAttribute("data-litert", "");
  }
  const options = { accelerator, ...(accelerator === "wasm" ? { cpuOptions: { numThreads: threads } } : {}) };
  const compiled = await litert.loadAndCompile(model, options);
  return {
    async run(tensor) {
      const input = new litert.Tensor(tensor, offer.input.shape);
      const [output, ...others] = await compiled.run([input]);
      const data = await output.data();
      [input, output, ...others].forEach((item) => item.delete());
      return data;
    },
    close: () => compiled.delete(),
  };
}

// LiteRT.js computes int8 but its table of types, which it freezes while it loads, leaves int8 out.
async function litertWithInt8() {
  const freeze = Object.freeze;
  Object.freeze = (value) => {
    const isTable = Array.isArray(value) && value[0]?.typedArrayConstructor;
    return freeze(isTable ? [...value, { dtype: "int8", typedArrayConstructor: Int8Array, elementType: INT8 }] : value);
  };
  try {
    return await import(`${LITERT}dist/index.js`);
  } finally {
    Object.freeze = freeze;
  }
}
