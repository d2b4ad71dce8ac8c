import { decodeCase, encodeCase, type FuzzCase } from './case.js';
import { runCase, type FuzzTarget } from './fuzzer.js';

/** As few of the cases, and as short ones, about, as show all that they show together. */
export function smallestCorpus(target: FuzzTarget, corpus: readonly string[]): string[] {
  const shown = corpus.map((line) => ({
    fuzzCase: decodeCase(line),
    kinds: kindsOf(target, decodeCase(line)),
  }));
  const chosen: string[] = [];
  const seen = new Set<number>();
  for (const { fuzzCase, kinds } of shown.sort((a, b) => b.kinds.size - a.kinds.size)) {
    const fresh = [...kinds].filter((kind) => !seen.has(kind));
    if (fresh.length === 0) continue;
    chosen.push(encodeCase(shortened(target, fuzzCase, fresh)));
    for (const kind of fresh) seen.add(kind);
  }
  return chosen;
}

/** Without the steps that it can do without and still show these kinds. */
function shortened(target: FuzzTarget, fuzzCase: FuzzCase, kinds: readonly number[]): FuzzCase {
  let best = fuzzCase;
  for (let at = best.steps.length - 1; at >= 0; at--) {
    const without = { setup: best.setup, steps: best.steps.filter((_, i) => i !== at) };
    const shown = kindsOf(target, without);
    if (kinds.every((kind) => shown.has(kind))) best = without;
  }
  return best;
}

function kindsOf(target: FuzzTarget, fuzzCase: FuzzCase): Set<number> {
  const kinds = new Set<number>();
  runCase(target, fuzzCase, (what) => kinds.add(what));
  return kinds;
}
