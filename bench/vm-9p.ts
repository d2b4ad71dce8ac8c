import { parseArgs } from 'node:util';
import type { Mount, QemuArgs } from '../manager/control/api.js';
import { LinuxGuest } from '../testbed/guest.js';
import { kernelVersions, type KernelVersion } from '../testbed/kernel.js';
import { findQemu } from '../testbed/qemu.js';
import { Bench } from './support/bench-vm.js';
import { printComparisons, type Comparison } from './support/results.js';

const USAGE = `npm run bench -- vm-9p [options]

One host directory, mounted three times in one guest: through Chassis over each of its ports, and through QEMU's own
virtio-9p. The sides take turns.

  --kernel 6.1|6.12   the guest's Linux (default 6.1; 6.12 sends direct I/O in 4 KiB requests)
  --cache MODE        the mounts' cache= option (default none)
  --rounds N          turns of each side (default 3)
  --size MIB          of the file read and written (default 128)
  --only PART         only tests whose name contains it
  --json              lines of JSON
`;

interface Test {
  readonly name: string;
  readonly unit: string;
  readonly better: Comparison['better'];
  /** A shell command in the guest that prints one number. DIR stands for the folder, SIZE for its MiB. */
  readonly command: string;
}

const PORTS = ['vhost-user', 'vfio-user'] as const;
const SIDES = [...PORTS, 'qemu'] as const;
const FILES = 2000;
const RANDOM_OPERATIONS = 1000;

const TESTS: readonly Test[] = [
  {
    name: 'seq write 1M buffered',
    unit: 'MiB/s',
    better: 'more',
    command: '/fsbench seq-write DIR SIZE buffered',
  },
  {
    name: 'seq read 1M buffered',
    unit: 'MiB/s',
    better: 'more',
    command: '/fsbench seq-read DIR SIZE buffered',
  },
  {
    name: 'seq write 1M direct',
    unit: 'MiB/s',
    better: 'more',
    command: '/fsbench seq-write DIR SIZE direct',
  },
  { name: 'seq read 1M direct', unit: 'MiB/s', better: 'more', command: '/fsbench seq-read DIR SIZE direct' },
  ...(['read', 'write'] as const).map((kind) => ({
    name: `random ${kind} 4K depth 1`,
    unit: '/s',
    better: 'more' as const,
    command: `/fsbench rand-${kind} DIR SIZE ${RANDOM_OPERATIONS}`,
  })),
  ...(['create', 'stat', 'unlink'] as const).map((kind) => ({
    name: `${kind} ${FILES} files`,
    unit: '/s',
    better: 'more' as const,
    command: `/fsbench ${kind} DIR ${FILES}`,
  })),
  {
    name: 'untar 500 files',
    unit: 's',
    better: 'less',
    command: '/fsbench time tar -xf /tmp/tree.tar -C DIR/tree',
  },
];

/** Made once, in the guest's own memory, so that only the writing is measured. */
const MAKE_TAR = `mkdir -p /tmp/tree && cd /tmp/tree && i=0
while [ $i -lt 500 ]; do head -c $((i * 37)) /dev/zero > f$i; i=$((i+1)); done
cd /tmp && tar -cf tree.tar -C tree . && rm -rf tree`;

export async function vm9p(options: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...options],
    options: {
      kernel: { type: 'string', default: '6.1' },
      cache: { type: 'string', default: 'none' },
      rounds: { type: 'string', default: '3' },
      size: { type: 'string', default: '128' },
      only: { type: 'string', default: '' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return void process.stdout.write(USAGE);
  const kernel = kernelVersions.find((version) => version === values.kernel);
  if (kernel === undefined)
    throw new Error(`--kernel ${values.kernel}: it is one of ${kernelVersions.join(', ')}`);
  const tests = TESTS.filter(
    ({ name }) => name.includes(values.only) || name.startsWith('seq write 1M buffered'),
  );
  const bench = await Bench.start();
  try {
    const guest = await boot(bench, kernel, values.cache);
    try {
      const comparisons = await measure(guest, tests, Number(values.rounds), Number(values.size));
      if (!values.json)
        process.stdout.write(`Linux ${guest.release}, cache=${values.cache}, msize=512000\n\n`);
      printComparisons(comparisons, values.json);
      if (!values.json) process.stdout.write('\n');
      await printCounters(bench, values.json);
    } finally {
      await guest.shutdown();
    }
  } finally {
    await bench.close();
  }
}

/** Boots with all devices in place, so that all have MSI-X, and mounts them. */
async function boot(bench: Bench, kernel: KernelVersion, cache: string): Promise<LinuxGuest> {
  const shared = await bench.directory('shared');
  for (const port of PORTS) {
    await bench.chassis('attach', shared, '--tag', port, '--port', port, '--permanent');
  }
  const { args } = await bench.chassis<QemuArgs>('args', '--memory', '768');
  const native = [
    ...[
      '-fsdev',
      `local,id=native,path=${shared},security_model=${process.geteuid?.() === 0 ? 'passthrough' : 'none'}`,
    ],
    ...['-device', 'virtio-9p-pci,fsdev=native,mount_tag=qemu'],
  ];
  const guest = await LinuxGuest.boot({
    qemu: await findQemu(),
    kernel,
    machineArgs: args,
    extraArgs: native,
    extraFiles: [{ path: '/fsbench', hostPath: await bench.fsbench(), mode: 0o755 }],
  });
  for (const tag of SIDES) {
    const mountOptions = `trans=virtio,version=9p2000.L,msize=512000,cache=${cache}`;
    await guest.ok(
      `mkdir -p /mnt/${tag} && mount -t 9p -o ${mountOptions} ${tag} /mnt/${tag} && mkdir /mnt/${tag}/of-${tag}`,
    );
  }
  await guest.ok(MAKE_TAR, { timeoutMs: 120_000 });
  return guest;
}

async function measure(
  guest: LinuxGuest,
  tests: readonly Test[],
  rounds: number,
  size: number,
): Promise<Comparison[]> {
  const comparisons = tests.map(({ name, unit, better }) => ({
    name,
    unit,
    better,
    sides: Object.fromEntries(SIDES.map((side) => [side, [] as number[]])),
  }));
  for (let round = 0; round < rounds; round++) {
    for (const [i, test] of tests.entries()) {
      // Who goes first changes with the round.
      for (const side of round % 2 === 0 ? SIDES : [...SIDES].reverse()) {
        comparisons[i].sides[side].push(await runOnce(guest, test, `/mnt/${side}/of-${side}`, size));
      }
    }
    for (const side of SIDES) await guest.ok(`rm -rf /mnt/${side}/of-${side}/tree`, { timeoutMs: 120_000 });
  }
  return comparisons;
}

async function runOnce(guest: LinuxGuest, test: Test, folder: string, size: number): Promise<number> {
  const command = test.command.replaceAll('DIR', folder).replaceAll('SIZE', String(size));
  const script = `mkdir -p ${folder}/tree; sync; echo 3 > /proc/sys/vm/drop_caches; ${command}`;
  const { stdout } = await guest.ok(script, { timeoutMs: 300_000 });
  return Number(stdout.trim());
}

async function printCounters(bench: Bench, json: boolean): Promise<void> {
  const { mounts } = await bench.chassis<{ mounts: Mount[] }>('mounts');
  for (const { tag, counters } of mounts) {
    if (counters === undefined) continue;
    const perThousand = (count: number): string => ((count * 1000) / counters.requests).toFixed(0);
    const text =
      `${tag}: ${counters.requests} requests; for a thousand of them ${perThousand(counters.kicks)} kicks, ` +
      `${perThousand(counters.interrupts)} interrupts, ${perThousand(counters.spuriousWakes)} wakes for nothing`;
    process.stdout.write(json ? `${JSON.stringify({ name: 'counters', tag, counters })}\n` : `${text}\n`);
  }
}
