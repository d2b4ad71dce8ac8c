/** What crossed each mount, disk and card in a second, from what it counted at two looks. */
import { bytesText } from './devices.js';
import type { Counters, Device } from './shapes.js';

interface Look {
  readonly atMs: number;
  readonly counters: Required<Counters>;
}

export interface Traffic {
  readonly requests: number;
  readonly bytes: number;
}

export class TrafficMeter {
  private last = new Map<string, Look>();

  /** By key. One that is new, or began to count anew, has none yet. */
  measure(devices: readonly Device[], atMs: number): ReadonlyMap<string, Traffic> {
    const traffic = new Map<string, Traffic>();
    const looks = new Map<string, Look>();
    for (const { key, counters, via } of devices) {
      // What is in the tree is counted with that.
      if (via === 'tree') continue;
      const before = this.last.get(key);
      looks.set(key, { atMs, counters });
      if (before && before.counters.requests <= counters.requests)
        traffic.set(key, between(before, { atMs, counters }));
    }
    this.last = looks;
    return traffic;
  }
}

function between(before: Look, now: Look): Traffic {
  const seconds = Math.max(now.atMs - before.atMs, 1) / 1000;
  const bytesOf = ({ counters }: Look) => counters.bytesRead + counters.bytesWritten;
  return {
    requests: Math.max(0, now.counters.requests - before.counters.requests) / seconds,
    bytes: Math.max(0, bytesOf(now) - bytesOf(before)) / seconds,
  };
}

export function trafficText({ requests, bytes }: Traffic): string {
  return `${Math.round(requests)} req/s, ${bytesText(bytes)}/s`;
}
