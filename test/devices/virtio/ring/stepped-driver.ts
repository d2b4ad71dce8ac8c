/**
 * Drivers that can be stopped before each of their accesses to memory, written from the specification (virtio 1.3, sections 2.7.13, 2.8.21
 * and what those name) with constants of their own. They notify only where the device asked for it, and sleep until they are interrupted.
 */

/** One request. What the device is to say that it wrote, of `capacity` bytes. */
export interface SteppedChain {
  /** Lengths of buffers to read, then of buffers to write. */
  readonly readable: readonly number[];
  readonly writable: readonly number[];
}

export interface SteppedPlace {
  readonly ram: Uint8Array;
  readonly ramAddress: number;
  readonly size: number;
  /** Entries of the ring that were used before. */
  readonly startIndex: number;
  readonly descriptorArea: number;
  readonly driverArea: number;
  readonly deviceArea: number;
  /** The first of as many pages as there are descriptors: tables where they are, and buffers. */
  readonly freeAddress: number;
  readonly indirect: boolean;
  readonly eventIdx: boolean;
  readonly inOrder: boolean;
}

interface Out {
  readonly number: number;
  readonly capacity: number;
  readonly descriptors: number;
}

type Steps<T = void> = Generator<undefined, T>;

const [NEXT, WRITE, INDIRECT] = [1, 2, 4];
const [AVAIL, USED] = [0x80, 0x8000];
const [ENABLE, DISABLE, DESC] = [0, 1, 2];

export abstract class SteppedDriver {
  /** What came back, in that order: the request's number, and how much the device wrote. */
  readonly completions: { readonly number: number; readonly written: number }[] = [];
  /** True from the moment when it would sleep for ever unless it is interrupted. */
  asleep = false;
  notify: () => void = () => {};
  protected readonly place: SteppedPlace;
  protected readonly out = new Map<number, Out>();
  protected freeDescriptors: number;
  readonly #view: DataView;
  #interrupted = false;
  #offered = 0;

  constructor(place: SteppedPlace) {
    this.place = place;
    this.freeDescriptors = place.size;
    this.#view = new DataView(place.ram.buffer, place.ram.byteOffset);
  }

  interrupt(): void {
    this.#interrupted = true;
    this.asleep = false;
  }

  /** Has all `chains` served, `burst` of them offered at once at most; done when the last has come back. */
  *run(chains: readonly SteppedChain[], burst: number): Steps {
    while (this.completions.length < chains.length) {
      let staged = 0;
      for (; staged < burst && this.#offered < chains.length; staged++, this.#offered++) {
        const chain = chains[this.#offered];
        const count = this.#descriptorsOf(chain);
        if (count > this.freeDescriptors) break;
        this.freeDescriptors -= count;
        yield* this.stage(chain, {
          number: this.#offered,
          capacity: sum(chain.writable),
          descriptors: count,
        });
      }
      if (staged > 0 && (yield* this.publish())) this.notify();
      const next = chains[this.#offered];
      yield* this.#collect(next === undefined ? this.place.size : this.#descriptorsOf(next));
    }
  }

  protected abstract stage(chain: SteppedChain, out: Out): Steps;
  /** Shows the device what was staged; true where it asked to be notified of that. */
  protected abstract publish(): Steps<boolean>;
  protected abstract hasUsed(): Steps<boolean>;
  /** Takes the next used element. */
  protected abstract reap(): Steps;
  protected abstract allowInterrupts(): Steps;
  protected abstract suppressInterrupts(): Steps;

  /** Takes what is used until `needed` descriptors are free, and all that there is. */
  *#collect(needed: number): Steps {
    for (;;) {
      while (yield* this.hasUsed()) yield* this.reap();
      if (this.freeDescriptors >= needed) return;
      // What interrupts told of until here is covered by the look below.
      this.#interrupted = false;
      yield* this.allowInterrupts();
      if (!(yield* this.hasUsed())) {
        while (!this.#interrupted) {
          this.asleep = true;
          yield;
        }
      }
      yield* this.suppressInterrupts();
    }
  }

  /** One used element: `name` is what the last chain goes by that it stands for, and `order` what those before it go by. */
  protected complete(name: number, written: number, order: number[]): number {
    const last = this.place.inOrder ? order.indexOf(name) : 0;
    const names = this.place.inOrder ? order.splice(0, last + 1) : [name];
    let descriptors = 0;
    for (const each of names) {
      const out = this.out.get(each);
      if (out === undefined) throw new Error(`${each} was used, but is not out`);
      this.out.delete(each);
      descriptors += out.descriptors;
      this.completions.push({ number: out.number, written: each === name ? written : out.capacity });
    }
    if (names.length === 0) throw new Error(`${name} was used, but is not out`);
    this.freeDescriptors += descriptors;
    return this.place.inOrder ? names.length : 1;
  }

  protected *load16(address: number): Steps<number> {
    yield;
    return this.#view.getUint16(address - this.place.ramAddress, true);
  }

  protected *load32(address: number): Steps<number> {
    yield;
    return this.#view.getUint32(address - this.place.ramAddress, true);
  }

  protected *store16(address: number, value: number): Steps {
    yield;
    this.#view.setUint16(address - this.place.ramAddress, value, true);
  }

  /** Address, length and the last two fields. Nobody else looks at it yet, so this is one step. */
  protected *storeDescriptor(at: number, page: number, length: number, third: number, fourth: number): Steps {
    yield;
    const offset = at - this.place.ramAddress;
    this.#view.setUint32(offset, this.place.freeAddress + page * 4096, true);
    this.#view.setUint32(offset + 4, 0, true);
    this.#view.setUint32(offset + 8, length, true);
    this.#view.setUint16(offset + 12, third, true);
    this.#view.setUint16(offset + 14, fourth, true);
  }

  #descriptorsOf({ readable, writable }: SteppedChain): number {
    return this.place.indirect ? 1 : readable.length + writable.length;
  }
}

export class SteppedSplitDriver extends SteppedDriver {
  readonly #free = Array.from({ length: this.place.size }, (_, i) => i);
  readonly #descriptorsOf = new Map<number, number[]>();
  readonly #order: number[] = [];
  #avail = this.place.startIndex;
  #published = this.#avail;
  #used = this.#avail;

  protected override *stage(chain: SteppedChain, out: Out): Steps {
    const { descriptorArea, driverArea, freeAddress, indirect, size } = this.place;
    const taken = this.#free.splice(0, out.descriptors);
    const [head] = taken;
    this.#descriptorsOf.set(head, taken);
    this.out.set(head, out);
    this.#order.push(head);
    const table = indirect ? freeAddress + head * 4096 : descriptorArea;
    const { buffers, isLast } = layOut(chain);
    for (const [i, { length, flags }] of buffers.entries()) {
      const slot = indirect ? i : taken[i];
      const next = isLast(i) ? 0 : indirect ? i + 1 : taken[i + 1];
      yield* this.storeDescriptor(table + 16 * slot, slot, length, flags | (isLast(i) ? 0 : NEXT), next);
    }
    if (indirect)
      yield* this.storeDescriptor(descriptorArea + 16 * head, head, 16 * buffers.length, INDIRECT, 0);
    yield* this.store16(driverArea + 4 + 2 * (this.#avail % size), head);
    this.#avail = (this.#avail + 1) & 0xffff;
  }

  protected override *publish(): Steps<boolean> {
    const { deviceArea, driverArea, eventIdx, size } = this.place;
    const old = this.#published;
    this.#published = this.#avail;
    yield* this.store16(driverArea + 2, this.#avail);
    if (!eventIdx) return ((yield* this.load16(deviceArea)) & 1) === 0;
    const event = yield* this.load16(deviceArea + 4 + 8 * size);
    for (let i = old; i !== this.#avail; i = (i + 1) & 0xffff) if (i === event) return true;
    return false;
  }

  protected override *hasUsed(): Steps<boolean> {
    return (yield* this.load16(this.place.deviceArea + 2)) !== this.#used;
  }

  protected override *reap(): Steps {
    const at = this.place.deviceArea + 4 + 8 * (this.#used % this.place.size);
    const id = yield* this.load32(at);
    const chains = this.complete(id, yield* this.load32(at + 4), this.#order);
    this.#used = (this.#used + chains) & 0xffff;
    for (const head of [...this.#descriptorsOf.keys()]) {
      if (this.out.has(head)) continue;
      this.#free.push(...this.#descriptorsOf.get(head)!);
      this.#descriptorsOf.delete(head);
    }
  }

  protected override *allowInterrupts(): Steps {
    const { driverArea, eventIdx, size } = this.place;
    yield* eventIdx ? this.store16(driverArea + 4 + 2 * size, this.#used) : this.store16(driverArea, 0);
  }

  protected override *suppressInterrupts(): Steps {
    if (!this.place.eventIdx) yield* this.store16(this.place.driverArea, 1);
  }
}

export class SteppedPackedDriver extends SteppedDriver {
  readonly #freeIds = Array.from({ length: this.place.size }, (_, i) => i);
  readonly #order: number[] = [];
  /** Descriptors made available and used since the start: lap and index follow from them. */
  #avail = this.place.startIndex;
  #used = this.#avail;
  /** What shows each staged chain, and the places that an event may name. */
  #staged: { readonly at: number; readonly flags: number }[] = [];
  #places: number[] = [];

  protected override *stage(chain: SteppedChain, out: Out): Steps {
    const { freeAddress, indirect } = this.place;
    const id = this.#freeIds.shift()!;
    this.out.set(id, out);
    this.#order.push(id);
    const { buffers, isLast } = layOut(chain);
    if (indirect) {
      for (const [i, { length, flags }] of buffers.entries())
        yield* this.storeDescriptor(freeAddress + id * 4096 + 16 * i, i, length, 0, flags);
      yield* this.#stageDescriptor(id, id, 16 * buffers.length, INDIRECT, true);
      return;
    }
    for (const [i, { length, flags }] of buffers.entries())
      yield* this.#stageDescriptor(i, id, length, flags | (isLast(i) ? 0 : NEXT), i === 0);
  }

  protected override *publish(): Steps<boolean> {
    for (const { at, flags } of this.#staged.splice(0)) yield* this.store16(at, flags);
    const places = this.#places.splice(0);
    const event = yield* this.load32(this.place.deviceArea);
    if (event >>> 16 === DESC) return places.includes(event & 0xffff);
    return event >>> 16 === ENABLE;
  }

  protected override *hasUsed(): Steps<boolean> {
    const flags = yield* this.load16(this.#descriptor(this.#used) + 14);
    return (flags & (AVAIL | USED)) === (this.#isFirstOfLaps(this.#used) ? AVAIL | USED : 0);
  }

  protected override *reap(): Steps {
    const at = this.#descriptor(this.#used);
    const id = yield* this.load16(at + 12);
    const length = yield* this.load32(at + 8);
    const wrote = ((yield* this.load16(at + 14)) & WRITE) !== 0;
    const free = this.freeDescriptors;
    this.complete(id, wrote ? length : 0, this.#order);
    this.#used += this.freeDescriptors - free;
    this.#freeIds.push(
      ...Array.from({ length: this.place.size }, (_, i) => i).filter(
        (each) => !this.out.has(each) && !this.#freeIds.includes(each),
      ),
    );
  }

  protected override *allowInterrupts(): Steps {
    const { driverArea, eventIdx } = this.place;
    if (eventIdx) yield* this.store16(driverArea, this.#offWrap(this.#used));
    yield* this.store16(driverArea + 2, eventIdx ? DESC : ENABLE);
  }

  protected override *suppressInterrupts(): Steps {
    yield* this.store16(this.place.driverArea + 2, DISABLE);
  }

  *#stageDescriptor(page: number, id: number, length: number, flags: number, isFirst: boolean): Steps {
    const at = this.#descriptor(this.#avail);
    const shown = flags | (this.#isFirstOfLaps(this.#avail) ? AVAIL : USED);
    const hidden = this.#isFirstOfLaps(this.#avail) ? 0 : AVAIL | USED;
    if (isFirst) this.#staged.push({ at: at + 14, flags: shown });
    this.#places.push(this.#offWrap(this.#avail));
    yield* this.storeDescriptor(at, page, length, id, isFirst ? hidden : shown);
    this.#avail++;
  }

  #descriptor(count: number): number {
    return this.place.descriptorArea + 16 * (count % this.place.size);
  }

  /** The wrap counter is 1 on the first lap, and on every other one after it. */
  #isFirstOfLaps(count: number): boolean {
    return Math.floor(count / this.place.size) % 2 === 0;
  }

  #offWrap(count: number): number {
    return (count % this.place.size) + (this.#isFirstOfLaps(count) ? 0x8000 : 0);
  }
}

function layOut({ readable, writable }: SteppedChain) {
  const buffers = [
    ...readable.map((length) => ({ length, flags: 0 })),
    ...writable.map((length) => ({ length, flags: WRITE })),
  ];
  return { buffers, isLast: (i: number) => i === buffers.length - 1 };
}

function sum(lengths: readonly number[]): number {
  return lengths.reduce((total, length) => total + length, 0);
}
