/** The memory of a queue's ring and of its indirect tables. */
import { GuestError } from '../errors.js';
import type { GuestRam, RamRange } from '../memory/ram.js';

/** Buffers that an indirect table has room for. */
export const INDIRECT_ENTRIES = 16;

/** Throws a GuestError ENOMEM where RAM is short. */
export function allocateRing(ram: GuestRam, sizeBytes: number): RamRange {
  const memory = ram.allocate(sizeBytes);
  if (memory === undefined) throw new GuestError('ENOMEM', { syscall: 'probe', detail: 'no RAM for a ring' });
  return memory;
}

export function align(offset: number, alignment: number): number {
  return Math.ceil(offset / alignment) * alignment;
}

/** The first two fields of a descriptor, which every format has: `le64 addr; le32 len`. */
export function writeBuffer(view: DataView, at: number, address: number, lengthBytes: number): void {
  view.setUint32(at, address >>> 0, true);
  view.setUint32(at + 4, Math.floor(address / 2 ** 32), true);
  view.setUint32(at + 8, lengthBytes, true);
}
