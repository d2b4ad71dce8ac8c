import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Chain, VirtioDevice } from '../../../../devices/virtio/device.js';
import { QueueService } from '../../../../devices/virtio/queue-service.js';
import { interposed } from './interposed.js';
import { nullDevice } from '../null-device.js';
import type { MockDriver } from '../mock-driver.js';
import { makePackedRing, makeRing, type RingFixture, type RingOptions } from './fixture.js';

/** What driver and device do next. Numbers choose among what is possible at the moment. */
type Step =
  | { readonly act: 'offer'; readonly readable: number; readonly writable: number; readonly publish: boolean }
  /** `gap`: the driver offers one more between the device's last look and its asking for notifications. */
  | { readonly act: 'service'; readonly budget: number; readonly gap: boolean }
  | { readonly act: 'complete'; readonly which: number }
  | { readonly act: 'flush' | 'reap' | 'suppress' };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    act: fc.constant('offer' as const),
    readable: fc.nat(2),
    writable: fc.nat(2),
    publish: fc.boolean(),
  }),
  fc.record({
    act: fc.constant('service' as const),
    budget: fc.integer({ min: 1, max: 5 }),
    gap: fc.boolean(),
  }),
  fc.record({ act: fc.constant('complete' as const), which: fc.nat(100) }),
  fc.record({ act: fc.constantFrom('flush' as const, 'reap' as const, 'suppress' as const) }),
);

/**
 * Both sides as they are meant to be used: the driver kicks only when asked to, and sleeps until interrupted; the device looks
 * only when kicked (or told that work was left). If either misses what the other did, something stays undone for ever.
 */
class Play {
  readonly #fixture: RingFixture<MockDriver>;
  readonly #service: QueueService;
  readonly #held: { chain: Chain; length: number }[] = [];
  readonly #offered = new Map<number, number>();
  #deviceAwake = false;
  #driverAwake = true;
  #gap = false;
  completed = 0;
  offered = 0;

  constructor(fixture: RingFixture<MockDriver>) {
    this.#fixture = fixture;
    const device: VirtioDevice = {
      ...nullDevice(),
      handleChain: (_, chain) => void this.#held.push({ chain, length: chain.writable.byteLength }),
    };
    const ring = interposed(fixture.ring, () => {
      if (this.#gap) this.#offer(1, 1, true);
      this.#gap = false;
    });
    this.#service = new QueueService(ring, device, fixture.counters);
    fixture.ring.enableNotifications();
  }

  run(next: Step): void {
    if (next.act === 'offer') this.#offer(next.readable, next.writable, next.publish);
    else if (next.act === 'service') this.#serve(next.budget, next.gap);
    else if (next.act === 'complete') this.#complete(next.which);
    else if (next.act === 'flush') this.#flush();
    else if (next.act === 'reap') this.#reap();
    else this.#fixture.driver.suppressInterrupts();
  }

  /** Lets everything that anybody has been told of happen, and nothing else. */
  settle(): void {
    this.#publish();
    for (let rounds = 0; rounds < 1000; rounds++) {
      this.#serve(3);
      while (this.#held.length > 0) this.#complete(0);
      this.#flush();
      if (this.#driverAwake) this.#reap();
      else if (!this.#deviceAwake) return;
    }
    throw new Error('no end of work');
  }

  #offer(readable: number, writable: number, publish: boolean): void {
    const { driver, page } = this.#fixture;
    const count = Math.max(1, readable + writable);
    if (driver.free < count) return;
    const buffers = Array.from({ length: count }, (_, i) => ({
      address: page(i),
      length: i + 1,
      writable: i >= readable,
    }));
    const length = buffers.reduce((sum, buffer) => sum + (buffer.writable ? buffer.length : 0), 0);
    const head = driver.stage(buffers);
    expect(this.#offered.has(head)).toBe(false);
    this.#offered.set(head, length);
    this.offered++;
    if (publish) this.#publish();
  }

  #publish(): void {
    this.#fixture.driver.publish();
    if (this.#fixture.driver.kickNeeded()) this.#deviceAwake = true;
  }

  #serve(budget: number, gap = false): void {
    this.#gap = gap && this.#deviceAwake;
    if (this.#deviceAwake) {
      this.#deviceAwake = false;
      // A kick from the gap wakes the device, too.
      if (this.#service.service(budget)) this.#deviceAwake = true;
    }
    this.#gap = false;
    this.#notice();
  }

  #complete(which: number): void {
    if (this.#held.length === 0) return;
    const [{ chain, length }] = this.#held.splice(which % this.#held.length, 1);
    this.#fixture.ring.push(chain, length);
  }

  #flush(): void {
    this.#fixture.ring.flush();
    this.#notice();
  }

  #notice(): void {
    if (this.#fixture.interrupts.splice(0).length > 0) this.#driverAwake = true;
  }

  /** As a driver's interrupt handler: takes what is there, asks for interrupts, and looks once more. */
  #reap(): void {
    const { driver } = this.#fixture;
    do {
      for (const { id, length } of driver.reap()) {
        expect(length).toBe(this.#offered.get(id));
        this.#offered.delete(id);
        this.completed++;
      }
    } while (driver.allowInterrupts());
    this.#driverAwake = false;
  }
}

interface Format {
  readonly name: string;
  readonly sizes: readonly number[];
  readonly make: (options: RingOptions) => RingFixture<MockDriver>;
}

const FORMATS: readonly Format[] = [
  { name: 'split', sizes: [1, 2, 4, 8], make: makeRing },
  { name: 'packed', sizes: [1, 2, 3, 5, 7, 8, 100], make: makePackedRing },
];
const MODES = FORMATS.flatMap((format) => [false, true].map((eventIdx) => ({ ...format, eventIdx })));

describe('driver and device interleaved', () => {
  for (const { name, sizes, make, eventIdx } of MODES) {
    it(`lose no chain, no kick and no interrupt in a ${name} ring with ${eventIdx ? 'event index' : 'flags'}`, () => {
      const plays = fc.property(
        fc.constantFrom(...sizes),
        fc.constantFrom(0, 0x7ffe, 0xfff9, 0xffff),
        fc.array(step, { maxLength: 120 }),
        (size, startIndex, steps) => {
          const fixture = make({ size, eventIdx, startIndex });
          const play = new Play(fixture);
          for (const next of steps) {
            play.run(next);
            expect(fixture.problems).toEqual([]);
          }
          // The driver looks a last time, and from then on waits to be told.
          play.run({ act: 'reap' });
          play.settle();
          expect(play.completed).toBe(play.offered);
        },
      );
      fc.assert(plays, { numRuns: 400 });
    });
  }

  it('survives any bytes in the ring and in its descriptors', () => {
    const property = fc.property(
      fc.boolean(),
      fc.uint8Array({ minLength: 200, maxLength: 400 }),
      fc.array(fc.nat(0xffff), { minLength: 1, maxLength: 12 }),
      (eventIdx, bytes, indices) => {
        const fixture = makeRing({ size: 8, eventIdx });
        fixture.ram.set(bytes);
        for (const index of indices) {
          fixture.driver.setAvailIndex(index % 10);
          fixture.ring.enableNotifications();
          for (let chain = fixture.ring.pop(); chain !== undefined; chain = fixture.ring.pop()) {
            expect(chain.readable.count + chain.writable.count).toBeLessThanOrEqual(8);
            fixture.ring.push(chain, index);
          }
          fixture.ring.flush();
        }
        expect(fixture.problems.length).toBe(fixture.ring.broken ? 1 : 0);
      },
    );
    fc.assert(property, { numRuns: 500 });
  });

  it('survives any bytes in a packed ring and in its event structures', () => {
    const property = fc.property(
      fc.boolean(),
      fc.constantFrom(1, 3, 7, 8),
      fc.array(fc.uint8Array({ minLength: 140, maxLength: 140 }), { minLength: 1, maxLength: 4 }),
      (eventIdx, size, laps) => {
        const fixture = makePackedRing({ size, eventIdx });
        for (const bytes of laps) {
          fixture.ram.set(bytes);
          fixture.ring.enableNotifications();
          let taken = 0;
          for (let chain = fixture.ring.pop(); chain !== undefined; chain = fixture.ring.pop()) {
            taken++;
            expect(chain.readable.count + chain.writable.count).toBeLessThanOrEqual(size);
            fixture.ring.push(chain, bytes[0]);
          }
          expect(taken).toBeLessThanOrEqual(size);
          fixture.ring.flush();
        }
        expect(fixture.problems.length).toBe(fixture.ring.broken ? 1 : 0);
      },
    );
    fc.assert(property, { numRuns: 500 });
  });

  it('survives packed descriptors that are nearly right, and takes none beyond a bad one', () => {
    const descriptor = fc.record({
      address: fc.constantFrom(0x10_0000, 0x10_1000, 0x10_1010, 0x1f_fff0, 0x20_0000, 0),
      length: fc.constantFrom(0, 1, 16, 32, 112, 128, 4096),
      flags: fc.nat(7),
      id: fc.nat(0xffff),
    });
    const property = fc.property(
      fc.array(descriptor, { maxLength: 7 }),
      fc.array(descriptor, { minLength: 8, maxLength: 8 }),
      fc.nat(20),
      (direct, indirect, startIndex) => {
        const { driver, problems, ram, ring } = makePackedRing({ size: 7, startIndex });
        indirect.forEach((entry, i) => driver.writeTableEntry(0x10_1000, i, entry));
        driver.offer(direct);
        let descriptors = 0;
        for (let chain = ring.pop(); chain !== undefined; chain = ring.pop()) {
          while (((direct[descriptors].flags ?? 0) & 5) === 1) descriptors++;
          const { id } = direct[descriptors++];
          ring.push(chain, 1);
          ring.flush();
          const ids = Array.from({ length: 7 }, (_, i) => ram[16 * i + 12] + 256 * ram[16 * i + 13]);
          expect(ids).toContain(id);
        }
        expect(ring.broken).toBe(descriptors < direct.length);
        expect(problems.length).toBe(ring.broken ? 1 : 0);
      },
    );
    fc.assert(property, { numRuns: 1000 });
  });

  it('survives descriptors that are nearly right', () => {
    const descriptor = fc.record({
      address: fc.constantFrom(0x10_0000, 0x10_1000, 0x10_1010, 0x1f_fff0, 0x20_0000, 0),
      length: fc.constantFrom(0, 1, 16, 32, 128, 4096),
      flags: fc.nat(7),
      next: fc.nat(9),
    });
    const table = fc.array(descriptor, { minLength: 8, maxLength: 8 });
    const property = fc.property(
      table,
      table,
      fc.array(fc.nat(8), { maxLength: 8 }),
      (direct, indirect, heads) => {
        const fixture = makeRing({ size: 8 });
        const { driver, ring } = fixture;
        direct.forEach((entry, i) => driver.writeDescriptor(i, entry));
        indirect.forEach((entry, i) => driver.writeTableEntry(0x10_1000, i, entry));
        heads.forEach((head) => driver.stageHead(head));
        driver.publish();
        let taken = 0;
        for (let chain = ring.pop(); chain !== undefined; chain = ring.pop()) {
          taken++;
          ring.push(chain, 1);
        }
        ring.flush();
        expect(taken).toBeLessThanOrEqual(heads.length);
        expect(ring.broken ? taken < heads.length : taken === heads.length).toBe(true);
      },
    );
    fc.assert(property, { numRuns: 1000 });
  });
});
