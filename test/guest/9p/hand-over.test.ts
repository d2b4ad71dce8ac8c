/** A guest at work on a 9p device that is another one every few moments, over the same directory: it sees nothing of it. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { HostDirectory } from '../../../devices/9p/fs/host-directory/host-directory.js';
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
