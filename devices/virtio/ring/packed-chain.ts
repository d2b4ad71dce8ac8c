/** Descriptor chains of the packed ring (virtio 1.3, sections 2.8.5 to 2.8.7). */
import type { GuestMemory } from '../memory/guest-memory.js';
import { DescWord, PackedDescFlag, VIRTQ_DESC_WORDS, VirtqDescFlag } from './defs.js';
import { AddressProblem, problemOfLength, type DescriptorChain } from './descriptor-chain.js';
import { IndirectTable } from './indirect-table.js';

/** A descriptor's fourth word is `le16 id; le16 flags`. These are the flags as they stand in that word. */
const FLAGS_SHIFT = 16;
const ID_MASK = 0xffff;
const INDIRECT = VirtqDescFlag.VIRTQ_DESC_F_INDIRECT << FLAGS_SHIFT;
const NEXT = VirtqDescFlag.VIRTQ_DESC_F_NEXT << FLAGS_SHIFT;
const WRITE = VirtqDescFlag.VIRTQ_DESC_F_WRITE << FLAGS_SHIFT;
/** Which of these are set is the same in all descriptors that are made available on one lap, and turned around on the next. */
const LAP = (PackedDescFlag.VIRTQ_DESC_F_AVAIL | PackedDescFlag.VIRTQ_DESC_F_USED) << FLAGS_SHIFT;
const { LEN, ID_AND_FLAGS } = DescWord;
const DESC_WORDS = VIRTQ_DESC_WORDS;

/** As `SplitChainWalker`: each field that the driver wrote is read once, and a walk ends however its descriptors are linked. */
export class PackedChainWalker {
  readonly #memory: GuestMemory;
  readonly #ringWords: number;
  readonly #indirect: IndirectTable;

  constructor(memory: GuestMemory, size: number, indirectAllowed: boolean) {
    this.#memory = memory;
    this.#ringWords = size * VIRTQ_DESC_WORDS;
    this.#indirect = new IndirectTable(memory, size, indirectAllowed);
  }

  /**
   * Fills `chain`, which has no segments, from the descriptors from `first` (a place in `ring`) on, at most `most` of them.
   * `firstIdAndFlags` is the fourth word of the first, which found it available. Answers what is wrong with the chain, or undefined where
   * nothing is.
   */
  walk(
    chain: DescriptorChain,
    ring: Int32Array,
    first: number,
    firstIdAndFlags: number,
    most: number,
  ): string | undefined {
    let at = first;
    let idAndFlags = firstIdAndFlags;
    let lap = firstIdAndFlags & LAP;
    let sawWritable = false;
    for (let count = 1; ; count++) {
      if ((idAndFlags & INDIRECT) !== 0) {
        // The last descriptor has the buffer id, and an indirect one is its chain's only one (2.8.19).
        if (count > 1 || (idAndFlags & NEXT) !== 0) return 'an indirect descriptor is one of several';
        chain.id = idAndFlags & ID_MASK;
        chain.ringEntries = 1;
        return this.#indirect.open(ring, at) ?? this.#walkIndirect(chain);
      }
      const isWritable = (idAndFlags & WRITE) !== 0;
      if (sawWritable && !isWritable) return 'a readable descriptor follows a writable one';
      sawWritable = isWritable;
      const length = ring[at + LEN] >>> 0;
      const segments = isWritable ? chain.writable : chain.readable;
      if (!this.#memory.translateWords(ring, at, length, isWritable, segments)) return AddressProblem.BUFFER;
      if ((idAndFlags & NEXT) === 0) {
        chain.id = idAndFlags & ID_MASK;
        chain.ringEntries = count;
        return problemOfLength(chain);
      }
      if (count === most) return 'a chain has more descriptors than the queue has left';
      at += DESC_WORDS;
      if (at === this.#ringWords) {
        at = 0;
        lap ^= LAP;
      }
      idAndFlags = ring[at + ID_AND_FLAGS];
      // The driver hands over the first descriptor last: what follows it is there, or never will be.
      if ((idAndFlags & LAP) !== lap) return 'a chain goes on in a descriptor that is not available';
    }
  }

  /** An indirect table's entries follow one another: they have no next one and no id (2.8.7). */
  #walkIndirect(chain: DescriptorChain): string | undefined {
    const { words, start, entries } = this.#indirect;
    const end = start + entries * DESC_WORDS;
    let sawWritable = false;
    for (let at = start; at < end; at += DESC_WORDS) {
      const flags = words[at + ID_AND_FLAGS];
      if ((flags & INDIRECT) !== 0) return 'an indirect table holds an indirect descriptor';
      const isWritable = (flags & WRITE) !== 0;
      if (sawWritable && !isWritable) return 'a readable descriptor follows a writable one';
      sawWritable = isWritable;
      const length = words[at + LEN] >>> 0;
      const segments = isWritable ? chain.writable : chain.readable;
      if (!this.#memory.translateWords(words, at, length, isWritable, segments)) return AddressProblem.BUFFER;
    }
    return problemOfLength(chain);
  }
}
