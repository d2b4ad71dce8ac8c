import { describe, expect, it } from 'vitest';
import type { Chain } from '../../../../devices/virtio/device.js';
import { ArrayRegion } from '../../../../devices/virtio/memory/array-region.js';
import type { MockBuffer, MockDriver } from '../mock-driver.js';
import { RAM_ADDRESS, type RingFixture, type RingOptions } from './fixture.js';

/** A ring under test in one mode. Chains go through indirect tables where the mode says so. */
export interface RingMode {
  readonly name: string;
  readonly size: number;
  readonly indirect: boolean;
  readonly eventIdx: boolean;
  readonly inOrder: boolean;
  make(options: RingOptions): RingFixture<MockDriver>;
  /** Where a ring of this size stands after `count` chains of one descriptor. */
  position(count: number): number;
}

/** Enough for the suite, which makes many of them. */
const RAM_BYTES = 0x4_0000;
const silent = { interrupt: () => {}, broken: () => {}, held: () => {} };

/** What every ring format and mode does alike, as its driver and its device see it. Rings have four descriptors or more. */
export function ringSuite(mode: RingMode): void {
  const make = (startIndex = 0): RingFixture<MockDriver> =>
    mode.make({ ...mode, startIndex, ramBytes: RAM_BYTES });
  /** Indirect tables live in pages of their own, from the 20th on, and there are as many as the largest ring has descriptors. */
  let tables = 0;
  const stage = (fixture: RingFixture<MockDriver>, buffers: MockBuffer[]): number =>
    fixture.driver.stage(buffers, mode.indirect ? fixture.page(20) + 256 * (tables++ % 256) : undefined);
  const add = (fixture: RingFixture<MockDriver>, buffers: MockBuffer[]): number => {
    const id = stage(fixture, buffers);
    fixture.driver.publish();
    return id;
  };
  const addOne = (fixture: RingFixture<MockDriver>, length = 8): number =>
    add(fixture, [{ address: fixture.page(0), length, writable: true }]);
  const popped = ({ ring, problems }: RingFixture<MockDriver>): Chain => {
    const chain = ring.pop();
    if (chain === undefined) throw new Error(`no chain: ${problems.join()}`);
    return chain;
  };
  const popOne = (fixture: RingFixture<MockDriver>): Chain => {
    addOne(fixture);
    return popped(fixture);
  };

  describe(`${mode.name}: chains`, () => {
    it('an empty ring has no chain and is not broken', () => {
      const { ring } = make();
      expect(ring.pop()).toBeUndefined();
      expect(ring.broken).toBe(false);
    });

    it('a chain carries what the driver wrote, readable and writable apart, in order', () => {
      const fixture = make();
      const [a, b, c, d] = [0, 1, 2, 3].map((n) => fixture.page(n));
      fixture.ram.set([1, 2, 3], a - RAM_ADDRESS);
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
      expect(fixture.ram[c + 6 - RAM_ADDRESS]).toBe(8);
      expect(fixture.ram[d - RAM_ADDRESS]).toBe(9);
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

    it('a pushed chain shows only once it is flushed, with what was written', () => {
      const fixture = make();
      const id = addOne(fixture, 64);
      fixture.ring.push(popped(fixture), 17);
      expect(fixture.driver.reap()).toEqual([]);
      fixture.ring.flush();
      expect(fixture.driver.reap()).toEqual([{ id, length: 17 }]);
    });

    it('chains may be pushed in any order, and come back in that one, or in their own where that was agreed on', () => {
      const fixture = make();
      const ids = [0, 1, 2].map(() => addOne(fixture));
      const chains = ids.map(() => popped(fixture));
      for (const i of [2, 0, 1]) fixture.ring.push(chains[i], i);
      fixture.ring.flush();
      const order = mode.inOrder ? [0, 1, 2] : [2, 0, 1];
      expect(fixture.driver.reap()).toEqual(order.map((i) => ({ id: ids[i], length: i })));
    });

    it.each([
      [9, 8],
      [2 ** 40, 8],
      [-5, 0],
      [Number.NaN, 0],
    ])(
      'a device that claims to have written %d bytes of 8 is taken to have written %d',
      (claimed, length) => {
        const fixture = make();
        fixture.ring.push(popOne(fixture), claimed);
        fixture.ring.flush();
        expect(fixture.driver.reap()[0].length).toBe(length);
      },
    );

    it('a chain that is pushed twice is used once', () => {
      const fixture = make();
      const chain = popOne(fixture);
      fixture.ring.push(chain, 0);
      fixture.ring.push(chain, 0);
      fixture.ring.flush();
      fixture.ring.push(chain, 0);
      fixture.ring.flush();
      expect(fixture.driver.reap()).toHaveLength(1);
    });

    it('a chain that is given back unused is the next one again, with those behind it', () => {
      // Near the end of a lap, so that going back crosses it.
      const fixture = make(mode.size - 1);
      const { driver, ring, page } = fixture;
      const ids = [1, 2, 1].map((count, n) =>
        add(
          fixture,
          Array.from({ length: count }, (_, i) => ({ address: page(n + i), length: 8, writable: true })),
        ),
      );
      const first = popped(fixture);
      const others = [popped(fixture), popped(fixture)];
      const { position } = ring;
      for (const chain of others.reverse()) ring.unpop(chain);
      expect(ring.position).not.toEqual(position);
      ring.push(first, 1);
      ring.push(popped(fixture), 2);
      ring.push(popped(fixture), 3);
      ring.flush();
      expect(driver.reap()).toEqual(ids.map((id, i) => ({ id, length: i + 1 })));
      expect(ring.position).toEqual({ nextAvail: position.nextAvail, nextUsed: position.nextAvail });
      expect(fixture.problems).toEqual([]);
    });

    it('gives every chain back unused, and has the room for a full ring again', () => {
      const fixture = make();
      const { ring, driver } = fixture;
      for (let round = 0; round < 3; round++) {
        const ids: number[] = [];
        while (driver.free > 0) ids.push(addOne(fixture));
        const chains = ids.map(() => popped(fixture));
        for (const chain of chains.reverse()) ring.unpop(chain);
        ids.forEach(() => ring.push(popped(fixture), 0));
        ring.flush();
        expect(driver.reap().map(({ id }) => id)).toEqual(ids);
      }
      expect(fixture.problems).toEqual([]);
    });

    it('a chain that was under way when the ring was saved is given again, and again if it comes back unused', () => {
      const fixture = make(mode.size - 1);
      const { config, driver, memory, features, counters } = fixture;
      const ids = [0, 1].map(() => addOne(fixture));
      popped(fixture);
      const state = fixture.ring.save();
      if (typeof state === 'string') throw new Error(state);
      fixture.ring.drop();
      config.start = state;
      config.chains = state.chains;
      const { ring } = config.activate(memory, features, silent, counters);
      const [first, second] = [ring!.pop()!, ring!.pop()!];
      for (const chain of [second, first, first]) ring!.unpop(chain);
      expect(ring!.pop()).toBe(first);
      expect(ring!.pop()).toBe(second);
      expect(ring!.pop()).toBeUndefined();
      [first, second].forEach((chain, i) => ring!.push(chain, i));
      ring!.flush();
      expect(driver.reap()).toEqual(ids.map((id, length) => ({ id, length })));
    });

    it('a chain is given back unused also while the ring’s memory is gone', () => {
      const fixture = make();
      const chain = popOne(fixture);
      fixture.memory.clear();
      fixture.ring.unpop(chain);
      expect(fixture.ring.pop()).toBeUndefined();
      fixture.memory.addRegion(fixture.region);
      fixture.ring.push(popped(fixture), 3);
      fixture.ring.flush();
      expect(fixture.driver.reap().map(({ length }) => length)).toEqual([3]);
      expect(fixture.problems).toEqual([]);
    });

    it('a chain that came back already cannot be given back unused', () => {
      const fixture = make();
      const chain = popOne(fixture);
      fixture.ring.push(chain, 0);
      fixture.ring.unpop(chain);
      fixture.ring.flush();
      expect(fixture.driver.reap()).toHaveLength(1);
      expect(fixture.ring.pop()).toBeUndefined();
    });

    it('keeps no more chain objects than the driver ever had under way at once', () => {
      const fixture = make();
      const seen = new Set<Chain>();
      for (let round = 0; round < 50; round++) {
        const chains = [0, 1, 2].map(() => popOne(fixture));
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

  describe(`${mode.name}: laps`, () => {
    // A split ring's indices wrap at 65536, and this is a few chains before that; a packed one's wrap counters turn with each lap.
    for (const startIndex of [0, mode.size - 1, 0x1_0000 - 2 * mode.size]) {
      it(`every chain comes back once, with its length, over laps that end inside chains, from ${startIndex} on`, () => {
        const fixture = make(startIndex);
        const { driver, page, ring } = fixture;
        const longest = Math.min(3, mode.size);
        let total = 0;
        for (let round = 0; round < 25; round++) {
          const ids: number[] = [];
          for (let count = 1 + (round % longest); driver.free >= count; count = (count % longest) + 1) {
            const buffers = Array.from({ length: count }, (_, i) => ({ address: page(i), length: 5 }));
            ids.push(stage(fixture, [...buffers.slice(1), { ...buffers[0], writable: true }]));
          }
          driver.publish();
          const chains = ids.map(() => popped(fixture));
          expect(ring.pop()).toBeUndefined();
          const order = chains.map((_, i) => (i % 2 === 0 ? chains.length - 1 - i : i)).filter(unique);
          for (const i of [...order, ...chains.keys()].filter(unique)) ring.push(chains[i], i % 6);
          ring.flush();
          const used = driver.reap();
          expect(used.map(({ id, length }) => [id, length]).sort(byId)).toEqual(
            ids.map((id, i) => [id, i % 6]).sort(byId),
          );
          if (mode.inOrder) expect(used.map(({ id }) => id)).toEqual(ids);
          expect(driver.free).toBe(mode.size);
          total += ids.length;
        }
        expect(fixture.problems).toEqual([]);
        expect(fixture.counters.requests).toBe(total);
      });
    }

    it('goes on where a saved position says', () => {
      const fixture = make(0xfffe);
      const { config, driver, memory, features, counters } = fixture;
      for (let n = 0; n < 3; n++) fixture.ring.push(popOne(fixture), 0);
      const [before, after] = [0xfffe, 0xfffe + 3].map((count) => mode.position(count));
      expect(fixture.ring.position).toEqual({ nextAvail: after, nextUsed: before });
      fixture.ring.flush();
      expect(fixture.ring.position).toEqual({ nextAvail: after, nextUsed: after });
      config.start = fixture.ring.position;
      fixture.ring.drop();
      const { ring } = config.activate(memory, features, silent, counters);
      driver.reap();
      const id = addOne(fixture);
      ring!.push(ring!.pop()!, 0);
      ring!.flush();
      expect(driver.reap()).toEqual([{ id, length: 0 }]);
    });
  });

  describe(`${mode.name}: notifications`, () => {
    it('interrupts once for a batch', () => {
      const fixture = make();
      fixture.driver.allowInterrupts();
      const chains = [0, 1, 2].map(() => popOne(fixture));
      for (const chain of chains) fixture.ring.push(chain, 0);
      fixture.ring.flush();
      fixture.ring.flush();
      expect(fixture.interrupts).toEqual([3]);
      expect(fixture.counters.interrupts).toBe(1);
    });

    it('does not interrupt a driver that asked for silence', () => {
      const fixture = make();
      fixture.driver.suppressInterrupts();
      fixture.ring.push(popOne(fixture), 0);
      fixture.ring.flush();
      expect(fixture.driver.reap()).toHaveLength(1);
      expect(fixture.interrupts).toEqual([]);
    });

    it('wants notifications when it says so, and tells what came before it did', () => {
      const fixture = make();
      fixture.ring.disableNotifications();
      addOne(fixture);
      fixture.driver.kickNeeded();
      expect(fixture.ring.enableNotifications()).toBe(true);
      popped(fixture);
      expect(fixture.ring.enableNotifications()).toBe(false);
      addOne(fixture);
      expect(fixture.driver.kickNeeded()).toBe(true);
    });

    it('is not notified of chains that come while notifications are off', () => {
      const fixture = make();
      fixture.ring.enableNotifications();
      addOne(fixture);
      expect(fixture.driver.kickNeeded()).toBe(true);
      fixture.ring.disableNotifications();
      popped(fixture);
      for (let n = 1; n < 4; n++) {
        addOne(fixture);
        expect(fixture.driver.kickNeeded()).toBe(false);
      }
    });
  });

  describe(`${mode.name}: re-entrancy`, () => {
    it('an interrupt from which the driver adds, and the device serves, finds its batch over and done with', () => {
      const fixture = make();
      const { driver, ring } = fixture;
      const lengths: number[] = [];
      let nested = 2;
      const reap = (): void => {
        lengths.push(...driver.reap().map(({ length }) => length));
        driver.allowInterrupts();
        if (nested-- === 0) return;
        ring.push(popOne(fixture), nested);
        ring.flush();
      };
      fixture.interrupts.push = () => {
        reap();
        return 0;
      };
      driver.allowInterrupts();
      const chains = [popOne(fixture), popOne(fixture)];
      for (const chain of chains) ring.push(chain, 7);
      ring.flush();
      expect(lengths).toEqual([7, 7, 1, 0]);
      expect(fixture.counters).toMatchObject({ requests: 4, interrupts: 3 });
      ring.flush();
      expect(driver.reap()).toEqual([]);
    });
  });

  describe(`${mode.name}: memory that changes underneath`, () => {
    const acts = ['pop', 'flush', 'push', 'enableNotifications'] as const;
    /** A ring with a chain out and another to take, whose memory is gone, and what is done to it then. */
    const lost = (act: (typeof acts)[number]) => {
      const fixture = make();
      const chain = popOne(fixture);
      addOne(fixture);
      if (act === 'flush') fixture.ring.push(chain, 8);
      fixture.memory.clear();
      const acting = (): unknown => (act === 'push' ? fixture.ring.push(chain, 8) : fixture.ring[act]());
      return { ...fixture, chain, act: acting, pushed: act === 'push' || act === 'flush' };
    };

    it.each(acts)('a ring whose memory is gone holds at %s, says so once, and touches nothing', (act) => {
      const fixture = lost(act);
      const before = fixture.ram.slice();
      expect(fixture.ring.held).toBe(false);
      for (let i = 0; i < 3; i++) expect(Boolean(fixture.act())).toBe(false);
      expect(fixture.ring.enableNotifications()).toBe(false);
      expect(fixture.ring).toMatchObject({ held: true, broken: false });
      expect(fixture.holds.count).toBe(1);
      expect(Buffer.compare(fixture.ram, before)).toBe(0);
    });

    it.each(acts)('held at %s, it goes on where it was when its memory is back, and loses nothing', (act) => {
      const fixture = lost(act);
      fixture.act();
      fixture.memory.addRegion(fixture.region);
      expect(fixture.ring.held).toBe(false);
      const second = fixture.ring.pop();
      fixture.ring.push(second!, 4);
      if (!fixture.pushed) fixture.ring.push(fixture.chain, 8);
      fixture.ring.flush();
      const lengths = fixture.driver.reap().map(({ length }) => length);
      expect(lengths.sort()).toEqual([4, 8]);
      expect(fixture.problems).toEqual([]);
      expect(fixture.counters.requests).toBe(2);
    });

    it('a chain that is pushed twice while the memory is gone is used once', () => {
      const fixture = lost('push');
      for (let i = 0; i < 2; i++) fixture.act();
      fixture.memory.addRegion(fixture.region);
      fixture.ring.flush();
      fixture.act();
      fixture.ring.flush();
      expect(fixture.driver.reap().map(({ length }) => length)).toEqual([8]);
    });

    it.each(acts)('held at %s, it breaks at the next look once the map of memory has settled', (act) => {
      const fixture = lost(act);
      fixture.act();
      fixture.ring.memorySettled();
      expect(fixture.ring).toMatchObject({ held: false, broken: false });
      expect(fixture.ring.pop()).toBeUndefined();
      expect(fixture.ring).toMatchObject({ held: false, broken: true });
      expect(fixture.problems).toEqual(['the descriptor area is not in memory']);
    });

    /** A chain, or its indirect table, in memory of its own that is gone when the ring is looked at. */
    const chainLost = () => {
      const fixture = make();
      const page = new ArrayRegion(0x4000_0000, new Uint8Array(4096));
      fixture.memory.addRegion(page);
      const taken = popOne(fixture);
      add(fixture, [{ address: 0x4000_0000, length: 16 }]);
      fixture.memory.removeRegion(0x4000_0000, 4096);
      return { ...fixture, page, taken };
    };

    it('a chain whose buffer is gone waits for it, and the chains before it are used meanwhile', () => {
      const fixture = chainLost();
      for (let i = 0; i < 3; i++) expect(fixture.ring.pop()).toBeUndefined();
      expect(fixture.ring.enableNotifications()).toBe(false);
      expect(fixture.ring).toMatchObject({ held: true, broken: false });
      expect(fixture.holds.count).toBe(1);
      fixture.ring.push(fixture.taken, 8);
      fixture.ring.flush();
      expect(fixture.driver.reap()).toHaveLength(1);
      fixture.memory.addRegion(fixture.page);
      expect(fixture.ring.enableNotifications()).toBe(true);
      expect(fixture.ring.pop()?.readable.byteLength).toBe(16);
      expect(fixture.problems).toEqual([]);
    });

    it('a chain whose buffer stays away breaks the ring once the map of memory has settled', () => {
      const fixture = chainLost();
      expect(fixture.ring.pop()).toBeUndefined();
      fixture.memory.addRegion(new ArrayRegion(0x5000_0000, new Uint8Array(4096)));
      expect(fixture.ring.pop()).toBeUndefined();
      expect(fixture.holds.count).toBe(2);
      fixture.ring.memorySettled();
      expect(fixture.ring.pop()).toBeUndefined();
      expect(fixture.problems).toEqual(['a buffer lies outside memory']);
    });

    it('a ring follows its memory to another place in this process', () => {
      const fixture = make();
      popOne(fixture);
      const moved = fixture.ram.slice();
      fixture.memory.clear();
      fixture.memory.addRegion(new ArrayRegion(RAM_ADDRESS, moved));
      addOne(fixture);
      moved.set(fixture.ram);
      expect(fixture.ring.pop()?.writable.bytes[0]).toBe(moved);
    });

    it('a change elsewhere leaves the ring at work', () => {
      const fixture = make();
      fixture.memory.addRegion(new ArrayRegion(0x4000_0000, new Uint8Array(4096)));
      fixture.ring.push(popOne(fixture), 1);
      fixture.memory.removeRegion(0x4000_0000, 4096);
      fixture.ring.flush();
      expect(fixture.driver.reap()).toHaveLength(1);
      expect(fixture.problems).toEqual([]);
    });
  });

  describe(`${mode.name}: use after reset (CVE-2024-3446, CVE-2026-45782)`, () => {
    it('a dropped ring touches no memory, whatever is asked of it', () => {
      const fixture = make();
      const chain = popOne(fixture);
      addOne(fixture);
      fixture.ring.drop();
      const before = fixture.ram.slice();
      fixture.ring.push(chain, 8);
      fixture.ring.unpop(chain);
      fixture.ring.disableNotifications();
      fixture.ring.flush();
      expect(fixture.ring.enableNotifications()).toBe(false);
      expect(fixture.ring.pop()).toBeUndefined();
      expect(Buffer.compare(fixture.ram, before)).toBe(0);
      expect(fixture.interrupts).toEqual([]);
      expect(fixture.ring.broken).toBe(false);
    });

    it('what was pushed and not flushed when the ring was dropped is void', () => {
      const fixture = make();
      fixture.ring.push(popOne(fixture), 8);
      fixture.ring.drop();
      fixture.ring.flush();
      expect(fixture.driver.reap()).toEqual([]);
      expect(fixture.counters.requests).toBe(0);
    });

    it('a chain of a dropped ring, or of another queue, means nothing to the ring in its place', () => {
      const fixture = make();
      const stale = popOne(fixture);
      fixture.ring.drop();
      const { config, memory, features, counters } = fixture;
      const { ring } = config.activate(memory, features, silent, counters);
      ring?.push(stale, 8);
      ring?.push(popOne(make()), 8);
      ring?.flush();
      expect(fixture.driver.reap()).toEqual([]);
      expect(counters.requests).toBe(0);
    });
  });

  describe(`${mode.name}: leaks on error paths (CVE-2022-26353, CVE-2022-26354)`, () => {
    it('chains that were taken before the ring broke are void, and pushing them is harmless', () => {
      const fixture = make();
      const chain = popOne(fixture);
      add(fixture, [{ address: 0, length: 1 }]);
      expect(fixture.ring.pop()).toBeUndefined();
      expect(fixture.problems).toEqual(['a buffer lies outside memory']);
      fixture.ring.push(chain, 8);
      fixture.ring.flush();
      expect(fixture.driver.reap()).toEqual([]);
    });

    it('published completions stand when a later chain breaks the ring', () => {
      const fixture = make();
      fixture.ring.push(popOne(fixture), 8);
      fixture.ring.flush();
      add(fixture, [{ address: 0, length: 1 }]);
      expect(fixture.ring.pop()).toBeUndefined();
      expect(fixture.driver.reap()).toHaveLength(1);
    });
  });
}

function unique<T>(value: T, index: number, all: readonly T[]): boolean {
  return all.indexOf(value) === index;
}

function byId([a]: number[], [b]: number[]): number {
  return a - b;
}
