import { parseArgs } from 'node:util';
import type { QemuArgs } from '../manager/control/api.js';
import { TestbedError } from '../testbed/errors.js';
import { LinuxGuest } from '../testbed/guest.js';
import { findQemu } from '../testbed/qemu.js';
import { VirtiofsdProcess } from '../testbed/virtiofsd-process.js';
import { Bench } from './support/bench-vm.js';
import { printNotifications } from './support/notifications.js';
import { printComparisons } from './support/results.js';
import { comparison, takeTurns } from './support/turns.js';
import { SideRunner, type Run, type VmSide } from './support/vm-sides.js';
import { MAKE_TAR, VM_TESTS, type VmTest } from './support/vm-tests.js';
import { VM_OPTIONS, vmSettings, type VmSettings } from './support/vm-options.js';

const USAGE = `npm run bench -- vm-9p [options]

One host directory, mounted four times in one guest: through Chassis over each of its ports, through QEMU's own virtio-9p, and
through virtiofsd (Debian's package, fetched where it is missing). The sides take turns. Prints medians, the ratios within a turn
(above 1: faster than the peer) with their spread, the guest's interrupts, and what crossed Chassis's ports.

  --kernel 6.1|6.12   the guest's Linux (default 6.1; 6.12 sends direct I/O over 9p in 4 KiB requests)
  --cache MODE        the mounts' cache= option (default none; virtiofsd's is what is nearest to it)
  --rounds N          how often all is measured (default 3); what is over in a moment has five turns in each round
  --size MIB          of the file read and written (default 128)
  --only PART         only tests whose name contains it
  --json              lines of JSON
`;

const PORTS = ['vhost-user', 'vfio-user'] as const;
const QEMU = 'qemu';
const VIRTIOFSD = 'virtiofsd';

interface Settings extends VmSettings<VmTest> {
  readonly cache: string;
}

export async function vm9p(options: readonly string[]): Promise<void> {
  const settings = readOptions(options);
  if (settings === undefined) return void process.stdout.write(USAGE);
  const bench = await Bench.start();
  try {
    const virtiofsd = await startVirtiofsd(bench, settings);
    try {
      await measureInGuest(bench, virtiofsd, settings);
    } finally {
      await virtiofsd?.stop();
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
      cache: { type: 'string', default: 'none' },
      rounds: { type: 'string', default: '3' },
      size: { type: 'string', default: '128' },
    },
  });
  if (values.help) return undefined;
  return { ...vmSettings(values, () => VM_TESTS), cache: values.cache };
}

/** Without it the others are still worth measuring. */
async function startVirtiofsd(bench: Bench, { cache }: Settings): Promise<VirtiofsdProcess | undefined> {
  try {
    return await VirtiofsdProcess.start(bench.folder, await sharedDirectory(bench), cache);
  } catch (error) {
    if (!(error instanceof TestbedError)) throw error;
    process.stderr.write(`without virtiofsd: ${error.message}\n`);
    return undefined;
  }
}

async function measureInGuest(
  bench: Bench,
  virtiofsd: VirtiofsdProcess | undefined,
  settings: Settings,
): Promise<void> {
  const { json, cache, sizeMiB, tests, rounds } = settings;
  const guest = await boot(bench, virtiofsd, settings);
  try {
    const runners: SideRunner[] = [];
    for (const side of sides(virtiofsd, cache)) runners.push(await SideRunner.mount(side, bench, guest));
    await guest.ok(MAKE_TAR, { timeoutMs: 120_000 });
    const run = (runner: SideRunner, test: VmTest): Promise<Run> => runner.run(test, sizeMiB);
    const results = await takeTurns(tests, runners, rounds, run, ({ turns }) => turns);
    if (!json) process.stdout.write(`${heading(guest, virtiofsd, settings)}\n\n`);
    printComparisons(results.map(comparison), json, virtiofsd ? [QEMU, VIRTIOFSD] : [QEMU]);
    if (!json) process.stdout.write('\n');
    printNotifications(results, sizeMiB, json);
  } finally {
    await guest.shutdown();
  }
}

/** Boots with all devices in place, so that all have MSI-X. */
async function boot(
  bench: Bench,
  virtiofsd: VirtiofsdProcess | undefined,
  { kernel }: Settings,
): Promise<LinuxGuest> {
  const shared = await sharedDirectory(bench);
  for (const port of PORTS) {
    await bench.chassis('attach', shared, '--tag', port, '--port', port, '--permanent');
  }
  const { args } = await bench.chassis<QemuArgs>('args', '--memory', '768');
  const security = process.geteuid?.() === 0 ? 'passthrough' : 'none';
  return LinuxGuest.boot({
    qemu: await findQemu(),
    kernel,
    machineArgs: args,
    extraArgs: [
      ...['-fsdev', `local,id=native,path=${shared},security_model=${security}`],
      ...['-device', `virtio-9p-pci,fsdev=native,mount_tag=${QEMU}`],
      ...(virtiofsd?.qemuArguments(VIRTIOFSD) ?? []),
    ],
    extraFiles: [{ path: '/fsbench', hostPath: await bench.guestProgram('fsbench'), mode: 0o755 }],
  });
}

function sharedDirectory(bench: Bench): Promise<string> {
  return bench.directory('shared');
}

function sides(virtiofsd: VirtiofsdProcess | undefined, cache: string): VmSide[] {
  const options = `trans=virtio,version=9p2000.L,msize=512000,cache=${cache}`;
  const over9p = (name: string, counted: boolean): VmSide => ({
    name,
    mountCommand: `mount -t 9p -o ${options} ${name}`,
    counted,
  });
  const virtiofs = { name: VIRTIOFSD, mountCommand: `mount -t virtiofs ${VIRTIOFSD}`, counted: false };
  return [
    ...PORTS.map((port) => over9p(port, true)),
    over9p(QEMU, false),
    ...(virtiofsd === undefined ? [] : [virtiofs]),
  ];
}

function heading(
  guest: LinuxGuest,
  virtiofsd: VirtiofsdProcess | undefined,
  { cache, rounds, sizeMiB }: Settings,
): string {
  const ninep = `9p: cache=${cache}, msize=512000`;
  const virtiofs = virtiofsd && `virtiofsd ${virtiofsd.version}: --cache ${virtiofsd.cachePolicy}`;
  return [`Linux ${guest.release}`, `rounds: ${rounds}, file: ${sizeMiB} MiB`, ninep, virtiofs]
    .filter((part) => part !== undefined)
    .join('; ');
}
