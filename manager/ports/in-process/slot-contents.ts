/** What is in the slots of a chassis in this process, as its operator knows it. It does no I/O: the chassis makes the world follow. */
import type { InProcessNineP, InProcessNinePMux } from '../../composition.js';

/** A function of a card: a mount of its own, or one a queue. */
export type CardDevice = InProcessNineP | InProcessNinePMux;

export interface Mounted {
  readonly tag: string;
  readonly readOnly: boolean;
  readonly slot: number;
  /** 0–255. */
  readonly function: number;
  /** Of a multiplexing device. */
  readonly queue: number | undefined;
  readonly device: CardDevice;
}

/**
 * A card's life: parked until it has a function 0, then plugged; unplugging while the guest is asked for it, and after that plugged again
 * or gone.
 */
export type CardState = 'parked' | 'plugged' | 'unplugging';

export class CardContents {
  readonly slot: number;
  /** By function number. */
  readonly devices = new Map<number, CardDevice>();
  readonly mounts = new Set<Mounted>();
  #state: CardState = 'parked';

  constructor(slot: number) {
    this.slot = slot;
  }

  get state(): CardState {
    return this.#state;
  }

  /** @throws Error where the step is none of a card's life: a bug */
  become(state: CardState): void {
    if (!NEXT[this.#state].includes(state)) throw new Error(`a card that is ${this.#state} became ${state}`);
    this.#state = state;
  }
}

const NEXT: Readonly<Record<CardState, readonly CardState[]>> = {
  parked: ['plugged'],
  plugged: ['unplugging'],
  unplugging: ['plugged'],
};

export class SlotContents {
  readonly #cards = new Map<number, CardContents>();
  readonly #extensions = new Map<number, readonly number[]>();
  readonly #mounts = new Map<string, Mounted>();

  isEmpty(slot: number): boolean {
    return !this.#cards.has(slot) && !this.#extensions.has(slot);
  }

  card(slot: number): CardContents | undefined {
    return this.#cards.get(slot);
  }

  cards(): IterableIterator<CardContents> {
    return this.#cards.values();
  }

  /** The slots of the extension chassis in a slot. */
  extension(slot: number): readonly number[] | undefined {
    return this.#extensions.get(slot);
  }

  mount(tag: string): Mounted | undefined {
    return this.#mounts.get(tag);
  }

  /** By slot, function and queue. */
  mounts(): Mounted[] {
    return [...this.#mounts.values()].sort(
      (a, b) => a.slot - b.slot || a.function - b.function || (a.queue ?? 0) - (b.queue ?? 0),
    );
  }

  /** Puts a function into a slot, beside what is parked there. */
  addDevice(slot: number, fn: number, device: CardDevice): CardContents {
    const card = this.#cards.get(slot) ?? new CardContents(slot);
    this.#cards.set(slot, card);
    card.devices.set(fn, device);
    return card;
  }

  addMount(mounted: Mounted): void {
    this.#cards.get(mounted.slot)?.mounts.add(mounted);
    this.#mounts.set(mounted.tag, mounted);
  }

  removeMount(mounted: Mounted): void {
    this.#cards.get(mounted.slot)?.mounts.delete(mounted);
    this.#mounts.delete(mounted.tag);
  }

  /** Takes a function that no guest has out of its slot, with its mount. */
  removeParked(mounted: Mounted): void {
    const card = this.#cards.get(mounted.slot);
    this.removeMount(mounted);
    card?.devices.delete(mounted.function);
    if (card?.devices.size === 0) this.#cards.delete(card.slot);
  }

  removeCard(card: CardContents): void {
    for (const mounted of [...card.mounts]) this.removeMount(mounted);
    this.#cards.delete(card.slot);
  }

  addExtension(slot: number, slots: readonly number[]): void {
    this.#extensions.set(slot, slots);
  }

  removeExtension(slot: number): void {
    this.#extensions.delete(slot);
  }
}
