/** Descriptor chains, whatever the ring's format: from what a driver wrote to segments of memory. */
import { IoVector } from '../../io-vector.js';
import type { Chain } from '../device.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { VIRTQ_DESC_BYTES, VirtqDesc } from './defs.js';

const TWO_POW_32 = 0x1_0000_0000;

/** A chain of a ring's pool. Between `pop` and `push` it belongs to the device, else to the pool. */
export class DescriptorChain implements Chain {
  readonly readable = new IoVector();
  readonly writable = new IoVector();
  /** The ring it came from: a ring that replaced it after a reset does not take it. */
  readonly owner: object;
  /** What the driver knows the chain by when it is used: in a split ring the first descriptor's index, in a packed one the buffer id. */
  id = 0;
  /** Descriptors of the ring itself that it takes, indirect ones not counted. Packed rings only. */
  ringDescriptors = 1;
  inFlight = false;

  constructor(owner: object) {
    this.owner = owner;
  }
}

/**
 * Appends the buffer that the descriptor at `at` names, each of whose fields is read once; false where a byte of it is not memory.
 * Address and length lie at the same places in every format.
 */
export function appendBuffer(
  memory: GuestMemory,
  chain: DescriptorChain,
  view: DataView,
  at: number,
  isWritable: boolean,
): boolean {
  const length = view.getUint32(at + VirtqDesc.LEN, true);
  // An empty buffer is harmless and no segment: its address is never looked at.
  if (length === 0) return true;
  return memory.translate(
    addressAt(view, at),
    length,
    isWritable,
    isWritable ? chain.writable : chain.readable,
  );
}

/** What is wrong with a chain as a whole, or undefined. */
export function problemOfLength(chain: DescriptorChain): string | undefined {
  const total = chain.readable.byteLength + chain.writable.byteLength;
  return total > TWO_POW_32 ? 'a chain is longer than 2^32 bytes' : undefined;
}

function addressAt(view: DataView, at: number): number {
  return view.getUint32(at + VirtqDesc.ADDR_HIGH, true) * TWO_POW_32 + view.getUint32(at, true);
}

/** The indirect table of the chain that is being walked. */
export class IndirectTable {
  /** The array that holds the table, and where it starts there. */
  view: DataView = new DataView(new ArrayBuffer(0));
  start = 0;
  entries = 0;
  readonly #memory: GuestMemory;
  readonly #maxEntries: number;
  readonly #allowed: boolean;
  readonly #views = new WeakMap<Uint8Array, DataView>();
  readonly #parts = new IoVector();
  /** The array that `view` is on. */
  #bytes: Uint8Array = new Uint8Array(0);

  constructor(memory: GuestMemory, maxEntries: number, allowed: boolean) {
    this.#memory = memory;
    this.#maxEntries = maxEntries;
    this.#allowed = allowed;
  }

  /** Finds the table that the indirect descriptor at `at` in `view` names. Answers what is wrong with it, or undefined. */
  open(view: DataView, at: number): string | undefined {
    if (!this.#allowed) return 'an indirect descriptor was not negotiated';
    const length = view.getUint32(at + VirtqDesc.LEN, true);
    const entries = length / VIRTQ_DESC_BYTES;
    if (length === 0 || length % VIRTQ_DESC_BYTES !== 0)
      return 'an indirect table is not made of descriptors';
    if (entries > this.#maxEntries) return 'an indirect table is larger than the queue';
    const parts = this.#parts;
    parts.clear();
    if (!this.#memory.translate(addressAt(view, at), length, false, parts))
      return 'an indirect table lies outside memory';
    this.entries = entries;
    if (parts.count === 1) {
      this.#show(parts.bytes[0]);
      this.start = parts.offsets[0];
    } else {
      // Across regions: rare, so a copy will do.
      const copy = new Uint8Array(length);
      parts.gather(0, copy, 0, length);
      this.#show(copy);
      this.start = 0;
    }
    return undefined;
  }

  #show(bytes: Uint8Array): void {
    if (bytes === this.#bytes) return;
    let view = this.#views.get(bytes);
    if (view === undefined) {
      view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      this.#views.set(bytes, view);
    }
    this.#bytes = bytes;
    this.view = view;
  }
}
