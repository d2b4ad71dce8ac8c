import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { QemuArgs, Via } from '../manager/control/api.js';
import { table } from '../cli/support/mounts-text.js';
import { LinuxGuest } from '../testbed/guest.js';
import { findQemu } from '../testbed/qemu.js';
import { Bench } from './support/bench-vm.js';
import { spreadOf } from './support/results.js';

const USAGE = `npm run bench -- hotplug-daemon [--most N] [--samples N] [--no-guest] [--json]

Attach and detach through the daemon's API. First mounts of the tree as they grow to N (10,000), without a guest: milliseconds of one attach
and one detach beside so many, and the memory of the device process for each that is idle. Then in a Linux guest (6.1), until the
VMM (function), the device process (tree) or the guest's helper (tree with a target) has answered.
`;

const TAG = 'sample';
const BATCH = 8;

/** What was measured beside so many mounts. */
interface Growth {
  readonly source: string;
  readonly mounts: number;
  readonly attachMs: number;
  readonly detachMs: number;
  /** Of the device process, above what it had without mounts, for each mount. */
  readonly bytesPerMount: number;
  readonly totalMiB: number;
}

interface Latency {
  readonly via: string;
  readonly attachMs: number;
  readonly detachMs: number;
}

export async function hotplugDaemon(options: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...options],
    options: {
      most: { type: 'string', default: '10000' },
      samples: { type: 'string', default: '50' },
      'no-guest': { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return void process.stdout.write(USAGE);
  const samples = Number(values.samples);
  const growth: Growth[] = [];
  for (const source of ['directory', 'memory'] as const) {
    growth.push(...(await withBench((bench) => grow(bench, source, Number(values.most), samples))));
  }
  const latencies = values['no-guest'] ? [] : await withBench((bench) => inGuest(bench, samples));
  if (values.json) {
    for (const line of [...growth, ...latencies]) process.stdout.write(`${JSON.stringify(line)}\n`);
  } else print(growth, latencies);
}

async function withBench<T>(work: (bench: Bench) => Promise<T>): Promise<T> {
  const bench = await Bench.start();
  try {
    return await work(bench);
  } finally {
    await bench.close();
  }
}

async function grow(
  bench: Bench,
  kind: 'directory' | 'memory',
  most: number,
  samples: number,
): Promise<Growth[]> {
  const rows: Growth[] = [];
  const source = async (name: string) =>
    kind === 'memory'
      ? { type: 'memory' as const }
      : { type: 'directory' as const, path: await bench.directory(join('mounts', name)) };
  // The tree itself, and what the first mount brings along.
  await bench.client.attach('bench', {
    mounts: [{ tag: 'first', source: await source('first') }],
    via: 'tree',
  });
  const pid = (await bench.client.get('bench')).deviceProcess.pid ?? 0;
  const before = await privateBytes(pid);
  let count = 1;
  for (let size = 1; size <= most; size *= 10) {
    while (count < size) {
      const names = Array.from({ length: Math.min(BATCH, size - count) }, (_, i) => `m${count + i}`);
      const mounts = await Promise.all(names.map(async (tag) => ({ tag, source: await source(tag) })));
      await bench.client.attach('bench', { mounts, via: 'tree' });
      count += names.length;
    }
    const bytes = (await privateBytes(pid)) - before;
    const { attachMs, detachMs } = await sample(bench, await source(TAG), 'tree', samples);
    const perMount = size === 1 ? 0 : bytes / (size - 1);
    const totalMiB = (await privateBytes(pid)) / 2 ** 20;
    rows.push({ source: kind, mounts: size, attachMs, detachMs, bytesPerMount: perMount, totalMiB });
  }
  return rows;
}

type Source = { type: 'memory' } | { type: 'directory'; path: string };

async function sample(
  { client }: Bench,
  source: Source,
  via: Via,
  samples: number,
  target?: string,
): Promise<{ attachMs: number; detachMs: number }> {
  const [attach, detach]: number[][] = [[], []];
  const mounts = [{ tag: TAG, source, ...(target !== undefined && { target }) }];
  for (let i = 0; i < samples; i++) {
    attach.push(await timed(() => client.attach('bench', { mounts, via })));
    detach.push(await timed(() => client.detach('bench', TAG)));
  }
  return { attachMs: spreadOf(attach).median, detachMs: spreadOf(detach).median };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

/** Anonymous memory: the rest is the program, shared with every other process of it. */
async function privateBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^RssAnon:\s*(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

async function inGuest(bench: Bench, samples: number): Promise<Latency[]> {
  const path = await bench.directory('shared');
  await mkdir(join(path, 'd'), { recursive: true });
  const source = { type: 'directory' as const, path };
  await bench.client.attach('bench', { mounts: [{ tag: 'first', source }], via: 'tree' });
  const { args } = await bench.chassis<QemuArgs>('args', '--memory', '512');
  const guest = await LinuxGuest.boot({ qemu: await findQemu(), kernel: '6.1', machineArgs: args });
  try {
    const { text } = await bench.client.guestSetup('helper');
    const [mount, helper] = text.trim().split('\n');
    await guest.waitFor(mount);
    await guest.ok(helper.replace(/ &$/, ' >/dev/null 2>&1 &'));
    return [
      { via: 'function', ...(await sample(bench, source, 'function', samples)) },
      { via: 'tree', ...(await sample(bench, source, 'tree', samples)) },
      { via: 'tree, at a target', ...(await sample(bench, source, 'tree', samples, '/mnt/sample')) },
    ];
  } finally {
    await guest.shutdown();
  }
}

function print(growth: readonly Growth[], latencies: readonly Latency[]): void {
  const rows = growth.map(({ source, mounts, attachMs, detachMs, bytesPerMount, totalMiB }) => [
    ...[source, String(mounts), attachMs.toFixed(2), detachMs.toFixed(2)],
    ...[mounts === 1 ? '-' : (bytesPerMount / 1024).toFixed(1), totalMiB.toFixed(0)],
  ]);
  const headings = ['SOURCE', 'MOUNTS', 'ATTACH MS', 'DETACH MS', 'KIB PER MOUNT', 'DEVICE PROCESS MIB'];
  process.stdout.write(`${table(headings, rows)}\n`);
  if (latencies.length === 0) return;
  const guests = latencies.map(({ via, attachMs, detachMs }) => [
    via,
    attachMs.toFixed(1),
    detachMs.toFixed(1),
  ]);
  process.stdout.write(`\n${table(['IN A GUEST', 'ATTACH MS', 'DETACH MS'], guests)}\n`);
}
