import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../devices/errno.js';
import { Client } from './support/client.js';
import type { MemoryFileSystem } from './support/memory-file-system.js';
import { NOFID, NOTAG, T } from './support/wire.js';

const O_WRONLY = 1;
const O_RDWR = 2;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;

async function withFile(text = 'hello', flags = O_RDWR): Promise<Client> {
  const client = await Client.attached();
  client.fs.file('file', text);
  await client.ok(T.walk(1, 0, 1, 'file'));
  await client.ok(T.lopen(1, 1, flags));
  return client;
}

/** The file system's operation `name` answers `answer`, whatever that is. */
function answering(fs: MemoryFileSystem, name: string, answer: unknown): void {
  fs.before = (operation) => (operation === name ? (answer as number) : undefined);
}

describe('Tlopen', () => {
  it('answers the qid and an I/O unit of whole pages', async () => {
    const client = await Client.attached();
    await client.ok(T.walk(1, 0, 1));
    const fields = (await client.ok(T.lopen(1, 1, 0))).fields;
    expect([fields.qid(), fields.number(4), fields.left]).toMatchObject([{ type: 0x80, path: 2n }, 61440, 0]);
    await client.expectNoLeaks();
  });

  it('answers an I/O unit of 0, which means msize, where not even one page fits', async () => {
    const client = new Client();
    await client.ok(T.version(NOTAG, 4096, '9P2000.L'));
    await client.ok(T.attach(1, 0, NOFID, '', '', 0));
    const fields = (await client.ok(T.lopen(1, 0, 0))).fields;
    fields.qid();
    expect(fields.number(4)).toBe(0);
  });

  it('of an open fid is refused', async () => {
    const client = await withFile();
    expect(await client.errno(T.lopen(1, 1, 0))).toBe(Errno.EINVAL);
    await client.expectNoLeaks();
  });

  it('with both access bits, of an unknown fid, or of a directory for writing is refused', async () => {
    const client = await Client.attached();
    expect(await client.errno(T.lopen(1, 0, 3))).toBe(Errno.EINVAL);
    expect(await client.errno(T.lopen(1, 9, 0))).toBe(Errno.EBADF);
    expect(await client.errno(T.lopen(1, 0, O_RDWR))).toBe(Errno.EISDIR);
    expect(await client.errno(T.lopen(1, 0, 0))).toBe(0);
    await client.expectNoLeaks();
  });

  it('passes on the flags that are about the file, without those about creating it', async () => {
    const client = await Client.attached();
    client.fs.file('file', 'x');
    await client.ok(T.walk(1, 0, 1, 'file'));
    await client.ok(T.lopen(1, 1, 0o2103702 | 0xf0000000));
    expect(client.fs.calls).toContain(`open ${0o103002}`);
  });

  it('whose file cannot say what it is closes it again', async () => {
    const client = await Client.attached();
    answering(client.fs, 'file.getattr', -Errno.EIO);
    expect(await client.errno(T.lopen(1, 0, 0))).toBe(Errno.EIO);
    expect([client.fs.liveFiles, client.server.statistics.openFiles]).toEqual([0, 0]);
    client.fs.before = undefined;
    expect(await client.errno(T.lopen(1, 0, 0))).toBe(0);
    await client.expectNoLeaks();
  });
});

describe('Tlcreate', () => {
  it('makes the fid one of the new file, open, for the user that attached and the group that is asked for', async () => {
    const client = await Client.attached();
    await client.ok(T.walk(1, 0, 1));
    const fields = (await client.ok(T.lcreate(1, 1, 'new', O_RDWR, 0o100640, 50))).fields;
    expect([fields.qid().type, fields.number(4)]).toEqual([0, 61440]);
    await client.ok(T.write(1, 1, 0, [65]));
    expect(client.fs.root.entries.get('new')).toMatchObject({ mode: 0o100640, uid: 1000, gid: 50 });
    expect(await client.errno(T.walk(1, 1, 2, 'x'))).toBe(Errno.ENOTDIR);
    await client.expectNoLeaks();
  });

  it('with O_EXCL refuses a file that is there, and without opens it', async () => {
    const client = await withFile();
    await client.ok(T.walk(1, 0, 2));
    expect(await client.errno(T.lcreate(1, 2, 'file', O_RDWR | O_EXCL, 0o644, 0))).toBe(Errno.EEXIST);
    await client.ok(T.lcreate(1, 2, 'file', O_RDWR | O_TRUNC, 0o644, 0));
    expect((await client.ok(T.read(1, 2, 0, 10))).data).toHaveLength(0);
    await client.expectNoLeaks();
  });

  it.each(['', '.', '..', 'a/b', 'a\0b'])(
    'of the name %o is refused before the file system sees it',
    async (name) => {
      const client = await Client.attached();
      expect(await client.errno(T.lcreate(1, 0, name, O_RDWR, 0o644, 0))).toBe(Errno.EINVAL);
      expect(client.fs.calls.some((call) => call.startsWith('create'))).toBe(false);
      await client.expectNoLeaks();
    },
  );

  it('in something that is no directory, or in an open one, is refused', async () => {
    const client = await withFile();
    await client.ok(T.walk(1, 0, 2, 'file'));
    await client.ok(T.walk(1, 0, 3));
    await client.ok(T.lopen(1, 3, 0));
    expect(await client.errno(T.lcreate(1, 2, 'new', O_RDWR, 0o644, 0))).toBe(Errno.ENOTDIR);
    expect(await client.errno(T.lcreate(1, 3, 'new', O_RDWR, 0o644, 0))).toBe(Errno.EINVAL);
    await client.expectNoLeaks();
  });

  it('whose file cannot say what it is leaves the fid the directory’s', async () => {
    const client = await Client.attached();
    answering(client.fs, 'file.getattr', -Errno.EIO);
    expect(await client.errno(T.lcreate(1, 0, 'new', O_RDWR, 0o644, 0))).toBe(Errno.EIO);
    expect(await client.errno(T.walk(1, 0, 1, 'new'))).toBe(0);
    expect(client.fs.liveFiles).toBe(0);
    await client.expectNoLeaks();
  });
});

describe('Tread', () => {
  it('reads from an offset, and nothing past the end', async () => {
    const client = await withFile('hello world');
    expect(Buffer.from((await client.ok(T.read(1, 1, 6, 100))).data).toString()).toBe('world');
    expect((await client.ok(T.read(1, 1, 11, 100))).bytes).toHaveLength(11);
    expect((await client.ok(T.read(1, 1, 2 ** 53 - 1, 100))).data).toHaveLength(0);
    expect((await client.ok(T.read(1, 1, 0, 0))).data).toHaveLength(0);
    expect(client.server.statistics.bytesRead).toBe(5);
  });

  it('is cut to msize and to the room of the reply', async () => {
    const client = await withFile('x'.repeat(70000));
    expect((await client.ok(T.read(1, 1, 0, 70000), { room: 80000 })).bytes).toHaveLength(65536);
    expect((await client.ok(T.read(1, 1, 0, 70000), { room: 20 })).data).toHaveLength(9);
    expect((await client.ok(T.read(1, 1, 0, 70000), { room: 11 })).data).toHaveLength(0);
  });

  it('of a fid that is not open, open for writing only, or a directory is refused', async () => {
    const client = await withFile('x', O_WRONLY);
    await client.ok(T.walk(1, 0, 2, 'file'));
    await client.ok(T.walk(1, 0, 3));
    await client.ok(T.lopen(1, 3, 0));
    expect(await client.errno(T.read(1, 2, 0, 1))).toBe(Errno.EBADF);
    expect(await client.errno(T.read(1, 1, 0, 1))).toBe(Errno.EBADF);
    expect(await client.errno(T.read(1, 3, 0, 1))).toBe(Errno.EISDIR);
    expect(await client.errno(T.read(1, 99, 0, 1))).toBe(Errno.EBADF);
  });

  it('that fails is answered with an error in place of the data', async () => {
    const client = await withFile();
    answering(client.fs, 'read', -Errno.EIO);
    const reply = await client.call(T.read(1, 1, 0, 5), { room: 16 });
    expect([reply.errno, reply.bytes.length]).toEqual([Errno.EIO, 11]);
  });

  it.each([6, NaN, Infinity, undefined, 'text'])(
    'whose file system answers %o is answered with EIO and reported',
    async (answer) => {
      const client = await withFile();
      client.fs.run = (() => answer) as MemoryFileSystem['run'];
      expect(await client.errno(T.read(1, 1, 0, 5))).toBe(Errno.EIO);
      expect(client.log).toHaveLength(1);
    },
  );
});

describe('Twrite', () => {
  it('writes at an offset and answers how much', async () => {
    const client = await withFile('hello');
    expect((await client.ok(T.write(1, 1, 3, Buffer.from('p me')))).fields.number(4)).toBe(4);
    expect(Buffer.from((await client.ok(T.read(1, 1, 0, 100))).data).toString()).toBe('help me');
    expect(client.server.statistics.bytesWritten).toBe(4);
  });

  it('appends where the file was opened for that', async () => {
    const client = await withFile('one', O_RDWR | O_APPEND);
    await client.ok(T.write(1, 1, 0, Buffer.from('two')));
    expect(Buffer.from((await client.ok(T.read(1, 1, 0, 100))).data).toString()).toBe('onetwo');
  });

  it('of nothing is done, too', async () => {
    const client = await withFile();
    expect((await client.ok(T.write(1, 1, 0, []))).fields.number(4)).toBe(0);
  });

  it('takes as much as msize allows', async () => {
    const client = await withFile('');
    const data = Uint8Array.from({ length: 65536 - 23 }, (_, i) => i * 7);
    await client.ok(T.write(1, 1, 0, data), { piece: 1000 });
    expect(client.fs.root.entries.get('file')?.data).toEqual(data);
  });

  it('of a fid that is not open, or open for reading only, is refused', async () => {
    const client = await withFile('x', 0);
    await client.ok(T.walk(1, 0, 2, 'file'));
    expect(await client.errno(T.write(1, 1, 0, [1]))).toBe(Errno.EBADF);
    expect(await client.errno(T.write(1, 2, 0, [1]))).toBe(Errno.EBADF);
    expect(await client.errno(T.write(1, 99, 0, [1]))).toBe(Errno.EBADF);
  });

  it('that the file system says wrote more than there was is answered with EIO and reported', async () => {
    const client = await withFile();
    client.fs.run = () => 4;
    expect(await client.errno(T.write(1, 1, 0, [1, 2, 3]))).toBe(Errno.EIO);
    expect(client.log).toHaveLength(1);
  });
});

describe('Tfsync', () => {
  it('syncs data, or all', async () => {
    const client = await withFile();
    await client.ok(T.fsync(1, 1, 0));
    await client.ok(T.fsync(1, 1, 1));
    expect(client.fs.calls.slice(-2)).toEqual(['fsync false', 'fsync true']);
    expect(await client.errno(T.fsync(1, 0, 0))).toBe(Errno.EBADF);
  });
});

describe('Tlock and Tgetlock', () => {
  it('lock, find out who has the lock, and unlock', async () => {
    const client = await withFile();
    expect((await client.ok(T.lock(1, 1, 1, 0, 10, 20, 77, 'one'))).fields.number(1)).toBe(0);
    expect((await client.ok(T.lock(1, 1, 1, 1, 10, 20, 88, 'two'))).fields.number(1)).toBe(1);
    const fields = (await client.ok(T.getlock(1, 1, 1, 10, 20, 88, 'two'))).fields;
    expect([fields.number(1), fields.number(8), fields.number(8), fields.number(4), fields.text()]).toEqual([
      1,
      10,
      20,
      77,
      'one',
    ]);
    expect((await client.ok(T.lock(1, 1, 2, 0, 0, 0, 77, 'one'))).fields.number(1)).toBe(0);
    expect((await client.ok(T.getlock(1, 1, 1, 10, 20, 88, 'two'))).fields.number(1)).toBe(2);
  });

  it('of an unknown type, or of a fid that is not open, are refused', async () => {
    const client = await withFile();
    expect(await client.errno(T.lock(1, 1, 3, 0, 0, 0, 1, ''))).toBe(Errno.EINVAL);
    expect(await client.errno(T.getlock(1, 1, 255, 0, 0, 1, ''))).toBe(Errno.EINVAL);
    expect(await client.errno(T.lock(1, 0, 1, 0, 0, 0, 1, ''))).toBe(Errno.EBADF);
    expect(await client.errno(T.getlock(1, 0, 1, 0, 0, 1, ''))).toBe(Errno.EBADF);
  });

  it('pass on that the file system has no locks, and answer EIO to a status that is none', async () => {
    const client = await withFile();
    answering(client.fs, 'lock', -Errno.EOPNOTSUPP);
    expect(await client.errno(T.lock(1, 1, 1, 0, 0, 0, 1, ''))).toBe(Errno.EOPNOTSUPP);
    answering(client.fs, 'lock', 4);
    expect(await client.errno(T.lock(1, 1, 1, 0, 0, 0, 1, ''))).toBe(Errno.EIO);
  });
});
