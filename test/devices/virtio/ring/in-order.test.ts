/** VIRTIO_F_IN_ORDER (virtio 1.3, sections 2.7.9 and 2.8.8), as it looks in memory. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Chain } from '../../../../devices/virtio/device.js';
import { VirtioFeature } from '../../../../devices/virtio/device.js';
import { RING_FEATURES, ringFeaturesFor } from '../../../../devices/virtio/ring/factory.js';
import type { MockDriver } from '../mock-driver.js';
import { makePackedRing, makeRing, RAM_ADDRESS, type RingFixture, type RingOptions } from './fixture.js';

const LENGTH = 8;
const UNTOUCHED = 0xee;

/** Offers `count` chains of one buffer of 8 bytes to write, and takes them. */
function taken(fixture: RingFixture<MockDriver>, count: number): { ids: number[]; chains: Chain[] } {
  const { driver, page, ring } = fixture;
  const ids = Array.from({ length: count }, (_, i) =>
    driver.add([{ address: page(i), length: LENGTH, writable: true }]),
  );
  return { ids, chains: ids.map(() => ring.pop()!) };
}

const FORMATS = [
  { format: 'a split ring', make: makeRing as (options: RingOptions) => RingFixture<MockDriver> },
  { format: 'a packed ring', make: makePackedRing as (options: RingOptions) => RingFixture<MockDriver> },
];

for (const { format, make } of FORMATS) {
  describe(`${format} in order`, () => {
    it('holds back what is completed until everything before it is', () => {
      const fixture = make({ inOrder: true });
      const { driver, ring } = fixture;
      const { ids, chains } = taken(fixture, 4);
      for (const i of [3, 1]) ring.push(chains[i], LENGTH);
      ring.flush();
      expect(driver.reap()).toEqual([]);
      expect(fixture.interrupts).toEqual([]);
      ring.push(chains[0], LENGTH);
      ring.flush();
      expect(driver.reap().map(({ id }) => id)).toEqual(ids.slice(0, 2));
      ring.push(chains[2], LENGTH);
      ring.flush();
      expect(driver.reap().map(({ id }) => id)).toEqual(ids.slice(2));
      expect(fixture.counters.requests).toBe(4);
    });

    it('tells how much was written to each chain, also where that is less than all', () => {
      const fixture = make({ inOrder: true });
      const { ids, chains } = taken(fixture, 6);
      const written = [LENGTH, 3, LENGTH, LENGTH, 0, LENGTH];
      for (const i of [5, 4, 3, 2, 1, 0]) fixture.ring.push(chains[i], written[i]);
      fixture.ring.flush();
      expect(fixture.driver.reap()).toEqual(ids.map((id, i) => ({ id, length: written[i] })));
    });

    it('chains with nothing to write are used completely whatever the device says', () => {
      const fixture = make({ inOrder: true });
      const { driver, page, ring } = fixture;
      const ids = [0, 1, 2].map((i) => driver.add([{ address: page(i), length: LENGTH }]));
      for (const chain of ids.map(() => ring.pop()!)) ring.push(chain, 99);
      ring.flush();
      expect(driver.reap()).toEqual(ids.map((id) => ({ id, length: 0 })));
    });

    it('interrupts for an event inside a batch', () => {
      for (const eventIdx of [false, true]) {
        const fixture = make({ inOrder: true, eventIdx });
        const { chains } = taken(fixture, 4);
        fixture.ring.push(chains[0], LENGTH);
        fixture.ring.flush();
        fixture.driver.reap();
        fixture.driver.allowInterrupts();
        fixture.interrupts.length = 0;
        for (const i of [3, 2, 1]) fixture.ring.push(chains[i], LENGTH);
        fixture.ring.flush();
        expect(fixture.interrupts).toHaveLength(1);
      }
    });

    it('a chain that waits for others is void once the ring is dropped', () => {
      const fixture = make({ inOrder: true });
      const { chains } = taken(fixture, 2);
      fixture.ring.push(chains[1], LENGTH);
      fixture.ring.drop();
      fixture.ring.push(chains[0], LENGTH);
      fixture.ring.flush();
      expect(fixture.driver.reap()).toEqual([]);
    });

    it('counts chains that wait as under way, so that no driver can have more of them than descriptors', () => {
      const fixture = make({ inOrder: true, size: 2 });
      const { chains } = taken(fixture, 2);
      fixture.ring.push(chains[1], LENGTH);
      fixture.ring.flush();
      const { driver, page } = fixture;
      expect(driver.free).toBe(0);
      expect(fixture.ring.position.nextUsed).toBe(make({ size: 2 }).ring.position.nextUsed);
      fixture.ring.push(chains[0], LENGTH);
      fixture.ring.flush();
      driver.reap();
      expect(driver.free).toBe(2);
      driver.add([{ address: page(0), length: 1 }]);
      expect(fixture.ring.pop()).toBeDefined();
    });

    it('gives every chain back once and in order, however they are completed and flushed', () => {
      const property = fc.property(
        fc.constantFrom(...(format === 'a split ring' ? [1, 4, 8] : [1, 3, 5, 7, 8])),
        fc.array(fc.tuple(fc.nat(3), fc.nat(7), fc.integer({ min: 0, max: LENGTH })), { maxLength: 150 }),
        (size, acts) => {
          const fixture = make({ inOrder: true, size });
          const { driver, page, ring } = fixture;
          const offered: { id: number; written?: number }[] = [];
          const held: { chain: Chain; number: number }[] = [];
          let reaped = 0;
          for (const [act, which, written] of acts) {
            if (act < 2 && driver.free > 0) {
              offered.push({ id: driver.add([{ address: page(which), length: LENGTH, writable: true }]) });
              held.push({ chain: ring.pop()!, number: offered.length - 1 });
            } else if (act === 2 && held.length > 0) {
              const [{ chain, number }] = held.splice(which % held.length, 1);
              offered[number].written = written;
              ring.push(chain, written);
            } else if (act === 3) {
              ring.flush();
              const done = driver.reap();
              const firstOpen = offered.findIndex((chain) => chain.written === undefined);
              const expected = offered.slice(reaped, firstOpen < 0 ? undefined : firstOpen);
              expect(done).toEqual(expected.map((chain) => ({ id: chain.id, length: chain.written })));
              reaped += done.length;
            }
          }
          expect(fixture.problems).toEqual([]);
        },
      );
      fc.assert(property, { numRuns: 200 });
    });
  });
}

describe('batches of a split ring', () => {
  it('are one element each, which names the last chain at the place of the first', () => {
    const { driver, ram, ring, ...fixture } = makeRing({ inOrder: true });
    const { ids, chains } = taken({ driver, ram, ring, ...fixture }, 5);
    const elements = driver.deviceArea - RAM_ADDRESS + 4;
    ram.fill(UNTOUCHED, elements, elements + 8 * 8);
    const written = [LENGTH, LENGTH, 3, LENGTH, LENGTH];
    chains.forEach((chain, i) => ring.push(chain, written[i]));
    ring.flush();
    const view = new DataView(ram.buffer);
    const element = (i: number) => [0, 4].map((at) => view.getUint32(elements + 8 * i + at, true));
    // What is not complete ends a batch.
    const nothing = [0xeeee_eeee, 0xeeee_eeee];
    expect([0, 1, 2, 3, 4].map(element)).toEqual([[ids[2], 3], nothing, nothing, [ids[4], LENGTH], nothing]);
    expect(driver.usedIndex).toBe(5);
  });

  it('end where the driver has seen them: what comes later is an element of its own', () => {
    const { driver, ram, ring, ...fixture } = makeRing({ inOrder: true });
    const { ids, chains } = taken({ driver, ram, ring, ...fixture }, 2);
    for (const chain of chains) {
      ring.push(chain, LENGTH);
      ring.flush();
    }
    const elements = driver.deviceArea - RAM_ADDRESS + 4;
    const view = new DataView(ram.buffer);
    expect([0, 1].map((i) => view.getUint32(elements + 8 * i, true))).toEqual(ids);
  });
});

describe('batches of a packed ring', () => {
  it('are one descriptor each, which names the last chain at the place of the first, and skip all others', () => {
    const { driver, page, ram, ring } = makePackedRing({ inOrder: true });
    const ids = [2, 1, 3].map((count) =>
      driver.add(Array.from({ length: count }, (_, i) => ({ address: page(i), length: 4, writable: true }))),
    );
    const chains = ids.map(() => ring.pop()!);
    const before = ram.slice(0, 16 * 6);
    for (const i of [2, 1, 0]) ring.push(chains[i], chains[i].writable.byteLength);
    ring.flush();
    const view = new DataView(ram.buffer);
    expect([8, 12, 14].map((at) => (at === 8 ? view.getUint32(at, true) : view.getUint16(at, true)))).toEqual(
      [12, ids[2], 0x8082],
    );
    expect(Buffer.compare(ram.subarray(16, 16 * 6), before.subarray(16))).toBe(0);
    expect(driver.reap()).toEqual([
      { id: ids[0], length: 8 },
      { id: ids[1], length: 4 },
      { id: ids[2], length: 12 },
    ]);
  });

  it('show up all at once, the first one last', () => {
    const { driver, page, ring } = makePackedRing({ inOrder: true });
    const ids = [0, 1, 2].map((i) => driver.add([{ address: page(i), length: 4, writable: true }]));
    for (const id of ids) {
      ring.push(ring.pop()!, id === ids[1] ? 1 : 4);
      expect(driver.reap()).toEqual([]);
    }
    ring.flush();
    expect(driver.reap()).toHaveLength(3);
  });
});

describe('the ring features on offer', () => {
  const inOrder = 1n << BigInt(VirtioFeature.VIRTIO_F_IN_ORDER);

  it('are the same for every device, without VIRTIO_F_IN_ORDER', () => {
    expect(ringFeaturesFor({})).toBe(RING_FEATURES);
    expect(ringFeaturesFor({ completesInOrder: false })).toBe(RING_FEATURES);
    expect(RING_FEATURES & inOrder).toBe(0n);
  });

  it('are joined by VIRTIO_F_IN_ORDER for a device that completes in order anyway', () => {
    expect(ringFeaturesFor({ completesInOrder: true })).toBe(RING_FEATURES | inOrder);
  });
});
