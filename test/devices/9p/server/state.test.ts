/** A client that is handed over from one server to another, over the same directory of the host. */
import { linkSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { ServerOptions } from '../../../../devices/9p/server/options.js';
import { openDescriptors } from '../fs/host-directory/exported.js';
import { Client, type Sender } from './support/client.js';
import { DirectoryServers, openFile, textOf } from './support/directory-servers.js';
import { Fields, NOFID, NOTAG, Older, T, type Reply } from './support/wire.js';

const UID = process.geteuid?.() ?? 0;
const O_RDONLY = 0;
const O_RDWR = 2;
const O_APPEND = 0o2000;
const [READ_LOCK, WRITE_LOCK] = [0, 1];
const BLOCKED = 1;

const lab = DirectoryServers.perTest();

/** The old server ends as the new one begins. */
async function handOver(old: Sender, options: Partial<ServerOptions> = {}): Promise<Sender> {
  const state = old.server.saveState();
  await old.server.dropAll();
  const next = await lab.add(options);
  expect(await next.server.restoreState(state)).toBeUndefined();
  return next;
}

/** Why another server does not take the client over. */
async function refusal(old: Sender, options: Partial<ServerOptions> = {}): Promise<string | undefined> {
  const next = await lab.add(options);
  const fids = openDescriptors();
  const why = await next.server.restoreState(old.server.saveState());
  expect([openDescriptors(), next.server.statistics.fids]).toEqual([fids, 0]);
  return why;
}

describe('a client that is handed over', () => {
  it('finds its files open as they were, under the same numbers', async () => {
    const old = await lab.atWork();
    await old.ok(T.walk(1, 0, 1, 'dir', 'deep'));
    await openFile(old, 2, O_RDWR, 'dir', 'deep', 'file');
    await openFile(old, 3, O_RDWR | O_APPEND, 'dir', 'deep', 'file');
    const seen = (await old.ok(T.getattr(1, 1))).bytes;
    const next = await handOver(old);
    expect((await next.ok(T.getattr(1, 1))).bytes).toEqual(seen);
    expect(textOf(await next.ok(T.read(1, 2, 3, 100)))).toBe('tent');
    await next.ok(T.write(1, 3, 0, Buffer.from('+more')));
    expect(textOf(await next.ok(T.read(1, 2, 0, 100)))).toBe('content+more');
    expect(await next.errno(T.attach(1, 2, NOFID, '', '', UID))).not.toBe(0);
    for (const fid of [0, 1, 2, 3]) await next.ok(T.clunk(1, fid));
    expect(next.server.statistics).toMatchObject({ fids: 0, openFiles: 0 });
  });

  it('reads a directory on where it was, each name once', async () => {
    for (let i = 0; i < 300; i++)
      linkSync(lab.exported.at('dir', 'deep', 'file'), lab.exported.at('dir', `name-${i}`));
    const old = await lab.atWork();
    await openFile(old, 1, O_RDONLY, 'dir');
    const first = await old.ok(T.readdir(1, 1, 0, 2000));
    const names = entriesOf(first);
    const next = await handOver(old);
    for (;;) {
      const more = entriesOf(await next.ok(T.readdir(1, 1, names.at(-1)?.cookie ?? 0n, 2000)));
      if (more.length === 0) break;
      names.push(...more);
    }
    const listed = names.map(({ name }) => name);
    expect(new Set(listed).size).toBe(listed.length);
    expect(listed).toHaveLength(303);
  });

  it('goes on with a listing of 9P2000 between two reads', async () => {
    for (let i = 0; i < 100; i++) writeFileSync(lab.exported.at(`name-${i}`), '');
    const old = await lab.add();
    await old.ok(T.version(NOTAG, 8192, '9P2000'));
    await old.ok(Older.attach(1, 0, NOFID, 'user', ''));
    await old.ok(T.walk(1, 0, 1));
    await old.ok(Older.open(1, 1, 0));
    const first = (await old.ok(T.read(1, 1, 0, 1000))).data;
    const next = await handOver(old);
    const names = statNames(first);
    let offset = first.length;
    for (;;) {
      const { data } = await next.ok(T.read(1, 1, offset, 1000));
      if (data.length === 0) break;
      names.push(...statNames(data));
      offset += data.length;
    }
    expect(names.sort()).toEqual(['dir', ...Array.from({ length: 100 }, (_, i) => `name-${i}`)].sort());
  });

  it('has the locks that it had, and no more', async () => {
    const old = await lab.atWork();
    await openFile(old, 1, O_RDWR, 'dir', 'deep', 'file');
    const lock = (fid: number, type: number, start: number, length: number, pid = 7): Uint8Array =>
      T.lock(1, fid, type, 0, start, length, pid, 'guest');
    for (const each of [lock(1, WRITE_LOCK, 0, 100), lock(1, 2, 40, 20), lock(1, READ_LOCK, 200, 0, 8)])
      expect((await old.ok(each)).fields.number(1)).toBe(0);
    const next = await handOver(old);
    const other = await lab.atWork();
    await openFile(other, 1, O_RDWR, 'dir', 'deep', 'file');
    const tries = [lock(1, READ_LOCK, 0, 1), lock(1, READ_LOCK, 99, 1), lock(1, WRITE_LOCK, 5000, 1)];
    for (const each of tries) expect((await other.ok(each)).fields.number(1)).toBe(BLOCKED);
    for (const each of [lock(1, WRITE_LOCK, 40, 20), lock(1, READ_LOCK, 5000, 1)])
      expect((await other.ok(each)).fields.number(1)).toBe(0);
    await next.ok(T.clunk(1, 1));
    for (const each of tries) expect((await other.ok(each)).fields.number(1)).toBe(0);
  });

  it('writes on at the value of an extended attribute', async () => {
    const old = await lab.atWork();
    await old.ok(T.walk(1, 0, 1, 'dir'));
    await old.ok(T.xattrcreate(1, 1, 'user.test', 6, 0));
    await old.ok(T.write(1, 1, 0, Buffer.from('abc')));
    const next = await handOver(old);
    await next.ok(T.write(1, 1, 3, Buffer.from('def')));
    await next.ok(T.clunk(1, 1));
    await next.ok(T.walk(1, 0, 2, 'dir'));
    await next.ok(T.xattrwalk(1, 2, 3, 'user.test'));
    const last = await handOver(next);
    expect(textOf(await last.ok(T.read(1, 3, 0, 100)))).toBe('abcdef');
  });

  it('may have agreed on no version yet', async () => {
    const next = await handOver(await lab.add());
    expect(await next.errno(T.attach(1, 0, NOFID, '', '', UID))).not.toBe(0);
    await next.start(UID);
  });
});

describe('a client stays where it is', () => {
  it('while a request is under way that must not be carried out twice', async () => {
    const client = new Client();
    await client.start();
    const gate = client.fs.gate('mkdir');
    const made = client.ok(T.mkdir(1, 0, 'new', 0o755, 0));
    await gate.arrived;
    expect(() => client.server.saveState()).toThrow('a request of type 72 is under way');
    gate.open();
    await made;
    // This one's file system does not tell names.
    expect(() => client.server.saveState()).toThrow('has no name any more, and cannot be told');
  });

  it('where a file of its has no name any more', async () => {
    const old = await lab.atWork();
    await openFile(old, 1, O_RDONLY, 'dir', 'deep', 'file');
    await old.ok(T.walk(1, 0, 2, 'dir', 'deep'));
    await old.ok(T.unlinkat(1, 2, 'file', 0));
    expect(() => old.server.saveState()).toThrow(
      '"/dir/deep/file" (fid 1) is open but unlinked, and its descriptor cannot go along: have it closed first',
    );
  });

  it.each([
    ['is not there', () => unlinkSync(lab.exported.at('dir', 'deep', 'file'))],
    ['is not there', () => renameSync(lab.exported.at('dir'), lab.exported.at('elsewhere'))],
    [
      'is another file here',
      () => {
        writeFileSync(lab.exported.at('other'), '');
        renameSync(lab.exported.at('other'), lab.exported.at('dir', 'deep', 'file'));
      },
    ],
  ])('where a file %s', async (why, change) => {
    const old = await lab.atWork();
    await openFile(old, 1, O_RDONLY, 'dir', 'deep', 'file');
    change();
    expect(await refusal(old)).toBe(`"/dir/deep/file" (fid 1) ${why}`);
    rmSync(lab.exported.at('elsewhere'), { recursive: true, force: true });
  });

  it('where somebody has taken a lock of its', async () => {
    const old = await lab.atWork();
    await openFile(old, 1, O_RDWR, 'dir', 'deep', 'file');
    await old.ok(T.lock(1, 1, WRITE_LOCK, 0, 0, 0, 7, 'guest'));
    expect(await refusal(old)).toBe('"/dir/deep/file" (fid 1) is locked by somebody else here');
  });

  it.each([
    [{ maxFids: 1 }, 'it has 2 fids, and 1 are allowed here'],
    [{ maxOpenFiles: 0 }, 'it has more open files than the 0 that are allowed here'],
    [{ maxMsizeBytes: 4096 }, 'its messages have up to 65536 bytes, and 4096 are allowed here'],
  ])('where the limits are %o', async (limits, why) => {
    const old = await lab.atWork();
    await openFile(old, 1, O_RDONLY, 'dir');
    expect(await refusal(old, limits)).toBe(why);
  });

  it('where its state was cut off, or a byte of it is another one, or the new server is as it was', async () => {
    const old = await lab.atWork();
    await openFile(old, 1, O_RDWR, 'dir', 'deep', 'file');
    await old.ok(T.lock(1, 1, WRITE_LOCK, 0, 0, 0, 7, 'guest'));
    const state = old.server.saveState();
    await old.server.dropAll();
    const next = await lab.add();
    const open1 = openDescriptors();
    for (let length = 0; length < state.length; length++)
      expect(await next.server.restoreState(state.subarray(0, length))).toBeTypeOf('string');
    for (let at = 0; at < state.length; at++) {
      const changed = state.slice();
      changed[at] ^= 0x55;
      const why = await next.server.restoreState(changed);
      if (why === undefined) await next.server.dropAll();
      expect(openDescriptors()).toBe(open1);
    }
    expect(await next.server.restoreState(state)).toBeUndefined();
    expect(textOf(await next.ok(T.read(1, 1, 0, 100)))).toBe('content');
  });
});

interface Entry {
  readonly name: string;
  readonly cookie: bigint;
}

function entriesOf(reply: Reply): Entry[] {
  const fields = new Fields(reply.data);
  const entries: Entry[] = [];
  while (fields.left > 0) {
    fields.qid();
    const cookie = fields.big(8);
    fields.number(1);
    entries.push({ name: fields.text(), cookie });
  }
  return entries;
}

function statNames(data: Uint8Array): string[] {
  const fields = new Fields(data);
  const names: string[] = [];
  while (fields.left > 0) names.push(fields.stat(false).name);
  return names;
}
