import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bucketEndNs, bucketOf, BUCKETS, LatencyCounts, SAMPLED, Sampler } from '../../devices/latencies.js';

describe('the buckets of latencies', () => {
  it('are each where the one before it ends, and no wider than half of what they hold', () => {
    expect([bucketOf(0), bucketOf(1023.9), bucketEndNs(0)]).toEqual([0, 0, 1024]);
    for (let bucket = 0; bucket < BUCKETS - 1; bucket++) {
      const end = bucketEndNs(bucket);
      expect(bucketOf(end)).toBe(bucket + 1);
      expect(bucketOf(end - 0.001)).toBe(bucket);
      if (bucket > 0) expect(end / bucketEndNs(bucket - 1)).toBeLessThanOrEqual(1.5);
    }
    expect([bucketEndNs(BUCKETS - 2), bucketEndNs(BUCKETS - 1)]).toEqual([2 ** 36, Infinity]);
  });

  it('take any duration', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e15, noNaN: true }), (ns) => {
        const bucket = bucketOf(ns);
        expect(ns).toBeLessThan(bucketEndNs(bucket));
        if (bucket > 0) expect(ns).toBeGreaterThanOrEqual(bucketEndNs(bucket - 1));
      }),
    );
  });
});

describe('latencies', () => {
  it('are of one request in so many, however regular those are', () => {
    const sampler = new Sampler();
    const timed = Array.from({ length: 64_000 }, () => sampler.begin() > 0);
    const share = (of: boolean[]) => of.filter(Boolean).length / of.length;
    expect(share(timed) * SAMPLED).toBeCloseTo(1, 1);
    // Every fourth and every sixteenth, too: a client that walks, opens, reads and closes.
    for (const period of [4, SAMPLED])
      for (let phase = 0; phase < period; phase++)
        expect(share(timed.filter((_, i) => i % period === phase)) * SAMPLED).toBeCloseTo(1, 0);
  });

  it('are counted and summed up', () => {
    const latencies = new LatencyCounts();
    const now = performance.now();
    latencies.record(now - 5);
    latencies.record(now - 5);
    expect(latencies.sumNs).toBeGreaterThanOrEqual(10e6);
    expect(latencies.counts.reduce((sum, count) => sum + count, 0)).toBe(2);
    const [first] = latencies.counts.map((count, i) => (count > 0 ? i : Infinity)).sort();
    expect(bucketEndNs(first)).toBeGreaterThan(5e6);
  });
});
