import { describe, expect, it } from 'vitest';
import { splitNeedsInterrupt, vringNeedEvent } from '../../../../devices/virtio/ring/notification.js';

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
