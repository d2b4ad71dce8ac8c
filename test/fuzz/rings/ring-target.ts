/** States of rings: what a hostile driver can have in its memory when the device looks at it, in every format and mode. */
import type { Random } from '../../support/random.js';
import { anyNumber, MAX_NUMBER, type FuzzCase } from '../case.js';
import type { FuzzTarget } from '../fuzzer.js';
import { Meter } from './meter.js';
import { RingRun, StepKind } from './ring-run.js';

/** Offers and looks are what it is about. */
const KINDS = [
  ...Array<number>(6).fill(StepKind.OFFER),
  ...Array<number>(5).fill(StepKind.POKE),
  ...Array<number>(6).fill(StepKind.LOOK),
  ...Array<number>(3).fill(StepKind.COMPLETE),
  ...Object.values(StepKind),
];

/** Rings that are made from now on have to be watched: `beginWatching` comes first. */
export class RingTarget implements FuzzTarget {
  readonly name = 'rings';
  readonly unit = 'mutated ring states';
  readonly #meter = new Meter();

  newCase(random: Random): FuzzCase {
    const setup = [random(MAX_NUMBER), random(MAX_NUMBER), anyNumber(random)];
    return { setup, steps: Array.from({ length: 2 + random(20) }, () => this.newStep(random)) };
  }

  newStep(random: Random): number[] {
    return [KINDS[random(KINDS.length)], ...Array.from({ length: 4 }, () => anyNumber(random))];
  }

  run(fuzzCase: FuzzCase, saw: (what: number) => void): number {
    const run = new RingRun(this.#meter, fuzzCase.setup, saw);
    try {
      for (const step of fuzzCase.steps) run.take(step);
      run.finish();
    } finally {
      this.#meter.wipe();
    }
    return run.states;
  }
}
