/** How long a guest waits while its device process is replaced: a disk's driver in this process, over vhost-user, and a clock on its requests. */
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Reactor } from '../host/index.js';
import { ChassisPaths } from '../manager/control/state-directory.js';
import { spawnDeviceProcess, type DeviceHost } from '../manager/device-process/supervisor.js';
import { FrontEnd } from './upgrade/front-end.js';

const USAGE = `npm run bench -- upgrade [--rounds N] [--depth N] [--json]

Milliseconds that a disk's driver was not answered while its device process was replaced, with N requests at a time (default 8), each asked
again a millisecond after its answer: as the driver saw it, and as the process that stood still says. Beside the longest wait of the same length of time without an upgrade.
`;

const DISK_BYTES = 1 << 20;
/** Requests between upgrades. */
const BETWEEN = 400;

export async function upgrade(options: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...options],
    options: {
      rounds: { type: 'string', default: '20' },
      depth: { type: 'string', default: '8' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return void process.stdout.write(USAGE);
  const folder = await mkdtemp(join(tmpdir(), 'chassis-bench-'));
  const reactor = new Reactor({ onError: (error) => process.stderr.write(`${String(error)}\n`) });
  reactor.start();
  try {
    print(await measure(folder, reactor, Number(values.rounds), Number(values.depth)), values.json);
  } finally {
    reactor.close();
    await rm(folder, { recursive: true, force: true });
  }
}

interface Figures {
  /** Seen by the driver, by the process itself, and by the driver while nothing happened. */
  readonly seen: number[];
  readonly told: number[];
  readonly without: number[];
}

async function measure(folder: string, reactor: Reactor, rounds: number, depth: number): Promise<Figures> {
  const paths = new ChassisPaths(folder, 'bench');
  await mkdir(paths.directory);
  const figures: Figures = { seen: [], told: [], without: [] };
  let host = await start(paths);
  const socketPath = await serveDisk(host, folder, paths);
  const frontEnd = await FrontEnd.start(reactor, socketPath, depth);
  try {
    for (let round = 0; round < rounds; round++) {
      await frontEnd.progress(BETWEEN);
      frontEnd.longestGapMs = 0;
      const startMs = performance.now();
      const replaced = await host.replace();
      host = replaced.host;
      const tookMs = performance.now() - startMs;
      figures.seen.push(frontEnd.longestGapMs);
      figures.told.push(replaced.pausedMs);
      await frontEnd.progress(BETWEEN);
      frontEnd.longestGapMs = 0;
      await new Promise((resolve) => setTimeout(resolve, tookMs));
      figures.without.push(frontEnd.longestGapMs);
    }
  } finally {
    frontEnd.close();
    await host.stop();
  }
  return figures;
}

function start(paths: ChassisPaths): Promise<DeviceHost> {
  return spawnDeviceProcess({
    paths,
    onLost: (reason) => process.stderr.write(`the device process is lost: ${reason}\n`),
    onConnected: () => undefined,
    onDisconnected: () => undefined,
    onHelper: () => undefined,
    onChild: () => undefined,
  });
}

async function serveDisk(host: DeviceHost, folder: string, paths: ChassisPaths): Promise<string> {
  const path = join(folder, 'disk.img');
  await writeFile(path, '');
  await truncate(path, DISK_BYTES);
  const socketPath = paths.functionSocket(1, 0);
  await host.addFunction({
    ...{ function: 'disk', socketPath, port: 'vhost-user', msix: false },
    device: {
      type: 'disk',
      source: { type: 'file', path },
      readOnly: false,
      overlay: false,
      queues: 1,
      serial: 'bench',
    },
  });
  return socketPath;
}

function print({ seen, told, without }: Figures, json: boolean): void {
  if (json) return void process.stdout.write(`${JSON.stringify({ seen, told, without })}\n`);
  const rows = [
    ['seen by the driver', seen],
    ['told by the process', told],
    ['without an upgrade', without],
  ] as const;
  process.stdout.write(`${seen.length} upgrades, ms      median    p90    max\n`);
  for (const [name, figures] of rows) {
    const cells = [quantile(figures, 0.5), quantile(figures, 0.9), quantile(figures, 1)];
    process.stdout.write(`${name.padEnd(21)}${cells.map((ms) => ms.toFixed(1).padStart(7)).join('')}\n`);
  }
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(Math.ceil(share * sorted.length), sorted.length) - 1];
}
