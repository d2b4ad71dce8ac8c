/** One ring from start to end under a driver that a case directs, with all that must be true checked at each step. */
import type { Chain } from '../../../devices/virtio/device.js';
import { RegionMemory } from '../../../devices/virtio/memory/region-memory.js';
import { QueueConfig } from '../../../devices/virtio/ring/queue-config.js';
import { newQueueCounters, type RunningRing } from '../../../devices/virtio/ring/running-ring.js';
import { BEHIND_RAM, PIECES, RAM, view, type Piece } from './layout.js';
import { MeteredMemory, offsetInRam, type Meter } from './meter.js';
import { problemOfChain } from './judge.js';
import {
  Outcome,
  packedAvailable,
  packedChain,
  splitChain,
  type Expected,
  type RingModel,
} from './reference.js';
import { RingDriver } from './ring-driver.js';

export const StepKind = {
  OFFER: 0,
  POKE: 1,
  LOOK: 2,
  COMPLETE: 3,
  FLUSH: 4,
  NOTIFICATIONS: 5,
  /** RAM, or the piece behind it, goes or comes back. */
  MEMORY: 6,
  SETTLE: 7,
  /** A chain that came back before is pushed again. */
  STALE: 8,
  /** The driver writes while the device reads. */
  FLIP: 9,
  DROP: 10,
} as const;

const FEATURES = {
  INDIRECT: 1n << 28n,
  EVENT_IDX: 1n << 29n,
  VERSION_1: 1n << 32n,
  PACKED: 1n << 34n,
  IN_ORDER: 1n << 35n,
};
const PACKED_SIZES = [1, 2, 3, 5, 7, 8, 6, 4, 13, 64, 100, 255, 256, 1000, 32767, 32768];
/** For what the ring does beside taking chains: publishing, events. */
const OTHER_ACCESSES = 12;
const MAX_STALE = 8;
const NOTHING: Expected = {
  ...{ outcome: Outcome.NONE, why: '', id: 0, entries: 0, descriptors: 0, indirect: false },
  ...{ readable: [], writable: [] },
};

interface Out {
  readonly chain: Chain;
  readonly expected: Expected;
}

export class RingRun {
  states = 0;
  readonly #meter: Meter;
  readonly #saw: (what: number) => void;
  readonly #memory = new RegionMemory();
  #ring: RunningRing;
  readonly #model: RingModel;
  readonly #driver: RingDriver;
  #counters = newQueueCounters();
  readonly #problems: string[] = [];
  readonly #mode: number;
  readonly #out: Out[] = [];
  readonly #back: Chain[] = [];
  #present: readonly Piece[] = PIECES;
  /** What the ring has to know: the next place (in a packed ring of two laps) and, in a split one, the driver's index. */
  #next: number;
  #known: number;
  #outstanding = 0;
  #popped = 0;
  #settled: number;
  #heldAt = -1;
  #dropped = false;
  /** The driver wrote in the middle of a look: what the ring has to make of that, nobody can say. */
  #blind = false;
  #changed = true;

  constructor(meter: Meter, [mode, size, start]: readonly number[], saw: (what: number) => void) {
    this.#meter = meter;
    this.#saw = saw;
    this.#mode = mode % 16;
    for (const { region } of PIECES) this.#memory.addRegion(region);
    const packed = (mode & 1) !== 0;
    const count = packed ? PACKED_SIZES[sizeChoice(size)] : 2 ** sizeChoice(size);
    const driverArea = RAM.start + 16 * count;
    const deviceArea = packed ? driverArea + 4 : Math.ceil((driverArea + 6 + 2 * count) / 4) * 4;
    this.#model = {
      ...{ packed, size: count, indirectAllowed: (mode & 2) !== 0 },
      ...{ descriptorArea: RAM.start, driverArea, deviceArea },
    };
    this.#next = this.#known = packed ? start % (2 * count) : start;
    this.#driver = new RingDriver(this.#model, meter, this.#next);
    this.#ring = this.#activate();
    this.#settled = this.#memory.generation;
  }

  /** Takes a step. A ring that broke, or was dropped, is followed by a new one in the same memory, as after a reset. */
  take(step: readonly number[]): void {
    if (!this.#running) this.#restart();
    const [kind, a, b] = step;
    switch (kind) {
      case StepKind.OFFER:
        this.#driver.offer(step);
        break;
      case StepKind.POKE:
        this.#driver.poke(step);
        break;
      case StepKind.LOOK:
        for (let i = 0; i <= a % 4 && this.#look(); i++);
        return;
      case StepKind.COMPLETE:
        this.#complete(a, b);
        break;
      case StepKind.FLUSH:
        this.#flush();
        break;
      case StepKind.NOTIFICATIONS:
        this.#notifications(a % 2 === 0);
        break;
      case StepKind.MEMORY:
        this.#toggle(a % 3 === 0 ? RAM : BEHIND_RAM);
        break;
      case StepKind.SETTLE:
        this.#ring.memorySettled();
        this.#settled = this.#memory.generation;
        this.#heldAt = -1;
        break;
      case StepKind.STALE:
        this.#pushStale(a);
        break;
      case StepKind.FLIP:
        this.#meter.flip = { access: 1 + (a % 24), offset: this.#driver.someOffset(b), value: step[3] };
        this.#blind = true;
        break;
      default:
        if (a % 4 === 0) this.#drop();
    }
    this.#changed = true;
  }

  /** What the device has of the ring before is of no use any more, and stays with the stale. */
  #restart(): void {
    if (!this.#hasRam) this.#toggle(RAM);
    this.#back.push(...this.#out.splice(0).map(({ chain }) => chain));
    this.#back.splice(0, this.#back.length - MAX_STALE);
    this.#next = this.#known = this.#driver.next;
    this.#counters = newQueueCounters();
    this.#popped = this.#outstanding = 0;
    this.#heldAt = -1;
    this.#dropped = this.#blind = false;
    this.#meter.flip = undefined;
    this.#ring = this.#activate();
    this.#settled = this.#memory.generation;
  }

  /** The device gives back what it has, and the books are balanced. */
  finish(): void {
    for (const piece of [RAM, BEHIND_RAM]) if (!this.#present.includes(piece)) this.#toggle(piece);
    this.#meter.flip = undefined;
    while (this.#out.length > 0) this.#complete(this.#out.length * 7, 0xffff);
    this.#flush();
    this.#notifications(true);
    const { requests, interrupts } = this.#counters;
    if (interrupts > requests) fail(`${interrupts} interrupts for ${requests} requests`);
    if (!this.#running) return;
    if (requests !== this.#popped) fail(`${this.#popped} chains were taken and ${requests} given back`);
    const { nextAvail, nextUsed } = this.#ring.position;
    if (nextAvail !== nextUsed) fail(`used up to ${nextUsed}, taken up to ${nextAvail}`);
  }

  get #running(): boolean {
    return !this.#dropped && !this.#ring.broken;
  }

  /** Whether the ring's own memory is there. */
  get #hasRam(): boolean {
    return this.#present.includes(RAM);
  }

  #activate(): RunningRing {
    const { packed, size, descriptorArea, driverArea, deviceArea } = this.#model;
    const config = new QueueConfig(0, 32768);
    config.size = size;
    config.descriptorArea.set(descriptorArea);
    config.driverArea.set(driverArea);
    config.deviceArea.set(deviceArea);
    const start = packed ? this.#position(this.#next) : this.#next;
    config.start = { nextAvail: start, nextUsed: start };
    this.#meter.areas = {
      packed,
      descriptors: extent(descriptorArea, 16 * size),
      driver: extent(driverArea, packed ? 4 : 6 + 2 * size),
      device: extent(deviceArea, packed ? 4 : 6 + 8 * size),
    };
    const signals = {
      interrupt: () => true,
      broken: (_: number, why: string) => void this.#problems.push(why),
      held: () => void (this.#heldAt = this.#memory.generation),
    };
    const bits = [0n, FEATURES.INDIRECT, FEATURES.EVENT_IDX, FEATURES.IN_ORDER].filter(
      (_, i) => (this.#mode & (1 << i)) !== 0,
    );
    const features = bits.reduce(
      (all, bit) => all | bit,
      FEATURES.VERSION_1 | (packed ? FEATURES.PACKED : 0n),
    );
    const { ring, problem } = config.activate(
      new MeteredMemory(this.#memory, this.#meter),
      features,
      signals,
      this.#counters,
    );
    if (ring === undefined) throw new Error(problem);
    return ring;
  }

  /** Takes a chain if there is one; false where there is none. */
  #look(): boolean {
    if (this.#changed) this.states++;
    this.#changed = false;
    const before = this.#ring.position.nextAvail;
    const expected = this.#blind ? undefined : this.#expected();
    this.#meter.begin(4 * (this.#model.size + 2) + this.#others);
    const chain = this.#ring.pop();
    if (this.#meter.flip !== undefined && this.#meter.accesses > 0) this.#meter.flip = undefined;
    const problem = problemOfChain(chain, expected, this.#present);
    if (problem !== undefined) fail(problem);
    if (expected !== undefined) this.#judge(expected, chain);
    this.#tell(expected, chain);
    if (chain === undefined) return false;
    if (this.#blind && this.#ring.position.nextAvail === before && this.#model.size > 1)
      fail('a chain without a place');
    this.#out.push({ chain, expected: expected ?? NOTHING });
    if (this.#out.length > this.#model.size) fail('more chains than the ring holds');
    this.#popped++;
    return true;
  }

  #judge({ outcome, why, entries }: Expected, chain: Chain | undefined): void {
    const { broken, held } = this.#ring;
    if ((outcome === Outcome.CHAIN) !== (chain !== undefined))
      fail(`outcome ${outcome} (${why}), and it was ${this.#said(chain)}`);
    const answersFor = this.#settled === this.#memory.generation;
    const shouldBreak = outcome === Outcome.BAD || (outcome === Outcome.MISSING && answersFor);
    if (broken !== shouldBreak) fail(`outcome ${outcome} (${why}), and it was ${this.#said(chain)}`);
    if (outcome === Outcome.MISSING && !answersFor && !held) fail('it is not held');
    if (outcome !== Outcome.CHAIN) return;
    const { packed, size } = this.#model;
    this.#next = (this.#next + entries) % (packed ? 2 * size : 0x1_0000);
    this.#outstanding += entries;
    const { nextAvail } = this.#ring.position;
    if (nextAvail !== this.#position(this.#next)) fail(`it stands at ${nextAvail}, and not at ${this.#next}`);
  }

  #said(chain: Chain | undefined): string {
    return chain === undefined ? `none (${this.#problems.at(-1) ?? ''})` : 'a chain';
  }

  #expected(): Expected {
    if (this.#dropped || this.#ring.broken || this.#heldAt === this.#memory.generation)
      return nothing(this.#ring.broken);
    if (!this.#hasRam) return { ...NOTHING, outcome: Outcome.MISSING, why: 'areas' };
    return this.#model.packed ? this.#expectedPacked() : this.#expectedSplit();
  }

  #expectedSplit(): Expected {
    const { driverArea, size } = this.#model;
    if (this.#next === this.#known) {
      const index = view.getUint16(offsetInRam(driverArea + 2), true);
      if (((index - this.#next) & 0xffff) > size)
        return { ...NOTHING, outcome: Outcome.BAD, why: 'index ahead' };
      this.#known = index;
      if (index === this.#next) return NOTHING;
    }
    if (this.#outstanding >= size) return { ...NOTHING, outcome: Outcome.BAD, why: 'full' };
    const head = view.getUint16(offsetInRam(driverArea + 4 + 2 * (this.#next % size)), true);
    return splitChain(this.#model, this.#present, head);
  }

  #expectedPacked(): Expected {
    if (!packedAvailable(this.#model, this.#next)) return NOTHING;
    const left = this.#model.size - this.#outstanding;
    if (left === 0) return { ...NOTHING, outcome: Outcome.BAD, why: 'full' };
    return packedChain(this.#model, this.#present, this.#next, left);
  }

  #complete(which: number, written: number): void {
    if (this.#out.length === 0) return;
    const [{ chain }] = this.#out.splice(which % this.#out.length, 1);
    this.#back.push(chain);
    this.#ask(() => this.#ring.push(chain, written));
  }

  /** Chains that were given back and not published make no room yet; in order, neither do those that wait for others. */
  #flush(): void {
    const before = this.#counters.requests;
    this.#ask(() => this.#ring.flush());
    if (this.#counters.requests === before || this.#blind) return;
    const { packed, size } = this.#model;
    const { nextAvail, nextUsed } = this.#ring.position;
    this.#outstanding = packed ? stepsBetween(nextUsed, nextAvail, size) : (nextAvail - nextUsed) & 0xffff;
    if (!packed && this.#hasRam) {
      const shown = view.getUint16(offsetInRam(this.#model.deviceArea + 2), true);
      if (shown !== nextUsed) fail(`the used index is ${shown}, and not ${nextUsed}`);
    }
  }

  #notifications(on: boolean): void {
    this.#ask(() => {
      if (on) this.#ring.enableNotifications();
      else this.#ring.disableNotifications();
    });
  }

  #pushStale(which: number): void {
    // Chains come from a pool: one that was taken again since is not stale.
    const stale = this.#back.filter((chain) => !this.#out.some((out) => out.chain === chain));
    if (stale.length > 0) this.#ask(() => this.#ring.push(stale[which % stale.length], 1));
  }

  #drop(): void {
    this.#ring.drop();
    this.#dropped = true;
  }

  #toggle(piece: Piece): void {
    if (this.#present.includes(piece)) {
      this.#memory.removeRegion(piece.start, piece.end - piece.start);
      this.#present = this.#present.filter((each) => each !== piece);
    } else {
      this.#memory.addRegion(piece.region);
      this.#present = [...this.#present, piece];
    }
  }

  /** Asks something of the ring beside a chain. A ring that is no more, or has no memory, touches nothing. */
  #ask(what: () => void): void {
    const mayTouch = this.#running && this.#hasRam;
    this.#meter.begin(this.#others);
    what();
    if (!mayTouch && this.#meter.accesses > 0) fail('a ring without memory touches it');
  }

  /** What publishing and events may take, with whatever was pushed while the memory was gone. */
  get #others(): number {
    return OTHER_ACCESSES + 4 * (this.#out.length + this.#back.length);
  }

  #position(place: number): number {
    const { packed, size } = this.#model;
    return packed ? (place % size) | (place < size ? 0x8000 : 0) : place;
  }

  /** What came of a look, by the chain's shape, how full the ring is, and the lap that it is on. */
  #tell(expected: Expected | undefined, chain: Chain | undefined): void {
    const why = expected === undefined ? `blind ${this.#said(chain)}` : `${expected.outcome} ${expected.why}`;
    const { descriptors = 0, indirect = false } = expected ?? {};
    const { packed, size } = this.#model;
    const room = this.#outstanding === 0 ? 0 : this.#outstanding < size ? 1 : 2;
    const shape = Math.min(descriptors, 3) * 2 + (indirect ? 1 : 0);
    const lap = this.#next < size ? 1 : 0;
    this.#saw(((numberOf(why) * 8 + shape) * 3 + room) * 4 + lap * 2 + (packed ? 1 : 0));
  }
}

function nothing(broken: boolean): Expected {
  return broken ? { ...NOTHING, outcome: Outcome.BAD, why: 'broken before' } : NOTHING;
}

const numbers = new Map<string, number>();

function numberOf(text: string): number {
  const known = numbers.get(text) ?? numbers.size;
  numbers.set(text, known);
  return known;
}

function sizeChoice(choice: number): number {
  return choice % 32 < 26 ? choice % 4 : choice % 16;
}

function extent(guestAddress: number, sizeBytes: number): { start: number; end: number } {
  return { start: offsetInRam(guestAddress), end: offsetInRam(guestAddress) + sizeBytes };
}

/** From one position of a packed ring to another: an index, and the wrap counter in bit 15. */
function stepsBetween(from: number, to: number, size: number): number {
  const place = (position: number): number => (position & 0x7fff) + ((position & 0x8000) === 0 ? size : 0);
  return (place(to) - place(from) + 2 * size) % (2 * size);
}

function fail(what: string): never {
  throw new Error(what);
}
