/** Descriptor chains of the split ring (virtio 1.3, section 2.7.5): from what a driver wrote to segments of memory. */
import { IoVector } from '../../io-vector.js';
import type { Chain } from '../device.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { VIRTQ_DESC_BYTES, VirtqDesc, VirtqDescFlag } from './defs.js';

const { VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE } = VirtqDescFlag;
const TWO_POW_32 = 0x1_0000_0000;

/** A chain of a ring's pool. Between `pop` and `push` it belongs to the device, else to the pool. */
export class DescriptorChain implements Chain {
  readonly readable = new IoVector();
  readonly writable = new IoVector();
  /** The ring it came from: a ring that replaced it after a reset does not take it. */
  readonly owner: object;
  /** Index of the first descriptor, which is the chain's name in the used ring. */
  head = 0;
  inFlight = false;

  constructor(owner: object) {
    this.owner = owner;
  }
}

/**
 * Walks chains. The driver may change any byte at any time, so each field is read exactly once into a local, and only the local is
 * checked and used. A walk reads at most `size` descriptors, whatever they say.
 */
export class ChainWalker {
  readonly #memory: GuestMemory;
  readonly #size: number;
  readonly #indirectAllowed: boolean;
  readonly #views = new WeakMap<Uint8Array, DataView>();
  readonly #indirectParts = new IoVector();
  /** The array that the last indirect table was in, and the view on it. */
  #indirectBytes: Uint8Array = new Uint8Array(0);
  #indirectView: DataView = new DataView(new ArrayBuffer(0));
  #indirectStart = 0;
  #indirectEntries = 0;

  constructor(memory: GuestMemory, size: number, indirectAllowed: boolean) {
    this.#memory = memory;
    this.#size = size;
    this.#indirectAllowed = indirectAllowed;
  }

  /**
   * Fills `chain` from the descriptor `head` of the table at `start` in `table`. Answers what is wrong with the chain, or
   * undefined where nothing is.
   */
  walk(chain: DescriptorChain, table: DataView, tableStart: number, head: number): string | undefined {
    const { readable, writable } = chain;
    readable.clear();
    writable.clear();
    let view = table;
    let start = tableStart;
    let entries = this.#size;
    let index = head;
    let isIndirect = false;
    let sawWritable = false;
    for (let count = 0; count < this.#size;) {
      if (index >= entries) return 'a descriptor index lies beyond its table';
      const at = start + index * VIRTQ_DESC_BYTES;
      const flagsAndNext = view.getUint32(at + VirtqDesc.FLAGS_AND_NEXT, true);
      if ((flagsAndNext & VIRTQ_DESC_F_INDIRECT) !== 0) {
        if (isIndirect) return 'an indirect table holds an indirect descriptor';
        const problem = this.#openIndirect(view, at, flagsAndNext);
        if (problem !== undefined) return problem;
        isIndirect = true;
        view = this.#indirectView;
        start = this.#indirectStart;
        entries = this.#indirectEntries;
        index = 0;
        continue;
      }
      count++;
      const length = view.getUint32(at + VirtqDesc.LEN, true);
      const isWritable = (flagsAndNext & VIRTQ_DESC_F_WRITE) !== 0;
      if (sawWritable && !isWritable) return 'a readable descriptor follows a writable one';
      sawWritable = isWritable;
      // An empty buffer is harmless and no segment: its address is never looked at.
      if (length !== 0) {
        const address =
          view.getUint32(at + VirtqDesc.ADDR_HIGH, true) * TWO_POW_32 + view.getUint32(at, true);
        if (!this.#memory.translate(address, length, isWritable, isWritable ? writable : readable)) {
          return 'a buffer lies outside memory';
        }
      }
      if ((flagsAndNext & VIRTQ_DESC_F_NEXT) === 0) {
        const total = readable.byteLength + writable.byteLength;
        return total > TWO_POW_32 ? 'a chain is longer than 2^32 bytes' : undefined;
      }
      index = flagsAndNext >>> 16;
    }
    return 'a chain has more descriptors than the queue';
  }

  /** Finds the table that the indirect descriptor at `at` names. */
  #openIndirect(view: DataView, at: number, flagsAndNext: number): string | undefined {
    if (!this.#indirectAllowed) return 'an indirect descriptor was not negotiated';
    if ((flagsAndNext & VIRTQ_DESC_F_NEXT) !== 0) return 'an indirect descriptor has a next one';
    const length = view.getUint32(at + VirtqDesc.LEN, true);
    const entries = length / VIRTQ_DESC_BYTES;
    if (length === 0 || length % VIRTQ_DESC_BYTES !== 0)
      return 'an indirect table is not made of descriptors';
    if (entries > this.#size) return 'an indirect table is larger than the queue';
    const address = view.getUint32(at + VirtqDesc.ADDR_HIGH, true) * TWO_POW_32 + view.getUint32(at, true);
    const parts = this.#indirectParts;
    parts.clear();
    if (!this.#memory.translate(address, length, false, parts))
      return 'an indirect table lies outside memory';
    this.#indirectEntries = entries;
    if (parts.count === 1) {
      this.#view(parts.bytes[0]);
      this.#indirectStart = parts.offsets[0];
    } else {
      // Across regions: rare, so a copy will do.
      const copy = new Uint8Array(length);
      parts.gather(0, copy, 0, length);
      this.#view(copy);
      this.#indirectStart = 0;
    }
    return undefined;
  }

  #view(bytes: Uint8Array): void {
    if (bytes === this.#indirectBytes) return;
    let view = this.#views.get(bytes);
    if (view === undefined) {
      view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      this.#views.set(bytes, view);
    }
    this.#indirectBytes = bytes;
    this.#indirectView = view;
  }
}
