import { parseArgs } from 'node:util';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { QemuArgs } from '../manager/control/api.js';
import { LinuxGuest } from '../testbed/guest.js';
import { findQemu } from '../testbed/qemu.js';
import { Bench } from './support/bench-vm.js';
import { diskTests, MIB, type DiskTest } from './support/disk-tests.js';
import { DiskRunner, type DiskSide } from './support/disk-runner.js';
import { printNotifications, type TestRuns } from './support/notifications.js';
import { printComparisons } from './support/results.js';
import { comparison, takeTurns } from './support/turns.js';
import { VM_OPTIONS, vmSettings, type VmSettings } from './support/vm-options.js';

const USAGE = `npm run bench -- vm-blk [options]

Disks of one guest, each in a file of its own on the same file system of the host: Chassis's over each of its ports, and QEMU's own
virtio-blk with its threads and with io_uring. The guest reads and writes past its page cache, the host does not. The sides take
turns. Prints medians, the ratios within a turn (above 1: faster than the peer) with their spread, the guest's interrupts, and what
crossed Chassis's ports.

  --kernel 6.1|6.12   the guest's Linux (default 6.1)
  --rounds N          how often all is measured (default 5)
  --size MIB          of each disk (default 128)
  --only PART         only tests whose name contains it
  --json              lines of JSON
`;

const OWN: readonly DiskSide[] = [
  { name: 'vhost-user', counted: true },
  { name: 'vfio-user', counted: true },
];
const PEERS: readonly DiskSide[] = [
  { name: 'threads', counted: false },
  { name: 'io_uring', counted: false },
];

type Settings = VmSettings<DiskTest>;

export async function vmBlk(options: readonly string[]): Promise<void> {
  const settings = readOptions(options);
  if (settings === undefined) return void process.stdout.write(USAGE);
  const bench = await Bench.start();
  try {
    const guest = await boot(bench, settings);
    try {
      const runners: DiskRunner[] = [];
      for (const side of [...OWN, ...PEERS]) runners.push(await DiskRunner.find(side, bench, guest));
      for (const runner of runners) await runner.fill(settings.sizeMiB);
      const { tests, rounds } = settings;
      print(guest, await takeTurns(tests, runners, rounds, (runner, test) => runner.run(test)), settings);
    } finally {
      await guest.shutdown();
    }
  } finally {
    await bench.close();
  }
}

/** @throws Error for what the options cannot be; undefined where help is asked for. */
function readOptions(options: readonly string[]): Settings | undefined {
  const { values } = parseArgs({
    args: [...options],
    options: {
      ...VM_OPTIONS,
      rounds: { type: 'string', default: '5' },
      size: { type: 'string', default: '128' },
    },
  });
  return values.help ? undefined : vmSettings(values, diskTests);
}

/** Boots with all disks in place. */
async function boot(bench: Bench, { kernel, sizeMiB }: Settings): Promise<LinuxGuest> {
  const image = async ({ name }: DiskSide): Promise<string> => {
    const path = join(bench.folder, `${name}.img`);
    await writeFile(path, '');
    await truncate(path, sizeMiB * MIB);
    return path;
  };
  for (const side of OWN) {
    await bench.chassis(
      'disk',
      'add',
      await image(side),
      '--name',
      side.name,
      '--port',
      side.name,
      '--permanent',
    );
  }
  const { args } = await bench.chassis<QemuArgs>('args', '--memory', '768');
  const peers = await Promise.all(PEERS.map(async (side) => qemusDisk(side, await image(side))));
  return LinuxGuest.boot({
    qemu: await findQemu(),
    kernel,
    machineArgs: args,
    extraArgs: peers.flat(),
    extraFiles: [{ path: '/blkbench', hostPath: await bench.guestProgram('blkbench'), mode: 0o755 }],
  });
}

function qemusDisk({ name }: DiskSide, path: string): string[] {
  const file = { driver: 'file', 'node-name': `native-${name}`, filename: path, aio: name, discard: 'unmap' };
  return [
    ...['-blockdev', JSON.stringify(file)],
    ...['-device', `virtio-blk-pci,drive=native-${name},serial=${name}`],
  ];
}

function print(guest: LinuxGuest, results: readonly TestRuns[], settings: Settings): void {
  const { json, rounds, sizeMiB } = settings;
  if (!json) process.stdout.write(`Linux ${guest.release}; rounds: ${rounds}, disks: ${sizeMiB} MiB\n\n`);
  printComparisons(
    results.map(comparison),
    json,
    PEERS.map(({ name }) => name),
  );
  if (!json) process.stdout.write('\n');
  printNotifications(results, sizeMiB, json);
}
