/** Requests of a disk, and all that may happen to them and to the disk before they end. */
import type { Random } from '../../support/random.js';
import { anyNumber, MAX_NUMBER, type FuzzCase } from '../case.js';
import type { FuzzTarget } from '../fuzzer.js';
import { DiskRun, StepKind } from './disk-run.js';

const KINDS = [
  ...Array<number>(8).fill(StepKind.SEND),
  ...Array<number>(5).fill(StepKind.END),
  ...Object.values(StepKind),
];

export class DiskTarget implements FuzzTarget {
  readonly name = 'disk';
  readonly unit = "steps of a disk's driver and backend";

  newCase(random: Random): FuzzCase {
    const setup = Array.from({ length: 3 }, () => random(MAX_NUMBER));
    return { setup, steps: Array.from({ length: 4 + random(30) }, () => this.newStep(random)) };
  }

  newStep(random: Random): number[] {
    const kind = KINDS[random(KINDS.length)];
    // Of a request's numbers each value means as much as any other.
    const number = () => (kind === StepKind.SEND ? random(MAX_NUMBER) : anyNumber(random));
    return [kind, ...Array.from({ length: 4 }, number)];
  }

  run(fuzzCase: FuzzCase, saw: (what: number) => void): number {
    const run = new DiskRun(fuzzCase.setup, saw);
    for (const step of fuzzCase.steps) run.take(step);
    run.finish();
    return run.states;
  }
}
