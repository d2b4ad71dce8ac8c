import { describe, expect, it } from 'vitest';
import { ratesBetween, sampleOf } from '../../../cli/top/rates.js';
import { ratesTable, sorted } from '../../../cli/top/rates-text.js';
import type { Card, Chassis, Disk, FunctionCounters, Mount } from '../../../manager/control/api.js';
import { CARD, CHASSIS, DISK, MOUNT } from '../../manager/control/noting-service.js';
import { NO_COUNTERS } from '../../manager/fakes.js';

const counters = (counted: Partial<FunctionCounters>): FunctionCounters => ({ ...NO_COUNTERS, ...counted });

function chassis(mounts: Mount[], disks: Disk[] = [], cards: Card[] = []): Chassis {
  return { ...CHASSIS, mounts, disks, cards };
}

const mount = (tag: string, counted: Partial<FunctionCounters>, more: Partial<Mount> = {}): Mount => ({
  ...{ ...MOUNT, tag, counters: counters(counted) },
  ...more,
});

describe('what crosses devices in a second', () => {
  it('is what they counted between two looks', () => {
    const before = sampleOf([chassis([mount('a', { requests: 100, bytesRead: 1000, kicks: 5 })])], 1000);
    const now = sampleOf([chassis([mount('a', { requests: 300, bytesRead: 5000, kicks: 6 })])], 3000);
    expect(ratesBetween(before, now)).toEqual([
      {
        ...{ chassis: 'dev', kind: 'mount', name: 'a', state: 'parked' },
        ...{ requests: 100, bytesRead: 2000, bytesWritten: 0, kicks: 0.5, interrupts: 0 },
      },
    ]);
  });

  it('is all that was counted where that began meanwhile, or anew', () => {
    const before = sampleOf([chassis([mount('a', { requests: 100 })])], 0);
    const now = sampleOf([chassis([mount('a', { requests: 10 }), mount('b', { requests: 20 })])], 1000);
    expect(ratesBetween(before, now).map(({ name, requests }) => [name, requests])).toEqual([
      ['a', 10],
      ['b', 20],
    ]);
  });

  it('tells a mount, a disk and a card of one name apart, and a card reads what it receives', () => {
    const statistics = { rxBytes: 64, txBytes: 32 } as Card['statistics'];
    const disk = { ...DISK, name: 'x', counters: counters({ bytesWritten: 512 }) };
    const card = { ...CARD, name: 'x', statistics };
    const all = sampleOf([chassis([mount('x', {})], [disk], [card])], 1000);
    const rates = ratesBetween({ timeMs: 0, counted: [] }, all);
    expect(rates.map(({ kind, bytesRead, bytesWritten }) => [kind, bytesRead, bytesWritten])).toEqual([
      ['mount', 0, 0],
      ['disk', 0, 512],
      ['card', 64, 32],
    ]);
  });

  it('counts what crosses the tree with the tree, and what crosses queues with the mounts on them', () => {
    const all = sampleOf(
      [
        chassis([
          mount('chassis', {}, { source: { type: 'tree' } }),
          mount('inside', {}, { via: 'tree' }),
          mount('chassis-queues', {}, { source: { type: 'queues' } }),
          mount('seat', {}, { via: 'queue' }),
        ]),
      ],
      0,
    );
    expect(all.counted.map(({ name }) => name)).toEqual(['chassis', 'seat']);
  });

  it('has the median and the slowest hundredth of what was timed meanwhile, of all kinds', () => {
    const timed = (counts: number[], flush: number[] = []) => ({
      latencies: {
        read: { endsUs: [10, 20, 5000], counts, sumUs: 0 },
        ...(flush.length > 0 && { flush: { endsUs: [7], counts: flush, sumUs: 0 } }),
      },
    });
    const before = sampleOf([chassis([mount('a', timed([1000, 0, 0]))])], 0);
    const now = sampleOf([chassis([mount('a', timed([1049, 49, 2]))])], 1000);
    expect(ratesBetween(before, now)).toMatchObject([{ p50Us: 20, p99Us: 5000 }]);
    const more = sampleOf([chassis([mount('a', timed([1049, 50, 2], [1000]))])], 2000);
    expect(ratesBetween(now, more)).toMatchObject([{ p50Us: 7, p99Us: 7 }]);
    const anew = sampleOf([chassis([mount('a', timed([3, 0, 0]))])], 3000);
    expect(ratesBetween(more, anew)).toMatchObject([{ p50Us: 10, p99Us: 10 }]);
    expect(ratesBetween(anew, anew)).toMatchObject([{ p50Us: undefined }]);
  });
});

describe('the table of them', () => {
  const rates = ratesBetween(
    { timeMs: 0, counted: [] },
    sampleOf(
      [
        chassis([
          mount('slow', {
            ...{ requests: 3, bytesRead: 2_000_000, interrupts: 12 },
            latencies: { read: { endsUs: [1500], counts: [1], sumUs: 1400 } },
          }),
          mount('busy', { requests: 123_456, kicks: 1234 }),
        ]),
      ],
      1000,
    ),
  );

  it('is in units that people read', () => {
    expect(ratesTable(rates, 'requests').split('\n')).toEqual([
      'CHASSIS  NAME  KIND   STATE   REQ/S*  READ/S  WRITE/S  KICKS/S  INT/S  P50    P99',
      'dev      busy  mount  parked  123k    0B      0B       1.2k     0      -      -',
      'dev      slow  mount  parked  3.0     1.9M    0B       0        12     1.5ms  1.5ms',
    ]);
  });

  it('is sorted by what is asked for, the largest first, and names from the start', () => {
    const names = (key: Parameters<typeof sorted>[1]) => sorted(rates, key).map(({ name }) => name);
    expect(names('requests')).toEqual(['busy', 'slow']);
    for (const key of ['read', 'interrupts', 'latency'] as const)
      expect(names(key)).toEqual(['slow', 'busy']);
    for (const key of ['name', 'written'] as const) expect(names(key)).toEqual(['busy', 'slow']);
  });
});
