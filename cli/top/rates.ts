/** What crosses mounts, disks and network cards in a second, from what they counted at two times. */
import type { Card, Chassis, Disk, Latencies, Mount } from '../../manager/control/api.js';
import { durationUs, sinceUs } from './durations.js';

/** One mount, disk or card, as it was at a moment. */
interface Counted {
  readonly chassis: string;
  readonly kind: 'mount' | 'disk' | 'card';
  readonly name: string;
  readonly state: string;
  readonly requests: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly kicks: number;
  readonly interrupts: number;
  readonly latencies: Latencies | undefined;
}

/** What all of them had counted by a moment. */
export interface Sample {
  readonly timeMs: number;
  readonly counted: readonly Counted[];
}

/** What crossed one of them, in a second. */
export interface Rates extends Omit<Counted, 'latencies'> {
  /** The median and the 99th percentile of the requests that were timed, in microseconds; undefined where none was. */
  readonly p50Us: number | undefined;
  readonly p99Us: number | undefined;
}

/** What the tree and the function with queues count is what the mounts on them count; a mount of the tree has no counters of its own. */
export function sampleOf(all: readonly Chassis[], timeMs: number): Sample {
  const counted = all.flatMap(({ mounts, disks, cards }) => [
    ...mounts.filter(({ source, via }) => source?.type !== 'queues' && via !== 'tree').map(ofMount),
    ...disks.map(ofDisk),
    ...cards.map(ofCard),
  ]);
  return { timeMs, counted };
}

/** One that is new, or was reset, has all that it counted from the moment it was. */
export function ratesBetween(before: Sample, now: Sample): Rates[] {
  const seconds = Math.max(now.timeMs - before.timeMs, 1) / 1000;
  const earlier = new Map(before.counted.map((each) => [keyOf(each), each]));
  return now.counted.map((each) => {
    const last = earlier.get(keyOf(each));
    const rate = (name: 'requests' | 'bytesRead' | 'bytesWritten' | 'kicks' | 'interrupts') =>
      grown(last?.[name], each[name]) / seconds;
    const { chassis, kind, name, state } = each;
    const timed = sinceUs(last?.latencies, each.latencies);
    return {
      ...{ chassis, kind, name, state, requests: rate('requests') },
      ...{ bytesRead: rate('bytesRead'), bytesWritten: rate('bytesWritten') },
      ...{ kicks: rate('kicks'), interrupts: rate('interrupts') },
      ...{ p50Us: durationUs(timed, 0.5), p99Us: durationUs(timed, 0.99) },
    };
  });
}

function grown(before: number | undefined, now: number): number {
  return before === undefined || now < before ? now : now - before;
}

function keyOf({ chassis, kind, name }: Counted): string {
  return JSON.stringify([chassis, kind, name]);
}

function ofMount({ chassis, tag: name, state, counters }: Mount): Counted {
  const { bytesRead = 0, bytesWritten = 0 } = counters ?? {};
  return { ...{ chassis, kind: 'mount', name, state, bytesRead, bytesWritten }, ...ofQueues(counters) };
}

function ofDisk({ chassis, name, state, counters }: Disk): Counted {
  const { bytesRead = 0, bytesWritten = 0 } = counters ?? {};
  return { ...{ chassis, kind: 'disk', name, state, bytesRead, bytesWritten }, ...ofQueues(counters) };
}

/** What the guest receives, it reads. */
function ofCard({ chassis, name, state, counters, statistics }: Card): Counted {
  const { rxBytes: bytesRead = 0, txBytes: bytesWritten = 0 } = statistics ?? {};
  return { ...{ chassis, kind: 'card', name, state, bytesRead, bytesWritten }, ...ofQueues(counters) };
}

function ofQueues(
  counters: (Pick<Counted, 'requests' | 'kicks' | 'interrupts'> & { latencies?: Latencies }) | undefined,
) {
  const { requests = 0, kicks = 0, interrupts = 0, latencies } = counters ?? {};
  return { requests, kicks, interrupts, latencies };
}
