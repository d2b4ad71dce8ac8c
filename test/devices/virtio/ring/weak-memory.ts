import { PlainMemory, type AccessModel, type Width } from './watched-memory.js';

interface Pending {
  readonly offset: number;
  readonly width: Width;
  readonly value: number;
}

/**
 * A processor that makes as little of its writes visible to others as it may: plain ones stay in a buffer until an atomic one comes, and
 * leave it before that only by `leak`, in any order. x86 keeps less back and arm64 no more, so what works here works on both.
 */
export class WeakMemory implements AccessModel {
  readonly #memory: PlainMemory;
  #pending: Pending[] = [];

  constructor(ram: Uint8Array) {
    this.#memory = new PlainMemory(ram);
  }

  load(offset: number, width: Width): number {
    const bytes = new DataView(new ArrayBuffer(4));
    bytes.setUint32(0, this.#memory.load(offset, width), true);
    for (const store of this.#pending) {
      for (let i = 0; i < store.width; i++) {
        const at = store.offset + i - offset;
        if (at >= 0 && at < width) bytes.setUint8(at, store.value >>> (8 * i));
      }
    }
    return bytes.getUint32(0, true);
  }

  store(offset: number, width: Width, value: number, atomic: boolean): void {
    if (atomic) this.drain();
    this.#pending.push({ offset, width, value });
    if (atomic) this.drain();
  }

  /** Makes one of the writes visible, after those before it that touch the same bytes. */
  leak(which: number): void {
    const chosen = this.#pending.at(which % this.#pending.length);
    if (chosen === undefined) return;
    const goes = (store: Pending): boolean =>
      store === chosen ||
      (this.#pending.indexOf(store) < this.#pending.indexOf(chosen) && overlap(store, chosen));
    const going = this.#pending.filter(goes);
    this.#pending = this.#pending.filter((store) => !going.includes(store));
    for (const { offset, width, value } of going) this.#memory.store(offset, width, value);
  }

  drain(): void {
    for (const { offset, width, value } of this.#pending.splice(0)) this.#memory.store(offset, width, value);
  }
}

function overlap(a: Pending, b: Pending): boolean {
  return a.offset < b.offset + b.width && b.offset < a.offset + a.width;
}
