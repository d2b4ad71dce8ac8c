import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Volume } from 'memfs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Guest } from '../../guest/index.js';
import { Chassis, Errno, FsNode, type FileSystem } from '../../manager/index.js';
import { refusal } from './refusal.js';
import { temporaryFolders } from './temporary-folder.js';

/** A file system that is an empty directory, and counts how often it was closed. */
class Empty implements FileSystem {
  closed = 0;

  attach(): FsNode {
    return new EmptyDirectory();
  }
  close(): void {
    this.closed++;
  }
}

class EmptyDirectory extends FsNode {
  override getattr(out: { mode: number }): number {
    out.mode = 0o040755;
    return 0;
  }
  override walk(): number {
    return -Errno.ENOENT;
  }
  override retain(): void {}
  override release(): void {}
}

describe('the library', () => {
  const folder = temporaryFolders();
  let chassis: Chassis;
  let guest: Guest | undefined;

  beforeEach(() => {
    chassis = new Chassis({ slots: 3 });
  });
  afterEach(async () => {
    await guest?.shutdown();
    guest = undefined;
    await chassis.close();
  });

  const boot = async () => (guest = await Guest.boot(chassis));
  const states = () =>
    chassis.mounts().map(({ tag, slot, function: fn, state }) => `${tag} ${slot}.${fn} ${state}`);

  it('shows a memfs volume to a guest', async () => {
    await chassis.attach(Volume.fromJSON({ '/hello': 'world' }), { tag: 'mem' });
    const mount = await (await boot()).mount('mem');
    expect(await mount.readFile('/hello', 'utf8')).toBe('world');
  });

  it('plugs into a guest that runs, and out again', async () => {
    const running = await boot();
    await chassis.attach(new Volume(), { tag: 'mem' });
    await running.waitForTag('mem', { timeoutMs: 10_000 });
    const mount = await running.mount('mem');
    await mount.writeFile('/f', 'text');
    expect(chassis.mounts()[0]).toMatchObject({ state: 'plugged', counters: { bytesWritten: 4 } });
    await expect(chassis.detach('mem')).rejects.toMatchObject(refusal('MOUNT_BUSY', /"mem"/, /unmount/));
    await mount.unmount();
    await chassis.detach('mem');
    expect(running.tags()).toEqual([]);
    expect(chassis.mounts()).toEqual([]);
  });

  it('shows a directory of the host, read-only where asked', async () => {
    const path = folder();
    writeFileSync(join(path, 'file'), 'content');
    await chassis.attach(path, { tag: 'dir', readOnly: true });
    const mount = await (await boot()).mount('dir');
    expect(await mount.readFile('/file', 'utf8')).toBe('content');
    await expect(mount.writeFile('/file', 'x')).rejects.toMatchObject({ code: 'EROFS' });
    await mount.unmount();
  });

  it('shows a file system that implements the interface, and closes it once', async () => {
    const fs = new Empty();
    await chassis.attach(fs, { tag: 'empty' });
    const mount = await (await boot()).mount('empty');
    await expect(mount.readFile('/x')).rejects.toMatchObject({ code: 'ENOENT' });
    await mount.unmount();
    await chassis.detach('empty');
    expect(fs.closed).toBe(1);
  });

  it('parks a function other than 0 until function 0 comes', async () => {
    const running = await boot();
    await chassis.attach(new Volume(), { tag: 'b', slot: 2, function: 1 });
    expect(states()).toEqual(['b 2.1 parked']);
    expect(running.tags()).toEqual([]);
    await chassis.attach(new Volume(), { tag: 'a', slot: 2 });
    await running.waitForTag('b', { timeoutMs: 10_000 });
    expect(states()).toEqual(['a 2.0 plugged', 'b 2.1 plugged']);
    await expect(chassis.detach('a')).rejects.toMatchObject(refusal('SLOT_SHARED', /"b"/));
    await chassis.detach('a', { slot: true });
    expect(running.tags()).toEqual([]);
  });

  it('takes back a parked mount without a word to the guest', async () => {
    const fs = new Empty();
    await chassis.attach(fs, { tag: 'b', slot: 2, function: 1 });
    await chassis.detach('b');
    expect(fs.closed).toBe(1);
    expect(chassis.mounts()).toEqual([]);
  });

  it('pulls out by force what the guest has mounted', async () => {
    const fs = new Empty();
    await chassis.attach(fs, { tag: 'empty' });
    const mount = await (await boot()).mount('empty');
    await chassis.detach('empty', { force: true });
    expect(fs.closed).toBe(1);
    await expect(mount.readFile('/x')).rejects.toThrow();
  });

  it('refuses as the planner does', async () => {
    await chassis.attach(new Volume(), { tag: 'a' });
    await expect(chassis.attach(new Volume(), { tag: 'a' })).rejects.toMatchObject(refusal('TAG_IN_USE'));
    await expect(chassis.attach(new Volume(), { tag: 'b', slot: 1 })).rejects.toMatchObject(
      refusal('SLOT_TAKEN'),
    );
    await expect(chassis.attach(new Volume(), { tag: 'b', slot: 4 })).rejects.toMatchObject(
      refusal('SLOT_UNKNOWN'),
    );
    await expect(chassis.attach(new Volume(), { tag: '' })).rejects.toMatchObject(refusal('TAG_INVALID'));
    await expect(chassis.detach('x')).rejects.toMatchObject(refusal('NO_MOUNT'));
    expect(states()).toEqual(['a 1.0 plugged']);
  });

  it('refuses what is no file system, and directories that cannot be shown', async () => {
    const file = join(folder(), 'file');
    writeFileSync(file, '');
    await expect(chassis.attach({} as FileSystem, { tag: 'a' })).rejects.toMatchObject(
      refusal('BAD_REQUEST'),
    );
    await expect(chassis.attach('/no/such', { tag: 'a' })).rejects.toMatchObject(refusal('SOURCE_MISSING'));
    await expect(chassis.attach(file, { tag: 'a' })).rejects.toMatchObject(refusal('SOURCE_NOT_DIRECTORY'));
    expect(chassis.mounts()).toEqual([]);
  });

  it('lets one of two attaches of a tag win, and closes nothing of the other’s', async () => {
    const [one, two] = [new Empty(), new Empty()];
    const both = await Promise.allSettled([
      chassis.attach(one, { tag: 'a' }),
      chassis.attach(two, { tag: 'a' }),
    ]);
    expect(both.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect([one.closed, two.closed]).toEqual([0, 0]);
  });

  it('closes everything, a mounted and a parked file system too', async () => {
    const [mounted, parked] = [new Empty(), new Empty()];
    await chassis.attach(mounted, { tag: 'mounted' });
    await chassis.attach(parked, { tag: 'parked', slot: 3, function: 4 });
    await (await boot()).mount('mounted');
    await chassis.close();
    expect([mounted.closed, parked.closed]).toEqual([1, 1]);
    await expect(chassis.attach(new Empty(), { tag: 'x' })).rejects.toMatchObject(refusal('NO_CHASSIS'));
  });

  it('keeps what a directory holds when it is detached', async () => {
    const path = join(folder(), 'd');
    mkdirSync(path);
    await chassis.attach(path, { tag: 'd' });
    const mount = await (await boot()).mount('d');
    await mount.writeFile('/f', 'text');
    await mount.unmount();
    await chassis.detach('d');
    await chassis.attach(path, { tag: 'd' });
    await guest?.waitForTag('d', { timeoutMs: 10_000 });
    expect(await (await guest?.mount('d'))?.readFile('/f', 'utf8')).toBe('text');
  });

  it.each([0, 32])('refuses %i slots', (slots) => {
    expect(() => new Chassis({ slots })).toThrow(RangeError);
  });
});
