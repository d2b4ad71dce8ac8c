import { decodeCase, encodeCase, type FuzzCase } from './case.js';
import { runCase, type FuzzTarget } from './fuzzer.js';

/** As few of the cases, and as short ones, about, as show all that they show together. */
export async function smallestCorpus(target: FuzzTarget, corpus: readonly string[]): Promise<string[]> {
  const shown: { fuzzCase: FuzzCase; kinds: Set<number> }[] = [];
  for (const line of corpus)
    shown.push({ fuzzCase: decodeCase(line), kinds: await kindsOf(target, decodeCase(line)) });
  const chosen: string[] = [];
  const seen = new Set<number>();
  for (const { fuzzCase, kinds } of shown.sort((a, b) => b.kinds.size - a.kinds.size)) {
    const fresh = [...kinds].filter((kind) => !seen.has(kind));
    if (fresh.length === 0) continue;
    chosen.push(encodeCase(await shortened(target, fuzzCase, fresh)));
    for (const kind of fresh) seen.add(kind);
  }
  return chosen;
}

/** Without the steps that it can do without and still show these kinds. */
async function shortened(
  target: FuzzTarget,
  fuzzCase: FuzzCase,
  kinds: readonly number[],
): Promise<FuzzCase> {
  let best = fuzzCase;
  for (let at = best.steps.length - 1; at >= 0; at--) {
    const without = { setup: best.setup, steps: best.steps.filter((_, i) => i !== at) };
    const shown = await kindsOf(target, without);
    if (kinds.every((kind) => shown.has(kind))) best = without;
  }
  return best;
}

async function kindsOf(target: FuzzTarget, fuzzCase: FuzzCase): Promise<Set<number>> {
  const kinds = new Set<number>();
  await runCase(target, fuzzCase, (what) => kinds.add(what));
  return kinds;
}
