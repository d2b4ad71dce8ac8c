/**
 * What a client that is handed over costs: the bytes of its session, and how long saving and restoring take, by its fids. Over a directory of the
 * host under a policy, as a daemon's mount is; each fid is of a file of its own, and some are open.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { table } from '../cli/support/mounts-text.js';
import { HostDirectory } from '../devices/9p/fs/host-directory/host-directory.js';
import { PolicyFs } from '../devices/9p/fs/policy/policy-fs.js';
import { Server } from '../devices/9p/server/server.js';
import { GivenDescriptors, SavedDescriptors } from '../devices/state-descriptors.js';
import { closeFd, OpenFlags, reopen } from '../host/index.js';
import { Driver, LIMITS, reportBug } from './9p-inproc.js';

const USAGE = `npm run bench -- 9p --state [--dir DIR] [--fids N,N] [--open N] [--rounds N] [--json]

Milliseconds of processor time, and bytes, of handing a client over from one 9p server to another in this process, over a temporary directory
below DIR. Figures are the median of the rounds; --open of the fids are open files, whose descriptors go along.
`;

const FILES_IN_DIRECTORY = 100;
const [WALK, OPEN] = [110, 12];
const O_RDWR = 2;
const ROOT = 0;

interface Figures {
  readonly fids: number;
  readonly open: number;
  readonly bytes: number;
  readonly saveMs: number;
  readonly restoreMs: number;
}

export async function state9p(options: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...options],
    options: {
      dir: { type: 'string', default: tmpdir() },
      fids: { type: 'string', default: '1000,100000' },
      open: { type: 'string', default: '500' },
      rounds: { type: 'string', default: '5' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return void process.stdout.write(USAGE);
  const path = mkdtempSync(join(values.dir, 'chassis-9p-state-'));
  try {
    const rows: Figures[] = [];
    for (const fids of values.fids.split(',').map(Number)) {
      makeFiles(path, fids);
      rows.push(await measure(path, fids, Math.min(Number(values.open), fids), Number(values.rounds)));
    }
    print(rows, values.json);
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
}

function nameOf(file: number): [directory: string, name: string] {
  return [`directory-${Math.floor(file / FILES_IN_DIRECTORY)}`, `file-${file}.txt`];
}

function makeFiles(path: string, count: number): void {
  for (let file = 0; file < count; file++) {
    const [directory, name] = nameOf(file);
    mkdirSync(join(path, directory), { recursive: true });
    writeFileSync(join(path, directory, name), '');
  }
}

async function newServer(path: string): Promise<Server> {
  return new Server(new PolicyFs(await HostDirectory.open(path)), { ...LIMITS, log: reportBug });
}

async function measure(path: string, fids: number, open: number, rounds: number): Promise<Figures> {
  const old = await newServer(path);
  const driver = new Driver(old, 0);
  for (let file = 0; file < fids; file++) {
    const [directory, name] = nameOf(file);
    driver
      .begin(WALK)
      .u32(ROOT)
      .u32(file + 1)
      .u16(2)
      .text(directory)
      .text(name)
      .send();
    if (file < open)
      driver
        .begin(OPEN)
        .u32(file + 1)
        .u32(O_RDWR)
        .send();
  }
  const samples: Figures[] = [];
  for (let round = 0; round < rounds; round++) samples.push(await handOver(old, path, fids, open));
  await old.close();
  const median = (figures: number[]): number => figures.sort((a, b) => a - b)[figures.length >> 1];
  return {
    ...samples[0],
    saveMs: median(samples.map(({ saveMs }) => saveMs)),
    restoreMs: median(samples.map(({ restoreMs }) => restoreMs)),
  };
}

async function handOver(old: Server, path: string, fids: number, open: number): Promise<Figures> {
  const next = await newServer(path);
  const descriptors = new SavedDescriptors();
  const start = cpuMs();
  const state = old.saveState({ leavesProcess: true, descriptors });
  const saved = cpuMs();
  // Opened anew in place of sent, which is what the sending costs, too.
  const given = new GivenDescriptors(descriptors.fds.map(openAnew));
  const received = cpuMs();
  const problem = await next.restoreState(state, given);
  const restored = cpuMs();
  for (const fd of given.left) closeFd(fd);
  await next.close();
  if (problem !== undefined) throw new Error(problem);
  return { fids, open, bytes: state.length, saveMs: saved - start, restoreMs: restored - received };
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** The root is no file to be written to. */
function openAnew(fd: number): number {
  const opened = reopen(fd, O_RDWR);
  return opened < 0 ? reopen(fd, OpenFlags.O_PATH) : opened;
}

function print(rows: readonly Figures[], json: boolean): void {
  if (json) return void process.stdout.write(`${JSON.stringify(rows)}\n`);
  const lines = rows.map(({ fids, open, bytes, saveMs, restoreMs }) => [
    ...[String(fids), String(open), String(bytes), (bytes / fids).toFixed(0)],
    ...[saveMs.toFixed(1), restoreMs.toFixed(1)],
  ]);
  process.stdout.write(table(['FIDS', 'OPEN', 'BYTES', 'A FID', 'SAVE MS', 'RESTORE MS'], lines) + '\n');
}
