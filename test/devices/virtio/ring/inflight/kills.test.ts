/** A process that is killed before any of its stores: the next one answers each request exactly once, in the order in which they were taken. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { randomFrom } from '../../../../support/random.js';
import { beginWatching } from '../watched-memory.js';
import { KilledRing, type Mode } from './killed-ring.js';

const STEPS = 160;
const YES_AND_NO = [false, true];
/** From the beginning; shortly before indices and laps wrap; and on the lap whose wrap counter is 0. */
const STARTS = { split: [0, 65_530], packed: [0, 5, 11] };

const MODES: readonly Mode[] = YES_AND_NO.flatMap((packed) =>
  YES_AND_NO.flatMap((indirect) =>
    YES_AND_NO.flatMap((inOrder) =>
      STARTS[packed ? 'packed' : 'split'].map((startIndex) => ({
        ...{ packed, indirect, inOrder, startIndex },
        size: packed ? 7 : 8,
      })),
    ),
  ),
);

let end: () => void;
beforeAll(() => {
  end = beginWatching();
});
afterAll(() => end());

for (const mode of MODES) {
  const words = [mode.packed ? 'packed' : 'split', ...(mode.indirect ? ['indirect'] : [])];
  if (mode.inOrder) words.push('in order');
  it(`${words.join(', ')}, from ${mode.startIndex}: each request is answered once, wherever the kill falls`, () => {
    for (let seed = 1; seed <= 3; seed++) {
      const killed = new KilledRing(mode, randomFrom(seed));
      for (let i = 0; i < STEPS; i++) killed.step();
      expect(killed.kills).toBeGreaterThan(STEPS / 2);
    }
  });
}
