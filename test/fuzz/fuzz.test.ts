/**
 * THREATS: everything that a guest writes into rings, registers, 9p messages and commands, that an NBD server replies, the file of a saved chassis, the state of a device that is brought, and manifests. A bounded run of each fuzzer, from the committed corpus on; `npm run fuzz`
 * goes on for as long as wanted. CHASSIS_FUZZ_STATES asks for more, of a new seed each time.
 */
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { beginWatching } from '../devices/virtio/ring/watched-memory.js';
import { fuzz } from './fuzzer.js';
import { readCorpus, TARGETS } from './targets.js';

/** About ten seconds of a processor each for rings and registers, a few for the others. */
const STATES: Readonly<Record<string, number>> = {
  rings: 200_000,
  registers: 80_000,
  '9p-decoder': 200_000,
  '9p-sequences': 60_000,
  disk: 40_000,
  card: 40_000,
  'nbd-replies': 40_000,
  'saved-file': 5000,
  'device-states': 2000,
  manifest: 2000,
};
const { CHASSIS_FUZZ_STATES: asked } = process.env;
const SEED = asked === undefined ? 0x91e70 : Date.now() % 2 ** 31;

let endWatching: () => void;
beforeAll(() => {
  endWatching = beginWatching();
});
afterAll(() => endWatching());

describe.each(Object.keys(TARGETS))('the fuzzer of %s', (name) => {
  const states = Number(asked ?? STATES[name]);

  it(
    `finds nothing wrong in ${states} states of seed ${SEED}: no crash, no hang, no access out of bounds, no chain lost`,
    async () => {
      const target = TARGETS[name]();
      onTestFinished(() => target.close?.());
      const corpus = readCorpus(name);
      const result = await fuzz(target, { states, seed: SEED, corpus });
      console.log(
        `${result.states} ${target.unit} in ${result.cases} cases, ${result.kinds} kinds, seed ${SEED}`,
      );
      expect(result.states).toBeGreaterThanOrEqual(states);
      // The corpus shows more than any case does by itself, or it is not the target's.
      expect(result.kinds).toBeGreaterThan(corpus.length);
    },
    120_000 + states,
  );
});
