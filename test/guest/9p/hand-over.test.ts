/** A guest at work on a 9p device that is another one every few moments, over the same directory: it sees nothing of it. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { HostDirectory } from '../../../devices/9p/fs/host-directory/host-directory.js';
import type { FileSystem } from '../../../devices/9p/fs/file-system.js';
import { GivenDescriptors, SavedDescriptors } from '../../../devices/state-descriptors.js';
import { closeFd } from '../../../host/index.js';
import { openSource } from '../../../manager/composition.js';
import type { MountTerms, Source } from '../../../manager/control/api.js';
import type { Beginning } from '../../../manager/device-process/served-mount.js';
import { openMount } from '../../../manager/mount-file-system.js';
import { duplicates } from '../../devices/9p/server/support/hand-over.js';
import { Guest, type Mount } from '../../../guest/index.js';
import { FunctionSeat } from '../../devices/virtio/state/function-seat.js';
import { Stack } from '../stack.js';

const MOVES = 20;
const WORKERS = 4;

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Saves the device at work, ends it, and puts another one over `directory` in its place. */
async function move(stack: Stack, seat: FunctionSeat, directory: string): Promise<void> {
  for (;;) {
    const { blob } = seat.current.saveState();
    if (blob !== undefined) {
      const old = stack.devices.get('share');
      seat.current.connect(undefined);
      seat.current.reset();
      await old?.close();
      const { fn } = await stack.share('share', { fs: await HostDirectory.open(directory) });
      expect(await fn.prepareState(blob)).toBeUndefined();
      expect(fn.restoreState(blob)).toBeUndefined();
      seat.replace(fn);
      return;
    }
    await turn();
  }
}

/** Makes files, writes to them while they are open, renames and removes some. */
async function work(mount: Mount, worker: number, isOver: () => boolean): Promise<number> {
  let files = 0;
  while (!isOver()) {
    const name = `${worker}-${files}`;
    const file = await mount.open(name, 'w+');
    for (let i = 0; i < 10; i++) await file.write(Buffer.from(`${name} ${i}\n`), i * 10);
    await mount.rename(name, `done-${name}`);
    await file.write(Buffer.from('the end'), 100);
    const read = new Uint8Array(7);
    expect(await file.read(read, 100)).toBe(7);
    expect(Buffer.from(read).toString()).toBe('the end');
    await file.close();
    if (files % 3 === 0) await mount.unlink(`done-${name}`);
    files++;
  }
  return files;
}

/** The mount of a daemon, with all that can be on top of a directory. */
async function openMounted(folder: string, beginning?: Beginning): Promise<FileSystem> {
  const terms: MountTerms = {
    readOnly: false,
    policy: { deny: ['*.secret'], maxBytes: 1 << 26, maxFiles: 10_000 },
    owner: { type: 'mapped' },
    overlay: { type: 'directory', path: join(folder, 'upper') },
  };
  const source: Source = { type: 'directory', path: join(folder, 'source') };
  return (await openMount(openSource, source, terms, beginning)).fs;
}

/** To a device that was made while the old one is at work, with all that is open: as one process does to the next. */
async function moveOpen(stack: Stack, seat: FunctionSeat, folder: string): Promise<void> {
  const old = stack.devices.get('share');
  const { fn } = await stack.share('share', { fs: await openMounted(folder, 'handed over') });
  await old?.hold();
  const descriptors = new SavedDescriptors();
  const { blob = new Uint8Array(0), problem } = seat.current.saveState({ leavesProcess: true, descriptors });
  expect(problem).toBeUndefined();
  const given = new GivenDescriptors(duplicates(descriptors.fds));
  expect(await fn.prepareState(blob, given)).toBeUndefined();
  expect(fn.restoreState(blob)).toBeUndefined();
  expect(given.left.filter((fd) => closeFd(fd) < 0)).toEqual([]);
  seat.replace(fn);
  await old?.close();
}

/** Uses files that have lost their names, and copies files up. */
async function workUnlinked(mount: Mount, worker: number, isOver: () => boolean): Promise<number> {
  let rounds = 0;
  while (!isOver()) {
    const name = `${worker}-${rounds}`;
    const file = await mount.open(name, 'w+');
    await mount.unlink(name);
    const lower = await mount.open(`lower-${worker}`, 'r+');
    for (let i = 0; i < 10; i++) {
      await file.write(Buffer.from(`${name} ${i}\n`.padEnd(20)), i * 20);
      await lower.write(Buffer.from(`${rounds}`.padStart(10)), i * 10);
    }
    const read = new Uint8Array(200);
    expect(await file.read(read, 0)).toBe(200);
    expect(Buffer.from(read).toString().trim().split('\n')).toHaveLength(10);
    await file.close();
    await lower.close();
    rounds++;
  }
  return rounds;
}

it('goes on with the mount of a daemon, with files that have no name, and each change in the overlay once', async () => {
  const stack = new Stack();
  const folder = mkdtempSync(join(tmpdir(), 'hand-over-'));
  for (const name of ['source', 'upper']) mkdirSync(join(folder, name));
  for (let worker = 0; worker < WORKERS; worker++)
    writeFileSync(join(folder, 'source', `lower-${worker}`), 'x'.repeat(100));
  const { fn } = await stack.share('share', { fs: await openMounted(folder) });
  const seat = new FunctionSeat(fn);
  stack.machine.plug(1, [{ number: 0, function: seat }]);
  const guest = await Guest.boot(stack.machine);
  const mount = await guest.mount('share');
  let isOver = false;
  const workers = Array.from({ length: WORKERS }, (_, worker) => workUnlinked(mount, worker, () => isOver));
  for (let i = 0; i < MOVES / 2; i++) {
    for (let turns = 0; turns <= i; turns++) await turn();
    await moveOpen(stack, seat, folder);
  }
  isOver = true;
  const rounds = await Promise.all(workers);
  expect(Math.min(...rounds)).toBeGreaterThan(0);
  await guest.shutdown();
  expect(stack.logs).toEqual([]);
  await stack.close();
  for (const [worker, count] of rounds.entries()) {
    const copy = readFileSync(join(folder, 'upper', `lower-${worker}`), 'utf8');
    expect(copy).toBe(`${count - 1}`.padStart(10).repeat(10));
    expect(readFileSync(join(folder, 'source', `lower-${worker}`), 'utf8')).toBe('x'.repeat(100));
  }
  expect(readdirSync(join(folder, 'upper')).filter((name) => name.startsWith('lower-'))).toHaveLength(
    WORKERS,
  );
  rmSync(folder, { recursive: true });
});

it('loses no file, and does nothing twice', async () => {
  const stack = new Stack();
  const { fn, directory } = await stack.share('share');
  const seat = new FunctionSeat(fn);
  stack.machine.plug(1, [{ number: 0, function: seat }]);
  const guest = await Guest.boot(stack.machine);
  const mount = await guest.mount('share');
  let isOver = false;
  const workers = Array.from({ length: WORKERS }, (_, worker) => work(mount, worker, () => isOver));
  for (let i = 0; i < MOVES; i++) {
    for (let turns = 0; turns <= i; turns++) await turn();
    await move(stack, seat, directory);
  }
  isOver = true;
  const made = await Promise.all(workers);
  const expected = made.flatMap((files, worker) =>
    Array.from({ length: files }, (_, file) => file)
      .filter((file) => file % 3 !== 0)
      .map((file) => `done-${worker}-${file}`),
  );
  expect(readdirSync(directory).sort()).toEqual(expected.sort());
  for (const name of expected) expect(readFileSync(join(directory, name)).length).toBe(107);
  expect(Math.min(...made)).toBeGreaterThan(0);
  await guest.shutdown();
  expect(stack.logs).toEqual([]);
  await stack.close();
});
