/** When the device interrupts, as pure functions of what both sides wrote (virtio 1.3, sections 2.7.7, 2.7.10 and 2.8.14). */
import { INDEX_MASK, RingEventFlags, VIRTQ_AVAIL_F_NO_INTERRUPT } from './defs.js';
import { packedIndex, packedSteps } from './packed-position.js';

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

/**
 * Whether the packed ring's driver wants an interrupt for the used position's move from `oldUsed` to `newUsed`, at most
 * `size` descriptors long. `flags` and `offWrap` are what it wrote into its event suppression structure. The event is a descriptor,
 * and used elements stand for several: any move over it counts, wherever it started or ended.
 */
export function packedNeedsInterrupt(
  eventIdx: boolean,
  flags: number,
  offWrap: number,
  newUsed: number,
  oldUsed: number,
  size: number,
): boolean {
  if (newUsed === oldUsed) return false;
  const wish = flags & RingEventFlags.MASK;
  if (wish === RingEventFlags.RING_EVENT_FLAGS_DISABLE) return false;
  // What was not negotiated, and the reserved value, get an interrupt too many rather than one too few.
  if (!eventIdx || wish !== RingEventFlags.RING_EVENT_FLAGS_DESC) return true;
  if (packedIndex(offWrap) >= size) return false;
  return packedSteps(oldUsed, offWrap, size) < packedSteps(oldUsed, newUsed, size);
}
