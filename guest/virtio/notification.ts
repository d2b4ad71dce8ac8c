/** When a driver notifies its device, as pure functions of what both sides wrote (virtio 1.3, sections 2.7.10 and 2.8.14). */
import { RingEventFlags } from './registers.js';

/**
 * With event indices: must the other side be told, given the index that it asked to be told at, and the ring index after and
 * before what was just added? All are modulo 65536.
 */
export function vringNeedEvent(eventIndex: number, newIndex: number, oldIndex: number): boolean {
  return ((newIndex - eventIndex - 1) & 0xffff) < ((newIndex - oldIndex) & 0xffff);
}

/**
 * The same for a packed ring of `size` descriptors: `added` of them, fewer than two laps, brought the driver to index `newIndex` on
 * a lap whose wrap counter is `newWrap`. `flags` and `offWrap` are the device's event suppression structure.
 */
export function packedNeedEvent(
  flags: number,
  offWrap: number,
  newIndex: number,
  newWrap: boolean,
  added: number,
  size: number,
): boolean {
  if (flags === RingEventFlags.RING_EVENT_FLAGS_DISABLE) return false;
  // A reserved value is answered as ENABLE: a notification too many does no harm.
  if (flags !== RingEventFlags.RING_EVENT_FLAGS_DESC) return true;
  const isThisLap = offWrap >= 0x8000 === newWrap;
  // An event of the lap before lies a ring's size below the indices of this one.
  const event = (offWrap & 0x7fff) - (isThisLap ? 0 : size);
  return vringNeedEvent(event, newIndex, newIndex - added);
}
