/** `npm run fuzz`: the fuzzers by hand, for as long as wanted. */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { beginWatching } from '../devices/virtio/ring/watched-memory.js';
import { decodeCase } from './case.js';
import { fuzz, runCase, type FuzzTarget } from './fuzzer.js';
import { smallestCorpus } from './smallest-corpus.js';
import { corpusUrl, readCorpus, TARGETS } from './targets.js';

const USAGE = `npm run fuzz -- [NAME…] [--states N] [--seed N] [--keep]
npm run fuzz -- NAME --case 'LINE'

Fuzzes ${Object.keys(TARGETS).join(', ')}, or those that are named, until each has been in N states (default 1,000,000). A failure
prints its case, and --case runs that again. --keep writes what was found into the committed corpus, as few cases as show it all.
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    states: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    case: { type: 'string' },
    keep: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
const names = positionals.length === 0 ? Object.keys(TARGETS) : positionals;
const unknown = names.filter((name) => TARGETS[name] === undefined);
if (values.help || unknown.length > 0) {
  (values.help ? process.stdout : process.stderr).write(USAGE);
  process.exitCode = values.help ? 0 : 2;
} else {
  beginWatching();
  for (const name of names) await run(TARGETS[name]());
}

async function run(target: FuzzTarget): Promise<void> {
  try {
    if (values.case === undefined) await runMany(target);
    else {
      const states = await runCase(target, decodeCase(values.case), () => {});
      console.log(`${target.name}: ${states} ${target.unit}, and nothing was wrong`);
    }
  } finally {
    target.close?.();
  }
}

async function runMany(target: FuzzTarget): Promise<void> {
  const { name } = target;
  const seed = Number(values.seed);
  const started = performance.now();
  let next = 0;
  const result = await fuzz(target, {
    states: Number(values.states),
    seed,
    corpus: readCorpus(name),
    progress: (states) => {
      if (states < next) return;
      next = states + Number(values.states) / 10;
      console.log(`${name}: ${states.toLocaleString('en')} so far`);
    },
  });
  const seconds = Math.round((performance.now() - started) / 1000);
  const counts = [result.states, result.cases, result.kinds].map((count) => count.toLocaleString('en'));
  console.log(
    `${name}: ${counts[0]} ${target.unit} in ${counts[1]} cases, ${counts[2]} kinds, seed ${seed}, ${seconds} s`,
  );
  if (values.keep)
    writeFileSync(corpusUrl(name), `${(await smallestCorpus(target, result.corpus)).join('\n')}\n`);
}
