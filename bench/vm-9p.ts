import { parseArgs } from 'node:util';
import type { QemuArgs } from '../manager/control/api.js';
import { TestbedError } from '../testbed/errors.js';
import { LinuxGuest } from '../testbed/guest.js';
import { kernelVersions, type KernelVersion } from '../testbed/kernel.js';
import { findQemu } from '../testbed/qemu.js';
import { VirtiofsdProcess } from '../testbed/virtiofsd-process.js';
import { Bench } from './support/bench-vm.js';
import { printNotifications, type TestRuns } from './support/notifications.js';
import { printComparisons } from './support/results.js';
import { comparison, rotated } from './support/turns.js';
import { SideRunner, type Run, type VmSide } from './support/vm-sides.js';
import { MAKE_TAR, VM_TESTS, type VmTest } from './support/vm-tests.js';
import { positive } from './support/whole-number.js';

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

interface Settings {
  readonly kernel: KernelVersion;
  readonly cache: string;
  readonly rounds: number;
  readonly sizeMiB: number;
  readonly tests: readonly VmTest[];
  readonly json: boolean;
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
      kernel: { type: 'string', default: '6.1' },
      cache: { type: 'string', default: 'none' },
      rounds: { type: 'string', default: '3' },
      size: { type: 'string', default: '128' },
      only: { type: 'string', default: '' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const kernel = kernelVersions.find((version) => version === values.kernel);
  if (kernel === undefined)
    throw new Error(`--kernel ${values.kernel}: it is one of ${kernelVersions.join(', ')}`);
  const tests = VM_TESTS.filter(({ name }) => name.includes(values.only));
  if (tests.length === 0) throw new Error(`--only ${values.only}: no test's name contains that`);
  return {
    kernel,
    cache: values.cache,
    rounds: positive('--rounds', values.rounds),
    sizeMiB: positive('--size', values.size),
    tests,
    json: values.json,
  };
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
  const { json, cache, sizeMiB } = settings;
  const guest = await boot(bench, virtiofsd, settings);
  try {
    const runners: SideRunner[] = [];
    for (const side of sides(virtiofsd, cache)) runners.push(await SideRunner.mount(side, bench, guest));
    await guest.ok(MAKE_TAR, { timeoutMs: 120_000 });
    const results = await measure(runners, settings);
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

async function measure(
  runners: readonly SideRunner[],
  { tests, rounds, sizeMiB }: Settings,
): Promise<TestRuns[]> {
  const results = tests.map((test) => ({
    test,
    sides: Object.fromEntries(runners.map(({ side }) => [side.name, [] as Run[]])),
  }));
  for (let round = 0; round < rounds; round++) {
    for (const { test, sides } of results) {
      for (let turn = 0; turn < test.turns; turn++) {
        for (const runner of rotated(runners, round * test.turns + turn)) {
          sides[runner.side.name].push(await runner.run(test, sizeMiB));
        }
      }
    }
  }
  return results;
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
