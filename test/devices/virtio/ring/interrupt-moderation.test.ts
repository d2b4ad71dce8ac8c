import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { makePackedRing, makeRing, type RingFixture } from './fixture.js';
import type { MockDriver } from '../mock-driver.js';

const BULK_BYTES = 256 << 10;
const END_OF_BULK_BYTES = 24 << 10;
const SMALL_BYTES = 512;
const RAM_BYTES = 4 << 20;
const SIZE = 32;
const LONGEST_WAIT_MS = 8;

const FORMATS: readonly (readonly [string, () => RingFixture<MockDriver>])[] = [
  ['a split ring', () => makeRing({ size: SIZE, ramBytes: RAM_BYTES })],
  ['a packed ring', () => makePackedRing({ size: SIZE, ramBytes: RAM_BYTES })],
];

beforeEach(() => vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] }));
afterEach(() => vi.useRealTimers());

/** A driver with so many requests under way at once, which makes one each `intervalMs`, unless all of them wait for an interrupt. */
class Load {
  readonly fixture: RingFixture<MockDriver>;
  #unheard = 0;
  #interruptsSeen = 0;

  constructor(fixture: RingFixture<MockDriver>) {
    this.fixture = fixture;
  }

  /** The request is answered at once. */
  request(bytes: number): void {
    const { driver, ring, page } = this.fixture;
    driver.add([{ address: page(0), length: bytes, writable: true }]);
    const chain = ring.pop();
    if (chain === undefined) throw new Error('the ring has no chain');
    ring.push(chain, bytes);
    ring.flush();
    this.#unheard++;
  }

  /** Answers how many interrupts there were, and for how long the driver had to wait with all its requests answered. */
  run(underWay: number, requests: number, intervalMs = 1): { interrupts: number; idleMs: number } {
    const before = this.fixture.interrupts.length;
    let idleMs = 0;
    for (let left = requests; left > 0;) {
      this.hear();
      if (this.#unheard < underWay) {
        this.request(BULK_BYTES);
        left--;
      } else idleMs += intervalMs;
      vi.advanceTimersByTime(intervalMs);
    }
    return { interrupts: this.fixture.interrupts.length - before, idleMs };
  }

  /** A driver that has had an interrupt takes all there is. */
  hear(): void {
    const { interrupts, driver } = this.fixture;
    if (interrupts.length === this.#interruptsSeen) return;
    this.#interruptsSeen = interrupts.length;
    this.#unheard = 0;
    do driver.reap();
    while (driver.allowInterrupts());
  }

  /** Until an interrupt is held back. */
  hold(): void {
    this.run(8, 400);
    for (let i = 0; i < 16; i++) {
      this.hear();
      const before = this.fixture.interrupts.length;
      this.request(BULK_BYTES);
      if (this.fixture.interrupts.length === before) return;
    }
    throw new Error('no interrupt is ever held back');
  }
}

describe.each(FORMATS)('%s in bulk', (_format, make) => {
  it('interrupts for four requests at once where eight are under way', () => {
    const load = new Load(make());
    load.run(8, 200);
    const { interrupts, idleMs } = load.run(8, 400);
    expect(interrupts).toBe(100);
    expect(idleMs).toBe(0);
  });

  it('interrupts for each where there is one under way, and is late for few of them', () => {
    const load = new Load(make());
    load.run(1, 200);
    const { interrupts, idleMs } = load.run(1, 2000);
    expect(interrupts).toBe(2000);
    expect(idleMs).toBeGreaterThan(0);
    expect(idleMs).toBeLessThan(40);
  });

  it('is late once when fewer are under way than there were', () => {
    const load = new Load(make());
    load.run(8, 400);
    const { idleMs } = load.run(1, 20);
    expect(idleMs).toBeLessThanOrEqual(2 * LONGEST_WAIT_MS);
  });

  it('holds nothing back where requests are far apart', () => {
    const load = new Load(make());
    expect(load.run(8, 200, 10)).toEqual({ interrupts: 200, idleMs: 0 });
  });

  it('holds small ones never back, and what waits goes with them', () => {
    const load = new Load(make());
    load.hold();
    const before = load.fixture.interrupts.length;
    load.request(SMALL_BYTES);
    expect(load.fixture.interrupts.length).toBe(before + 1);
    vi.advanceTimersByTime(LONGEST_WAIT_MS);
    expect(load.fixture.interrupts.length).toBe(before + 1);
  });

  it('lets the short end of a long transfer wait with the rest', () => {
    const load = new Load(make());
    load.hold();
    const before = load.fixture.interrupts.length;
    load.request(END_OF_BULK_BYTES);
    expect(load.fixture.interrupts.length).toBe(before);
  });

  it('interrupts after a time where nothing follows', () => {
    const load = new Load(make());
    load.hold();
    const before = load.fixture.interrupts.length;
    vi.advanceTimersByTime(LONGEST_WAIT_MS);
    expect(load.fixture.interrupts.length).toBe(before + 1);
    expect(load.fixture.counters.interrupts).toBe(before + 1);
  });

  it.each([
    ['it is dropped', ({ ring }: RingFixture<MockDriver>) => ring.drop()],
    ['it is paused', ({ ring }: RingFixture<MockDriver>) => ring.setPaused(true)],
    ['it is saved', ({ ring }: RingFixture<MockDriver>) => void ring.save()],
  ])('interrupts for what waits when %s, and touches nothing after that', (_when, end) => {
    const load = new Load(make());
    load.hold();
    const before = load.fixture.interrupts.length;
    end(load.fixture);
    expect(load.fixture.interrupts.length).toBe(before + 1);
    vi.advanceTimersByTime(LONGEST_WAIT_MS);
    expect(load.fixture.interrupts.length).toBe(before + 1);
  });
});
