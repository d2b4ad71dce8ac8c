import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../devices/errno.js';
import { Client } from './support/client.js';
import { T } from './support/wire.js';

const AT_REMOVEDIR = 0x200;

/** fid 1 is the file `file`, fid 2 the directory `directory`. */
async function withTree(): Promise<Client> {
  const client = await Client.attached();
  client.fs.file('file', 'text');
  client.fs.directory('directory');
  await client.ok(T.walk(1, 0, 1, 'file'));
  await client.ok(T.walk(1, 0, 2, 'directory'));
  client.fs.calls.length = 0;
  return client;
}

/** Every request that names an entry, with the fid of its directory and the name left open. */
const NAMING: [string, (directory: number, name: string) => Uint8Array][] = [
  ['Tmkdir', (fid, name) => T.mkdir(1, fid, name, 0o755, 0)],
  ['Tsymlink', (fid, name) => T.symlink(1, fid, name, 'target', 0)],
  ['Tmknod', (fid, name) => T.mknod(1, fid, name, 0o10644, 0, 0, 0)],
  ['Tlink', (fid, name) => T.link(1, fid, 1, name)],
  ['Tunlinkat', (fid, name) => T.unlinkat(1, fid, name, 0)],
  ['Trename', (fid, name) => T.rename(1, 1, fid, name)],
  ['Trenameat to', (fid, name) => T.renameat(1, 0, 'file', fid, name)],
  ['Trenameat from', (fid, name) => T.renameat(1, fid, name, 0, 'new')],
];

describe.each(NAMING)('%s', (_request, build) => {
  it.each(['', '.', '..', '/', 'a/b', '../a', 'a\0', '\0'])(
    'of the name %o is refused before the file system sees it',
    async (name) => {
      const client = await withTree();
      expect(await client.errno(build(0, name))).toBe(Errno.EINVAL);
      expect(client.fs.calls).toEqual([]);
      await client.expectNoLeaks();
    },
  );

  it('of a name of 256 bytes returns ENAMETOOLONG', async () => {
    const client = await withTree();
    expect(await client.errno(build(0, 'x'.repeat(256)))).toBe(Errno.ENAMETOOLONG);
  });

  it('in a file returns ENOTDIR, in an unknown fid or an attribute’s value EBADF', async () => {
    const client = await withTree();
    await client.ok(T.xattrwalk(1, 0, 7, ''));
    client.fs.calls.length = 0;
    expect(await client.errno(build(1, 'name'))).toBe(Errno.ENOTDIR);
    expect(await client.errno(build(99, 'name'))).toBe(Errno.EBADF);
    expect(await client.errno(build(7, 'name'))).toBe(Errno.EBADF);
    expect(client.fs.calls).toEqual([]);
    await client.expectNoLeaks();
  });
});

describe('Tmkdir', () => {
  it('makes a directory for the attached user and answers its qid', async () => {
    const client = await withTree();
    const reply = await client.ok(T.mkdir(1, 0, 'new', 0o41755, 50));
    expect([reply.bytes.length, reply.fields.qid().type]).toEqual([20, 0x80]);
    expect(client.fs.root.entries.get('new')).toMatchObject({ mode: 0o41755, uid: 1000, gid: 50 });
    expect(await client.errno(T.mkdir(1, 0, 'new', 0o755, 0))).toBe(Errno.EEXIST);
    await client.expectNoLeaks();
  });

  it('passes only permissions on', async () => {
    const client = await withTree();
    await client.ok(T.mkdir(1, 0, 'new', 0xffffffff, 0));
    expect(client.fs.root.entries.get('new')?.mode).toBe(0o47777);
  });
});

describe('Tsymlink', () => {
  it('makes a link whose target may be anything but nothing or NUL', async () => {
    const client = await withTree();
    const reply = await client.ok(T.symlink(1, 0, 'new', '../../\xff', 50));
    expect(reply.fields.qid().type).toBe(0x02);
    expect(client.fs.root.entries.get('new')).toMatchObject({ target: '../../\xff', uid: 1000, gid: 50 });
    expect(await client.errno(T.symlink(1, 0, 'other', '', 0))).toBe(Errno.ENOENT);
    expect(await client.errno(T.symlink(1, 0, 'other', 'a\0b', 0))).toBe(Errno.EINVAL);
    await client.expectNoLeaks();
  });
});

describe('Tmknod', () => {
  it('passes on the device number as Linux encodes it', async () => {
    const client = await withTree();
    await client.ok(T.mknod(1, 0, 'new', 0o20666, 0xabc, 0x12345, 50));
    expect(client.fs.root.entries.get('new')).toMatchObject({ mode: 0o20666, rdev: 0x123abc45 });
  });

  it.each([
    [0x1000, 0],
    [0, 0x100000],
    [0xffffffff, 0xffffffff],
  ])('of device %d:%d, which Linux has not, is refused', async (major, minor) => {
    const client = await withTree();
    expect(await client.errno(T.mknod(1, 0, 'new', 0o20666, major, minor, 0))).toBe(Errno.EINVAL);
  });
});

describe('Tlink', () => {
  it('gives a file a second name', async () => {
    const client = await withTree();
    await client.ok(T.link(1, 2, 1, 'second'));
    expect(client.fs.root.entries.get('directory')?.entries.get('second')).toBe(
      client.fs.root.entries.get('file'),
    );
    expect(await client.errno(T.link(1, 0, 2, 'third'))).toBe(Errno.EPERM);
    expect(await client.errno(T.link(1, 0, 99, 'third'))).toBe(Errno.EBADF);
    await client.expectNoLeaks();
  });
});

describe('Tunlinkat', () => {
  it('removes files, and directories with AT_REMOVEDIR', async () => {
    const client = await withTree();
    expect(await client.errno(T.unlinkat(1, 0, 'file', AT_REMOVEDIR))).toBe(Errno.ENOTDIR);
    expect(await client.errno(T.unlinkat(1, 0, 'directory', 0))).toBe(Errno.EISDIR);
    await client.ok(T.unlinkat(1, 0, 'file', 0));
    await client.ok(T.unlinkat(1, 0, 'directory', AT_REMOVEDIR));
    expect(client.fs.root.entries.size).toBe(0);
    await client.expectNoLeaks();
  });

  it.each([1, 0x201, 0xffffffff])('with the flags %d is refused', async (flags) => {
    const client = await withTree();
    expect(await client.errno(T.unlinkat(1, 0, 'file', flags))).toBe(Errno.EINVAL);
    expect(client.fs.calls).toEqual([]);
  });
});

describe('Trename and Trenameat', () => {
  it('move a file; its fid stays the file’s', async () => {
    const client = await withTree();
    await client.ok(T.rename(1, 1, 2, 'there'));
    await client.ok(T.renameat(1, 2, 'there', 0, 'here'));
    expect([...client.fs.root.entries.keys()]).toEqual(['directory', 'here']);
    await client.ok(T.lopen(1, 1, 0));
    expect(Buffer.from((await client.ok(T.read(1, 1, 0, 10))).data).toString()).toBe('text');
    await client.expectNoLeaks();
  });

  it('refuse a directory’s move into itself, and any move of what was attached', async () => {
    const client = await withTree();
    await client.ok(T.walk(1, 0, 3));
    expect(await client.errno(T.rename(1, 2, 2, 'inside'))).toBe(Errno.EINVAL);
    expect(await client.errno(T.rename(1, 3, 2, 'inside'))).toBe(Errno.EBUSY);
    expect(await client.errno(T.rename(1, 99, 2, 'inside'))).toBe(Errno.EBADF);
    expect(await client.errno(T.renameat(1, 99, 'file', 2, 'inside'))).toBe(Errno.EBADF);
    await client.expectNoLeaks();
  });
});

describe('a file system that makes a file and then cannot say what it is', () => {
  it('leaves nothing behind in the server', async () => {
    const client = await withTree();
    client.fs.before = (operation) => (operation === 'getattr' ? -Errno.EIO : undefined);
    expect(await client.errno(T.mkdir(1, 0, 'new', 0o755, 0))).toBe(Errno.EIO);
    await client.expectNoLeaks();
  });

  it.each(['throws', 'rejects', 'answers undefined'])(
    'and %s is answered with EIO and reported',
    async (how) => {
      const client = await withTree();
      client.fs.run = ((operation: string, _detail: string, act: () => unknown) => {
        if (operation !== 'mkdir') return act();
        if (how === 'throws') throw new Error('a bug');
        return how === 'rejects' ? Promise.reject(new Error('a bug')) : undefined;
      }) as typeof client.fs.run;
      expect(await client.errno(T.mkdir(1, 0, 'new', 0o755, 0))).toBe(Errno.EIO);
      expect(client.log).toHaveLength(1);
      expect(await client.errno(T.getattr(1, 0))).toBe(0);
      await client.server.dropAll();
      expect(client.fs.liveNodes).toBe(0);
    },
  );

  it.each([-4096, -0.5, NaN, 1, 2])(
    'or answers %d, which is no errno, is answered with EIO and reported',
    async (answer) => {
      const client = await withTree();
      client.fs.before = (operation) => (operation === 'link' ? answer : undefined);
      expect(await client.errno(T.link(1, 0, 1, 'new'))).toBe(Errno.EIO);
      expect(client.log).toHaveLength(1);
    },
  );

  it('again and again fills no log', async () => {
    const client = await withTree();
    client.fs.before = () => {
      throw new Error('a bug');
    };
    for (let i = 0; i < 300; i++) await client.errno(T.getattr(1, 0));
    expect(client.log).toHaveLength(100);
  });
});
