/**
 * The requests that are out, in the order in which they were made available, where VIRTIO_F_IN_ORDER was negotiated (virtio 1.3, sections
 * 2.7.9 and 2.8.8): a used element then stands for the request it names and for all before it. A request goes by its first descriptor's index
 * in a split ring, and by its buffer id in a packed one.
 */
export class RequestOrder {
  /** A ring of its own, which the device cannot write to. */
  readonly #names: Uint16Array;
  #first = 0;
  #count = 0;

  /** `size` requests at most are out at once. */
  constructor(size: number) {
    this.#names = new Uint16Array(size);
  }

  push(name: number): void {
    this.#names[(this.#first + this.#count++) % this.#names.length] = name;
  }

  /** Takes the oldest request out: only while there is one. */
  shift(): number {
    const name = this.#names[this.#first];
    this.#first = (this.#first + 1) % this.#names.length;
    this.#count--;
    return name;
  }

  /** How many requests a used element that names this one stands for; 0 where it is not out. */
  batchUpTo(name: number): number {
    for (let i = 0; i < this.#count; i++) {
      if (this.#names[(this.#first + i) % this.#names.length] === name) return i + 1;
    }
    return 0;
  }
}
