/** Commands of a card's driver, and frames that meet what the driver asked for. */
import type { Random } from '../../support/random.js';
import { anyNumber, MAX_NUMBER, type FuzzCase } from '../case.js';
import type { FuzzTarget } from '../fuzzer.js';
import { CardRun, StepKind } from './card-run.js';

const KINDS = [
  ...Array<number>(8).fill(StepKind.COMMAND),
  ...Array<number>(8).fill(StepKind.FRAME),
  ...Object.values(StepKind),
];

export class CardTarget implements FuzzTarget {
  readonly name = 'card';
  readonly unit = "steps of a card's driver and network";

  newCase(random: Random): FuzzCase {
    const setup = [random(MAX_NUMBER), random(MAX_NUMBER)];
    return { setup, steps: Array.from({ length: 4 + random(30) }, () => this.newStep(random)) };
  }

  newStep(random: Random): number[] {
    const kind = KINDS[random(KINDS.length)];
    // Of a command's numbers each value means as much as any other.
    const number = () => (kind === StepKind.COMMAND ? random(MAX_NUMBER) : anyNumber(random));
    return [kind, ...Array.from({ length: 4 }, number)];
  }

  run(fuzzCase: FuzzCase, saw: (what: number) => void): number {
    const run = new CardRun(fuzzCase.setup, saw);
    for (const step of fuzzCase.steps) run.take(step);
    run.finish();
    return run.states;
  }
}
