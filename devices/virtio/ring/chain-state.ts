/**
 * Chains that a device has while its ring is saved, as data. The ring's memory does not say what they are any more: a split ring's
 * driver may have written over their entries, and in a packed ring the device itself writes used elements over descriptors of chains that it
 * has yet to complete. So a saved chain is what it was when it was taken: its buffers, by guest-physical address.
 */
import type { IoVector } from '../../io-vector.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { DescriptorChain } from './descriptor-chain.js';
import type { RingPosition } from './running-ring.js';

/** A part of a buffer, in one region of guest memory. There are no empty ones. */
export interface SegmentState {
  readonly guestAddress: number;
  readonly lengthBytes: number;
}

export interface ChainState {
  /** What the driver knows it by: see `DescriptorChain`. */
  readonly id: number;
  readonly ringEntries: number;
  /**
   * The device is done with it, and it is yet to be used: it waits for one before it (VIRTIO_F_IN_ORDER), or the ring was paused or its
   * memory gone. It is not given to the device again.
   */
  readonly completed: boolean;
  /** What the device wrote, where it is done. */
  readonly usedLength: number;
  readonly readable: readonly SegmentState[];
  readonly writable: readonly SegmentState[];
}

/** A ring at one moment, with nothing that is pushed and not published. */
export interface RingState extends RingPosition {
  /** In the order in which they were taken. */
  readonly chains: readonly ChainState[];
}

/** Segments that one ring's saved chains may have together: more than any driver needs, and few enough to save at once. */
export const MAX_SAVED_SEGMENTS = 1 << 20;

const MAX_CHAIN_BYTES = 0x1_0000_0000;

/** The chains as data, or why they cannot be. `completedLength` is what was written to one that is completed, else undefined. */
export function saveChains(
  chains: readonly DescriptorChain[],
  completedLength: (chain: DescriptorChain) => number | undefined,
  memory: GuestMemory,
): ChainState[] | string {
  const segments = chains.reduce((sum, { readable, writable }) => sum + readable.count + writable.count, 0);
  if (segments > MAX_SAVED_SEGMENTS) return 'more buffers are under way than can be saved';
  const saved: ChainState[] = [];
  for (const chain of chains) {
    const { id, ringEntries } = chain;
    const readable = saveSegments(chain.readable, memory);
    const writable = saveSegments(chain.writable, memory);
    if (readable === undefined || writable === undefined) return 'a buffer under way is in memory no more';
    const length = completedLength(chain);
    const completed = length !== undefined;
    saved.push({ id, ringEntries, completed, usedLength: length ?? 0, readable, writable });
  }
  return saved;
}

/** Fills a chain, which has no segments, with a saved one. False where its buffers are not in memory. */
export function loadChain(chain: DescriptorChain, saved: ChainState, memory: GuestMemory): boolean {
  chain.id = saved.id;
  chain.ringEntries = saved.ringEntries;
  return (
    loadSegments(saved.readable, false, chain.readable, memory) &&
    loadSegments(saved.writable, true, chain.writable, memory)
  );
}

/** What is wrong with saved chains for a ring of `size` entries, whatever its format, or undefined. */
export function problemOfChains(
  chains: readonly ChainState[],
  size: number,
  memory: GuestMemory,
): string | undefined {
  const entries = chains.reduce((sum, { ringEntries }) => sum + ringEntries, 0);
  if (entries > size) return 'more chains are under way than the ring holds';
  for (const saved of chains) {
    if (saved.ringEntries < 1) return 'a chain under way has no entry in the ring';
    // First, because what is translated costs as much as the regions that it crosses.
    if (lengthOf(saved) > MAX_CHAIN_BYTES) return 'a chain under way is longer than 2^32 bytes';
    const chain = new DescriptorChain(chains);
    if (!loadChain(chain, saved, memory)) return 'a buffer under way lies outside memory';
    const room = saved.completed ? chain.writable.byteLength : 0;
    if (saved.usedLength > room) return 'more is written to a chain than it has room for';
  }
  return undefined;
}

function lengthOf({ readable, writable }: ChainState): number {
  return [...readable, ...writable].reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
}

function saveSegments(segments: IoVector, memory: GuestMemory): SegmentState[] | undefined {
  const saved: SegmentState[] = [];
  for (let i = 0; i < segments.count; i++) {
    const lengthBytes = segments.lengths[i];
    const guestAddress = memory.guestAddressOf(segments.bytes[i], segments.offsets[i], lengthBytes);
    if (guestAddress < 0) return undefined;
    saved.push({ guestAddress, lengthBytes });
  }
  return saved;
}

function loadSegments(
  saved: readonly SegmentState[],
  writable: boolean,
  into: IoVector,
  memory: GuestMemory,
): boolean {
  return saved.every(
    ({ guestAddress, lengthBytes }) =>
      lengthBytes > 0 && memory.translate(guestAddress, lengthBytes, writable, into),
  );
}
