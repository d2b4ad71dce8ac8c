/**
 * Driver and device against each other, with every access to memory a place where the other side may get its turn. The device's code runs as
 * it is; the driver is stepped from within its accesses, so that any order of both sides' accesses there is can be had.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Chain, VirtioDevice } from '../../../../devices/virtio/device.js';
import { QueueService } from '../../../../devices/virtio/queue-service.js';
import type { MockPackedDriver } from '../mock-packed-driver.js';
import type { MockSplitDriver } from '../mock-driver.js';
import { nullDevice } from '../null-device.js';
import { makePackedRing, makeRing, RAM_ADDRESS, type RingFixture, type RingOptions } from './fixture.js';
import {
  SteppedPackedDriver,
  SteppedSplitDriver,
  type SteppedChain,
  type SteppedDriver,
} from './stepped-driver.js';
import { beginWatching, watchMemory } from './watched-memory.js';
import { WeakMemory } from './weak-memory.js';

/** Who is next. */
interface Schedule {
  /** Steps that the driver takes before this access of the device. */
  driverSteps(access: number): number;
  /** Whether a device that was woken gets its turn before this step of the driver, which could go on. */
  deviceFirst(step: number): boolean;
  /** Which write of the device, of those that are still its own, becomes visible before this access; undefined for none. */
  leak(access: number): number | undefined;
  /** Which of the chains that the device keeps for later it completes next; undefined to keep none. */
  keep(number: number): number | undefined;
}

interface Mode {
  readonly name: string;
  readonly size: number;
  readonly startIndex: number;
  readonly packed: boolean;
  readonly indirect: boolean;
  readonly eventIdx: boolean;
  readonly inOrder: boolean;
}

const BUDGET = 3;
/** A ring, and a page for each of its descriptors. */
const RAM_BYTES = 0x1_0000;
/** No play of a few chains takes this many turns. */
const ENDLESS = 100_000;

class Play {
  readonly problems: string[];
  readonly driver: SteppedDriver;
  readonly #fixture: RingFixture<MockSplitDriver | MockPackedDriver>;
  readonly #memory: WeakMemory;
  readonly #schedule: Schedule;
  readonly #service: QueueService;
  readonly #steps: Generator<undefined, void>;
  readonly #kept: { readonly chain: Chain; readonly written: number; readonly which: number }[] = [];
  #deviceAwake = false;
  #inDevice = false;
  #finished = false;
  accesses = 0;
  driverSteps = 0;

  constructor(mode: Mode, chains: readonly SteppedChain[], burst: number, schedule: Schedule) {
    let memory: WeakMemory | undefined;
    const watch = (ram: Uint8Array): void => {
      memory = new WeakMemory(ram);
      const model = memory;
      watchMemory(ram, {
        load: (offset, width) => this.#access(() => model.load(offset, width)),
        store: (...args) => this.#access(() => model.store(...args)),
      });
    };
    const options: RingOptions = { ...mode, ramBytes: RAM_BYTES, watch };
    const fixture = mode.packed ? makePackedRing(options) : makeRing(options);
    this.#fixture = fixture;
    this.#memory = memory!;
    this.#schedule = schedule;
    this.problems = fixture.problems;
    const { descriptorArea, driverArea, deviceArea, freeAddress } = fixture.driver;
    const areas = { descriptorArea, driverArea, deviceArea, freeAddress };
    const place = { ram: fixture.ram, ramAddress: RAM_ADDRESS, ...areas, ...mode };
    this.driver = mode.packed ? new SteppedPackedDriver(place) : new SteppedSplitDriver(place);
    this.driver.notify = () => void (this.#deviceAwake = true);
    this.#steps = this.driver.run(chains, burst);
    const handleChain: VirtioDevice['handleChain'] = (_, chain) => this.#handle(chain);
    this.#service = new QueueService(fixture.ring, nullDevice({ handleChain }), fixture.counters);
  }

  /** Plays until nobody has anything to do. */
  run(): this {
    for (let turns = 0; turns < ENDLESS; turns++) {
      const driverGoesOn = !this.#finished && !this.driver.asleep;
      if (this.#deviceAwake && (!driverGoesOn || this.#schedule.deviceFirst(this.driverSteps))) {
        this.#deviceTurn();
      } else if (driverGoesOn) this.#step();
      else return this;
    }
    throw new Error('no end of turns');
  }

  #deviceTurn(): void {
    this.#inDevice = true;
    this.#deviceAwake = false;
    if (this.#service.service(BUDGET)) this.#deviceAwake = true;
    while (this.#kept.length > 0) {
      const [{ chain, written }] = this.#kept.splice(this.#kept[0].which % this.#kept.length, 1);
      this.#fixture.ring.push(chain, written);
    }
    this.#fixture.ring.flush();
    // One more place: the device is done, and its last writes may not be visible yet.
    this.#access(() => {});
    this.#inDevice = false;
    this.#notice();
    this.#memory.drain();
  }

  #access<T>(access: () => T): T {
    if (!this.#inDevice) return access();
    const at = this.accesses++;
    this.#notice();
    const leaked = this.#schedule.leak(at);
    if (leaked !== undefined) this.#memory.leak(leaked);
    for (let steps = this.#schedule.driverSteps(at); steps > 0; steps--) this.#step();
    return access();
  }

  #step(): void {
    if (this.#finished || this.driver.asleep) return;
    this.driverSteps++;
    if (this.#steps.next().done === true) this.#finished = true;
  }

  #notice(): void {
    if (this.#fixture.interrupts.splice(0).length > 0) this.driver.interrupt();
  }

  #handle(chain: Chain): void {
    const number = chain.readable.lengths[0] - 1;
    const written = writtenOf(number, chain.writable.byteLength);
    const which = this.#schedule.keep(number);
    if (which === undefined) this.#fixture.ring.push(chain, written);
    else this.#kept.push({ chain, written, which });
  }
}

/** What the device says it wrote for a chain: all, some or none of it. */
function writtenOf(number: number, capacity: number): number {
  return number % 3 === 0 ? capacity : number % (capacity + 1);
}

/** Each chain's first buffer is as long as its number, plus one. */
function chainsOf(shapes: readonly (readonly [readable: number, writable: number])[]): SteppedChain[] {
  return shapes.map(([readable, writable], number) => ({
    readable: Array.from({ length: readable }, (_, i) => (i === 0 ? number + 1 : 2)),
    writable: Array.from({ length: writable }, () => 3),
  }));
}

/** Everything that was offered came back once, saying what it should, and in order where that was agreed on. */
function judge(mode: Mode, play: Play, chains: readonly SteppedChain[]): string[] {
  const { completions } = play.driver;
  const wrong = [...play.problems];
  const numbers = completions.map(({ number }) => number);
  if (!mode.inOrder) numbers.sort((a, b) => a - b);
  if (numbers.join() !== chains.map((_, number) => number).join()) wrong.push(`came back: ${numbers.join()}`);
  for (const { number, written } of completions) {
    const capacity = chains[number].writable.reduce((total, length) => total + length, 0);
    if (written !== writtenOf(number, capacity)) wrong.push(`chain ${number}: ${written} written`);
  }
  return wrong;
}

const MODES: readonly Mode[] = [false, true].flatMap((packed) =>
  [false, true].flatMap((inOrder) =>
    [false, true].flatMap((eventIdx) =>
      [false, true].map((indirect) => ({
        name: [
          packed ? 'a packed ring' : 'a split ring',
          indirect ? 'indirect' : 'direct',
          eventIdx ? 'event index' : 'flags',
          ...(inOrder ? ['in order'] : []),
        ].join(', '),
        size: packed ? 3 : 2,
        startIndex: 0,
        packed,
        indirect,
        eventIdx,
        inOrder,
      })),
    ),
  ),
);

let endWatching: () => void;
beforeAll(() => {
  endWatching = beginWatching();
});
afterAll(() => endWatching());

describe('driver and device, interleaved at every access to memory', () => {
  // What a chain's buffers lie in makes no difference to who sees what when.
  for (const mode of MODES.filter(({ indirect }) => !indirect)) {
    it(`lose nothing when either is interrupted anywhere, for any time: ${mode.name}`, () => {
      const chains = chainsOf([
        [1, 0],
        [1, 1],
        [1, 0],
      ]);
      const wrong: string[] = [];
      let plays = 0;
      const play = (eager: boolean, at: number, steps: number): Play => {
        const made = new Play(mode, chains, 1, {
          driverSteps: (access) => (access === at ? steps : 0),
          deviceFirst: () => eager,
          leak: () => undefined,
          keep: () => undefined,
        }).run();
        plays++;
        for (const what of judge(mode, made, chains))
          wrong.push(`${eager ? 'eager' : 'lazy'} device, ${steps} steps at ${at}: ${what}`);
        return made;
      };
      for (const eager of [false, true]) {
        const { accesses, driverSteps } = play(eager, 0, 0);
        for (let at = 0; at < accesses; at++) {
          for (let steps = 1; steps <= driverSteps; steps += steps < 24 ? 1 : 7) play(eager, at, steps);
        }
      }
      expect(wrong).toEqual([]);
      expect(plays).toBeGreaterThan(500);
    });
  }

  for (const mode of MODES) {
    it(`lose nothing in random orders, with the device's writes seen late and in any order: ${mode.name}`, () => {
      const shape = fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 0, max: 1 }));
      const property = fc.property(
        fc.constantFrom(...(mode.packed ? [3, 4, 5, 7] : [4, 8])),
        fc.constantFrom(0, 0x7ffe, 0xfff9, 0xffff),
        fc.array(shape, { minLength: 1, maxLength: 20 }),
        fc.integer({ min: 1, max: 3 }),
        fc.array(fc.nat(9), { minLength: 1, maxLength: 60 }),
        fc.array(fc.nat(9), { minLength: 1, maxLength: 20 }),
        (size, startIndex, shapes, burst, turns, choices) => {
          const chains = chainsOf(shapes);
          const play = new Play({ ...mode, size, startIndex }, chains, burst, {
            driverSteps: (access) => Math.max(0, turns[access % turns.length] - 5),
            deviceFirst: (step) => choices[step % choices.length] > 5,
            leak: (access) => (turns[access % turns.length] === 1 ? access : undefined),
            keep: (number) => {
              const choice = choices[number % choices.length];
              return choice < 6 ? choice : undefined;
            },
          }).run();
          expect(judge(mode, play, chains)).toEqual([]);
        },
      );
      fc.assert(property, { numRuns: 40 });
    });
  }
});
