/** What a function counted, for the API. */
import type { QueueCounters } from '../devices/virtio/device.js';
import { newQueueCounters } from '../devices/virtio/ring/running-ring.js';
import type { FunctionCounters } from './control/api.js';

/** What only the device itself can count. */
export interface DeviceCounters {
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Of a 9p device. */
  readonly fids?: number;
}

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
  return { ...sums, queues, bytesRead, bytesWritten, fids };
}
