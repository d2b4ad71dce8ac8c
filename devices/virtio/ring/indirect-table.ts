import { IoVector } from '../../io-vector.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { DescWord, VIRTQ_DESC_BYTES } from './defs.js';
import { AddressProblem } from './descriptor-chain.js';

const WORD_BYTES = 4;
const WORD_SHIFT = 2;
const DESC_SHIFT = 4;
const DESC_BYTES = VIRTQ_DESC_BYTES;
const { LEN } = DescWord;

/** The indirect table of the chain that is being walked (virtio 1.3, sections 2.7.5.3 and 2.8.7). */
export class IndirectTable {
  /** Words that hold the table, and the place of its first one. */
  words: Int32Array = new Int32Array(0);
  start = 0;
  entries = 0;
  readonly #memory: GuestMemory;
  readonly #maxBytes: number;
  readonly #allowed: boolean;
  readonly #parts = new IoVector();
  /** The array that `words` is on, and the same for every array that had a table: an array is a region of memory, and there are few. */
  #bytes: Uint8Array = new Uint8Array(0);
  #firstWordOffset = 0;
  readonly #wordsOf = new WeakMap<Uint8Array, Int32Array>();

  constructor(memory: GuestMemory, maxEntries: number, allowed: boolean) {
    this.#memory = memory;
    this.#maxBytes = maxEntries * DESC_BYTES;
    this.#allowed = allowed;
  }

  /** Finds the table that the indirect descriptor at `at` in `words` names. Answers what is wrong with it, or undefined. */
  open(words: Int32Array, at: number): string | undefined {
    if (!this.#allowed) return 'an indirect descriptor was not negotiated';
    // From 2^31 on it is negative here, and larger than any queue.
    const length = words[at + LEN];
    if (length === 0 || (length & (DESC_BYTES - 1)) !== 0)
      return 'an indirect table is not made of descriptors';
    if (length < 0 || length > this.#maxBytes) return 'an indirect table is larger than the queue';
    const parts = this.#parts;
    parts.clear();
    if (!this.#memory.translateWords(words, at, length, false, parts)) return AddressProblem.TABLE;
    const bytes = parts.bytes[0];
    if (bytes !== this.#bytes) this.#change(bytes);
    const offset = parts.offsets[0] - this.#firstWordOffset;
    if (parts.count > 1 || (offset & (WORD_BYTES - 1)) !== 0) this.#copy(length);
    else this.start = offset >> WORD_SHIFT;
    this.entries = length >> DESC_SHIFT;
    return undefined;
  }

  #change(bytes: Uint8Array): void {
    let words = this.#wordsOf.get(bytes);
    if (words === undefined) {
      words = wordsOf(bytes);
      this.#wordsOf.set(bytes, words);
    }
    this.#bytes = bytes;
    this.#firstWordOffset = words.byteOffset - bytes.byteOffset;
    this.words = words;
  }

  /** Across regions, or at an odd place: nobody does that, so a copy will do. */
  #copy(length: number): void {
    const copy = new Uint8Array(length);
    this.#parts.gather(0, copy, 0, length);
    this.#change(copy);
    this.start = 0;
  }
}

function wordsOf(bytes: Uint8Array): Int32Array {
  const start = Math.ceil(bytes.byteOffset / WORD_BYTES) * WORD_BYTES;
  const end = bytes.byteOffset + bytes.byteLength;
  return new Int32Array(bytes.buffer, start, Math.floor((end - start) / WORD_BYTES));
}
