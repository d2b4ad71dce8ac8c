/** What an in-flight region may hold that no ring of ours wrote: a front-end hands over any file that it likes. */
import { describe, expect, it } from 'vitest';
import { newQueueCounters } from '../../../../../devices/virtio/ring/running-ring.js';
import { queueRegionBytes } from '../../../../../devices/virtio/ring/inflight/layout.js';
import { randomFrom } from '../../../../support/random.js';
import { makePackedRing, makeRing, type RingFixture } from '../fixture.js';
import type { MockDriver } from '../../mock-driver.js';

const SIZE = 8;
const SIGNALS = { interrupt: () => true, broken: () => undefined, held: () => undefined };
/** Where both formats have them. */
const [VERSION, DESC_NUM] = [8, 10];

for (const packed of [false, true]) {
  const make = (): RingFixture<MockDriver> =>
    packed ? makePackedRing({ size: SIZE }) : makeRing({ size: SIZE });
  const freshRegion = () => new Uint8Array(queueRegionBytes(SIZE, packed));

  const activate = ({ config, memory, features }: RingFixture<MockDriver>, region: Uint8Array) => {
    config.inflight = region;
    return config.activate(memory, features, SIGNALS, newQueueCounters());
  };

  describe(`the region of a ${packed ? 'packed' : 'split'} ring`, () => {
    /** Requests, of which the ring that is killed has taken all. */
    function underWay(count: number): { fixture: RingFixture<MockDriver>; region: Uint8Array } {
      const fixture = make();
      const region = freshRegion();
      const { ring } = activate(fixture, region);
      for (let i = 0; i < count; i++) fixture.driver.add([{ address: fixture.page(i), length: 64 }]);
      for (let i = 0; i < count; i++) ring!.pop();
      return { fixture, region };
    }

    it('brings back what was under way', () => {
      const { fixture, region } = underWay(3);
      const { ring } = activate(fixture, region);
      expect([1, 2, 3, 4].map(() => ring!.pop() !== undefined)).toEqual([true, true, true, false]);
    });

    it.each([
      ['another version', VERSION, 2],
      ['no version', VERSION, 0],
      ['another number of descriptors', DESC_NUM, 2 * SIZE],
    ])('says nothing where it has %s', (_, at, value) => {
      const { fixture, region } = underWay(3);
      new DataView(region.buffer).setUint16(at, value, true);
      const { ring } = activate(fixture, region);
      expect(ring!.position).toEqual(make().ring.position);
    });

    it('says nothing of a ring that a driver has begun anew in the same place', () => {
      const { fixture, region } = underWay(3);
      const { ring } = activate(fixture, region);
      for (let chain = ring!.pop(); chain !== undefined; chain = ring!.pop()) ring!.push(chain, 0);
      ring!.flush();
      fixture.driver.add([{ address: fixture.page(0), length: 64 }]);
      ring!.pop();
      const anew = make();
      const next = activate(anew, region).ring!;
      expect(next.position).toEqual(anew.ring.position);
      anew.driver.add([{ address: anew.page(0), length: 64 }]);
      expect(next.pop()).toBeDefined();
      expect(next.pop()).toBeUndefined();
    });

    it('may hold any bytes: the ring says what is wrong, or serves what its driver offers', () => {
      const random = randomFrom(5);
      for (let round = 0; round < 400; round++) {
        const { fixture, region } = underWay(random(SIZE));
        const view = new DataView(region.buffer);
        for (let i = 0; i <= random(12); i++) view.setUint8(random(region.length), random(256));
        if (round % 4 === 0)
          for (let i = 16; i < region.length; i++) region[i] = random(round % 8 === 0 ? 9 : 256);
        view.setUint16(VERSION, 1, true);
        view.setUint16(DESC_NUM, SIZE, true);
        const { ring, problem } = activate(fixture, region);
        if (ring === undefined) expect(problem).toBeTruthy();
        let taken = 0;
        for (let chain = ring?.pop(); ring !== undefined && chain !== undefined; chain = ring.pop()) {
          ring.push(chain, 0);
          taken++;
        }
        ring?.flush();
        expect(taken).toBeLessThanOrEqual(2 * SIZE);
      }
    });
  });
}
