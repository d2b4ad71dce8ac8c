/** What a function counted, for the API. */
import type { QueueCounters } from '../devices/virtio/device.js';
import { newQueueCounters } from '../devices/virtio/ring/running-ring.js';
import { bucketEndNs, type LatencyCounts } from '../devices/latencies.js';
import type { FunctionCounters, Latencies, LatencyHistogram } from './control/api.js';

/** What only the device itself can count. */
export interface DeviceCounters {
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Of a 9p device. */
  readonly fids?: number;
  readonly latencies?: MeasuredLatencies | undefined;
}

/** By kind of requests. */
export type MeasuredLatencies = Readonly<Partial<Record<keyof Latencies, LatencyCounts>>>;

/** What crossed queues, all together and each: their own counters, and those of the device behind. */
export function countersOf(
  device: DeviceCounters | undefined,
  counted: readonly (Readonly<QueueCounters> | undefined)[],
): FunctionCounters {
  const queues = counted.map((counters) => ({ ...(counters ?? newQueueCounters()) }));
  const sums = newQueueCounters();
  for (const queue of queues) {
    for (const name of Object.keys(sums) as (keyof QueueCounters)[]) sums[name] += queue[name];
  }
  const { bytesRead = 0, bytesWritten = 0, fids = 0 } = device ?? {};
  const latencies = latenciesOf(device?.latencies);
  return { ...sums, queues, bytesRead, bytesWritten, fids, ...(latencies && { latencies }) };
}

/** Undefined where nothing was timed. */
function latenciesOf(measured: MeasuredLatencies = {}): Latencies | undefined {
  const kinds = Object.entries(measured)
    .map(([kind, counts]) => [kind, histogramOf(counts)] as const)
    .filter(([, { counts }]) => counts.length > 0);
  return kinds.length > 0 ? Object.fromEntries(kinds) : undefined;
}

const NS_PER_US = 1000;

/** Its buckets that hold something. What the last one holds took longer than can be told. */
function histogramOf({ counts, sumNs }: LatencyCounts): LatencyHistogram {
  const histogram: LatencyHistogram = { endsUs: [], counts: [], sumUs: Math.round(sumNs / NS_PER_US) };
  for (const [bucket, count] of counts.entries()) {
    if (count === 0) continue;
    histogram.endsUs.push(Math.min(bucketEndNs(bucket), LONGEST_NS) / NS_PER_US);
    histogram.counts.push(count);
  }
  return histogram;
}

/** Where JSON has no infinity. */
const LONGEST_NS = 2 ** 53;
