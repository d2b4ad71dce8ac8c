/** Where a ring stands, as VHOST_USER_SET_VRING_BASE and VHOST_USER_GET_VRING_BASE put it into 32 bits. */
import type { RingPosition } from '../../../devices/virtio/ring/running-ring.js';

const INDEX_BITS = 16;
const INDEX_MASK = 0xffff;

/**
 * A split ring's base is its next available index. The used index is not in it: it is what the driver sees in the used ring
 * (`usedIndex`). A packed ring's base is both positions, each an index in 15 bits below a wrap counter: available, then used.
 */
export function decodeVringBase(base: number, packed: boolean, usedIndex: number): RingPosition {
  return { nextAvail: base & INDEX_MASK, nextUsed: packed ? base >>> INDEX_BITS : usedIndex };
}

export function encodeVringBase({ nextAvail, nextUsed }: RingPosition, packed: boolean): number {
  return packed ? ((nextUsed << INDEX_BITS) | nextAvail) >>> 0 : nextAvail;
}

/** The base of a ring that nothing has been put into: a packed ring's wrap counters start at 1. */
export function freshVringBase(packed: boolean): number {
  return packed ? 0x8000_8000 : 0;
}

/** Whether a ring of this format can have the base. */
export function isVringBase(base: number, packed: boolean): boolean {
  return packed || base <= INDEX_MASK;
}
