/** Sequences of accesses to a virtio-pci function, with all that may come between them. */
import type { Random } from '../../support/random.js';
import { anyNumber, MAX_NUMBER, type FuzzCase } from '../case.js';
import type { FuzzTarget } from '../fuzzer.js';
import { Clock } from './clock.js';
import { RegisterRun, StepKind } from './register-run.js';

const KINDS = [
  ...Array<number>(6).fill(StepKind.WRITE_BAR),
  ...Array<number>(6).fill(StepKind.DRIVER),
  ...Array<number>(6).fill(StepKind.TRAFFIC),
  ...Object.values(StepKind),
];

/** Functions that are made from now on have to be watched: `beginWatching` comes first. */
export class RegisterTarget implements FuzzTarget {
  readonly name = 'registers';
  readonly unit = 'steps of register sequences';

  newCase(random: Random): FuzzCase {
    const setup = Array.from({ length: 3 }, () => random(MAX_NUMBER));
    return { setup, steps: Array.from({ length: 4 + random(40) }, () => this.newStep(random)) };
  }

  newStep(random: Random): number[] {
    return [KINDS[random(KINDS.length)], ...Array.from({ length: 4 }, () => anyNumber(random))];
  }

  run(fuzzCase: FuzzCase, saw: (what: number) => void): number {
    const clock = new Clock();
    return clock.during(() => {
      const run = new RegisterRun(clock, fuzzCase.setup, saw);
      for (const step of fuzzCase.steps) run.take(step);
      run.finish();
      return run.states;
    });
  }
}
