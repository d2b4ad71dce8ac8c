/** Children that are taken away while a guest uses them. */
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../../devices/errno.js';
import type { TreeError } from '../../../../../devices/9p/fs/mount-tree/tree-error.js';
import { T } from '../../server/support/wire.js';
import { READ_ONLY, READ_WRITE, TreeClient } from './support.js';

/** Every request that uses a file (fid 1), an open file (fid 2), a directory (fid 3) or an open directory (fid 4). */
const REQUESTS: [string, Uint8Array][] = [
  ['Twalk', T.walk(1, 3, 9, 'file')],
  ['Tlopen', T.lopen(1, 1, READ_ONLY)],
  ['Tread', T.read(1, 2, 0, 10)],
  ['Twrite', T.write(1, 2, 0, [1])],
  ['Treaddir', T.readdir(1, 4, 0, 1000)],
  ['Tgetattr', T.getattr(1, 1)],
  ['Tgetattr of an open file', T.getattr(1, 2)],
  ['Tsetattr', T.setattr(1, 1, { valid: 1, mode: 0 })],
  ['Tsetattr of an open file', T.setattr(1, 2, { valid: 1, mode: 0 })],
  ['Tstatfs', T.statfs(1, 1)],
  ['Treadlink', T.readlink(1, 1)],
  ['Tfsync', T.fsync(1, 2, 0)],
  ['Tlock', T.lock(1, 2, 1, 0, 0, 0, 7, 'guest')],
  ['Tgetlock', T.getlock(1, 2, 1, 0, 0, 7, 'guest')],
  ['Tlcreate', T.lcreate(1, 3, 'new', READ_WRITE, 0o644, 0)],
  ['Tmkdir', T.mkdir(1, 3, 'new', 0o755, 0)],
  ['Tsymlink', T.symlink(1, 3, 'new', 'target', 0)],
  ['Tmknod', T.mknod(1, 3, 'new', 0o100644, 0, 0, 0)],
  ['Tlink', T.link(1, 3, 1, 'new')],
  ['Tunlinkat', T.unlinkat(1, 3, 'file', 0)],
  ['Trename', T.rename(1, 1, 3, 'new')],
  ['Trenameat', T.renameat(1, 3, 'file', 3, 'new')],
  ['Tremove', T.remove(1, 1)],
  ['Txattrwalk', T.xattrwalk(1, 1, 9, 'user.x')],
  ['Txattrwalk of the names', T.xattrwalk(1, 1, 9, '')],
  ['Twalk to ..', T.walk(1, 3, 9, '..')],
];

async function withUsed() {
  const client = await TreeClient.attached();
  const fs = client.add('used');
  fs.file('file', 'text');
  await client.walk(1, 'used', 'file');
  await client.open(2, READ_WRITE, 'used', 'file');
  await client.walk(3, 'used');
  await client.open(4, READ_ONLY, 'used');
  return { client, fs };
}

describe('a child that was removed', () => {
  it.each(REQUESTS)('answers %s with ESTALE, and its file system is left alone', async (_title, request) => {
    const { client, fs } = await withUsed();
    expect(client.tree.remove('used')).toEqual({ fids: 4, openFiles: 2 });
    fs.calls.length = 0;
    expect(await client.errno(request)).toBe(Errno.ESTALE);
    expect(fs.calls).toEqual([]);
    expect(fs.closes).toBe(1);
    await client.expectNoLeaks(fs);
  });

  it('is gone from the listing and from the names, and can come again under its own', async () => {
    const { client, fs } = await withUsed();
    client.tree.remove('used');
    expect(await client.errno(T.walk(1, 0, 9, 'used'))).toBe(Errno.ENOENT);
    expect(() => client.tree.remove('used')).toThrow(
      expect.objectContaining({ code: 'NO_SUCH_CHILD' }) as TreeError,
    );
    const again = client.add('used');
    again.file('file', 'other');
    await client.open(9, READ_ONLY, 'used', 'file');
    expect(await client.read(9)).toBe('other');
    expect(await client.errno(T.read(1, 2, 0, 10))).toBe(Errno.ESTALE);
    await client.expectNoLeaks(fs, again);
  });

  it('has everything given back, and then is closed, once, though the guest keeps its fids', async () => {
    const { client, fs } = await withUsed();
    client.tree.remove('used');
    await new Promise(setImmediate);
    expect([fs.closes, fs.heldAtClose, fs.liveNodes, fs.liveFiles]).toEqual([1, 0, 0, 0]);
    expect(client.server.statistics).toMatchObject({ fids: 5, openFiles: 2 });
    for (const fid of [1, 2, 3, 4]) await client.ok(T.clunk(1, fid));
    expect(client.server.statistics).toMatchObject({ fids: 1, openFiles: 0 });
    await client.expectNoLeaks(fs);
  });

  it('leaves others and their open files as they are', async () => {
    const { client, fs } = await withUsed();
    const other = client.add('other');
    other.file('file', 'other');
    await client.open(9, READ_ONLY, 'other', 'file');
    client.tree.remove('used');
    expect(await client.read(9)).toBe('other');
    await client.expectNoLeaks(fs, other);
  });

  it('closes its files before it gives back the nodes that they are open on', async () => {
    const { client, fs } = await withUsed();
    const gate = fs.gate('close');
    client.tree.remove('used');
    await gate.arrived;
    expect(fs.liveNodes).toBe(4);
    gate.open();
    await client.expectNoLeaks(fs);
  });
});

describe('an operation under way when its child is removed', () => {
  it('that waits for something is interrupted, and fails', async () => {
    const { client, fs } = await withUsed();
    fs.root.entries.get('file')!.target = 'blocks';
    const read = client.call(T.read(5, 2, 0, 10));
    client.tree.remove('used');
    expect((await read).errno).toBe(Errno.ESTALE);
    await client.expectNoLeaks(fs);
  });

  it('that waits for a lock is interrupted, and fails', async () => {
    const { client, fs } = await withUsed();
    fs.root.entries.get('file')!.target = 'locked';
    const lock = client.call(T.lock(5, 2, 1, 1, 0, 0, 7, 'guest'));
    client.tree.remove('used');
    expect((await lock).errno).toBe(Errno.ESTALE);
    await client.expectNoLeaks(fs);
  });

  it.each([
    ['attach', T.walk(5, 0, 9, 'used')],
    ['walk', T.walk(5, 3, 9, 'file')],
    ['open', T.lopen(5, 1, READ_ONLY)],
    ['create', T.lcreate(5, 3, 'new', READ_WRITE, 0o644, 0)],
    ['mkdir', T.mkdir(5, 3, 'new', 0o755, 0)],
    ['getattr', T.getattr(5, 1)],
    ['write', T.write(5, 2, 0, [65])],
    ['close', T.clunk(5, 2)],
  ])(
    'keeps the file system open until %s is over, and nothing of its answer is lost',
    async (operation, request) => {
      const { client, fs } = await withUsed();
      const gate = fs.gate(operation);
      const reply = client.call(request);
      await gate.arrived;
      client.tree.remove('used');
      await new Promise(setImmediate);
      expect(fs.closes).toBe(0);
      gate.open();
      const { errno } = await reply;
      // What was only looked at or written to has happened; what would be a new hold on the child has not.
      expect(errno).toBe(['getattr', 'write', 'close'].includes(operation) ? 0 : Errno.ESTALE);
      await client.expectNoLeaks(fs);
    },
  );

  it('is waited for when the tree is closed', async () => {
    const { client, fs } = await withUsed();
    const gate = fs.gate('close');
    client.tree.remove('used');
    let closed = false;
    const closing = client.tree.close().then(() => (closed = true));
    await new Promise(setImmediate);
    expect(closed).toBe(false);
    gate.open();
    await closing;
    expect(fs.closes).toBe(1);
  });
});

describe('a file system that fails', () => {
  it('to close is reported, and nothing else comes of it', async () => {
    const { client, fs } = await withUsed();
    fs.close = () => {
      throw new Error('no');
    };
    client.tree.remove('used');
    await client.tree.close();
    expect(client.treeLog).toEqual(['close of a file system failed: Error: no']);
  });

  it('to be interrupted is reported, and is removed all the same', async () => {
    const { client, fs } = await withUsed();
    const gate = fs.gate('read');
    fs.interruptInstead = () => {
      throw new Error('no');
    };
    const read = client.call(T.read(5, 2, 0, 10));
    await gate.arrived;
    client.tree.remove('used');
    gate.open();
    await read;
    expect(client.treeLog).toEqual(['interrupt threw: Error: no']);
    await client.tree.close();
    expect(fs.closes).toBe(1);
  });
});
