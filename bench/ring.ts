/**
 * The device's side of a virtqueue by itself: chains taken, completed and published, with no device work, beside a program in C that does the
 * same on the same memory. The two take turns.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { table } from '../cli/support/mounts-text.js';
import { measureBulk, type BulkResult } from './ring-bulk.js';
import type { RingQuestion } from './ring-child.js';
import type { RingCase } from './ring-workload.js';
import { spreadOf } from './support/results.js';

interface Measurement extends RingCase {
  /** Of processor time, as all that follow. */
  readonly nsPerChain: number;
  readonly heapBytesPerChain: number;
  /** Undefined without a C compiler, and where the C program has no such ring. */
  readonly nsPerChainInC?: number;
  /** How many times the C program's time: the median over the rounds of the ratio within a round. */
  readonly timesC?: number;
}

const C_SOURCE = fileURLToPath(new URL('../../bench/ring.c', import.meta.url));
const CHILD = fileURLToPath(new URL('./ring-child.js', import.meta.url));
/** Megabytes of the child's young generation. Nothing is collected before they are full, so that all that is allocated is counted. */
const CHILD_FLAGS = ['--expose-gc', '--min-semi-space-size=64', '--max-semi-space-size=64'];
/** V8 compiles the same code in more ways than one, so that a process is one sample of several. */
const PROCESSES = 3;
const ROUNDS = 5;
const WARM_UP_CHAINS = 2_048_000;
const CHAINS = 512_000;
const HEAP_CHAINS = 512_000;

const YES_AND_NO = [false, true];
const PLAIN = { inOrder: false, recorded: false } as const;
const FORMATS = ['split', 'packed'] as const;
const CASES: readonly RingCase[] = [
  ...FORMATS.flatMap((format) =>
    [128, 1024].flatMap((size) =>
      YES_AND_NO.flatMap((indirect) =>
        YES_AND_NO.map((eventIdx) => ({ format, size, batch: 64, indirect, eventIdx, ...PLAIN })),
      ),
    ),
  ),
  ...FORMATS.map((format) => caseOf(format, { inOrder: true })),
  ...FORMATS.map((format) => caseOf(format, { batch: 1 })),
  ...FORMATS.map((format) => caseOf(format, { recorded: true })),
  ...FORMATS.map((format) => caseOf(format, { batch: 1, recorded: true })),
];

function caseOf(format: RingCase['format'], change: Partial<RingCase>): RingCase {
  return { format, size: 128, batch: 64, indirect: false, eventIdx: true, ...PLAIN, ...change };
}

/** Prints a row for each case, or everything as JSON. */
export async function ring(json: boolean): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'chassis-bench-'));
  try {
    const program = await compile(join(folder, 'ring'));
    const measurements: Measurement[] = [];
    for (const each of CASES) measurements.push(await measure(each, program));
    const bulk = await measureBulk();
    if (json) console.log(JSON.stringify({ measurements, bulk }, undefined, 2));
    else print(measurements, bulk, program !== undefined);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The C program, or undefined where there is no compiler. */
async function compile(program: string): Promise<string | undefined> {
  const { failed, code } = await execa('cc', ['-O2', '-o', program, C_SOURCE], { reject: false });
  if (failed && code !== 'ENOENT') throw new Error(`cc does not compile ${C_SOURCE}`);
  return failed ? undefined : program;
}

async function measure(ringCase: RingCase, program: string | undefined): Promise<Measurement> {
  const ours: number[] = [];
  const theirs: number[] = [];
  const heap: number[] = [];
  for (let i = 0; i < PROCESSES; i++) {
    const child = fork(CHILD, [JSON.stringify(ringCase)], { execArgv: CHILD_FLAGS });
    await ask(child, { measure: 'time', chains: WARM_UP_CHAINS });
    for (let round = 0; round < ROUNDS; round++) {
      ours.push(await ask(child, { measure: 'time', chains: CHAINS }));
      if (program !== undefined && !ringCase.inOrder) theirs.push(await runInC(program, ringCase));
    }
    heap.push(await ask(child, { measure: 'heap', chains: HEAP_CHAINS }));
    child.kill();
  }
  const result = {
    ...ringCase,
    nsPerChain: spreadOf(ours).median,
    heapBytesPerChain: spreadOf(heap).median,
  };
  if (theirs.length === 0) return result;
  const timesC = spreadOf(ours.map((ns, round) => ns / theirs[round])).median;
  return { ...result, nsPerChainInC: spreadOf(theirs).median, timesC };
}

async function ask(child: ChildProcess, question: RingQuestion): Promise<number> {
  const answered = Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(() => {
      throw new Error('the measuring process ended');
    }),
  ]);
  child.send(question);
  const [answer] = (await answered) as [number];
  return answer;
}

async function runInC(program: string, ringCase: RingCase): Promise<number> {
  const { format, size, batch, indirect, eventIdx } = ringCase;
  const numbers = [size, batch, Number(indirect), Number(eventIdx), CHAINS].map(String);
  const { stdout } = await execa(program, [format, ...numbers]);
  return Number(stdout);
}

function print(measurements: readonly Measurement[], bulk: readonly BulkResult[], hasC: boolean): void {
  const rows = measurements.map((measurement) => [
    nameOf(measurement),
    measurement.nsPerChain.toFixed(1),
    (1000 / measurement.nsPerChain).toFixed(1),
    measurement.heapBytesPerChain.toFixed(2),
    measurement.nsPerChainInC?.toFixed(1) ?? '-',
    measurement.timesC?.toFixed(2) ?? '-',
  ]);
  const headings = [
    'CHAINS OF TWO DESCRIPTORS',
    'NS/CHAIN',
    'M CHAINS/S',
    'HEAP B/CHAIN',
    'NS IN C',
    'TIMES C',
  ];
  console.log(table(headings, rows));
  if (!hasC) console.log('There is no C compiler (Debian: gcc libc6-dev), and so nothing to compare with.');
  const bulkRows = bulk.map(({ name, kicksPerThousand, interruptsPerThousand, nsPerChain }) => [
    name,
    kicksPerThousand.toFixed(3),
    interruptsPerThousand.toFixed(3),
    nsPerChain.toFixed(1),
  ]);
  const bulkHeadings = ['BULK OVER TWO CORES', 'KICKS/1000', 'INTERRUPTS/1000', 'NS/CHAIN'];
  console.log(`\n${table(bulkHeadings, bulkRows)}`);
}

function nameOf({ format, size, batch, indirect, eventIdx, inOrder, recorded }: RingCase): string {
  return [
    `${format}, ${size}`,
    ...(indirect ? ['indirect'] : []),
    eventIdx ? 'event index' : 'flags',
    ...(inOrder ? ['in order'] : []),
    ...(recorded ? ['recorded'] : []),
    ...(batch === 1 ? ['one at a time'] : []),
  ].join(', ');
}
