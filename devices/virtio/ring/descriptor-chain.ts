/** Descriptor chains, whatever the ring's format: from what a driver wrote to segments of memory. */
import { IoVector } from '../../io-vector.js';
import type { Chain } from '../device.js';

const TWO_POW_32 = 0x1_0000_0000;

/** A chain of a ring's pool. Between `pop` and `push` it belongs to the device, else to the ring. */
export class DescriptorChain implements Chain {
  readonly readable = new IoVector();
  readonly writable = new IoVector();
  /** The ring it came from: a ring that replaced it after a reset does not take it. */
  readonly owner: object;
  /** What the driver knows the chain by when it is used: in a split ring the first descriptor's index, in a packed one the buffer id. */
  id = 0;
  /** Entries of the ring that it takes: one in a split ring, and in a packed one its descriptors, indirect ones not counted. */
  ringEntries = 1;
  inFlight = false;
  /** In a packed ring's in-flight record: its first entry. */
  entry = 0;
  /** When it was taken, among all that were: see `RingBase`. */
  number = 0;
  inflightNumber = 0;
  /** It was with the device when the ring was saved: what makes it available is behind the ring's position. */
  restored = false;
  /** With VIRTIO_F_IN_ORDER: whether the device is done with it, and how much it wrote. */
  completed = false;
  usedLength = 0;
  /** The chain behind this one, in whichever list of the ring it is. */
  next: DescriptorChain | undefined = undefined;

  constructor(owner: object) {
    this.owner = owner;
  }
}

/** What is wrong with a chain whose addresses are at fault: another map of memory may set it right. */
export const AddressProblem = {
  BUFFER: 'a buffer lies outside memory',
  TABLE: 'an indirect table lies outside memory',
} as const;

export function isAddressProblem(problem: string): boolean {
  return problem === AddressProblem.BUFFER || problem === AddressProblem.TABLE;
}

/** What is wrong with a chain as a whole, or undefined. */
export function problemOfLength(chain: DescriptorChain): string | undefined {
  const total = chain.readable.byteLength + chain.writable.byteLength;
  return total > TWO_POW_32 ? 'a chain is longer than 2^32 bytes' : undefined;
}
