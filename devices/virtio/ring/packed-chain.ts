/** Descriptor chains of the packed ring (virtio 1.3, sections 2.8.5 to 2.8.8). */
import type { GuestMemory } from '../memory/guest-memory.js';
import { PackedDesc, PackedDescFlag, VIRTQ_DESC_BYTES, VirtqDescFlag } from './defs.js';
import { appendBuffer, IndirectTable, problemOfLength, type DescriptorChain } from './descriptor-chain.js';
import type { PackedAreas } from './packed-areas.js';
import { packedAdvance, packedIndex, packedWrap } from './packed-position.js';

const { VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE } = VirtqDescFlag;
const { VIRTQ_DESC_F_AVAIL, VIRTQ_DESC_F_USED } = PackedDescFlag;

/** Where a descriptor's flags are in `PackedAreas.descriptorWords`. */
export function flagsWord(position: number): number {
  return packedIndex(position) * (VIRTQ_DESC_BYTES / 2) + PackedDesc.FLAGS / 2;
}

/** Whether flags read at `position` say that the driver made the descriptor available on this lap. */
export function isAvailable(flags: number, position: number): boolean {
  const mine = packedWrap(position) ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED;
  return (flags & (VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED)) === mine;
}

/** As `SplitChainWalker`: each field that the driver wrote is read once, and a walk ends however its descriptors are linked. */
export class PackedChainWalker {
  readonly #memory: GuestMemory;
  readonly #size: number;
  readonly #indirect: IndirectTable;

  constructor(memory: GuestMemory, size: number, indirectAllowed: boolean) {
    this.#memory = memory;
    this.#size = size;
    this.#indirect = new IndirectTable(memory, size, indirectAllowed);
  }

  /**
   * Fills `chain` from the descriptors from `first` on, at most `most` of them. `firstFlags` are the flags of the first, which
   * found it available. Answers what is wrong with the chain, or undefined where nothing is.
   */
  walk(
    chain: DescriptorChain,
    areas: PackedAreas,
    first: number,
    firstFlags: number,
    most: number,
  ): string | undefined {
    chain.readable.clear();
    chain.writable.clear();
    const { descriptors, descriptorsStart, descriptorWords } = areas;
    let position = first;
    let flags = firstFlags;
    let sawWritable = false;
    for (let count = 1; count <= most; count++) {
      const at = descriptorsStart + packedIndex(position) * VIRTQ_DESC_BYTES;
      if ((flags & VIRTQ_DESC_F_INDIRECT) !== 0) {
        // The last descriptor has the buffer id, and an indirect one is its chain's only one (2.8.19).
        if (count > 1 || (flags & VIRTQ_DESC_F_NEXT) !== 0) return 'an indirect descriptor is one of several';
        chain.id = descriptors.getUint16(at + PackedDesc.ID, true);
        chain.ringDescriptors = 1;
        return this.#indirect.open(descriptors, at) ?? this.#walkIndirect(chain);
      }
      const isWritable = (flags & VIRTQ_DESC_F_WRITE) !== 0;
      if (sawWritable && !isWritable) return 'a readable descriptor follows a writable one';
      sawWritable = isWritable;
      if (!appendBuffer(this.#memory, chain, descriptors, at, isWritable))
        return 'a buffer lies outside memory';
      if ((flags & VIRTQ_DESC_F_NEXT) === 0) {
        chain.id = descriptors.getUint16(at + PackedDesc.ID, true);
        chain.ringDescriptors = count;
        return problemOfLength(chain);
      }
      if (count === most) break;
      position = packedAdvance(position, 1, this.#size);
      flags = descriptorWords[flagsWord(position)];
      // The driver hands over the first descriptor last: what follows it is there, or never will be.
      if (!isAvailable(flags, position)) return 'a chain goes on in a descriptor that is not available';
    }
    return 'a chain has more descriptors than the queue has left';
  }

  /** An indirect table's entries follow one another: they have no next one and no id (2.8.8). */
  #walkIndirect(chain: DescriptorChain): string | undefined {
    const { view, start, entries } = this.#indirect;
    let sawWritable = false;
    for (let i = 0; i < entries; i++) {
      const at = start + i * VIRTQ_DESC_BYTES;
      const flags = view.getUint16(at + PackedDesc.FLAGS, true);
      if ((flags & VIRTQ_DESC_F_INDIRECT) !== 0) return 'an indirect table holds an indirect descriptor';
      const isWritable = (flags & VIRTQ_DESC_F_WRITE) !== 0;
      if (sawWritable && !isWritable) return 'a readable descriptor follows a writable one';
      sawWritable = isWritable;
      if (!appendBuffer(this.#memory, chain, view, at, isWritable)) return 'a buffer lies outside memory';
    }
    return problemOfLength(chain);
  }
}
