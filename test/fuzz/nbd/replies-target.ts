/** What a server says to an NBD client's calls. */
import type { Random } from '../../support/random.js';
import { anyNumber, MAX_NUMBER, type FuzzCase } from '../case.js';
import type { FuzzTarget } from '../fuzzer.js';
import { RepliesRun, StepKind } from './replies-run.js';

const KINDS = [
  ...Array<number>(6).fill(StepKind.DATA),
  ...Array<number>(4).fill(StepKind.CALL),
  ...Object.values(StepKind),
];

export class RepliesTarget implements FuzzTarget {
  readonly name = 'nbd-replies';
  readonly unit = "replies to an NBD client's calls";

  newCase(random: Random): FuzzCase {
    const setup = Array.from({ length: 3 }, () => random(MAX_NUMBER));
    return { setup, steps: Array.from({ length: 4 + random(30) }, () => this.newStep(random)) };
  }

  newStep(random: Random): number[] {
    const number = () => (random(2) === 0 ? random(MAX_NUMBER) : anyNumber(random));
    return [KINDS[random(KINDS.length)], ...Array.from({ length: 4 }, number)];
  }

  run(fuzzCase: FuzzCase, saw: (what: number) => void): number {
    const run = new RepliesRun(fuzzCase.setup, saw);
    for (const step of fuzzCase.steps) run.take(step);
    return Math.max(run.states, 1);
  }
}
