/** 9P2000's stats: Tstat, Twstat, and directories that are read as the stats of their files. */
import { beforeEach, describe, expect, it } from 'vitest';
import { Errno } from '../../../../devices/errno.js';
import type { Client } from './support/client.js';
import { plainClient, statOf as statOfReply, statsIn as statsOf } from './support/older.js';
import { Older, qid, T, type ReadStat, type Reply } from './support/wire.js';

const ORDWR = 2;
const DMDIR = 0x80000000;
const DMEXCL = 0x20000000;
const DMAPPEND = 0x40000000;

const statOf = (reply: Reply): ReadStat => statOfReply(reply, false);
const statsIn = (data: Uint8Array): ReadStat[] => statsOf(data, false);

let client: Client;

/** What the Rerror to a request says. */
async function refusal(bytes: Uint8Array): Promise<string> {
  return (await client.call(bytes)).ename;
}

beforeEach(async () => {
  client = await plainClient();
});

describe('Tstat', () => {
  it('tells what stat(5) has, and users by their numbers', async () => {
    const inode = client.fs.root.entries.get('file')!;
    Object.assign(inode, { uid: 7, gid: 8, mode: 0o104751, mtimeSeconds: 1234 });
    await client.ok(T.walk(1, 0, 1, 'file'));
    expect(statOf(await client.ok(Older.stat(1, 1)))).toMatchObject({
      type: 0,
      dev: 0,
      qid: { type: 0, path: BigInt(inode.number) },
      mode: 0o751,
      mtime: 1234,
      length: 5n,
      name: 'file',
      uid: '7',
      gid: '8',
      muid: '',
    });
    expect(statOf(await client.ok(Older.stat(1, 0)))).toMatchObject({
      name: '/',
      mode: DMDIR + 0o755,
      length: 0n,
    });
    await client.expectNoLeaks();
  });

  it('gives times that do not fit as the nearest that do', async () => {
    const inode = client.fs.root.entries.get('file')!;
    await client.ok(T.walk(1, 0, 1, 'file'));
    for (const [seconds, told] of [
      [-5, 0],
      [2 ** 32 - 1, 2 ** 32 - 2],
      [2 ** 40, 2 ** 32 - 2],
    ]) {
      inode.mtimeSeconds = seconds;
      expect(statOf(await client.ok(Older.stat(1, 1))).mtime).toBe(told);
    }
  });

  it('names the file by the last name of the walk', async () => {
    const directory = client.fs.directory('directory');
    client.fs.file('inside', '', directory);
    await client.ok(T.walk(1, 0, 1, 'directory', 'inside'));
    await client.ok(T.walk(1, 1, 2));
    expect(statOf(await client.ok(Older.stat(1, 2))).name).toBe('inside');
    expect(await refusal(Older.stat(1, 99))).toBe('Bad file descriptor');
  });
});

describe('Twstat', () => {
  it('that touches nothing syncs the file, and changes nothing', async () => {
    await client.ok(T.walk(1, 0, 1, 'file'));
    await client.ok(Older.wstat(1, 1, {}));
    await client.ok(Older.open(1, 1, ORDWR));
    client.fs.calls.length = 0;
    await client.ok(Older.wstat(1, 1, {}));
    expect(client.fs.calls).toEqual(['fsync false']);
  });

  it('changes mode, time, length, name and group, one or all, and leaves what is not to be touched', async () => {
    const inode = client.fs.root.entries.get('file')!;
    Object.assign(inode, { uid: 7, gid: 8, mode: 0o104751 });
    await client.ok(T.walk(1, 0, 1, 'file'));
    const seen = () => [
      inode.mode,
      inode.mtimeSeconds,
      inode.data.length,
      inode.gid,
      inode.uid,
      ...client.fs.root.entries.keys(),
    ];
    const before = seen();
    for (const [fields, at, value] of [
      [{ mode: 0o640 }, 0, 0o104640],
      [{ mtime: 99 }, 1, 99],
      [{ length: 3 }, 2, 3],
      [{ gid: '55' }, 3, 55],
      [{ name: 'renamed' }, 5, 'renamed'],
    ] as const) {
      await client.ok(Older.wstat(1, 1, fields));
      before[at] = value;
      expect(seen()).toEqual(before);
    }
    await client.ok(
      Older.wstat(1, 1, { mode: 0o600, mtime: 5, length: 0, gid: '1', name: 'all', uid: '7', muid: 'me' }),
    );
    expect(seen()).toEqual([0o104600, 5, 0, 1, 7, 'all']);
    expect(statOf(await client.ok(Older.stat(1, 1))).name).toBe('all');
    await client.expectNoLeaks();
  });

  it('that says how things are already, as after Tstat, is done', async () => {
    const { number } = client.fs.root.entries.get('file')!;
    await client.ok(T.walk(1, 0, 1, 'file'));
    const now = statOf(await client.ok(Older.stat(1, 1)));
    const identity = qid(now.qid.type, now.qid.version, number);
    await client.ok(Older.wstat(1, 1, { ...now, qid: identity, muid: '' }));
    expect(statOf(await client.ok(Older.stat(1, 1)))).toEqual(now);
  });

  it('of what cannot be changed is refused, and nothing else of it is done', async () => {
    const inode = client.fs.root.entries.get('file')!;
    await client.ok(T.walk(1, 0, 1, 'file'));
    for (const [fields, why] of [
      [{ type: 1 }, 'Operation not permitted'],
      [{ dev: 1 }, 'Operation not permitted'],
      [{ qid: qid(0, 0, 77) }, 'Operation not permitted'],
      [{ mode: DMDIR | 0o755 }, 'Operation not permitted'],
      [{ mode: DMAPPEND | 0o644 }, 'Operation not supported'],
      [{ mode: DMEXCL | 0o644 }, 'Operation not supported'],
      [{ atime: 5 }, 'Operation not permitted'],
      [{ uid: '99' }, 'Operation not permitted'],
      [{ uid: 'glenda' }, 'Operation not permitted'],
      [{ gid: 'users' }, 'Invalid argument'],
      [{ gid: '4294967295' }, 'Invalid argument'],
      [{ name: 'a/b' }, 'Invalid argument'],
      [{ name: '..' }, 'Invalid argument'],
      [{ length: 2n ** 53n }, 'File too large'],
      [{ length: 2n ** 64n - 2n }, 'File too large'],
    ] as const)
      expect(await refusal(Older.wstat(1, 1, { mtime: 1, ...fields }))).toBe(why);
    expect([inode.mtimeSeconds, inode.mode, ...client.fs.root.entries.keys()]).toEqual([
      1_700_000_000,
      0o100644,
      'file',
    ]);
    expect(await refusal(Older.wstat(1, 0, { name: 'root' }))).toBe('Device or resource busy');
    expect(await refusal(Older.wstat(1, 0, { length: 1 }))).toBe('Is a directory');
    await client.ok(Older.wstat(1, 0, { length: 0 }));
    await client.expectNoLeaks();
  });

  it('to a name that is taken is refused: both files stay', async () => {
    client.fs.file('other', 'other');
    await client.ok(T.walk(1, 0, 1, 'file'));
    expect(await refusal(Older.wstat(1, 1, { name: 'other' }))).toBe('File exists');
    expect([...client.fs.root.entries.keys()].sort()).toEqual(['file', 'other']);
    await client.expectNoLeaks();
  });

  it('whose second part fails gives the first name back', async () => {
    await client.ok(T.walk(1, 0, 1, 'file'));
    client.fs.before = (operation) => (operation === 'setattr' ? -Errno.ENOSPC : undefined);
    expect(await refusal(Older.wstat(1, 1, { name: 'renamed', length: 4 }))).toBe('No space left on device');
    expect([...client.fs.root.entries.keys()]).toEqual(['file']);
    expect(statOf(await client.ok(Older.stat(1, 1))).name).toBe('file');
    await client.expectNoLeaks();
  });

  it('whose stat says another length than it has is refused', async () => {
    await client.ok(T.walk(1, 0, 1, 'file'));
    const message = Older.wstat(1, 1, { mode: 0o600 });
    for (const [at, by] of [
      [11, 1],
      [13, 1],
      [13, 0xff],
    ]) {
      const wrong = message.slice();
      wrong[at] ^= by;
      expect(await refusal(wrong)).toBe('Protocol error');
    }
  });
});

describe('Tread of a directory', () => {
  /** Reads all of it, `count` bytes at a time. */
  async function list(fid: number, count: number): Promise<string[]> {
    const names: string[] = [];
    for (let offset = 0; ;) {
      const { data } = await client.ok(T.read(1, fid, offset, count));
      if (data.length === 0) return names;
      offset += data.length;
      names.push(...statsIn(data).map(({ name }) => name));
    }
  }

  beforeEach(async () => {
    for (let i = 0; i < 200; i++) client.fs.file(`f${i}`, `${i}`);
    client.fs.directory('sub');
    await client.ok(T.walk(1, 0, 1));
    await client.ok(Older.open(1, 1, 0));
  });

  it('gives each file’s whole stat once, in reads of any size that hold one', async () => {
    const all = [...client.fs.root.entries.keys()];
    for (const count of [70, 71, 137, 500, 8000]) expect(await list(1, count)).toEqual(all);
    const first = statsIn((await client.ok(T.read(1, 1, 0, 70))).data);
    expect(first).toEqual([statOf(await statAt('file'))]);
    await client.expectNoLeaks();
  });

  async function statAt(name: string): Promise<Reply> {
    await client.ok(T.walk(2, 0, 9, name));
    const reply = await client.ok(Older.stat(2, 9));
    await client.ok(T.clunk(2, 9));
    return reply;
  }

  it('goes on where the last read ended, or from the start, and nowhere else', async () => {
    const { length } = (await client.ok(T.read(1, 1, 0, 500))).data;
    for (const offset of [1, length - 1, length + 1, 2 ** 40])
      expect(await refusal(T.read(1, 1, offset, 500))).toBe('Invalid argument');
    expect(statsIn((await client.ok(T.read(1, 1, length, 500))).data)[0].name).not.toBe('file');
    expect(statsIn((await client.ok(T.read(1, 1, 0, 500))).data)[0].name).toBe('file');
  });

  it('with no room for the next stat is refused, because no bytes would mean the end', async () => {
    expect(await refusal(T.read(1, 1, 0, 20))).toBe('Invalid argument');
    expect(await list(1, 1000)).toHaveLength(202);
  });

  it('passes over files that went away meanwhile', async () => {
    const names = [...client.fs.root.entries.keys()];
    client.fs.readdirInstead = (cookie, sink) => {
      for (let i = cookie; i < names.length; i++) if (!sink.entry(names[i], i, 0, 8, i + 1)) break;
      return 0;
    };
    const { data } = await client.ok(T.read(1, 1, 0, 500));
    for (let i = 0; i < 100; i++) client.fs.root.entries.delete(`f${i}`);
    const rest = statsIn((await client.ok(T.read(1, 1, data.length, 8000))).data);
    expect(rest[0].name).toBe('f100');
    await client.expectNoLeaks();
  });

  it('gives what was found before a failure, and then the failure', async () => {
    let walks = 0;
    client.fs.before = (operation) =>
      operation === 'walk' && ++walks > 3 ? -Errno.EIO : Promise.resolve(undefined);
    const { data } = await client.ok(T.read(1, 1, 0, 8000));
    expect(statsIn(data)).toHaveLength(3);
    expect(await refusal(T.read(1, 1, data.length, 8000))).toBe('Input/output error');
    client.fs.before = undefined;
    await client.expectNoLeaks();
  });

  it('has one reader of a fid at a time', async () => {
    const gate = client.fs.gate('readdir');
    const read = client.call(T.read(1, 1, 0, 500));
    await gate.arrived;
    expect(await refusal(T.read(2, 1, 0, 500))).toBe('Device or resource busy');
    gate.open();
    expect((await read).type).toBe(117);
    await client.expectNoLeaks();
  });
});
