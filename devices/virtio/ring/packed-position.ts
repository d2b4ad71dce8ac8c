/**
 * Where a side stands in a packed ring: index and wrap counter as one value, never apart (virtio 1.3, section 2.8.1). Bits 0–14 are
 * an index into the descriptors, bit 15 is the wrap counter: the form that event suppression and vhost-user use, too. It fits every
 * size up to 32768.
 */

const WRAP_COUNTER = 0x8000;
const INDEX_BITS = 0x7fff;

/** Both sides start at index 0, with their wrap counter at 1. */
export const FIRST_PACKED_POSITION = WRAP_COUNTER;

export function packedIndex(position: number): number {
  return position & INDEX_BITS;
}

export function packedWrap(position: number): boolean {
  return (position & WRAP_COUNTER) !== 0;
}

/** The position `count` descriptors on, 0 to `size`. Sizes need not be powers of two, so the wrap is a comparison. */
export function packedAdvance(position: number, count: number, size: number): number {
  const next = (position & INDEX_BITS) + count;
  const wrap = position & WRAP_COUNTER;
  return next < size ? next | wrap : (next - size) | (wrap ^ WRAP_COUNTER);
}

/** The position `count` descriptors back, 0 to `size`. */
export function packedRetreat(position: number, count: number, size: number): number {
  const before = (position & INDEX_BITS) - count;
  const wrap = position & WRAP_COUNTER;
  return before >= 0 ? before | wrap : (before + size) | (wrap ^ WRAP_COUNTER);
}

/** How many descriptors on from `from` the position `to` is, 0 to `2 * size - 1`: wrap counters tell two laps apart, not more. */
export function packedSteps(from: number, to: number, size: number): number {
  const steps = placeInTwoLaps(to, size) - placeInTwoLaps(from, size);
  return steps < 0 ? steps + 2 * size : steps;
}

function placeInTwoLaps(position: number, size: number): number {
  return (position & INDEX_BITS) + (packedWrap(position) ? 0 : size);
}
