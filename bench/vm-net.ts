import { spawn, type ChildProcess } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { parseArgs } from 'node:util';
import type { QemuArgs } from '../manager/control/api.js';
import { LinuxGuest } from '../testbed/guest.js';
import { findPasst } from '../testbed/passt.js';
import { findQemu } from '../testbed/qemu.js';
import { Bench } from './support/bench-vm.js';
import { CardRunner, type CardSide, type CardTest } from './support/card-runner.js';
import { NetPeer } from './support/net-peer.js';
import { printNotifications, type TestRuns } from './support/notifications.js';
import { printComparisons } from './support/results.js';
import { comparison, takeTurns } from './support/turns.js';
import { VM_OPTIONS, vmSettings, type VmSettings } from './support/vm-options.js';

const USAGE = `npm run bench -- vm-net [options]

Network cards of one guest, each on a passt of its own, through which it talks to one program at the host's loopback interface:
Chassis's over each of its ports, and QEMU's own virtio-net over \`-netdev stream\`. The sides take turns. Prints medians, the ratios
within a turn (above 1: faster than the peer) with their spread, the guest's interrupts, and what crossed Chassis's ports.

  --kernel 6.1|6.12   the guest's Linux (default 6.1)
  --rounds N          how often all is measured (default 5)
  --size MIB          of each stream (default 64)
  --only PART         only tests whose name contains it
  --json              lines of JSON
`;

const OWN: readonly CardSide[] = [
  { name: 'vhost-user', mac: '52:54:00:00:00:01', counted: true },
  { name: 'vfio-user', mac: '52:54:00:00:00:02', counted: true },
];
const QEMU: CardSide = { name: 'qemu', mac: '52:54:00:00:00:03', counted: false };
const EXCHANGES = 2000;

type Settings = VmSettings<CardTest>;

export async function vmNet(options: readonly string[]): Promise<void> {
  const settings = readOptions(options);
  if (settings === undefined) return void process.stdout.write(USAGE);
  const folder = await mkdtemp(join(tmpdir(), 'chassis-vm-net-'));
  const peer = await NetPeer.start();
  try {
    const passt = await passtOnPath(folder);
    const bench = await Bench.start();
    const ofQemu = startPasst(passt, folder);
    try {
      await measureInGuest(bench, folder, peer, settings);
    } finally {
      ofQemu.kill();
      await bench.close();
    }
  } finally {
    peer.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** @throws Error for what the options cannot be; undefined where help is asked for. */
function readOptions(options: readonly string[]): Settings | undefined {
  const { values } = parseArgs({
    args: [...options],
    options: {
      ...VM_OPTIONS,
      rounds: { type: 'string', default: '5' },
      size: { type: 'string', default: '64' },
    },
  });
  return values.help ? undefined : vmSettings(values, cardTests);
}

function cardTests(sizeMiB: number): CardTest[] {
  return [
    ...['send', 'receive'].map((way): CardTest => {
      const command = `/netbench ${way} PEER ${sizeMiB}`;
      return { name: `${way} a stream`, unit: 'MiB/s', better: 'more', command, per: 'MiB' };
    }),
    {
      ...{ name: 'exchange bytes, depth 1', unit: '/s', better: 'more', per: '1000 operations' },
      ...{ command: `/netbench exchange PEER ${EXCHANGES}`, operations: EXCHANGES },
    },
  ];
}

/** Puts Debian's passt on the PATH of what is started from now on, and answers where it is. */
async function passtOnPath(folder: string): Promise<string> {
  const command = await findPasst();
  const path = join(folder, 'bin', 'passt');
  await mkdir(join(folder, 'bin'));
  await writeFile(path, `#!/bin/sh\nexec ${command.join(' ')} "$@"\n`, { mode: 0o755 });
  process.env.PATH = `${join(folder, 'bin')}${delimiter}${process.env.PATH}`;
  // Started by root it becomes nobody, who makes a socket here.
  await chmod(folder, 0o777);
  return path;
}

/** As Chassis starts it, but for the socket. */
function startPasst(command: string, folder: string): ChildProcess {
  const addresses = ['--address', '10.0.2.15', '--netmask', '24', '--gateway', '10.0.2.2'];
  const words = ['--foreground', '--socket', join(folder, 'socket'), ...addresses];
  return spawn(command, words, { stdio: 'ignore' });
}

async function measureInGuest(
  bench: Bench,
  folder: string,
  peer: NetPeer,
  settings: Settings,
): Promise<void> {
  const guest = await boot(bench, folder, settings);
  try {
    const runners: CardRunner[] = [];
    for (const side of [...OWN, QEMU]) runners.push(await CardRunner.bringUp(side, bench, guest));
    const { tests, rounds } = settings;
    print(
      guest,
      await takeTurns(tests, runners, rounds, (runner, test) => runner.run(test, peer.port)),
      settings,
    );
  } finally {
    await guest.shutdown();
  }
}

/** Boots with all cards in place; they stay, so that all have MSI-X. */
async function boot(bench: Bench, folder: string, { kernel }: Settings): Promise<LinuxGuest> {
  for (const { name, mac } of OWN) {
    await bench.client.addCard('bench', {
      ...{ name, mac, port: name === 'vfio-user' ? 'vfio-user' : 'vhost-user' },
      network: { type: 'passt', hostLoopback: true, publish: [] },
      permanent: true,
    });
  }
  const { args } = await bench.chassis<QemuArgs>('args', '--memory', '768');
  return LinuxGuest.boot({
    qemu: await findQemu(),
    kernel,
    machineArgs: args,
    extraArgs: [
      ...['-netdev', `stream,id=native,addr.type=unix,addr.path=${join(folder, 'socket')},server=off`],
      ...['-device', `virtio-net-pci,netdev=native,mac=${QEMU.mac},romfile=`],
    ],
    extraFiles: [{ path: '/netbench', hostPath: await bench.guestProgram('netbench'), mode: 0o755 }],
  });
}

function print(guest: LinuxGuest, results: readonly TestRuns[], settings: Settings): void {
  const { json, rounds, sizeMiB } = settings;
  if (!json) process.stdout.write(`Linux ${guest.release}; rounds: ${rounds}, streams: ${sizeMiB} MiB\n\n`);
  printComparisons(results.map(comparison), json, [QEMU.name]);
  if (!json) process.stdout.write('\n');
  printNotifications(results, sizeMiB, json);
}
