import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ChassisClient } from '../manager/control/client.js';
import type { QemuArgs } from '../manager/control/api.js';
import { QmpClient } from '../manager/vmm/qmp.js';
import { LinuxGuest } from '../testbed/guest.js';
import { findQemu } from '../testbed/qemu.js';
import { Bench } from './support/bench-vm.js';
import { printComparisons, type Comparison } from './support/results.js';

const USAGE = `npm run bench -- attach [--rounds N] [--json]

Milliseconds from the request until the function's driver is bound in a Linux guest: typing "chassis attach" (the command's own
start included), asking the daemon's API, and QEMU's own device_add of a virtio device (virtio-rng). The sides take turns.
`;

/** A port of the benchmark's own, for the peer's device. */
const PEER_PORT = ['-device', 'pcie-root-port,id=peer,bus=pcie.0,addr=0x8,chassis=200,slot=200'];
const TAG = 'bench';

interface Side {
  /** Glob of the driver's bound devices in the guest's sysfs. */
  readonly bound: string;
  plug(): Promise<unknown>;
  unplug(): Promise<unknown>;
}

export async function attach(options: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...options],
    options: {
      rounds: { type: 'string', default: '10' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return void process.stdout.write(USAGE);
  const bench = await Bench.start();
  try {
    const { args } = await bench.chassis<QemuArgs>('args', '--memory', '512');
    const monitor = join(bench.folder, 'peer.sock');
    const extraArgs = [...PEER_PORT, '-qmp', `unix:${monitor},server=on,wait=off`];
    const guest = await LinuxGuest.boot({
      qemu: await findQemu(),
      kernel: '6.1',
      machineArgs: args,
      extraArgs,
    });
    try {
      printComparisons(await measure(bench, guest, monitor, Number(values.rounds)), values.json);
    } finally {
      await guest.shutdown();
    }
  } finally {
    await bench.close();
  }
}

async function measure(
  bench: Bench,
  guest: LinuxGuest,
  monitor: string,
  rounds: number,
): Promise<Comparison[]> {
  const folder = await bench.directory('shared');
  const qmp = await QmpClient.connect(monitor);
  const client = new ChassisClient({ directory: join(bench.folder, 'state') });
  const ours = { bound: '9pnet_virtio', unplug: () => client.detach('bench', TAG) };
  const mounts = [{ source: { type: 'directory' as const, path: folder }, tag: TAG }];
  const sides: Record<string, Side> = {
    'chassis API': { ...ours, plug: () => client.attach('bench', { mounts }) },
    'chassis attach': { ...ours, plug: () => bench.chassis('attach', folder, '--tag', TAG) },
    'QEMU device_add': {
      bound: 'virtio_rng',
      plug: () => qmp.execute('device_add', { driver: 'virtio-rng-pci', id: 'rng', bus: 'peer' }),
      unplug: () => unplugPeer(qmp),
    },
  };
  const empty = (): Record<string, number[]> =>
    Object.fromEntries(Object.keys(sides).map((name) => [name, []]));
  const answered: Comparison = { name: 'request answered', unit: 'ms', better: 'less', sides: empty() };
  const seen: Comparison = { name: 'seen by the guest', unit: 'ms', better: 'less', sides: empty() };
  for (let round = 0; round < rounds; round++) {
    for (const [name, side] of Object.entries(sides)) {
      const [answeredMs, seenMs] = await once(guest, side);
      answered.sides[name].push(answeredMs);
      seen.sides[name].push(seenMs);
    }
  }
  qmp.close();
  return [answered, seen];
}

async function once(guest: LinuxGuest, side: Side): Promise<[answeredMs: number, seenMs: number]> {
  const present = `ls -d /sys/bus/virtio/drivers/${side.bound}/virtio* >/dev/null 2>&1`;
  const waiting = guest.ok(`until ${present}; do usleep 2000; done`, { timeoutMs: 60_000 });
  const started = performance.now();
  await side.plug();
  const answeredMs = performance.now() - started;
  await waiting;
  const seenMs = performance.now() - started;
  await side.unplug();
  await guest.waitFor(`! ${present}`, 20_000);
  return [answeredMs, seenMs];
}

async function unplugPeer(qmp: QmpClient): Promise<void> {
  const gone = new Promise<void>((resolve) => {
    const forget = qmp.onEvent(({ event, data }) => {
      if (event !== 'DEVICE_DELETED' || data.device !== 'rng') return;
      forget();
      resolve();
    });
  });
  await qmp.execute('device_del', { id: 'rng' });
  await gone;
}
