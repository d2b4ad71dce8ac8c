/** 9P2000, Plan 9's own dialect: its sessions, and how files are opened and made. */
import { beforeEach, describe, expect, it } from 'vitest';
import { Errno } from '../../../../devices/errno.js';
import type { Client } from './support/client.js';
import { plainClient } from './support/older.js';
import { NOFID, Older, T } from './support/wire.js';

const OWRITE = 1;
const ORDWR = 2;
const OEXEC = 3;
const OTRUNC = 0x10;
const OCEXEC = 0x20;
const ORCLOSE = 0x40;
const DMDIR = 0x80000000;
const DMEXCL = 0x20000000;
const DMAPPEND = 0x40000000;
const DMTMP = 0x04000000;

let client: Client;

/** What the Rerror to a request says. */
async function refusal(bytes: Uint8Array): Promise<string> {
  return (await client.call(bytes)).ename;
}

beforeEach(async () => {
  client = await plainClient();
});

describe('a session of 9P2000', () => {
  it('understands no message of 9P2000.L', async () => {
    for (const message of [
      T.lopen(1, 0, 0),
      T.getattr(1, 0),
      T.readdir(1, 0, 0, 100),
      T.statfs(1, 0),
      T.lcreate(1, 0, 'new', 2, 0o644, 0),
      T.unlinkat(1, 0, 'file', 0),
      T.lock(1, 0, 1, 0, 0, 0, 1, ''),
      T.xattrwalk(1, 0, 9, ''),
    ])
      expect(await refusal(message)).toBe('Operation not supported');
    expect(client.fs.root.entries.has('file')).toBe(true);
    await client.expectNoLeaks();
  });

  it('is told of failures in Linux’s words, cut to the room of the reply', async () => {
    expect(await refusal(T.walk(1, 0, 1, 'none'))).toBe('No such file or directory');
    expect(await refusal(T.clunk(1, 77))).toBe('Bad file descriptor');
    const cut = await client.call(T.clunk(1, 77), { room: 20 });
    expect([cut.type, cut.ename]).toEqual([107, 'Bad file de']);
    expect((await client.call(T.clunk(1, 77), { room: 13 })).ename).toBe('Bad ');
    expect(await client.send(T.clunk(1, 77), { room: 8 })).toHaveLength(0);
  });

  it('refuses to authenticate, and attaches the user that uname gives the number of', async () => {
    expect((await client.call(Older.auth(1, 9, 'glenda', ''))).type).toBe(107);
    await client.ok(Older.attach(1, 5, NOFID, 'glenda', ''));
    for (const [fid, uid] of [
      [0, 1000],
      [5, 0xffffffff],
    ]) {
      await client.ok(T.walk(1, fid, 6));
      await client.ok(Older.create(1, 6, `of-${uid}`, 0o644, ORDWR));
      expect(client.fs.root.entries.get(`of-${uid}`)?.uid).toBe(uid);
      await client.ok(T.clunk(1, 6));
    }
    await client.expectNoLeaks();
  });

  it('refuses every message that is cut off or has bytes to spare', async () => {
    for (const message of [
      Older.attach(1, 5, NOFID, 'user', ''),
      Older.open(1, 0, 0),
      Older.create(1, 0, 'new', 0o644, 0),
      Older.stat(1, 0),
      Older.wstat(1, 0, { name: 'other' }),
    ]) {
      for (let length = 7; length < message.length; length++) {
        const cut = message.slice(0, length);
        new DataView(cut.buffer).setUint32(0, length, true);
        expect((await client.call(cut)).ename).toBe('Protocol error');
      }
      const longer = Uint8Array.from([...message, 0]);
      new DataView(longer.buffer).setUint32(0, longer.length, true);
      expect((await client.call(longer)).ename).toBe('Protocol error');
    }
    await client.expectNoLeaks();
  });
});

describe('Topen', () => {
  it('opens to read, to write, both, and to execute, which is to read', async () => {
    for (const [mode, reads, writes] of [
      [0, true, false],
      [OWRITE, false, true],
      [ORDWR | OCEXEC, true, true],
      [OEXEC, true, false],
    ] as const) {
      await client.ok(T.walk(1, 0, 1, 'file'));
      const opened = (await client.ok(Older.open(1, 1, mode))).fields;
      expect([opened.qid().type, opened.number(4), opened.left]).toEqual([0, 4096, 0]);
      expect((await client.call(T.read(1, 1, 0, 5))).type).toBe(reads ? 117 : 107);
      expect((await client.call(T.write(1, 1, 0, Buffer.from('h')))).type).toBe(writes ? 119 : 107);
      await client.ok(T.clunk(1, 1));
    }
    await client.expectNoLeaks();
  });

  it('with OTRUNC empties the file', async () => {
    await client.ok(T.walk(1, 0, 1, 'file'));
    await client.ok(Older.open(1, 1, ORDWR | OTRUNC));
    expect(client.fs.root.entries.get('file')?.data).toHaveLength(0);
  });

  it('with ORCLOSE removes the file with its fid, whether the fid was used or not', async () => {
    await client.ok(T.walk(1, 0, 1, 'file'));
    await client.ok(Older.open(1, 1, ORDWR | ORCLOSE));
    expect(client.fs.root.entries.has('file')).toBe(true);
    await client.ok(T.clunk(1, 1));
    expect(client.fs.root.entries.has('file')).toBe(false);
    await client.ok(T.walk(1, 0, 2));
    await client.ok(Older.create(1, 2, 'temporary', 0o600, ORDWR | ORCLOSE));
    await client.ok(T.clunk(1, 2));
    expect(client.fs.root.entries.has('temporary')).toBe(false);
    await client.expectNoLeaks();
  });

  it('with bits that mean nothing here, those of 9P2000.u among them, is refused', async () => {
    await client.ok(T.walk(1, 0, 1, 'file'));
    for (const mode of [0x04, 0x08, 0x80, 0xff])
      expect(await refusal(Older.open(1, 1, mode))).toBe('Invalid argument');
    await client.ok(Older.open(1, 1, 0));
    expect(await refusal(Older.open(1, 1, 0))).toBe('Invalid argument');
  });
});

describe('Tcreate', () => {
  it('makes files and directories with no more permissions than their directory has, in its group', async () => {
    client.fs.root.mode = 0o040750;
    client.fs.root.gid = 50;
    for (const [name, perm, mode] of [
      ['file1', 0o777, 0o100751],
      ['file2', (0o666 | DMTMP) >>> 0, 0o100640],
      ['directory', (DMDIR | 0o777) >>> 0, 0o040750],
    ] as const) {
      await client.ok(T.walk(1, 0, 1));
      const created = (await client.ok(Older.create(1, 1, name, perm, 0))).fields;
      expect([created.qid().type, created.number(4), created.left]).toEqual([
        name === 'directory' ? 0x80 : 0,
        4096,
        0,
      ]);
      const made = client.fs.root.entries.get(name);
      expect([made?.mode, made?.uid, made?.gid]).toEqual([mode, 1000, 50]);
      expect((await client.ok(T.read(1, 1, 0, 100))).data).toHaveLength(0);
      await client.ok(T.clunk(1, 1));
    }
    await client.expectNoLeaks();
  });

  it('of a name that is there, or is none, is refused', async () => {
    await client.ok(T.walk(1, 0, 1));
    expect(await refusal(Older.create(1, 1, 'file', 0o644, ORDWR))).toBe('File exists');
    for (const name of ['', '.', '..', 'a/b', 'a\0'])
      expect(await refusal(Older.create(1, 1, name, 0o644, ORDWR))).toBe('Invalid argument');
    await client.ok(T.walk(1, 0, 2, 'file'));
    expect(await refusal(Older.create(1, 2, 'new', 0o644, ORDWR))).toBe('Not a directory');
    await client.expectNoLeaks();
  });

  it('of what cannot be promised, a file for one at a time or one that only grows, is refused', async () => {
    await client.ok(T.walk(1, 0, 1));
    for (const perm of [DMEXCL, DMAPPEND, 0x02000000, 0x00200000, 0x00080000, 0x1000])
      expect(await refusal(Older.create(1, 1, 'new', perm | 0o644, ORDWR))).toBe('Operation not supported');
    expect(await refusal(Older.create(1, 1, 'new', DMDIR | 0o755, ORDWR))).toBe('Is a directory');
    expect([...client.fs.root.entries.keys()]).toEqual(['file']);
    await client.expectNoLeaks();
  });

  it('leaves nothing behind in the server where a step of it fails', async () => {
    for (const failing of ['getattr', 'create', 'file.getattr', 'mkdir', 'open']) {
      await client.ok(T.walk(1, 0, 1));
      client.fs.before = (operation) =>
        operation === failing ? Promise.resolve(-Errno.EACCES) : Promise.resolve(undefined);
      const perm = ['mkdir', 'open'].includes(failing) ? (DMDIR | 0o755) >>> 0 : 0o644;
      expect(await refusal(Older.create(1, 1, `new-${failing}`, perm, 0))).toBe('Permission denied');
      client.fs.before = undefined;
      await client.ok(T.clunk(1, 1));
      expect(client.server.statistics.openFiles).toBe(0);
    }
    await client.expectNoLeaks();
  });
});
