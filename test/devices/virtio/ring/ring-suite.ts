import { describe, expect, it } from 'vitest';
import type { Chain } from '../../../../devices/virtio/device.js';
import type { MockBuffer, MockDriver } from '../mock-driver.js';
import type { RingFixture } from './fixture.js';

/** A ring under test in one mode. `add` and `stage` go through indirect tables where the mode says so. */
export interface RingMode {
  readonly name: string;
  readonly indirect: boolean;
  /** A ring of four descriptors or more, unless `size` says otherwise. */
  make(options?: { size?: number; startIndex?: number }): RingFixture<MockDriver>;
  /** A ring that gets around often enough in `total` chains of one descriptor. */
  readonly lap: { readonly size: number; readonly startIndex: number; readonly total: number };
  /** Where a ring of `make`'s own size stands after `count` chains of one descriptor. */
  position(count: number): number;
}

/** What every ring format and mode does alike, as its driver and its device see it. */
export function ringSuite(mode: RingMode): void {
  const make = mode.make.bind(mode);
  /** Indirect tables live in pages of their own, from the 100th on. */
  let tables = 0;
  const stage = (fixture: RingFixture<MockDriver>, buffers: MockBuffer[]): number =>
    fixture.driver.stage(buffers, mode.indirect ? fixture.page(100) + 256 * (tables++ % 512) : undefined);
  const add = (fixture: RingFixture<MockDriver>, buffers: MockBuffer[]): number => {
    const head = stage(fixture, buffers);
    fixture.driver.publish();
    return head;
  };
  const popped = (fixture: RingFixture<MockDriver>): Chain => {
    const chain = fixture.ring.pop();
    if (chain === undefined) throw new Error(`no chain: ${fixture.problems.join()}`);
    return chain;
  };

  describe(mode.name, () => {
    it('an empty ring has no chain and is not broken', () => {
      const { ring } = make();
      expect(ring.pop()).toBeUndefined();
      expect(ring.broken).toBe(false);
    });

    it('a chain carries what the driver wrote, readable and writable apart, in order', () => {
      const fixture = make();
      const [a, b, c, d] = [0, 1, 2, 3].map((n) => fixture.page(n));
      fixture.ram.set([1, 2, 3], a - 0x10_0000);
      add(fixture, [
        { address: a, length: 3 },
        { address: b, length: 5 },
        { address: c, length: 7, writable: true },
        { address: d, length: 11, writable: true },
      ]);
      const chain = popped(fixture);
      expect(chain.readable.lengths.slice(0, chain.readable.count)).toEqual([3, 5]);
      expect(chain.writable.lengths.slice(0, chain.writable.count)).toEqual([7, 11]);
      expect([...chain.readable.segment(0)]).toEqual([1, 2, 3]);
      chain.writable.scatter(6, new Uint8Array([8, 9]), 0, 2);
      expect(fixture.ram[c + 6 - 0x10_0000]).toBe(8);
      expect(fixture.ram[d - 0x10_0000]).toBe(9);
    });

    it('empty descriptors are no segments, and their addresses do not matter', () => {
      const fixture = make();
      add(fixture, [
        { address: 2 ** 60, length: 0 },
        { address: fixture.page(0), length: 4 },
        { address: 0, length: 0, writable: true },
      ]);
      const chain = popped(fixture);
      expect(chain.readable.count).toBe(1);
      expect(chain.writable.count).toBe(0);
      expect(fixture.problems).toEqual([]);
    });

    it('a chain of as many descriptors as the queue has is taken', () => {
      const fixture = make({ size: 4 });
      add(
        fixture,
        [0, 1, 2, 3].map((n) => ({ address: fixture.page(n), length: 1 })),
      );
      expect(popped(fixture).readable.count).toBe(4);
    });

    it('a pushed chain shows only once it is flushed, with what was written', () => {
      const fixture = make();
      const head = add(fixture, [{ address: fixture.page(0), length: 64, writable: true }]);
      fixture.ring.push(popped(fixture), 17);
      expect(fixture.driver.reap()).toEqual([]);
      fixture.ring.flush();
      expect(fixture.driver.reap()).toEqual([{ id: head, length: 17 }]);
    });

    it('chains may be pushed in any order', () => {
      const fixture = make();
      const heads = [0, 1, 2].map((n) =>
        add(fixture, [{ address: fixture.page(n), length: 8, writable: true }]),
      );
      const chains = heads.map(() => popped(fixture));
      for (const i of [2, 0, 1]) fixture.ring.push(chains[i], i);
      fixture.ring.flush();
      expect(fixture.driver.reap()).toEqual([2, 0, 1].map((i) => ({ id: heads[i], length: i })));
    });

    it('more than a chain can hold is never reported as written', () => {
      const fixture = make();
      const claims: [number, number][] = [
        [9, 8],
        [2 ** 40, 8],
        [-5, 0],
        [Number.NaN, 0],
      ];
      for (const [claimed, reported] of claims) {
        add(fixture, [{ address: fixture.page(0), length: 8, writable: true }]);
        fixture.ring.push(popped(fixture), claimed);
        fixture.ring.flush();
        expect(fixture.driver.reap()[0].length).toBe(reported);
      }
    });

    it('a chain that is pushed twice is used once', () => {
      const fixture = make();
      add(fixture, [{ address: fixture.page(0), length: 8 }]);
      const chain = popped(fixture);
      fixture.ring.push(chain, 0);
      fixture.ring.push(chain, 0);
      fixture.ring.flush();
      expect(fixture.driver.reap()).toHaveLength(1);
    });

    it('every chain comes back exactly once, through a lap and a bit around whatever wraps', () => {
      const { size, startIndex, total } = mode.lap;
      const fixture = make({ size, startIndex });
      let done = 0;
      while (done < total) {
        const batch = Math.min(fixture.driver.free >> 1, total - done, 100);
        const heads: number[] = [];
        for (let i = 0; i < batch; i++)
          heads.push(stage(fixture, [{ address: fixture.page(i % 90), length: 1 }]));
        fixture.driver.publish();
        for (let i = 0; i < batch; i++) fixture.ring.push(popped(fixture), 0);
        fixture.ring.flush();
        const ids = fixture.driver.reap().map(({ id }) => id);
        if (ids.join() !== heads.join()) expect(ids).toEqual(heads);
        done += batch;
      }
      expect(fixture.counters.requests).toBe(total);
      expect(fixture.problems).toEqual([]);
    });

    it('interrupts once for a batch', () => {
      const fixture = make();
      fixture.driver.allowInterrupts();
      for (let n = 0; n < 3; n++) add(fixture, [{ address: fixture.page(n), length: 1 }]);
      for (let n = 0; n < 3; n++) fixture.ring.push(popped(fixture), 0);
      fixture.ring.flush();
      fixture.ring.flush();
      expect(fixture.interrupts).toEqual([3]);
      expect(fixture.counters.interrupts).toBe(1);
    });

    it('does not interrupt a driver that asked for silence', () => {
      const fixture = make();
      fixture.driver.suppressInterrupts();
      add(fixture, [{ address: fixture.page(0), length: 1 }]);
      fixture.ring.push(popped(fixture), 0);
      fixture.ring.flush();
      expect(fixture.driver.reap()).toHaveLength(1);
      expect(fixture.interrupts).toEqual([]);
    });

    it('wants notifications when it says so, and tells what came before it did', () => {
      const fixture = make();
      fixture.ring.disableNotifications();
      add(fixture, [{ address: fixture.page(0), length: 1 }]);
      fixture.driver.kickNeeded();
      expect(fixture.ring.enableNotifications()).toBe(true);
      popped(fixture);
      expect(fixture.ring.enableNotifications()).toBe(false);
      add(fixture, [{ address: fixture.page(1), length: 1 }]);
      expect(fixture.driver.kickNeeded()).toBe(true);
    });

    it('is not notified of chains that come while notifications are off', () => {
      const fixture = make();
      fixture.ring.enableNotifications();
      add(fixture, [{ address: fixture.page(0), length: 1 }]);
      expect(fixture.driver.kickNeeded()).toBe(true);
      fixture.ring.disableNotifications();
      popped(fixture);
      for (let n = 1; n < 4; n++) {
        add(fixture, [{ address: fixture.page(n), length: 1 }]);
        expect(fixture.driver.kickNeeded()).toBe(false);
      }
    });

    it('goes on where a saved position says', () => {
      const fixture = make({ startIndex: 0xfffe });
      for (let n = 0; n < 3; n++) {
        add(fixture, [{ address: fixture.page(n), length: 1 }]);
        fixture.ring.push(popped(fixture), 0);
      }
      const [before, after] = [0xfffe, 0xfffe + 3].map((count) => mode.position(count));
      expect(fixture.ring.position).toEqual({ nextAvail: after, nextUsed: before });
      fixture.ring.flush();
      expect(fixture.ring.position).toEqual({ nextAvail: after, nextUsed: after });
      fixture.config.start = fixture.ring.position;
      fixture.ring.drop();
      const signals = { interrupt: () => {}, broken: () => {} };
      const { memory, features, counters } = fixture;
      const { ring } = fixture.config.activate(memory, features, signals, counters);
      fixture.driver.reap();
      const head = add(fixture, [{ address: fixture.page(5), length: 3 }]);
      const chain = ring?.pop();
      if (ring === undefined || chain === undefined) throw new Error('no chain after the restart');
      ring.push(chain, 0);
      ring.flush();
      expect(fixture.driver.reap()).toEqual([{ id: head, length: 0 }]);
    });

    it('keeps no more chain objects than the driver ever had under way at once', () => {
      const fixture = make();
      const seen = new Set<Chain>();
      for (let round = 0; round < 50; round++) {
        for (let n = 0; n < 3; n++) add(fixture, [{ address: fixture.page(n), length: 1 }]);
        const chains = [popped(fixture), popped(fixture), popped(fixture)];
        for (const chain of chains) {
          seen.add(chain);
          fixture.ring.push(chain, 0);
        }
        fixture.ring.flush();
        fixture.driver.reap();
      }
      expect(seen.size).toBe(3);
    });
  });
}
