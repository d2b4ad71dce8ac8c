/** Quantiles of histograms of durations. */
import type { Latencies } from '../../manager/control/api.js';

/** How often each duration was seen, by where its bucket ends, in microseconds. */
export type Durations = ReadonlyMap<number, number>;

/** What was timed between two looks, of all kinds of requests together. Counts that fell began anew. */
export function sinceUs(before: Latencies | undefined, now: Latencies | undefined): Durations {
  const since = new Map<number, number>();
  for (const kind of Object.keys(now ?? {}) as (keyof Latencies)[]) {
    const earlier = countsOf(before?.[kind]);
    const later = countsOf(now?.[kind]);
    const isAnew = [...earlier].some(([endUs, count]) => (later.get(endUs) ?? 0) < count);
    for (const [endUs, count] of later) {
      const grown = isAnew ? count : count - (earlier.get(endUs) ?? 0);
      since.set(endUs, (since.get(endUs) ?? 0) + grown);
    }
  }
  return since;
}

/** The duration, in microseconds, that this part of all did not exceed: where its bucket ends. Undefined of nothing. */
export function durationUs(durations: Durations, part: number): number | undefined {
  const buckets = [...durations].filter(([, count]) => count > 0).sort(([a], [b]) => a - b);
  const total = buckets.reduce((sum, [, count]) => sum + count, 0);
  let seen = 0;
  for (const [endUs, count] of buckets) {
    seen += count;
    if (seen >= total * part) return endUs;
  }
  return undefined;
}

function countsOf(histogram: Latencies[keyof Latencies]): Map<number, number> {
  return new Map(histogram?.endsUs.map((endUs, i) => [endUs, histogram.counts[i]]));
}
