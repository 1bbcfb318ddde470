// From an image to the input tensor, as edgeseg's own `prepare` does on other devices: fit, normalise, quantize, lay out.
const PAD = 114;
export const ARRAYS = {
  uint8: Uint8Array, int8: Int8Array, int32: Int32Array, int64: BigInt64Array, float16: Uint16Array, float32: Float32Array,
};
const LIMITS = { uint8: [0, 255], int8: [-128, 127], int32: [-(2 ** 31), 2 ** 31 - 1] };
const COEFFICIENT = 2048;

// Python and OpenCV round halves to the even neighbour.
export function rounded(value) {
  const near = Math.round(value);
  return near - value === 0.5 && near % 2 ? near - 1 : near;
}

// (height, width) of a tensor by its layout.
export function sizeOf(tensor) {
  return tensor.layout === "NCHW" ? tensor.shape.slice(2, 4) : tensor.shape.slice(1, 3);
}

// The part of the input that an image covers.
export function place([height, width], [inputHeight, inputWidth], preprocess) {
  if (preprocess.resize === "stretch") return { top: 0, left: 0, height: inputHeight, width: inputWidth };
  const ratio = Math.min(inputHeight / height, inputWidth / width);
  const high = Math.max(1, Math.min(inputHeight, rounded(height * ratio)));
  const wide = Math.max(1, Math.min(inputWidth, rounded(width * ratio)));
  return { top: Math.floor((inputHeight - high) / 2), left: Math.floor((inputWidth - wide) / 2), height: high, width: wide };
}

const taps = new Map();

// For each of `target` pixels the first source pixel, the second one, and the second one's weight in 2048ths.
function bilinearTaps(source, target, keepsShare) {
  const key = [source, target, keepsShare].join();
  if (taps.has(key)) return taps.get(key);
  const first = new Int32Array(target), second = new Int32Array(target), weight = new Int32Array(target);
  for (let i = 0; i < target; i++) {
    const at = Math.fround((i + 0.5) * (source / target) - 0.5);
    let low = Math.floor(at), share = Math.fround(at - low);
    if (!keepsShare && (low < 0 || low >= source - 1)) [low, share] = [low < 0 ? 0 : source - 1, 0];
    first[i] = Math.max(0, Math.min(source - 1, low));
    second[i] = Math.max(0, Math.min(source - 1, low + 1));
    weight[i] = rounded(share * COEFFICIENT);
  }
  const made = { first, second, weight };
  if (taps.size > 32) taps.clear();
  taps.set(key, made);
  return made;
}

// Bilinear interpolation in fixed point, as OpenCV's INTER_LINEAR computes it for bytes. RGBA in, RGB out.
function bilinear(rgba, [height, width], [high, wide]) {
  // Beyond the first and the last row, OpenCV mixes a row with itself, which rounds otherwise than the row alone.
  const across = bilinearTaps(width, wide, false), down = bilinearTaps(height, high, true);
  const rows = new Int32Array(height * wide * 3), out = new Uint8ClampedArray(high * wide * 3);
  for (let y = 0, at = 0; y < height; y++) {
    const row = y * width * 4;
    for (let x = 0; x < wide; x++) {
      const left = row + across.first[x] * 4, right = row + across.second[x] * 4, share = across.weight[x];
      for (let channel = 0; channel < 3; channel++) {
        rows[at++] = rgba[left + channel] * (COEFFICIENT - share) + rgba[right + channel] * share;
      }
    }
  }
  const stride = wide * 3;
  for (let y = 0, at = 0; y < high; y++) {
    const upper = down.first[y] * stride, lower = down.second[y] * stride, share = down.weight[y];
    for (let x = 0; x < stride; x++) {
      const above = ((rows[upper + x] >> 4) * (COEFFICIENT - share)) >> 16;
      out[at++] = (above + (((rows[lower + x] >> 4) * share) >> 16) + 2) >> 2;
    }
  }
  return out;
}

// For each of `target` pixels the source pixels that it covers, and the share of each.
function areaTaps(source, target) {
  return Array.from({ length: target }, (_, i) => {
    const scale = source / target, from = i * scale, to = Math.min(from + scale, source), found = [];
    for (let at = Math.floor(from); at < to - 1e-6; at++) {
      const share = Math.min(at + 1, to) - Math.max(at, from);
      if (share > 1e-6) found.push([at, share / (to - from)]);
    }
    return found;
  });
}

// The mean of the covered pixels, as OpenCV's INTER_AREA where it shrinks. RGBA in, RGB out.
function area(rgba, [height, width], [high, wide]) {
  const across = areaTaps(width, wide), down = areaTaps(height, high);
  // Exactly halved images have a shortcut in OpenCV that rounds halves up.
  const round = height === 2 * high && width === 2 * wide ? Math.round : rounded;
  const rows = new Float32Array(height * wide * 3), out = new Uint8ClampedArray(high * wide * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < wide; x++) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (const [at, share] of across[x]) sum += rgba[(y * width + at) * 4 + channel] * share;
        rows[(y * wide + x) * 3 + channel] = sum;
      }
    }
  }
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide * 3; x++) {
      let sum = 0;
      for (const [at, share] of down[y]) sum += rows[at * wide * 3 + x] * share;
      out[y * wide * 3 + x] = round(sum);
    }
  }
  return out;
}

// An image {data: RGBA, width, height} as RGB bytes of `size`, resized and padded as the model wants it.
export function fit(image, size, preprocess) {
  const source = [image.height, image.width], where = place(source, size, preprocess);
  const target = [where.height, where.width];
  const out = new Uint8ClampedArray(size[0] * size[1] * 3);
  if (target[0] !== size[0] || target[1] !== size[1]) out.fill(PAD);
  const same = source[0] === target[0] && source[1] === target[1];
  const shrinks = target[0] < source[0];
  const resized = same ? null : (preprocess.interpolation === "area" && shrinks ? area : bilinear)(image.data, source, target);
  const [step, from] = same ? [4, image.data] : [3, resized];
  for (let y = 0; y < where.height; y++) {
    let to = ((where.top + y) * size[1] + where.left) * 3, at = y * where.width * step;
    for (let x = 0; x < where.width; x++, at += step, to += 3) {
      out[to] = from[at];
      out[to + 1] = from[at + 1];
      out[to + 2] = from[at + 2];
    }
  }
  return out;
}

// The input tensor of an image, as the array that the manifest's input says.
export function prepare(image, tensor, preprocess) {
  const size = sizeOf(tensor), count = size[0] * size[1], rgb = fit(image, size, preprocess);
  const out = new ARRAYS[tensor.dtype](3 * count), planar = tensor.layout === "NCHW";
  for (let channel = 0; channel < 3; channel++) {
    const from = preprocess.color_order === "rgb" ? channel : 2 - channel;
    const table = values(channel, tensor, preprocess);
    for (let cell = 0; cell < count; cell++) {
      out[planar ? channel * count + cell : cell * 3 + channel] = table[rgb[cell * 3 + from]];
    }
  }
  return out;
}

// What each of the 256 levels of a channel becomes.
function values(channel, tensor, preprocess) {
  const bytes = preprocess.in_graph && tensor.dtype === "uint8";
  return Array.from({ length: 256 }, (_, level) => {
    let value = level;
    if (!preprocess.in_graph) {
      const scaled = Math.fround(level * Math.fround(preprocess.scale));
      const centred = Math.fround(scaled - Math.fround(preprocess.mean[channel]));
      value = Math.fround(centred / Math.fround(preprocess.std[channel]));
    }
    if (tensor.scale !== null && !bytes) {
      const [low, high] = LIMITS[tensor.dtype];
      const steps = rounded(preprocess.in_graph ? value / tensor.scale : Math.fround(value / Math.fround(tensor.scale)));
      value = Math.min(high, Math.max(low, steps + (tensor.zero_point ?? 0)));
    }
    return tensor.dtype === "float16" ? toHalf(value) : tensor.dtype === "int64" ? BigInt(value) : value;
  });
}

const half = new DataView(new ArrayBuffer(4));

// The bits of a number as float16, rounded to the even neighbour.
export function toHalf(value) {
  half.setFloat32(0, value);
  const bits = half.getUint32(0), sign = (bits >>> 16) & 0x8000, exponent = (bits >>> 23) & 255, fraction = bits & 0x7fffff;
  if (exponent === 255) return sign | 0x7c00 | (fraction ? 0x200 : 0);
  if (exponent < 113) return sign | rounded(Math.abs(value) * 2 ** 24);
  const shorter = ((exponent - 112) << 10) + rounded(fraction / 8192);
  return sign | Math.min(shorter, 0x7c00);
}

export function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -14 * (fraction / 1024);
}
