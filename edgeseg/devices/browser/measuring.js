// Timed runs: a warm-up until the running median settles, then counted runs; percentiles as the desk computes them.
const TICKS_A_MS = 1e4, WINDOW = 10, SETTLED_WITHIN = 0.02, MOST_WARMUP = 500, MOST_WARMUP_MS = 20_000, BREATH_MS = 100;
export const STAGES = ["preprocess", "infer", "decode"];
export const LEAST_FOR_P99 = 200;

export function quantile(sorted, share) {
  const at = share * (sorted.length - 1), low = Math.floor(at);
  return sorted[low] + (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]) * (at - low);
}

export function percentiles(times) {
  const sorted = Float64Array.from(times).sort();
  const [p50, p90, p99] = [0.5, 0.9, 0.99].map((share) => Math.round(quantile(sorted, share) * 1e4) / 1e4);
  return [p50, p90, times.length >= LEAST_FOR_P99 ? p99 : null];
}

// The step of performance.now() in milliseconds: browsers make it coarse where a page is not isolated.
export function clockStep() {
  let least = Infinity;
  for (let i = 0; i < 20; i++) {
    const start = performance.now();
    let now = start;
    while (now === start) now = performance.now();
    least = Math.min(least, now - start);
  }
  return Math.max(0.0001, Math.round(least * 1e4) / 1e4);
}

const breath = () => new Promise((resolve) => { const { port1, port2 } = new MessageChannel(); port1.onmessage = resolve; port2.postMessage(0); });

// `once()` runs one image and returns {times: [preprocess, infer, decode] in ms, ageMs}; `tell(phase, done, of)` is called often.
export async function measure(once, { runs, tell, ended }) {
  const warmup = await warmUp(once, { tell, ended });
  const ticks = new Uint32Array(3 * runs), ages = new Uint32Array(runs);
  const started = performance.now();
  let breathed = started, aged = true;
  for (let run = 0; run < runs; run++) {
    const { times, ageMs } = await once();
    times.forEach((ms, stage) => { ticks[3 * run + stage] = Math.round(ms * TICKS_A_MS); });
    if (ageMs === undefined) aged = false; else ages[run] = Math.max(0, Math.round(ageMs * TICKS_A_MS));
    if (performance.now() - breathed > BREATH_MS) {
      tell("Measuring", run + 1, runs);
      await breath();
      breathed = performance.now();
    }
    ended();
  }
  const elapsedMs = performance.now() - started;
  tell("Measuring", runs, runs);
  return { runs, ...warmup, elapsedMs, ticks, ages: aged ? ages : null, figures: figures(ticks, aged ? ages : null) };
}

async function warmUp(once, { tell, ended }) {
  const medians = [], started = performance.now();
  for (let warmup = 0; ;) {
    const totals = [];
    for (let i = 0; i < WINDOW; i++, warmup++) {
      const { times } = await once();
      totals.push(times.reduce((sum, ms) => sum + ms, 0));
      ended();
    }
    tell("Warming up", warmup, 0);
    await breath();
    medians.push(quantile(Float64Array.from(totals).sort(), 0.5));
    const last = medians.slice(-3), low = Math.min(...last);
    const settled = last.length === 3 && Math.max(...last) - low <= SETTLED_WITHIN * low;
    if (settled || warmup >= MOST_WARMUP || performance.now() - started >= MOST_WARMUP_MS) return { warmup, settled };
  }
}

function figures(ticks, ages) {
  const columns = { preprocess: [], infer: [], decode: [], total: [] };
  for (let at = 0; at < ticks.length; at += 3) {
    STAGES.forEach((stage, index) => columns[stage].push(ticks[at + index] / TICKS_A_MS));
    columns.total.push((ticks[at] + ticks[at + 1] + ticks[at + 2]) / TICKS_A_MS);
  }
  if (ages) columns.frame_age = Array.from(ages, (age) => age / TICKS_A_MS);
  return Object.fromEntries(Object.entries(columns).map(([stage, times]) => [stage, percentiles(times)]));
}
