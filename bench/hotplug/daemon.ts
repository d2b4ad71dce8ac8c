/** Plugging through the daemon's API: the tree as it grows, without a guest; and each way that a mount can go, in a Linux guest. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { QemuArgs, Source, Via } from '../../manager/control/api.js';
import { LinuxGuest } from '../../testbed/guest.js';
import { findQemu } from '../../testbed/qemu.js';
import type { Growth } from '../hotplug.js';
import { Bench } from '../support/bench-vm.js';
import { Samples } from './samples.js';

const TAG = 'measured';
/** Most mounts of one request. */
const BATCH = 8;

type Kind = Source['type'];

export async function daemon(sizes: readonly number[], rounds: number): Promise<Growth[]> {
  const samples = new Samples();
  for (const kind of ['directory', 'memory'] as const) {
    await withBench((bench) => growTree(bench, samples, kind, sizes, rounds));
  }
  return samples.growths();
}

/** Only beside few mounts: an emulated guest is what takes the time. */
export async function throughDaemonInGuest(sizes: readonly number[], rounds: number): Promise<Growth[]> {
  const samples = new Samples();
  await withBench((bench) => inGuest(bench, samples, sizes[0], rounds));
  return samples.growths();
}

async function withBench(work: (bench: Bench) => Promise<void>): Promise<void> {
  const bench = await Bench.start();
  try {
    await work(bench);
  } finally {
    await bench.close();
  }
}

async function growTree(
  bench: Bench,
  samples: Samples,
  kind: Kind,
  sizes: readonly number[],
  rounds: number,
): Promise<void> {
  const { client } = bench;
  const what = kind === 'directory' ? 'a directory' : 'a memory file system';
  // The tree itself, and what the first mount brings along.
  const first = { tag: 'first', source: await sourceOf(bench, kind, 'first') };
  await client.attach('bench', { mounts: [first], via: 'tree' });
  const pid = (await client.get('bench')).deviceProcess.pid ?? 0;
  const before = await privateBytes(pid);
  let count = 1;
  for (const size of sizes) {
    while (count < size) {
      const names = Array.from({ length: Math.min(BATCH, size - count) }, (_, i) => `m${count + i}`);
      const sources = await Promise.all(names.map((name) => sourceOf(bench, kind, name)));
      await client.attach('bench', {
        mounts: names.map((tag, i) => ({ tag, source: sources[i] })),
        via: 'tree',
      });
      count += names.length;
    }
    const bytes = (await privateBytes(pid)) - before;
    if (size > 1) samples.add(`KiB for ${what} in the tree`, size, bytes / 1024 / (size - 1));
    samples.add(`MiB of the device process, ${kind}`, size, (before + bytes) / 2 ** 20);
    const source = await sourceOf(bench, kind, TAG);
    await cycle(bench, samples, { what, source, via: 'tree', size, rounds });
  }
}

async function sourceOf(bench: Bench, kind: Kind, name: string): Promise<Source> {
  return kind === 'memory'
    ? { type: kind }
    : { type: kind, path: await bench.directory(join('mounts', name)) };
}

interface Cycle {
  readonly what: string;
  readonly source: Source;
  readonly via: Via;
  readonly target?: string;
  readonly size: number;
  readonly rounds: number;
}

async function cycle({ client }: Bench, samples: Samples, options: Cycle): Promise<void> {
  const { what, source, via, target, size, rounds } = options;
  const mounts = [{ tag: TAG, source, ...(target !== undefined && { target }) }];
  const where = via === 'function' ? 'as a function' : target === undefined ? 'in the tree' : 'at a target';
  for (let round = 0; round < rounds; round++) {
    samples.add(`attach ${what} ${where}`, size, await timed(() => client.attach('bench', { mounts, via })));
    samples.add(`detach ${what} ${where}`, size, await timed(() => client.detach('bench', TAG)));
  }
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

async function inGuest(bench: Bench, samples: Samples, size: number, rounds: number): Promise<void> {
  const { client } = bench;
  const source: Source = { type: 'directory', path: await bench.directory('shared') };
  await client.attach('bench', { mounts: [{ tag: 'first', source }], via: 'tree' });
  const { args } = await bench.chassis<QemuArgs>('args', '--memory', '512');
  const guest = await LinuxGuest.boot({ qemu: await findQemu(), kernel: '6.1', machineArgs: args });
  try {
    const [mount, helper] = (await client.guestSetup('helper')).text.trim().split('\n');
    await guest.waitFor(mount);
    await guest.ok(helper.replace(/ &$/, ' >/dev/null 2>&1 &'));
    const common = { what: 'a directory', source, size, rounds };
    await cycle(bench, samples, { ...common, via: 'function' });
    await cycle(bench, samples, { ...common, via: 'tree' });
    await cycle(bench, samples, { ...common, via: 'tree', target: '/mnt/measured' });
  } finally {
    await guest.shutdown();
  }
}
