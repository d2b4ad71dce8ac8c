import type { GuestMemory } from '../memory/guest-memory.js';
import { VirtqAlign, availRingBytes, descriptorAreaBytes, usedRingBytes } from './defs.js';
import type { RingPlacement } from './ring-base.js';

/**
 * The three areas of a split ring as arrays over guest memory.
 *
 * `flags`, `idx` and the event fields change hands while both sides run, and a driver must never see half of one. V8's
 * interpreter reads and writes a DataView byte by byte; a typed array's element is one access in every tier, and the cheapest.
 * Typed arrays have the machine's byte order, and rings are little-endian, as is every machine that Node runs VMs on.
 */
export interface SplitAreas {
  /** The descriptor table: `DescWord`, `VIRTQ_DESC_WORDS` for each descriptor. */
  readonly descriptors: Int32Array;
  /** The available ring: `AvailWord`, then `used_event` after the last entry. */
  readonly avail: Uint16Array;
  /** The used ring: `UsedWord`, and `avail_event` after the last element. */
  readonly used: Uint16Array;
  /** The same bytes as `used`, in words of 32 bits: element n is id at `1 + 2n` and length after it. */
  readonly usedElements: Int32Array;
}

/** The ring's areas, or what is wrong with them. */
export function resolveSplitAreas(placement: RingPlacement, memory: GuestMemory): SplitAreas | string {
  const { size } = placement;
  const descriptors = memory.ringWindow(placement.descriptorArea, descriptorAreaBytes(size));
  if (descriptors === undefined) return 'the descriptor area is not in memory';
  const avail = memory.ringWindow(placement.driverArea, availRingBytes(size));
  if (avail === undefined) return 'the driver area is not in memory';
  const used = memory.ringWindow(placement.deviceArea, usedRingBytes(size));
  if (used === undefined) return 'the device area is not in memory';
  const descriptorsAt = descriptors.view.byteOffset + descriptors.offset;
  const availAt = avail.view.byteOffset + avail.offset;
  const usedAt = used.view.byteOffset + used.offset;
  if (descriptorsAt % 4 !== 0 || availAt % VirtqAlign.AVAIL !== 0 || usedAt % VirtqAlign.USED !== 0) {
    return 'guest memory is not aligned in this process';
  }
  return {
    descriptors: new Int32Array(descriptors.view.buffer, descriptorsAt, descriptorAreaBytes(size) / 4),
    avail: new Uint16Array(avail.view.buffer, availAt, availRingBytes(size) / 2),
    used: new Uint16Array(used.view.buffer, usedAt, usedRingBytes(size) / 2),
    usedElements: new Int32Array(used.view.buffer, usedAt, Math.floor(usedRingBytes(size) / 4)),
  };
}
