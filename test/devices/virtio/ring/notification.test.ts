import { describe, expect, it } from 'vitest';
import { makePackedRing, makeRing, packedPosition } from './fixture.js';
import {
  packedNeedsInterrupt,
  splitNeedsInterrupt,
  vringNeedEvent,
} from '../../../../devices/virtio/ring/notification.js';

const MODULUS = 0x1_0000;
const LONGEST_MOVE = 20;
/** Around every place where 16-bit arithmetic could go wrong. */
const STARTS = [0, 1, 2, 0x7ff0, 0x7fff, 0x8000, 0x8001, 0xfff0, 0xfffe, 0xffff];

/** What the specification says, one step at a time: an event at `i` is the wish to hear of the step from `i` to `i + 1`. */
function passes(event: number, newIndex: number, oldIndex: number): boolean {
  for (let i = oldIndex; i !== newIndex; i = (i + 1) % MODULUS) if (i === event) return true;
  return false;
}

describe('vring_need_event', () => {
  it('agrees with stepping through every move of up to 20, for every event nearby and far away, across wraps', () => {
    let checked = 0;
    const wrong: string[] = [];
    for (const start of STARTS) {
      for (let move = 0; move <= LONGEST_MOVE; move++) {
        const end = (start + move) % MODULUS;
        for (let distance = -25; distance <= 45; distance++) {
          for (const far of [0, 0x4000, 0x8000]) {
            const event = (start + distance + far + MODULUS) % MODULUS;
            checked++;
            if (vringNeedEvent(event, end, start) !== passes(event, end, start)) {
              wrong.push(`event ${event}, ${start} to ${end}`);
            }
          }
        }
      }
    }
    expect(wrong).toEqual([]);
    expect(checked).toBe(STARTS.length * 21 * 71 * 3);
  });

  it('agrees with stepping for every event there is, over the longest move that a ring of 32,768 can make', () => {
    const start = 0xc000;
    const end = (start + 0x8000) % MODULUS;
    let wrong = 0;
    for (let event = 0; event < MODULUS; event++) {
      const inside = (event - start + MODULUS) % MODULUS < 0x8000;
      if (vringNeedEvent(event, end, start) !== inside) wrong++;
    }
    expect(wrong).toBe(0);
  });
});

describe('splitNeedsInterrupt', () => {
  it('never interrupts where nothing was used', () => {
    for (const eventIdx of [false, true]) {
      for (const flags of [0, 1]) expect(splitNeedsInterrupt(eventIdx, 7, flags, 7, 7)).toBe(false);
    }
  });

  it('obeys the flag alone without the event index', () => {
    for (let event = 0; event < 16; event++) {
      expect(splitNeedsInterrupt(false, event, 0, 8, 4)).toBe(true);
      expect(splitNeedsInterrupt(false, event, 1, 8, 4)).toBe(false);
      expect(splitNeedsInterrupt(false, event, 0xfffe, 8, 4)).toBe(true);
    }
  });

  it('ignores the flag with the event index', () => {
    for (const flags of [0, 1, 0xffff]) {
      expect(splitNeedsInterrupt(true, 4, flags, 5, 4)).toBe(true);
      expect(splitNeedsInterrupt(true, 5, flags, 5, 4)).toBe(false);
    }
  });
});

describe('packedNeedsInterrupt', () => {
  const [ENABLE, DISABLE, DESC, RESERVED] = [0, 1, 2, 3];
  /** One step from descriptor to descriptor, as the specification turns wrap counters. */
  const step = (place: number, size: number): number =>
    (place & 0x7fff) + 1 < size ? place + 1 : (place & 0x8000) ^ 0x8000;
  /** Every place on two laps: index, and the wrap counter in bit 15. */
  const places = (size: number): number[] =>
    [0x8000, 0].flatMap((wrap) => Array.from({ length: size }, (_, i) => wrap + i));

  it('agrees with stepping, for every event, from every place, over every move, in every ring of up to 9', () => {
    const wrong: string[] = [];
    let checked = 0;
    for (let size = 1; size <= 9; size++) {
      for (const from of places(size)) {
        const passed = new Set<number>();
        let to = from;
        for (let move = 0; move <= size; move++) {
          for (const event of places(size)) {
            checked++;
            if (packedNeedsInterrupt(true, DESC, event, to, from, size) !== passed.has(event)) {
              wrong.push(`size ${size}: event ${event}, ${from} to ${to}`);
            }
          }
          passed.add(to);
          to = step(to, size);
        }
      }
    }
    expect(wrong).toEqual([]);
    expect(checked).toBeGreaterThan(8000);
  });

  it('agrees with stepping around both ends of the largest ring', () => {
    const size = 32768;
    const wrong: string[] = [];
    for (const start of [0x8000, 0, 0xfffe, 0x7ffe, 0xffff, 0x7fff]) {
      const passed: number[] = [];
      for (let to = start, move = 0; move < 6; move++, to = step(to, size)) {
        for (const event of [0, 1, 2, 3, 0x7ffd, 0x7ffe, 0x7fff].flatMap((i) => [i, i + 0x8000])) {
          if (packedNeedsInterrupt(true, DESC, event, to, start, size) !== passed.includes(event)) {
            wrong.push(`event ${event}, ${start} to ${to}`);
          }
        }
        passed.push(to);
      }
    }
    expect(wrong).toEqual([]);
    expect(packedNeedsInterrupt(true, DESC, 0x8005, 0, 0x8000, size)).toBe(true);
    expect(packedNeedsInterrupt(true, DESC, 0x0005, 0, 0x8000, size)).toBe(false);
  });

  it('an event beyond the ring is never passed', () => {
    for (const from of places(3)) {
      for (let move = 1, to = step(from, 3); move <= 3; move++, to = step(to, 3)) {
        for (const index of [3, 4, 5, 6, 100, 0x7fff]) {
          expect(packedNeedsInterrupt(true, DESC, index, to, from, 3)).toBe(false);
          expect(packedNeedsInterrupt(true, DESC, index + 0x8000, to, from, 3)).toBe(false);
        }
      }
    }
  });

  it('obeys ENABLE and DISABLE with and without the event index, and never speaks where nothing was used', () => {
    for (const eventIdx of [false, true]) {
      expect(packedNeedsInterrupt(eventIdx, ENABLE, 0, 0x8002, 0x8001, 8)).toBe(true);
      expect(packedNeedsInterrupt(eventIdx, DISABLE, 0x8001, 0x8002, 0x8001, 8)).toBe(false);
      for (const flags of [ENABLE, DISABLE, DESC, RESERVED]) {
        expect(packedNeedsInterrupt(eventIdx, flags, 0x8001, 0x8001, 0x8001, 8)).toBe(false);
      }
    }
  });

  it('interrupts for what was not negotiated and for what is reserved, and looks at two bits only', () => {
    expect(packedNeedsInterrupt(false, DESC, 0x8007, 0x8002, 0x8001, 8)).toBe(true);
    expect(packedNeedsInterrupt(true, RESERVED, 0x8007, 0x8002, 0x8001, 8)).toBe(true);
    expect(packedNeedsInterrupt(true, DISABLE + 0xfffc, 0x8001, 0x8002, 0x8001, 8)).toBe(false);
    expect(packedNeedsInterrupt(true, DESC + 0xfffc, 0x8007, 0x8002, 0x8001, 8)).toBe(false);
  });
});

describe('rings, for every batch from every place with every event around it', () => {
  const RAM_BYTES = 0x8000;

  for (const inOrder of [false, true]) {
    it(`split ones of up to 8 interrupt exactly where a model does${inOrder ? ', in order' : ''}`, () => {
      const wrong: string[] = [];
      for (const size of [1, 2, 4, 8]) {
        for (const start of [0, 1, 0x7ffd, 0x7fff, 0xfff8, 0xfffd, 0xffff]) {
          for (let batch = 1; batch <= size; batch++) {
            for (let distance = -3; distance <= size + 2; distance++) {
              const { driver, interrupts, page, ring } = makeRing({
                ...{ size, inOrder, startIndex: start, ramBytes: RAM_BYTES },
              });
              for (let i = 0; i < batch; i++) driver.add([{ address: page(0), length: 1 }]);
              for (let i = 0; i < batch; i++) ring.push(ring.pop()!, 0);
              driver.setUsedEvent((start + distance) & 0xffff);
              ring.flush();
              const expected = distance >= 0 && distance < batch ? 1 : 0;
              if (interrupts.length !== expected)
                wrong.push(`${batch} from ${start} of ${size}: ${distance}`);
            }
          }
        }
      }
      expect(wrong).toEqual([]);
    });

    it(`packed ones of up to 6 interrupt exactly where a model does, with chains of up to 3${inOrder ? ', in order' : ''}`, () => {
      const wrong: string[] = [];
      for (let size = 1; size <= 6; size++) {
        for (let start = 0; start < 2 * size; start++) {
          for (let descriptors = 1; descriptors <= size; descriptors++) {
            for (let event = 0; event < 2 * size + 2; event++) {
              const { driver, interrupts, page, ring } = makePackedRing({
                ...{ size, inOrder, startIndex: start, ramBytes: RAM_BYTES },
              });
              for (let left = descriptors; left > 0; left -= 3) {
                const count = Math.min(left, 3);
                driver.add(Array.from({ length: count }, () => ({ address: page(0), length: 1 })));
              }
              for (let chain = ring.pop(); chain !== undefined; chain = ring.pop()) ring.push(chain, 0);
              // The last two name descriptors that the ring does not have.
              const place = event < 2 * size ? packedPosition(event, size) : size + 0x8000 * (event % 2);
              driver.setDriverEvent(place, 2);
              ring.flush();
              const passed = Array.from({ length: descriptors }, (_, i) => packedPosition(start + i, size));
              const expected = passed.includes(place) ? 1 : 0;
              if (interrupts.length !== expected)
                wrong.push(`${descriptors} from ${start} of ${size}: ${event}`);
            }
          }
        }
      }
      expect(wrong).toEqual([]);
    });
  }
});

/** The other direction: what the device asks for, by what a driver then has to make of it. */
describe('rings that ask for notifications, after every number of chains from every place', () => {
  const RAM_BYTES = 0x8000;
  const FORMATS = [
    {
      format: 'split',
      make: makeRing,
      sizes: [1, 2, 4, 8],
      starts: (_: number) => [0, 1, 0x7ffd, 0x7fff, 0xfff8, 0xfffd, 0xffff],
    },
    {
      format: 'packed',
      make: makePackedRing,
      sizes: [1, 2, 3, 4, 5, 6],
      starts: (size: number) => Array.from({ length: 2 * size }, (_, i) => i),
    },
  ] as const;

  for (const { format, make, sizes, starts } of FORMATS) {
    for (const eventIdx of [false, true]) {
      it(`${format} ones with ${eventIdx ? 'the event index' : 'flags'} hear of the next chain, and say where one is there already`, () => {
        const wrong: string[] = [];
        let checked = 0;
        for (const size of sizes) {
          for (const start of starts(size)) {
            for (let there = 0; there < size; there++) {
              for (let taken = 0; taken <= there; taken++) {
                const { driver, page, ring } = make({
                  size,
                  eventIdx,
                  startIndex: start,
                  ramBytes: RAM_BYTES,
                });
                const add = (): number => driver.add([{ address: page(0), length: 1 }]);
                for (let i = 0; i < there; i++) add();
                ring.disableNotifications();
                for (let i = 0; i < taken; i++) ring.pop();
                driver.kickNeeded();
                const more = ring.enableNotifications();
                add();
                const kicked = driver.kickNeeded();
                checked++;
                // With the event index the device asked for a step that the driver took before: it was told to look again.
                const expected = !eventIdx || there === taken;
                if (more !== there > taken || kicked !== expected)
                  wrong.push(`${there} from ${start} of ${size}, ${taken} taken: ${more}, ${kicked}`);
              }
            }
          }
        }
        expect(wrong).toEqual([]);
        expect(checked).toBeGreaterThan(200);
      });
    }

    it(`${format} ones that asked not to be notified are not, until they ask for it`, () => {
      const wrong: string[] = [];
      for (const size of sizes) {
        for (const start of starts(size)) {
          // A split ring with the event index has no word for it.
          for (const eventIdx of format === 'packed' ? [false, true] : [false]) {
            const { driver, page, ring } = make({ size, eventIdx, startIndex: start, ramBytes: RAM_BYTES });
            ring.enableNotifications();
            ring.disableNotifications();
            for (let i = 0; i < size; i++) {
              driver.add([{ address: page(0), length: 1 }]);
              if (driver.kickNeeded()) wrong.push(`${i} from ${start} of ${size}`);
            }
          }
        }
      }
      expect(wrong).toEqual([]);
    });
  }
});
