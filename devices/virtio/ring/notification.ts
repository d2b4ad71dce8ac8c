/** When the device interrupts, as pure functions of what both sides wrote (virtio 1.3, sections 2.7.7 and 2.7.10). */
import { INDEX_MASK, VIRTQ_AVAIL_F_NO_INTERRUPT } from './defs.js';

/**
 * `vring_need_event`: whether an index that moved from `oldIndex` to `newIndex` passed `event`, which asks to hear of the
 * step from `event` to `event + 1`. All three run free modulo 2^16, and the move is shorter than 2^16.
 */
export function vringNeedEvent(event: number, newIndex: number, oldIndex: number): boolean {
  return ((newIndex - event - 1) & INDEX_MASK) < ((newIndex - oldIndex) & INDEX_MASK);
}

/**
 * Whether the split ring's driver wants an interrupt for the used index's move from `oldUsed` to `newUsed`.
 * With VIRTIO_F_EVENT_IDX (`eventIdx`) only `used_event` counts and the flags are ignored; without it, only the flags do.
 */
export function splitNeedsInterrupt(
  eventIdx: boolean,
  usedEvent: number,
  availFlags: number,
  newUsed: number,
  oldUsed: number,
): boolean {
  if (newUsed === oldUsed) return false;
  return eventIdx
    ? vringNeedEvent(usedEvent, newUsed, oldUsed)
    : (availFlags & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0;
}
