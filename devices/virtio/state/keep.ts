/**
 * What is to be known of a function whose process may be killed at any moment: all that its driver has set. Where its rings stand is in guest memory and
 * in their records (`RingRecords`), and what its device knows beside `isStateKept` is its device's to keep.
 *
 *     recorded[number of queues] state: as `codec.ts` has it, with no ring anywhere
 *
 * `recorded` is 1 for a ring that has a record, because it has run.
 *
 * It is told after each access that changes it, before that is answered. Where a kill falls in between, the access is made once more, on top of
 * itself: which for each register is the same as once. Interrupts are raised once more, since the old process may have ended between a used
 * element and its interrupt: ISR status need not be as it was, nor what is told of each read that clears it.
 */
import { VirtioFeature } from '../device.js';
import { hasFeature } from '../ring/features.js';
import { QueueConfig } from '../ring/queue-config.js';
import { featuresOf } from '../transport/feature-words.js';
import { decodeState, encodeState } from './codec.js';
import { driverFeaturesOf } from './driver-problem.js';
import type { FunctionParts } from './function-parts.js';
import type { FunctionState } from './function-state.js';
import { problemOfState } from './problem.js';
import { setRegisters } from './queue-registers.js';
import { applyState, problemOfDevice } from './restore.js';
import { captureFunction, NOWHERE, registersAfterReset, registersOf } from './save.js';

const NOTHING = new Uint8Array(0);

export function keepFunction(parts: FunctionParts): Uint8Array {
  const { state } = parts;
  const queues = state.queues.map((queue) =>
    state.isQueueResetting(queue) ? registersAfterReset(state, queue) : registersOf(queue, NOWHERE),
  );
  const recorded = state.queues.map(({ index }) => (state.session?.ring(index) === undefined ? 0 : 1));
  const { device } = parts;
  const deviceState = device.isStateKept === true ? device.saveState?.({ leavesProcess: true }) : undefined;
  const blob = encodeState(captureFunction(parts, queues, deviceState ?? NOTHING));
  const kept = new Uint8Array(recorded.length + blob.length);
  kept.set(recorded);
  kept.set(blob, recorded.length);
  return kept;
}

/** Goes on with what was kept. Answers why not, and then nothing has changed. */
export function resumeKept(parts: FunctionParts, kept: Uint8Array): string | undefined {
  const { state, interrupts } = parts;
  if (!state.idle) return 'the function is in use';
  const count = state.queues.length;
  const saved = decodeState(kept.subarray(count));
  if (typeof saved === 'string') return saved;
  const isRecorded = (queueIndex: number): boolean => kept[queueIndex] === 1;
  const problem =
    problemOfState(saved, parts) ??
    problemOfRecords(parts, saved, isRecorded) ??
    (saved.device.length > 0 ? problemOfDevice(parts, saved.device) : undefined);
  if (problem !== undefined) return problem;
  applyState(parts, saved, isRecorded);
  if (state.session === undefined) return undefined;
  for (const { index, vector } of state.queues)
    if (state.session.ring(index) !== undefined) interrupts.queue(vector);
  interrupts.configuration(state.configVector);
  return undefined;
}

function problemOfRecords(
  { state }: FunctionParts,
  saved: FunctionState,
  isRecorded: (queueIndex: number) => boolean,
): string | undefined {
  const packed = hasFeature(featuresOf(driverFeaturesOf(saved)), VirtioFeature.VIRTIO_F_RING_PACKED);
  for (const { index, maxSize, records } of state.queues) {
    if (saved.faulted !== 0 || !isRecorded(index)) continue;
    const queue = new QueueConfig(index, maxSize);
    setRegisters(queue, saved.queues[index]);
    if (records?.has(queue, packed) !== true) return `queue ${index}: nobody knows what was under way in it`;
  }
  return undefined;
}
