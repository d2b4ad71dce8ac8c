/**
 * The 9p server on a unix socket beside diod, a 9p server in C: one client, one directory, one kind of request at a time. The sides
 * take turns, so that what a noisy machine does to both cancels out.
 */
import { once } from 'node:events';
import { fork, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { DiodServer } from '../testbed/diod-server.js';
import { findDiod } from '../testbed/diod.js';
import { inproc9p } from './9p-inproc.js';
import { state9p } from './9p-state.js';
import { printComparisons, type Comparison } from './support/results.js';

const USAGE = `npm run bench -- 9p [--dir DIR] [--turns N] [--seconds S] [--only PATTERN] [--json]
npm run bench -- 9p --in-process [--help]
npm run bench -- 9p --state [--help]

Requests a second, and processor seconds of the server for a million of them, over a directory below DIR: this server and diod, by the
same client (bench/9p-load.c, which needs a C compiler). Reads and writes of 512 KiB are in MiB and in processor seconds a GiB: diod agrees to
messages of 64 KiB at most, and takes more of them. --in-process: the server alone, message by message. --state: a client
that is handed over from one server to another.
`;

const C_SOURCE = fileURLToPath(new URL('../../bench/9p-load.c', import.meta.url));
const SERVER = fileURLToPath(new URL('../manager/export/main.js', import.meta.url));
const MSIZE_BYTES = 2 ** 20;
/** Of /proc/PID/stat, on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;
const MIB = 2 ** 20;

const OPERATIONS = ['getattr', 'walk-1', 'walk-4', 'read-4k', 'write-4k', 'create-unlink', 'readdir'];
const BULK_OPERATIONS = ['read-512k', 'write-512k'];
const DEPTHS = [1, 32];

/** One server, ready to be asked. */
interface Side {
  readonly name: string;
  readonly pid: number;
  readonly socketPath: string;
  readonly aname: string;
  stop(): Promise<unknown>;
}

/** What a run of the client tells, and what the server spent on it. */
interface Turn {
  readonly requestsPerSecond: number;
  readonly bytesPerSecond: number;
  readonly cpuSecondsPerRequest: number;
}

export async function ninePServers(options: readonly string[]): Promise<void> {
  if (options.includes('--state')) return state9p(options.filter((word) => word !== '--state'));
  if (options.includes('--in-process')) return inproc9p(options.filter((word) => word !== '--in-process'));
  const { values } = parseArgs({
    args: [...options],
    options: {
      dir: { type: 'string', default: tmpdir() },
      turns: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '0.5' },
      only: { type: 'string', default: '' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return void process.stdout.write(USAGE);
  const folder = mkdtempSync(join(values.dir, 'chassis-9p-'));
  try {
    const load = await compileLoad(join(folder, 'load'));
    const tree = makeTree(join(folder, 'tree'));
    const plan = {
      load,
      turns: Number(values.turns),
      seconds: values.seconds,
      only: new RegExp(values.only),
    };
    const comparisons = await compareOn(tree, folder, plan);
    printComparisons(comparisons, values.json);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function compileLoad(program: string): Promise<string> {
  const { failed } = await execa('cc', ['-O2', '-o', program, C_SOURCE], { reject: false });
  if (failed) throw new Error(`cc does not compile ${C_SOURCE} (Debian: gcc libc6-dev)`);
  return program;
}

/** What 9p-load.c expects. */
function makeTree(tree: string): string {
  mkdirSync(join(tree, 'a/b/c'), { recursive: true });
  writeFileSync(join(tree, 'a/b/c/file'), '');
  writeFileSync(join(tree, 'small'), Buffer.alloc(8 * MIB, 1));
  writeFileSync(join(tree, 'large'), Buffer.alloc(32 * MIB, 1));
  mkdirSync(join(tree, 'created'));
  mkdirSync(join(tree, 'many'));
  for (let i = 0; i < 2000; i++) writeFileSync(join(tree, 'many', `entry-${i}`), '');
  return tree;
}

interface Plan {
  readonly load: string;
  readonly turns: number;
  readonly seconds: string;
  readonly only: RegExp;
}

async function compareOn(tree: string, folder: string, plan: Plan): Promise<Comparison[]> {
  const sides = [await startChassis(tree, join(folder, 'chassis.sock'))];
  try {
    sides.push(await startDiod(tree, join(folder, 'diod.sock')));
    const rates: Comparison[] = [];
    const costs: Comparison[] = [];
    for (const operation of [...OPERATIONS, ...BULK_OPERATIONS].filter((name) => plan.only.test(name)))
      for (const depth of DEPTHS) {
        const turns = await takeTurns(sides, operation, depth, plan);
        const [rate, cost] = compared(operation, depth, turns);
        rates.push(rate);
        costs.push(cost);
      }
    return [...rates, ...costs];
  } finally {
    await Promise.all(sides.map((side) => side.stop()));
  }
}

async function takeTurns(
  sides: readonly Side[],
  operation: string,
  depth: number,
  plan: Plan,
): Promise<Map<string, Turn[]>> {
  const turns = new Map(sides.map(({ name }): [string, Turn[]] => [name, []]));
  for (let turn = 0; turn < plan.turns; turn++)
    for (const side of sides) turns.get(side.name)?.push(await runLoad(side, operation, depth, plan));
  return turns;
}

async function runLoad(side: Side, operation: string, depth: number, plan: Plan): Promise<Turn> {
  const before = cpuSeconds(side.pid);
  const words = [side.socketPath, side.aname, operation, String(depth), plan.seconds];
  const { stdout } = await execa(plan.load, words);
  const cpu = cpuSeconds(side.pid) - before;
  const [requests, bytes, seconds, all] = stdout.split(' ').map(Number);
  return {
    requestsPerSecond: requests / seconds,
    bytesPerSecond: bytes / seconds,
    cpuSecondsPerRequest: cpu / all,
  };
}

/** Of all threads, in user and system mode: fields 14 and 15, counted behind the name in parentheses. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function compared(operation: string, depth: number, turns: Map<string, Turn[]>): [Comparison, Comparison] {
  const isBulk = BULK_OPERATIONS.includes(operation);
  const name = `${operation}, depth ${depth}`;
  const sides = (figure: (turn: Turn) => number): Record<string, number[]> =>
    Object.fromEntries([...turns].map(([side, of]) => [side, of.map(figure)]));
  const rate = (turn: Turn): number => (isBulk ? turn.bytesPerSecond / MIB : turn.requestsPerSecond);
  const cost = (turn: Turn): number =>
    turn.cpuSecondsPerRequest *
    (isBulk ? (turn.requestsPerSecond / turn.bytesPerSecond) * 1024 * MIB : 1_000_000);
  return [
    { name, unit: isBulk ? 'MiB/s' : 'requests/s', better: 'more', sides: sides(rate) },
    {
      name: `cpu, ${name}`,
      unit: isBulk ? 's/GiB' : 's/M requests',
      better: 'less',
      sides: sides(cost),
    },
  ];
}

async function startChassis(tree: string, socketPath: string): Promise<Side> {
  const words = ['--msize', String(MSIZE_BYTES), '--listen', `unix:${socketPath}`, '--', tree];
  const server = fork(SERVER, words, { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
  const [message] = (await once(server, 'message')) as [object];
  if (!('listening' in message) || server.pid === undefined)
    throw new Error(`the export did not start: ${JSON.stringify(message)}`);
  return { name: 'chassis', pid: server.pid, socketPath, aname: '/', stop: () => end(server) };
}

async function end(server: ChildProcess): Promise<void> {
  const exited = once(server, 'exit');
  server.kill('SIGTERM');
  await exited;
}

async function startDiod(tree: string, socketPath: string): Promise<Side> {
  const server = await DiodServer.start(await findDiod(), tree, socketPath);
  return { name: 'diod', pid: server.pid, socketPath, aname: tree, stop: () => server.stop() };
}
