import { describe, expect, it } from 'vitest';
import { Value } from '@sinclair/typebox/value';
import { BUCKETS, LatencyCounts } from '../../devices/latencies.js';
import { FunctionCounters } from '../../manager/control/api.js';
import { countersOf } from '../../manager/counters.js';
import { MAX_LINE_BYTES } from '../../manager/process-protocol.js';

const device = { bytesRead: 1, bytesWritten: 2, fids: 3 };

describe('what a function counted, for the API', () => {
  it('has latencies of those kinds alone of which some request was timed', () => {
    const read = new LatencyCounts();
    const write = new LatencyCounts();
    expect(countersOf({ ...device, latencies: { read, write } }, [])).not.toHaveProperty('latencies');
    read.counts[0] = 5;
    read.counts[2] = 1;
    read.counts[BUCKETS - 1] = 1;
    read.sumNs = 7_000_400;
    const counters = countersOf({ ...device, latencies: { read, write } }, []);
    expect(counters.latencies).toEqual({
      read: { endsUs: [1.024, 2.048, 2 ** 53 / 1000], counts: [5, 1, 1], sumUs: 7000 },
    });
    expect(Value.Check(FunctionCounters, JSON.parse(JSON.stringify(counters)))).toBe(true);
  });

  it('fits for as many functions as a chassis has into one line of the device protocol, whatever they did', () => {
    const full = new LatencyCounts();
    full.counts.fill(1_000_000);
    full.sumNs = 2 ** 53;
    const latencies = { read: full, write: full, metadata: full };
    const queue = {
      kicks: 2 ** 40,
      interrupts: 2 ** 40,
      wakes: 2 ** 40,
      spuriousWakes: 2 ** 40,
      polls: 2 ** 40,
      requests: 2 ** 40,
    };
    const counters = countersOf({ bytesRead: 2 ** 50, bytesWritten: 2 ** 50, latencies }, [queue]);
    expect(JSON.stringify(counters).length * 1792).toBeLessThan(MAX_LINE_BYTES);
  });
});
