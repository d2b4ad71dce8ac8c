import type { QueueConfig } from '../ring/queue-config.js';
import type { FunctionState, QueueState } from './function-state.js';

/** Whether the queue has a ring that runs. */
export function isRunning({ started, faulted }: FunctionState, { enabled }: QueueState): boolean {
  return started !== 0 && faulted === 0 && enabled !== 0;
}

/** Sets a queue's registers as they were saved. */
export function setRegisters(queue: QueueConfig, saved: QueueState): void {
  queue.size = saved.size;
  queue.vector = saved.vector;
  queue.enabled = saved.enabled !== 0;
  queue.descriptorArea.low = saved.descriptorAreaLow;
  queue.descriptorArea.high = saved.descriptorAreaHigh;
  queue.driverArea.low = saved.driverAreaLow;
  queue.driverArea.high = saved.driverAreaHigh;
  queue.deviceArea.low = saved.deviceAreaLow;
  queue.deviceArea.high = saved.deviceAreaHigh;
}

/**
 * Sets where a queue's ring goes on once it runs. No register says that: it is what vhost-user's SET_VRING_BASE sets, and the chains that
 * its device had.
 */
export function setStart(queue: QueueConfig, { nextAvail, nextUsed, chains }: QueueState): void {
  queue.start = { nextAvail, nextUsed };
  queue.chains = chains;
}
