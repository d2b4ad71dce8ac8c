/** THREATS: xattr overflow, leak, exhaustion. */
import { describe, expect, it } from 'vitest';
import { XATTR_FIDS_MAX } from '../../../../devices/9p/server/session.js';
import { Errno } from '../../../../devices/errno.js';
import { Client } from './support/client.js';
import type { Inode } from './support/inode.js';
import { T } from './support/wire.js';

const CREATE = 1;
const REPLACE = 2;

async function withFile(): Promise<{ client: Client; inode: Inode }> {
  const client = await Client.attached();
  const inode = client.fs.file('file', 'text');
  inode.xattrs.set('user.one', Buffer.from('first'));
  inode.xattrs.set('user.two', new Uint8Array(0));
  await client.ok(T.walk(1, 0, 1, 'file'));
  return { client, inode };
}

describe('Txattrcreate, hostile', () => {
  it.each([65537, 2 ** 31, 2 ** 32, 2n ** 53n, 2n ** 64n - 1n])(
    'of a value of %d bytes is refused with E2BIG',
    async (size) => {
      const { client } = await withFile();
      expect(await client.errno(T.xattrcreate(1, 1, 'user.new', size, 0))).toBe(Errno.E2BIG);
      expect(await client.errno(T.getattr(1, 1))).toBe(0);
      await client.expectNoLeaks();
    },
  );

  it('takes no byte past the size it announced, wherever it is written', async () => {
    const { client, inode } = await withFile();
    await client.ok(T.xattrcreate(1, 1, 'user.new', 4, 0));
    expect(await client.errno(T.write(1, 1, 0, [1, 2, 3, 4, 5]))).toBe(Errno.ENOSPC);
    expect(await client.errno(T.write(1, 1, 2 ** 52, [1]))).toBe(Errno.EINVAL);
    await client.ok(T.write(1, 1, 0, [1, 2, 3]));
    expect(await client.errno(T.write(1, 1, 3, [4, 5]))).toBe(Errno.ENOSPC);
    await client.ok(T.write(1, 1, 3, [4]));
    await client.ok(T.clunk(1, 1));
    expect(inode.xattrs.get('user.new')).toEqual(Uint8Array.from([1, 2, 3, 4]));
    await client.expectNoLeaks();
  });

  it('never stores bytes that were not written', async () => {
    const { client, inode } = await withFile();
    await client.ok(T.xattrcreate(1, 1, 'user.new', 100, 0));
    expect(await client.errno(T.write(1, 1, 50, [1]))).toBe(Errno.EINVAL);
    await client.ok(T.write(1, 1, 0, [1, 2, 3]));
    expect(await client.errno(T.clunk(1, 1))).toBe(Errno.EINVAL);
    expect(inode.xattrs.has('user.new')).toBe(false);
    expect(await client.errno(T.getattr(1, 1))).toBe(Errno.EBADF);
    await client.expectNoLeaks();
  });

  it('and Txattrwalk hold a bounded number of values at a time, and give the places back', async () => {
    const { client } = await withFile();
    let fid = 100;
    for (let i = 0; i < XATTR_FIDS_MAX / 2; i++) {
      await client.ok(T.xattrwalk(1, 1, fid++, 'user.one'));
      await client.ok(T.walk(1, 1, fid));
      await client.ok(T.xattrcreate(1, fid++, 'user.new', 65536, 0));
    }
    expect(await client.errno(T.xattrwalk(1, 1, fid, 'user.one'))).toBe(Errno.EMFILE);
    await client.ok(T.walk(1, 1, fid));
    expect(await client.errno(T.xattrcreate(1, fid, 'user.new', 1, 0))).toBe(Errno.EMFILE);
    await client.ok(T.clunk(1, 100));
    await client.ok(T.xattrwalk(1, 1, 100, 'user.one'));
    expect(await client.errno(T.clunk(1, 101))).toBe(Errno.EINVAL);
    await client.ok(T.xattrcreate(1, fid, 'user.new', 1, 0));
    await client.expectNoLeaks();
    await client.start();
    await client.ok(T.walk(1, 0, 1, 'file'));
    for (let i = 0; i < XATTR_FIDS_MAX; i++) await client.ok(T.xattrwalk(1, 1, 100 + i, ''));
    await client.expectNoLeaks();
  });

  it('and Txattrwalk that fail take up no place', async () => {
    const { client } = await withFile();
    for (let i = 0; i < XATTR_FIDS_MAX + 1; i++) {
      expect(await client.errno(T.xattrwalk(1, 1, 2, 'user.none'))).toBe(Errno.ENODATA);
      expect(await client.errno(T.xattrcreate(1, 1, '', 1, 0))).toBe(Errno.ERANGE);
    }
    expect(await client.errno(T.xattrwalk(1, 1, 2, 'user.one'))).toBe(0);
    await client.expectNoLeaks();
  });

  it('with no name, a NUL in it, 256 bytes of it, or unknown flags is refused', async () => {
    const { client } = await withFile();
    expect(await client.errno(T.xattrcreate(1, 1, '', 1, 0))).toBe(Errno.ERANGE);
    expect(await client.errno(T.xattrcreate(1, 1, 'a\0b', 1, 0))).toBe(Errno.EINVAL);
    expect(await client.errno(T.xattrcreate(1, 1, 'x'.repeat(256), 1, 0))).toBe(Errno.ENAMETOOLONG);
    for (const flags of [3, 4, 0xffffffff])
      expect(await client.errno(T.xattrcreate(1, 1, 'user.new', 1, flags))).toBe(Errno.EINVAL);
    expect(await client.errno(T.xattrcreate(1, 9, 'user.new', 1, 0))).toBe(Errno.EBADF);
    await client.expectNoLeaks();
  });

  it('of an open fid is refused', async () => {
    const { client } = await withFile();
    await client.ok(T.lopen(1, 1, 2));
    expect(await client.errno(T.xattrcreate(1, 1, 'user.new', 1, 0))).toBe(Errno.EINVAL);
    await client.expectNoLeaks();
  });

  it('makes a fid that can do nothing but be written and clunked', async () => {
    const { client } = await withFile();
    await client.ok(T.xattrcreate(1, 1, 'user.new', 1, 0));
    for (const bytes of [
      T.read(1, 1, 0, 1),
      T.walk(1, 1, 2),
      T.walk(1, 1, 1),
      T.lopen(1, 1, 0),
      T.getattr(1, 1),
      T.setattr(1, 1, { valid: 1 }),
      T.xattrwalk(1, 1, 2, ''),
      T.xattrcreate(1, 1, 'user.other', 1, 0),
      T.readdir(1, 1, 0, 100),
      T.link(1, 0, 1, 'new'),
      T.rename(1, 1, 0, 'new'),
      T.fsync(1, 1, 0),
    ])
      expect(await client.errno(bytes), `message type ${bytes[4]}`).toBe(Errno.EBADF);
    await client.expectNoLeaks();
  });

  it('followed by Tremove loses the fid and keeps the file', async () => {
    const { client } = await withFile();
    await client.ok(T.xattrcreate(1, 1, 'user.new', 0, 0));
    expect(await client.errno(T.remove(1, 1))).toBe(Errno.EBADF);
    expect(client.fs.root.entries.has('file')).toBe(true);
    expect(await client.errno(T.clunk(1, 1))).toBe(Errno.EBADF);
    await client.expectNoLeaks();
  });
});

describe('Txattrcreate', () => {
  it.each([
    ['creates', 'user.new', CREATE, 0],
    ['refuses to create again', 'user.one', CREATE, Errno.EEXIST],
    ['replaces', 'user.one', REPLACE, 0],
    ['refuses to replace what is not there', 'user.new', REPLACE, Errno.ENODATA],
    ['creates or replaces', 'user.one', 0, 0],
  ])('%s a value when the fid is clunked', async (_what, name, flags, errno) => {
    const { client, inode } = await withFile();
    await client.ok(T.xattrcreate(1, 1, name, 3, flags));
    await client.ok(T.write(1, 1, 0, [7]));
    await client.ok(T.write(1, 1, 1, [8, 9]));
    expect(await client.errno(T.clunk(1, 1))).toBe(errno);
    if (errno === 0) expect(inode.xattrs.get(name)).toEqual(Uint8Array.from([7, 8, 9]));
    await client.expectNoLeaks();
  });

  it('stores an empty value', async () => {
    const { client, inode } = await withFile();
    await client.ok(T.xattrcreate(1, 1, 'user.new', 0, 0));
    await client.ok(T.clunk(1, 1));
    expect(inode.xattrs.get('user.new')).toHaveLength(0);
    await client.expectNoLeaks();
  });

  it('of nothing with XATTR_REPLACE removes the value', async () => {
    const { client, inode } = await withFile();
    await client.ok(T.xattrcreate(1, 1, 'user.one', 0, REPLACE));
    await client.ok(T.clunk(1, 1));
    expect(inode.xattrs.has('user.one')).toBe(false);
    await client.expectNoLeaks();
  });

  it('stores 64 KiB', async () => {
    const { client, inode } = await withFile();
    const value = Uint8Array.from({ length: 65536 }, (_, i) => i % 251);
    await client.ok(T.xattrcreate(1, 1, 'user.new', 65536, 0));
    await client.ok(T.write(1, 1, 0, value.subarray(0, 60000)));
    await client.ok(T.write(1, 1, 60000, value.subarray(60000)));
    await client.ok(T.clunk(1, 1));
    expect(inode.xattrs.get('user.new')).toEqual(value);
  });

  it('that the file system throws at gives the fid up all the same', async () => {
    const { client } = await withFile();
    await client.ok(T.xattrcreate(1, 1, 'user.new', 0, 0));
    client.fs.before = () => {
      throw new Error('a bug');
    };
    expect(await client.errno(T.clunk(1, 1))).toBe(Errno.EIO);
    expect(await client.errno(T.clunk(1, 1))).toBe(Errno.EBADF);
    await client.server.dropAll();
    expect(client.fs.liveNodes).toBe(0);
  });
});

describe('Txattrwalk', () => {
  it('gives a value to read, in any pieces', async () => {
    const { client } = await withFile();
    expect((await client.ok(T.xattrwalk(1, 1, 2, 'user.one'))).fields.number(8)).toBe(5);
    expect(Buffer.from((await client.ok(T.read(1, 2, 0, 100))).data).toString()).toBe('first');
    expect(Buffer.from((await client.ok(T.read(1, 2, 3, 1))).data).toString()).toBe('s');
    expect((await client.ok(T.read(1, 2, 5, 10))).data).toHaveLength(0);
    expect((await client.ok(T.read(1, 2, 2 ** 53 - 1, 10))).data).toHaveLength(0);
    await client.ok(T.clunk(1, 2));
    await client.expectNoLeaks();
  });

  it('gives an empty value', async () => {
    const { client } = await withFile();
    expect((await client.ok(T.xattrwalk(1, 1, 2, 'user.two'))).fields.number(8)).toBe(0);
    expect((await client.ok(T.read(1, 2, 0, 100))).data).toHaveLength(0);
  });

  it('without a name gives the list of names', async () => {
    const { client } = await withFile();
    expect((await client.ok(T.xattrwalk(1, 1, 2, ''))).fields.number(8)).toBe(18);
    expect(Buffer.from((await client.ok(T.read(1, 2, 0, 100))).data).toString()).toBe('user.one\0user.two\0');
  });

  it('makes a fid that can only be read and clunked', async () => {
    const { client } = await withFile();
    await client.ok(T.xattrwalk(1, 1, 2, 'user.one'));
    for (const bytes of [T.write(1, 2, 0, [1]), T.walk(1, 2, 3), T.lopen(1, 2, 0), T.getattr(1, 2)])
      expect(await client.errno(bytes)).toBe(Errno.EBADF);
    await client.expectNoLeaks();
  });

  it('to a fid in use, from an unknown one, or of a name with NUL is refused', async () => {
    const { client } = await withFile();
    expect(await client.errno(T.xattrwalk(1, 1, 1, 'user.one'))).toBe(Errno.EINVAL);
    expect(await client.errno(T.xattrwalk(1, 1, 0, 'user.one'))).toBe(Errno.EINVAL);
    expect(await client.errno(T.xattrwalk(1, 9, 2, 'user.one'))).toBe(Errno.EBADF);
    expect(await client.errno(T.xattrwalk(1, 1, 2, 'a\0'))).toBe(Errno.EINVAL);
    await client.expectNoLeaks();
  });

  it('refuses a value of over 64 KiB that a file system has', async () => {
    const { client, inode } = await withFile();
    inode.xattrs.set('user.big', new Uint8Array(65537));
    expect(await client.errno(T.xattrwalk(1, 1, 2, 'user.big'))).toBe(Errno.E2BIG);
    await client.expectNoLeaks();
  });
});
