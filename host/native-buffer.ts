/** Raw addresses of Node's own memory, for system calls that take pointers. */
import koffi from 'koffi';

/**
 * Addresses of ArrayBuffers seen before: 40 ns to find, where asking V8 through koffi costs 85 and a BigInt.
 */
const baseAddresses = new WeakMap<ArrayBufferLike, number>();

/** Tells {@link addressOf} where an external ArrayBuffer lies. */
export function rememberAddress(buffer: ArrayBufferLike, address: number): void {
  baseAddresses.set(buffer, address);
}

/**
 * The address of a view's first byte. The memory stays in place as long as the ArrayBuffer is reachable and
 * not transferred; the caller keeps it so while the address is in use. Views of a SharedMapping are fine too.
 */
export function addressOf(view: Uint8Array): number {
  // Reading `buffer` also moves a small array's bytes out of V8's heap, where they would not stay in place.
  const { buffer } = view;
  let base = baseAddresses.get(buffer);
  if (base === undefined) {
    base = Number(koffi.address(view)) - view.byteOffset;
    baseAddresses.set(buffer, base);
  }
  return base + view.byteOffset;
}

/**
 * Holds a caller's buffer during a call that is given its address alone: the optimizer may count a parameter
 * as dead after its last use, and converting arguments can collect garbage. Set it before the call and clear
 * it after.
 */
export const pinned: { view: Uint8Array | null } = { view: null };

/** Zeroed memory that `host/` owns, for structures passed to calls: its address and its views. */
export class NativeBuffer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly u32: Uint32Array;
  readonly address: number;

  /** @param byteLength a multiple of 4 */
  constructor(byteLength: number) {
    const buffer = new ArrayBuffer(byteLength);
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.u32 = new Uint32Array(buffer);
    this.address = addressOf(this.bytes);
  }

  /** Writes a non-negative integer up to 2^53, such as an address, as a little-endian u64. */
  setU64(byteOffset: number, value: number): void {
    this.view.setUint32(byteOffset, value >>> 0, true);
    this.view.setUint32(byteOffset + 4, Math.floor(value / 2 ** 32), true);
  }

  /** Reads a little-endian u64; exact up to 2^53. */
  getU64(byteOffset: number): number {
    return this.view.getUint32(byteOffset, true) + this.view.getUint32(byteOffset + 4, true) * 2 ** 32;
  }
}
