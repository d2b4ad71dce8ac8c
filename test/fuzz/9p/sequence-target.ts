/** Sequences of 9p requests, several under way, against models of fids and files, over file systems in memory and on the host. */
import type { Random } from '../../support/random.js';
import { MAX_NUMBER, type FuzzCase } from '../case.js';
import type { FuzzTarget } from '../fuzzer.js';
import { COMMANDS } from './commands.js';
import { makeGrounds } from './grounds.js';
import { LANES, SequenceRun, StepKind } from './sequence-run.js';

const KINDS = [
  ...COMMANDS.flatMap(({ weight }, kind) => Array<number>(weight).fill(kind)),
  ...Array<number>(4).fill(StepKind.RELEASE),
  ...Array<number>(2).fill(StepKind.FLUSH),
];
/** What ends sessions, once in so many steps. */
const ENDS = [StepKind.VERSION, StepKind.DROP];
const STEPS_PER_END = 60;
const NUMBERS = 6;
/** More than any of them has to choose from. */
const NUMBER_MAX = 32;
/** Memory is asked most often: it is fastest, and the server is the same. */
const GROUNDS = [0, 0, 0, 0, 1, 1, 2, 3];

export class SequenceTarget implements FuzzTarget {
  readonly name = '9p-sequences';
  readonly unit = 'messages';
  readonly #grounds = makeGrounds();

  newCase(random: Random): FuzzCase {
    const setup = [random(GROUNDS.length), random(4), random(MAX_NUMBER)];
    return { setup, steps: Array.from({ length: 20 + random(80) }, () => this.newStep(random)) };
  }

  newStep(random: Random): number[] {
    const kind = random(STEPS_PER_END) === 0 ? ENDS[random(ENDS.length)] : KINDS[random(KINDS.length)];
    return [kind, ...Array.from({ length: NUMBERS }, () => random(NUMBER_MAX))];
  }

  async run({ setup, steps }: FuzzCase, saw: (what: number) => void): Promise<number> {
    const number = GROUNDS[setup[0] % GROUNDS.length];
    const ground = await this.#grounds[number].make(LANES, (setup[1] & 2) !== 0);
    const run = new SequenceRun(ground, setup, number, saw);
    run.start();
    for (const step of steps) await run.take(step);
    await run.finish();
    return run.sent;
  }

  close(): void {
    for (const ground of this.#grounds) ground.close();
  }
}
