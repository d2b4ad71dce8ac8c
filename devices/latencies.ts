/**
 * How long requests take, by kind: histograms of fixed memory whose buckets grow with what they hold (log-linear, as in HdrHistogram). One request in
 * `SAMPLED` is timed, chosen at random, so that what asks for the same few things over and over is seen like everything else: a clock that is
 * read twice a request costs more than all counters together.
 */

/** Of so many requests one is timed: a power of two. */
export const SAMPLED = 16;

/** Of each power of two. */
const SUBBUCKETS = 2;
const SUBBUCKET_BITS = 1;
/** What takes less is in the first bucket: 2^10 ns. */
const LEAST_BITS = 10;
/** What takes 2^36 ns (69 s) or more is in the last one. */
const MOST_BITS = 36;

/** One for less than 2^10 ns, two for each power of two, one for what is beyond them. */
export const BUCKETS = (MOST_BITS - LEAST_BITS) * SUBBUCKETS + 2;

const NS_PER_MS = 1e6;
/** A linear congruential generator (Numerical Recipes): its highest bits are the good ones. */
const LCG_FACTOR = 1_664_525;
const LCG_INCREMENT = 1_013_904_223;
const SAMPLE_SHIFT = 32 - Math.log2(SAMPLED);

/** The bucket of a duration in nanoseconds, from 0. */
export function bucketOf(ns: number): number {
  if (ns < 2 ** LEAST_BITS) return 0;
  if (ns >= 2 ** MOST_BITS) return BUCKETS - 1;
  // In units of half the least, all are integers of up to 27 bits.
  const units = Math.floor(ns / 2 ** (LEAST_BITS - SUBBUCKET_BITS));
  const octave = 31 - Math.clz32(units) - SUBBUCKET_BITS;
  return 1 + octave * SUBBUCKETS + ((units >>> octave) - SUBBUCKETS);
}

/** Where a bucket ends, in nanoseconds: what takes that long is in the next one. The last has no end. */
export function bucketEndNs(bucket: number): number {
  if (bucket >= BUCKETS - 1) return Infinity;
  const octave = Math.floor(bucket / SUBBUCKETS);
  return 2 ** (LEAST_BITS + octave) * (1 + (bucket % SUBBUCKETS) / SUBBUCKETS);
}

/** What took how long, of one kind of requests. */
export class LatencyCounts {
  /** Requests that were timed, by bucket. */
  readonly counts = new Float64Array(BUCKETS);
  /** Of those, in nanoseconds. */
  sumNs = 0;

  /** `begun` is what `Sampler.begin` answered. */
  record(begun: number): void {
    const ns = (performance.now() - begun) * NS_PER_MS;
    this.counts[bucketOf(ns)]++;
    this.sumNs += ns;
  }
}

/** Chooses the requests that are timed. */
export class Sampler {
  #state = 1;

  /** When the request begins, where it is to be timed; otherwise 0. */
  begin(): number {
    this.#state = (Math.imul(this.#state, LCG_FACTOR) + LCG_INCREMENT) | 0;
    return this.#state >>> SAMPLE_SHIFT === 0 ? performance.now() : 0;
  }
}
