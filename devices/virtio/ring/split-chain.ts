/** Descriptor chains of the split ring (virtio 1.3, section 2.7.5). */
import type { GuestMemory } from '../memory/guest-memory.js';
import { DescWord, VIRTQ_DESC_WORDS, VirtqDescFlag } from './defs.js';
import { AddressProblem, problemOfLength, type DescriptorChain } from './descriptor-chain.js';
import { IndirectTable } from './indirect-table.js';

const { LEN, FLAGS_AND_NEXT } = DescWord;
const DESC_WORDS = VIRTQ_DESC_WORDS;
const { VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE } = VirtqDescFlag;

/**
 * Walks chains. The driver may change any byte at any time, so each field is read exactly once into a local, and only the local is
 * checked and used. A walk reads at most `size` descriptors, whatever they say.
 */
export class SplitChainWalker {
  readonly #memory: GuestMemory;
  readonly #size: number;
  readonly #indirect: IndirectTable;

  constructor(memory: GuestMemory, size: number, indirectAllowed: boolean) {
    this.#memory = memory;
    this.#size = size;
    this.#indirect = new IndirectTable(memory, size, indirectAllowed);
  }

  /**
   * Fills `chain`, which has no segments, from the descriptor `head` of `table`. Answers what is wrong with the chain, or undefined
   * where nothing is.
   */
  walk(chain: DescriptorChain, table: Int32Array, head: number): string | undefined {
    let words = table;
    let start = 0;
    let entries = this.#size;
    let index = head;
    let isIndirect = false;
    let sawWritable = false;
    for (let count = 0; count < this.#size;) {
      if (index >= entries) return 'a descriptor index lies beyond its table';
      const at = start + index * DESC_WORDS;
      const flagsAndNext = words[at + FLAGS_AND_NEXT];
      if ((flagsAndNext & VIRTQ_DESC_F_INDIRECT) !== 0) {
        if (isIndirect) return 'an indirect table holds an indirect descriptor';
        const problem = this.#openIndirect(words, at, flagsAndNext);
        if (problem !== undefined) return problem;
        isIndirect = true;
        ({ words, start, entries } = this.#indirect);
        index = 0;
        continue;
      }
      count++;
      const isWritable = (flagsAndNext & VIRTQ_DESC_F_WRITE) !== 0;
      if (sawWritable && !isWritable) return 'a readable descriptor follows a writable one';
      sawWritable = isWritable;
      const length = words[at + LEN] >>> 0;
      const segments = isWritable ? chain.writable : chain.readable;
      if (!this.#memory.translateWords(words, at, length, isWritable, segments)) return AddressProblem.BUFFER;
      if ((flagsAndNext & VIRTQ_DESC_F_NEXT) === 0) return problemOfLength(chain);
      index = flagsAndNext >>> 16;
    }
    return 'a chain has more descriptors than the queue';
  }

  #openIndirect(words: Int32Array, at: number, flagsAndNext: number): string | undefined {
    if ((flagsAndNext & VIRTQ_DESC_F_NEXT) !== 0) return 'an indirect descriptor has a next one';
    return this.#indirect.open(words, at);
  }
}
