// From the raw output to a label map at an image's size: as edgeseg's own decoder, bilinear logits and then the best class.
// Between four cells of one class every pixel has that class, so logits are interpolated only where they differ.
import { fromHalf, place, sizeOf } from "./pixels.js";

const axes = new Map(), { fround } = Math;

// For each pixel the two cells around it, the second one's weight, and the cell that contains it.
function axis(pixels, cells, start, extent, inputPixels) {
  const key = [pixels, cells, start, extent, inputPixels].join();
  if (axes.has(key)) return axes.get(key);
  const made = { low: new Int32Array(pixels), high: new Int32Array(pixels), share: new Float32Array(pixels), near: new Int32Array(pixels) };
  for (let i = 0; i < pixels; i++) {
    const cell = (start + (i + 0.5) * (extent / pixels)) * (cells / inputPixels);
    const gap = Math.max(-1, Math.min(cells - 1, Math.floor(cell - 0.5)));
    made.low[i] = Math.max(0, gap);
    made.high[i] = Math.min(cells - 1, gap + 1);
    made.share[i] = Math.max(0, Math.min(1, cell - 0.5 - gap));
    made.near[i] = Math.max(0, Math.min(cells - 1, Math.floor(cell)));
  }
  if (axes.size > 16) axes.clear();
  axes.set(key, made);
  return made;
}

// Class ids (height * width) of an image of `size`.
export function decode(output, { output: tensor, input, preprocess }, size) {
  const inputSize = sizeOf(input), [height, width] = sizeOf(tensor), where = place(size, inputSize, preprocess);
  const rows = axis(size[0], height, where.top, where.height, inputSize[0]);
  const columns = axis(size[1], width, where.left, where.width, inputSize[1]);
  const labels = new Uint8Array(size[0] * size[1]);
  if (tensor.role === "labels") {
    for (let y = 0, at = 0; y < size[0]; y++) {
      for (let x = 0; x < size[1]; x++) labels[at++] = Number(output[rows.near[y] * width + columns.near[x]]);
    }
    return labels;
  }
  const logits = tensor.dtype === "float16" ? Float32Array.from(output, fromHalf) : output;
  upsampledArgmax(logits, strides(tensor, height * width), { width, rows, columns, labels });
  return labels;
}

function strides(tensor, cells) {
  const planar = tensor.layout === "NCHW", classes = tensor.shape[planar ? 1 : 3];
  return { classes, cells, cell: planar ? 1 : classes, step: planar ? cells : 1 };
}

function upsampledArgmax(logits, { classes, cells, cell, step }, { width, rows, columns, labels }) {
  const coarse = new Uint8Array(cells);
  for (let at = 0; at < cells; at++) {
    let best = logits[at * cell];
    for (let id = 1; id < classes; id++) {
      const value = logits[at * cell + id * step];
      if (value > best) [best, coarse[at]] = [value, id];
    }
  }
  for (let y = 0, pixel = 0; y < rows.low.length; y++) {
    const upper = rows.low[y] * width, lower = rows.high[y] * width, down = rows.share[y];
    for (let x = 0; x < columns.low.length; x++, pixel++) {
      const a = upper + columns.low[x], b = upper + columns.high[x], c = lower + columns.low[x], d = lower + columns.high[x];
      const low = Math.min(coarse[a], coarse[b], coarse[c], coarse[d]), high = Math.max(coarse[a], coarse[b], coarse[c], coarse[d]);
      if (low === high) { labels[pixel] = low; continue; }
      const across = columns.share[x], upperLeft = a * cell, upperRight = b * cell, lowerLeft = c * cell, lowerRight = d * cell;
      let best = -Infinity, label = 0;
      for (let id = 0, of = 0; id < classes; id++, of += step) {
        const value = between(logits[upperLeft + of], logits[upperRight + of], logits[lowerLeft + of], logits[lowerRight + of], across, down);
        if (value > best) [best, label] = [value, id];
      }
      // Of the two classes around, the sign of their difference decides: quantized logits are often equal.
      if (label === low || label === high) {
        const one = low * step, other = high * step;
        const lead = between(
          fround(logits[upperLeft + one] - logits[upperLeft + other]), fround(logits[upperRight + one] - logits[upperRight + other]),
          fround(logits[lowerLeft + one] - logits[lowerLeft + other]), fround(logits[lowerRight + one] - logits[lowerRight + other]),
          across, down,
        );
        label = lead < 0 ? high : low;
      }
      labels[pixel] = label;
    }
  }
}

// In float32, step by step as the desk does.
function between(upperLeft, upperRight, lowerLeft, lowerRight, across, down) {
  const upper = fround(upperLeft + fround(fround(upperRight - upperLeft) * across));
  const lower = fround(lowerLeft + fround(fround(lowerRight - lowerLeft) * across));
  return fround(fround(fround(lower - upper) * down) + upper);
}

// The label map in the classes' colours, as ImageData; a label beyond the palette stays transparent.
export function colored(labels, [height, width], palette) {
  const image = new ImageData(width, height), table = new Uint32Array(256);
  // Little-endian: alpha is the highest byte.
  palette.forEach(([red, green, blue], id) => { table[id] = (255 << 24) | (blue << 16) | (green << 8) | red; });
  const pixels = new Uint32Array(image.data.buffer);
  for (let at = 0; at < labels.length; at++) pixels[at] = table[labels[at]];
  return image;
}
