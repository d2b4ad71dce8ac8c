/**
 * An MSI-X table and its pending bits (PCI 3.0, section 6.8.2), for a function whose vectors are delivered in software. A VMM that
 * keeps the table itself never writes this one, and its port never calls `deliver`.
 */
import type { AccessWidth } from './function.js';

export const MSIX_ENTRY_BYTES = 16;
/** The control register holds the vector count less one in 11 bits. */
export const MSIX_MAX_VECTORS = 2048;

/** Offsets in a table entry. */
const MsixEntry = {
  MESSAGE_ADDRESS: 0,
  MESSAGE_UPPER_ADDRESS: 4,
  MESSAGE_DATA: 8,
  VECTOR_CONTROL: 12,
} as const;
const MSIX_ENTRY_CTRL_MASKBIT = 0x1;
const TWO_POW_32 = 0x1_0000_0000;

/** Sends one interrupt message: a write of `data` (32 bits) to a guest-physical address. */
export type SendMessage = (address: number, data: number) => void;

export class MsixTable {
  readonly vectorCount: number;
  readonly tableBytes: number;
  /** Pending bits come in 64-bit words. */
  readonly pbaBytes: number;
  readonly #table: DataView;
  readonly #pending: DataView;
  readonly #retrigger: (vector: number) => void;
  #enabled = false;
  #functionMasked = false;

  /** `retrigger` is called, once its pending bit is cleared, with each vector that fired while it was masked. */
  constructor(vectorCount: number, retrigger: (vector: number) => void) {
    if (vectorCount < 1 || vectorCount > MSIX_MAX_VECTORS) {
      throw new RangeError(`an MSI-X table has 1 to ${MSIX_MAX_VECTORS} vectors, not ${vectorCount}`);
    }
    this.vectorCount = vectorCount;
    this.tableBytes = vectorCount * MSIX_ENTRY_BYTES;
    this.pbaBytes = Math.ceil(vectorCount / 64) * 8;
    this.#table = new DataView(new ArrayBuffer(this.tableBytes));
    this.#pending = new DataView(new ArrayBuffer(this.pbaBytes));
    this.#retrigger = retrigger;
    this.reset();
  }

  /** Whether the guest switched MSI-X on: while it has not, the function uses INTx. */
  get enabled(): boolean {
    return this.#enabled;
  }

  /** What the capability's control register says now. Unmasking sends what is pending. */
  setControl(enabled: boolean, functionMasked: boolean): void {
    this.#enabled = enabled;
    this.#functionMasked = functionMasked;
    if (enabled && !functionMasked) {
      for (let vector = 0; vector < this.vectorCount; vector++) this.#sendIfPending(vector);
    }
  }

  /** Sends the vector's message, or marks it pending while it or the whole function is masked. Nothing while MSI-X is off. */
  deliver(vector: number, send: SendMessage): void {
    if (!this.#enabled || vector < 0 || vector >= this.vectorCount) return;
    if (this.#functionMasked || this.#isMasked(vector)) {
      this.#setPending(vector, true);
      return;
    }
    const entry = vector * MSIX_ENTRY_BYTES;
    const low = this.#table.getUint32(entry + MsixEntry.MESSAGE_ADDRESS, true);
    const high = this.#table.getUint32(entry + MsixEntry.MESSAGE_UPPER_ADDRESS, true);
    send(high * TWO_POW_32 + low, this.#table.getUint32(entry + MsixEntry.MESSAGE_DATA, true));
  }

  /** `offset` is from the table's start and aligned to `width`. */
  readTable(offset: number, width: AccessWidth): number {
    return readView(this.#table, offset, width);
  }

  /** An access that is not aligned could reach into two entries: it is ignored. */
  writeTable(offset: number, width: AccessWidth, value: number): void {
    if (offset < 0 || offset + width > this.tableBytes || offset % width !== 0) return;
    if (width === 1) this.#table.setUint8(offset, value);
    else if (width === 2) this.#table.setUint16(offset, value, true);
    else this.#table.setUint32(offset, value, true);
    const vector = Math.floor(offset / MSIX_ENTRY_BYTES);
    this.#clearReserved(vector);
    if (this.#enabled && !this.#functionMasked) this.#sendIfPending(vector);
  }

  /** `offset` is from the pending bits' start. They are read-only. */
  readPba(offset: number, width: AccessWidth): number {
    return readView(this.#pending, offset, width);
  }

  /** As at power-on: off, every vector masked, nothing pending. */
  reset(): void {
    this.#enabled = false;
    this.#functionMasked = false;
    for (let offset = 0; offset < this.tableBytes; offset += 4) this.#table.setUint32(offset, 0, true);
    for (let offset = 0; offset < this.pbaBytes; offset += 4) this.#pending.setUint32(offset, 0, true);
    for (let vector = 0; vector < this.vectorCount; vector++) {
      this.#table.setUint32(
        vector * MSIX_ENTRY_BYTES + MsixEntry.VECTOR_CONTROL,
        MSIX_ENTRY_CTRL_MASKBIT,
        true,
      );
    }
  }

  #isMasked(vector: number): boolean {
    const control = this.#table.getUint32(vector * MSIX_ENTRY_BYTES + MsixEntry.VECTOR_CONTROL, true);
    return (control & MSIX_ENTRY_CTRL_MASKBIT) !== 0;
  }

  #clearReserved(vector: number): void {
    const entry = vector * MSIX_ENTRY_BYTES;
    const low = this.#table.getUint32(entry + MsixEntry.MESSAGE_ADDRESS, true);
    this.#table.setUint32(entry + MsixEntry.MESSAGE_ADDRESS, low & ~3, true);
    const control = this.#table.getUint32(entry + MsixEntry.VECTOR_CONTROL, true);
    this.#table.setUint32(entry + MsixEntry.VECTOR_CONTROL, control & MSIX_ENTRY_CTRL_MASKBIT, true);
  }

  #sendIfPending(vector: number): void {
    if ((this.#pending.getUint8(vector >> 3) & (1 << (vector & 7))) === 0 || this.#isMasked(vector)) return;
    this.#setPending(vector, false);
    this.#retrigger(vector);
  }

  #setPending(vector: number, pending: boolean): void {
    const bit = 1 << (vector & 7);
    const old = this.#pending.getUint8(vector >> 3);
    this.#pending.setUint8(vector >> 3, pending ? old | bit : old & ~bit);
  }
}

function readView(view: DataView, offset: number, width: AccessWidth): number {
  if (offset < 0 || offset + width > view.byteLength) return 0;
  if (width === 1) return view.getUint8(offset);
  return width === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true);
}
