/** Bytes that were a message before they were changed, into a 9p server, in each of its dialects. */
import type { Random } from '../../support/random.js';
import { anyNumber, MAX_NUMBER, type FuzzCase } from '../case.js';
import type { FuzzTarget } from '../fuzzer.js';
import { DecoderRun, StepKind } from './decoder-run.js';

const KINDS = [
  ...Array<number>(40).fill(StepKind.MESSAGE),
  ...Array<number>(4).fill(StepKind.RELEASE),
  ...Array<number>(2).fill(StepKind.SETTLE),
  ...Object.values(StepKind),
];
const RAW_BYTES_MAX = 40;

export class DecoderTarget implements FuzzTarget {
  readonly name = '9p-decoder';
  readonly unit = 'messages';

  newCase(random: Random): FuzzCase {
    const setup = [random(3), random(64), random(MAX_NUMBER)];
    return { setup, steps: Array.from({ length: 8 + random(60) }, () => this.newStep(random)) };
  }

  newStep(random: Random): number[] {
    const kind = KINDS[random(KINDS.length)];
    // A message: which, its tag, the room for its reply, where it is cut, and up to three changes.
    const count =
      kind === StepKind.MESSAGE ? 4 + 3 * random(4) : kind === StepKind.RAW ? 1 + random(RAW_BYTES_MAX) : 2;
    return [
      kind,
      ...Array.from({ length: count }, () => (random(3) === 0 ? anyNumber(random) : random(MAX_NUMBER))),
    ];
  }

  async run(fuzzCase: FuzzCase, saw: (what: number) => void): Promise<number> {
    const run = new DecoderRun(fuzzCase.setup, saw);
    for (const step of fuzzCase.steps) await run.take(step);
    await run.finish();
    return run.sent;
  }
}
