/**
 * Runs mutated cases, and keeps those that did something that no case did before. What counts as new is the target's to say: a number for
 * each kind of thing that happened (the state it was in, what was done, what came of it). That is far coarser than branch
 * coverage, and costs nothing.
 */
import { randomFrom, type Random } from '../support/random.js';
import { decodeCase, encodeCase, mutated, type FuzzCase } from './case.js';

export interface FuzzTarget {
  readonly name: string;
  /** What the count is of. */
  readonly unit: string;
  newCase(random: Random): FuzzCase;
  newStep(random: Random): number[];
  /**
   * Runs a case to its end: answers how many states it reached, and tells `saw` what happened. Throws, or rejects, where something is
   * wrong. One case at a time.
   */
  run(fuzzCase: FuzzCase, saw: (what: number) => void): number | Promise<number>;
  /** Gives back what the target has made on the host. */
  close?(): void;
}

export interface FuzzOptions {
  readonly states: number;
  readonly seed: number;
  readonly corpus: readonly string[];
  /** Called now and then. */
  readonly progress?: (states: number) => void;
}

export interface FuzzResult {
  readonly states: number;
  readonly cases: number;
  /** How many different things happened. */
  readonly kinds: number;
  /** The cases that were the first to show one of them, in the order in which they were found. */
  readonly corpus: readonly string[];
}

/** A failure is thrown as an Error that names the case: `npm run fuzz -- --case` runs it again. */
export async function fuzz(
  target: FuzzTarget,
  { states: wanted, seed, corpus, progress }: FuzzOptions,
): Promise<FuzzResult> {
  const random = randomFrom(seed);
  const seen = new Set<number>();
  const kept: FuzzCase[] = [];
  let [states, cases] = [0, 0];
  const run = async (fuzzCase: FuzzCase): Promise<void> => {
    const before = seen.size;
    states += await runCase(target, fuzzCase, (what) => seen.add(what));
    if (seen.size > before) kept.push(fuzzCase);
    if (++cases % 10_000 === 0) progress?.(states);
  };
  for (const line of corpus) await run(decodeCase(line));
  while (states < wanted) {
    if (kept.length < 2 || random(4) === 0) await run(target.newCase(random));
    else {
      // Cases that were found late are where the frontier is.
      const one =
        kept[random(2) === 0 ? random(kept.length) : kept.length - 1 - random(Math.ceil(kept.length / 4))];
      await run(mutated(one, kept[random(kept.length)], random, () => target.newStep(random)));
    }
  }
  return { states, cases, kinds: seen.size, corpus: kept.map(encodeCase) };
}

export async function runCase(
  target: FuzzTarget,
  fuzzCase: FuzzCase,
  saw: (what: number) => void,
): Promise<number> {
  try {
    return await target.run(fuzzCase, saw);
  } catch (error) {
    throw new Error(`${target.name}: ${String(error)}\nthe case: ${encodeCase(fuzzCase)}`, { cause: error });
  }
}
