/** 9P2000.u: what it adds to 9P2000 for Unix, as Linux's client uses it with version=9p2000.u. */
import { beforeEach, describe, expect, it } from 'vitest';
import { FileMode } from '../../../../devices/9p/fs/file-system.js';
import { Errno } from '../../../../devices/errno.js';
import { Client } from './support/client.js';
import { statOf as statOfReply, statsIn, unixClient } from './support/older.js';
import { NOFID, NOTAG, Older, T, type ReadStat, type Reply } from './support/wire.js';

const ORDWR = 2;
const OAPPEND = 0x80;
const DMDIR = 0x80000000;
const DMSYMLINK = 0x02000000;
const DMLINK = 0x01000000;
const DMDEVICE = 0x00800000;
const DMNAMEDPIPE = 0x00200000;
const DMSOCKET = 0x00100000;
const DMSETUID = 0x00080000;
const DMSETGID = 0x00040000;
const DMSETVTX = 0x00010000;

let client: Client;

const statOf = (reply: Reply): ReadStat => statOfReply(reply, true);

async function statAt(name: string): Promise<ReadStat> {
  await client.ok(T.walk(2, 0, 9, name));
  const read = statOf(await client.ok(Older.stat(2, 9)));
  await client.ok(T.clunk(2, 9));
  return read;
}

/** The words and the number of an Rerror. */
async function refusal(bytes: Uint8Array): Promise<[string, number]> {
  const { fields, type } = await client.call(bytes);
  return type === 107 ? [fields.text(), fields.number(4)] : ['', 0];
}

beforeEach(async () => {
  client = await unixClient();
});

describe('a session of 9P2000.u', () => {
  it('is told of failures in words and by number, and the number is there when the words are cut', async () => {
    expect(await refusal(T.walk(1, 0, 1, 'none'))).toEqual(['No such file or directory', Errno.ENOENT]);
    const cut = (await client.call(T.clunk(1, 77), { room: 16 })).fields;
    expect([cut.text(), cut.number(4), cut.left]).toEqual(['Bad', Errno.EBADF, 0]);
    client.fs.before = () => -1234;
    expect(await refusal(T.walk(1, 0, 1, 'file'))).toEqual(['Unknown error 1234', 1234]);
  });

  it('appends with OAPPEND', async () => {
    await client.ok(T.walk(1, 0, 1, 'file'));
    await client.ok(Older.open(1, 1, ORDWR | OAPPEND));
    await client.ok(T.write(1, 1, 0, Buffer.from('!')));
    expect(Buffer.from(client.fs.root.entries.get('file')!.data).toString()).toBe('hello!');
  });
});

describe('Tcreate', () => {
  it('gives the permissions that are asked for, set-id bits among them', async () => {
    client.fs.root.mode = 0o040700;
    for (const [name, perm, mode] of [
      ['file1', 0o666, 0o100666],
      ['file2', DMSETUID | DMSETGID | DMSETVTX | 0o755, 0o107755],
      ['directory', (DMDIR | 0o777) >>> 0, 0o040777],
    ] as const) {
      await client.ok(T.walk(1, 0, 1));
      await client.ok(Older.createUnix(1, 1, name, perm, 0));
      expect(client.fs.root.entries.get(name)?.mode).toBe(mode);
      await client.ok(T.clunk(1, 1));
    }
    await client.expectNoLeaks();
  });

  it('makes symbolic links, FIFOs, sockets and devices, whose fid is theirs and not open', async () => {
    client.fs.root.gid = 50;
    for (const [name, perm, extension, mode, told] of [
      ['symlink', DMSYMLINK | 0o777, '../target', FileMode.S_IFLNK, '../target'],
      ['fifo', DMNAMEDPIPE | 0o640, '', FileMode.S_IFIFO | 0o640, ''],
      ['socket', DMSOCKET | 0o600, '', FileMode.S_IFSOCK | 0o600, ''],
      ['character', DMDEVICE | 0o666, 'c 1 3', FileMode.S_IFCHR | 0o666, 'c 1 3'],
      ['block', DMDEVICE | 0o660, 'b 259 65536', FileMode.S_IFBLK | 0o660, 'b 259 65536'],
    ] as const) {
      await client.ok(T.walk(1, 0, 1));
      await client.ok(Older.createUnix(1, 1, name, perm, 0, extension));
      const made = client.fs.root.entries.get(name)!;
      expect([made.mode & ~0o777, made.uid, made.gid]).toEqual([mode & ~0o777, 1000, 50]);
      const told1 = statOf(await client.ok(Older.stat(1, 1)));
      expect([told1.name, told1.unix?.extension]).toEqual([name, told]);
      expect((await client.call(T.read(1, 1, 0, 5))).type).toBe(107);
      await client.ok(T.clunk(1, 1));
    }
    await client.expectNoLeaks();
  });

  it('with DMLINK gives the file of another fid a second name', async () => {
    await client.ok(T.walk(1, 0, 1));
    await client.ok(T.walk(1, 0, 2, 'file'));
    await client.ok(Older.createUnix(1, 1, 'second', DMLINK | 0o644, 0, '2'));
    expect(client.fs.root.entries.get('second')).toBe(client.fs.root.entries.get('file'));
    expect(statOf(await client.ok(Older.stat(1, 1))).name).toBe('second');
    await client.expectNoLeaks();
  });

  it('with an extension that says nothing, or too much, is refused', async () => {
    await client.ok(T.walk(1, 0, 1));
    for (const [perm, extension, errno] of [
      [DMSYMLINK, '', Errno.ENOENT],
      [DMSYMLINK, 'a\0b', Errno.EINVAL],
      [DMDEVICE, '', Errno.EINVAL],
      [DMDEVICE, 'c', Errno.EINVAL],
      [DMDEVICE, 'x 1 2', Errno.EINVAL],
      [DMDEVICE, 'c 1 2 3', Errno.EINVAL],
      [DMDEVICE, 'c -1 2', Errno.EINVAL],
      [DMDEVICE, 'c 4096 0', Errno.EINVAL],
      [DMDEVICE, 'b 0 1048576', Errno.EINVAL],
      [DMLINK, '', Errno.EINVAL],
      [DMLINK, 'file', Errno.EINVAL],
      [DMLINK, '77', Errno.EBADF],
      [DMLINK, '99999999999', Errno.EINVAL],
    ] as const)
      expect((await refusal(Older.createUnix(1, 1, 'new', perm, 0, extension)))[1]).toBe(errno);
    expect([...client.fs.root.entries.keys()]).toEqual(['file']);
    await client.expectNoLeaks();
  });

  it.each([false, true])('leaves nothing behind where a step fails (answers at once: %s)', async (atOnce) => {
    await client.ok(T.walk(1, 0, 2, 'file'));
    for (const [failing, perm, extension] of [
      ['symlink', DMSYMLINK, 'x'],
      ['mknod', DMNAMEDPIPE, ''],
      ['link', DMLINK, '2'],
      ['walk', DMLINK, '2'],
    ] as const) {
      await client.ok(T.walk(1, 0, 1));
      client.fs.before = (operation) => {
        const answer = operation === failing ? -Errno.EDQUOT : undefined;
        return atOnce ? answer : Promise.resolve(answer);
      };
      expect((await refusal(Older.createUnix(1, 1, `new-${failing}`, perm, 0, extension)))[1]).toBe(
        Errno.EDQUOT,
      );
      client.fs.before = undefined;
      await client.ok(T.clunk(1, 1));
    }
    await client.expectNoLeaks();
  });
});

describe('Tstat', () => {
  it('tells types, set-id bits and numeric users', async () => {
    const inode = client.fs.root.entries.get('file')!;
    Object.assign(inode, { uid: 7, gid: 8, mode: 0o107751 });
    expect(await statAt('file')).toMatchObject({
      mode: DMSETUID | DMSETGID | DMSETVTX | 0o751,
      uid: '7',
      unix: { extension: '', nUid: 7, nGid: 8, nMuid: 0xffffffff },
    });
    client.fs.make(client.fs.root, 'link', FileMode.S_IFLNK | 0o777).target = 'to';
    expect(await statAt('link')).toMatchObject({
      mode: DMSYMLINK | 0o777,
      qid: { type: 2 },
      length: 2n,
      unix: { extension: 'to' },
    });
  });

  it('of a link whose target cannot be read is refused', async () => {
    client.fs.make(client.fs.root, 'link', FileMode.S_IFLNK | 0o777).target = 'to';
    await client.ok(T.walk(1, 0, 1, 'link'));
    client.fs.before = (operation) => (operation === 'readlink' ? Promise.resolve(-Errno.EIO) : undefined);
    expect((await refusal(Older.stat(1, 1)))[1]).toBe(Errno.EIO);
  });
});

describe('Twstat', () => {
  it('changes owner, group, set-id bits and both times by number', async () => {
    const inode = client.fs.root.entries.get('file')!;
    await client.ok(T.walk(1, 0, 1, 'file'));
    await client.ok(
      Older.wstatUnix(1, 1, { nUid: 70, nGid: 80, mode: DMSETUID | 0o711, atime: 5, mtime: 6 }),
    );
    expect([inode.uid, inode.gid, inode.mode, inode.mtimeSeconds]).toEqual([70, 80, 0o104711, 6]);
    await client.ok(Older.wstatUnix(1, 1, { nGid: 81, uid: '71', gid: '99', muid: 'me' }));
    expect([inode.uid, inode.gid]).toEqual([71, 81]);
    for (const fields of [{ uid: 'anybody' }, { gid: 'users' }])
      expect((await refusal(Older.wstatUnix(1, 1, { ...fields, mtime: 9 })))[1]).toBe(Errno.EINVAL);
    expect([inode.uid, inode.gid, inode.mtimeSeconds]).toEqual([71, 81, 6]);
    await client.expectNoLeaks();
  });

  it('to a name that is taken is rename(2)', async () => {
    client.fs.file('other', 'other');
    await client.ok(T.walk(1, 0, 1, 'file'));
    await client.ok(Older.wstatUnix(1, 1, { name: 'other', muid: 'user' }));
    expect([...client.fs.root.entries.keys()]).toEqual(['other']);
    expect(Buffer.from(client.fs.root.entries.get('other')!.data).toString()).toBe('hello');
    await client.expectNoLeaks();
  });

  it('that touches nothing, as Linux sends it for fsync(2), syncs also where the export is read-only', async () => {
    const readOnly = new Client({ readOnly: true }, client.fs);
    await readOnly.ok(T.version(NOTAG, 8192, '9P2000.u'));
    await readOnly.ok(T.attach(1, 0, NOFID, '', '', 0));
    await readOnly.ok(T.walk(1, 0, 1, 'file'));
    await readOnly.ok(Older.open(1, 1, 0));
    await readOnly.ok(Older.wstatUnix(1, 1, {}));
    for (const message of [
      Older.wstatUnix(1, 1, { mode: 0o600 }),
      Older.wstatUnix(1, 1, { name: 'other' }),
      Older.createUnix(1, 0, 'new', 0o644, 0),
    ]) {
      const { fields, type } = await readOnly.call(message);
      expect([type, fields.text(), fields.number(4)]).toEqual([107, 'Read-only file system', Errno.EROFS]);
    }
    await readOnly.ok(T.walk(1, 0, 2, 'file'));
    expect((await readOnly.call(Older.open(1, 2, 0x40))).ename).toBe('Read-only file system');
  });

  it('with an extension is refused: a link’s target does not change', async () => {
    await client.ok(T.walk(1, 0, 1, 'file'));
    expect((await refusal(Older.wstatUnix(1, 1, { extension: 'elsewhere' })))[1]).toBe(Errno.EPERM);
  });
});

describe('Tread of a directory', () => {
  it('gives stats with targets and numbers', async () => {
    client.fs.make(client.fs.root, 'link', FileMode.S_IFLNK | 0o777).target = 'to';
    await client.ok(T.walk(1, 0, 1));
    await client.ok(Older.open(1, 1, 0));
    const stats = statsIn((await client.ok(T.read(1, 1, 0, 8000))).data, true);
    expect(stats.map(({ name, unix }) => [name, unix?.extension])).toEqual([
      ['file', ''],
      ['link', 'to'],
    ]);
    await client.expectNoLeaks();
  });
});
