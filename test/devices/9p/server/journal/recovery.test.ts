/** A server whose process is killed, and the next one over the same directory of the host, which has its journal. */
import { chmodSync, mkdirSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import type { ServerOptions } from '../../../../../devices/9p/server/options.js';
import { Exported, isRoot, openDescriptors } from '../../fs/host-directory/exported.js';
import { Sender } from '../support/client.js';
import { Fields, T, type Reply } from '../support/wire.js';
import { MemoryStore } from './memory-store.js';

const UID = process.geteuid?.() ?? 0;
const [O_RDONLY, O_RDWR, O_APPEND] = [0, 2, 0o2000];
const [READ_LOCK, WRITE_LOCK, UNLOCK] = [0, 1, 2];
const BLOCKED = 1;
const ESTALE = 116;

let exported: Exported;
let before: number;
let living: { client: Sender; store: MemoryStore }[];

beforeEach(async () => {
  exported = await Exported.make();
  mkdirSync(exported.at('dir', 'deep'), { recursive: true });
  writeFileSync(exported.at('dir', 'deep', 'file'), 'content');
  before = openDescriptors();
  living = [];
});

afterEach(async () => {
  for (const { client } of living) await client.server.close();
  expect(openDescriptors()).toBe(before);
  exported.remove();
});

async function serve(store: MemoryStore, options: Partial<ServerOptions> = {}): Promise<Sender> {
  const client = new Sender(await HostDirectory.open(exported.path), options, store);
  living.push({ client, store });
  await client.server.recover();
  return client;
}

async function atWork(options?: Partial<ServerOptions>): Promise<Sender> {
  const client = await serve(new MemoryStore(), options);
  await client.start(UID);
  return client;
}

/** Another process's server, after this one's was killed. */
async function kill(client: Sender, options?: Partial<ServerOptions>): Promise<Sender> {
  const killed = living.find((each) => each.client === client);
  const left = killed?.store.left() ?? new MemoryStore();
  await client.server.close();
  return serve(left, options);
}

/** What the log says of what was not found again. */
function losses({ log }: Sender): string {
  expect(log).toHaveLength(1);
  return /found \d+ fids of the guest's again(.*): undefined/s.exec(log[0])?.[1] ?? log[0];
}

async function open(client: Sender, fid: number, flags: number, ...names: string[]): Promise<void> {
  await client.ok(T.walk(1, 0, fid, ...names));
  await client.ok(T.lopen(1, fid, flags));
}

const text = (reply: Reply): string => Buffer.from(reply.data).toString('latin1');
const lock = (fid: number, type: number, start: number, length: number, pid = 7): Uint8Array =>
  T.lock(1, fid, type, 0, start, length, pid, 'guest');

describe('a server that is handed over', () => {
  it('has its journal until the next one goes on, which has it from then on', async () => {
    const old = await atWork();
    await open(old, 1, O_RDWR, 'dir', 'deep', 'file');
    const [{ store }] = living;
    const journal = store.journal;
    const state = old.server.saveState();
    const givesUp = new Sender(await HostDirectory.open(exported.path), {}, store);
    await givesUp.server.dropAll(true);
    expect(await givesUp.server.restoreState(state)).toBeUndefined();
    await givesUp.server.recover();
    await givesUp.server.close();
    expect(store.journal).toBe(journal);
    const next = new Sender(await HostDirectory.open(exported.path), {}, store);
    living.push({ client: next, store });
    await next.server.dropAll(true);
    expect(await next.server.restoreState(state)).toBeUndefined();
    next.server.unhold();
    expect(store.journal).not.toBe(journal);
    await next.ok(T.walk(1, 0, 2, 'dir'));
    const killed = await kill(next);
    expect(losses(killed)).toBe('');
    for (const fid of [1, 2]) await killed.ok(T.getattr(1, fid));
  });
});

describe('a guest whose server is killed', () => {
  it('has its fids and open files again, under the same numbers and qids', async () => {
    const old = await atWork();
    await old.ok(T.walk(1, 0, 1, 'dir', 'deep'));
    await open(old, 2, O_RDWR, 'dir', 'deep', 'file');
    await open(old, 3, O_RDWR | O_APPEND, 'dir', 'deep', 'file');
    await old.ok(T.walk(1, 1, 4, '..', '..', '..', 'dir'));
    await old.ok(T.walk(1, 0, 5, 'dir'));
    await old.ok(T.clunk(1, 5));
    const seen = await Promise.all([1, 2, 4].map(async (fid) => (await old.ok(T.getattr(1, fid))).bytes));
    const next = await kill(old);
    expect(losses(next)).toBe('');
    for (const [i, fid] of [1, 2, 4].entries())
      expect((await next.ok(T.getattr(1, fid))).bytes).toEqual(seen[i]);
    expect(text(await next.ok(T.read(1, 2, 3, 100)))).toBe('tent');
    await next.ok(T.write(1, 3, 0, Buffer.from('+more')));
    expect(text(await next.ok(T.read(1, 2, 0, 100)))).toBe('content+more');
    expect(await next.errno(T.getattr(1, 5))).not.toBe(0);
    for (const fid of [0, 1, 2, 3, 4]) await next.ok(T.clunk(1, fid));
    expect(next.server.statistics).toMatchObject({ fids: 0, openFiles: 0 });
  });

  it('has them again after a second kill, and a third', async () => {
    let client = await atWork();
    await open(client, 1, O_RDWR, 'dir', 'deep', 'file');
    for (let i = 0; i < 3; i++) {
      client = await kill(client);
      await client.ok(T.walk(1, 0, 10 + i, 'dir'));
    }
    expect(text(await client.ok(T.read(1, 1, 0, 100)))).toBe('content');
    for (let i = 0; i < 3; i++) await client.ok(T.clunk(1, 10 + i));
  });

  it('finds a file that it renamed, and one below a directory that it renamed', async () => {
    const old = await atWork();
    await open(old, 1, O_RDONLY, 'dir', 'deep', 'file');
    await old.ok(T.walk(1, 0, 2, 'dir', 'deep'));
    await old.ok(T.renameat(1, 2, 'file', 0, 'moved\xff\x01'));
    await old.ok(T.walk(1, 0, 3, 'dir'));
    await old.ok(T.rename(1, 3, 0, 'new'));
    const next = await kill(old);
    expect(losses(next)).toBe('');
    expect(text(await next.ok(T.read(1, 1, 0, 100)))).toBe('content');
    await next.ok(T.mkdir(1, 2, 'sub', 0o755, 0));
    expect(statSync(exported.at('new', 'deep', 'sub')).isDirectory()).toBe(true);
  });

  it('goes on without a file that is gone, another one, or closed to it, and is told ESTALE of each', async () => {
    writeFileSync(exported.at('gone'), '');
    writeFileSync(exported.at('other'), '');
    writeFileSync(exported.at('shut'), 'shut');
    const old = await atWork();
    await open(old, 1, O_RDONLY, 'gone');
    await old.ok(T.walk(1, 0, 2, 'other'));
    await open(old, 3, O_RDWR, 'shut');
    await open(old, 4, O_RDONLY, 'dir', 'deep', 'file');
    // Unlinked by the guest itself, while it has it open.
    await old.ok(T.walk(1, 0, 6, 'dir', 'deep'));
    await old.ok(T.lcreate(1, 6, 'temporary', O_RDWR, 0o600, 0));
    await old.ok(T.walk(1, 0, 7, 'dir', 'deep'));
    await old.ok(T.unlinkat(1, 7, 'temporary', 0));
    await old.ok(T.write(1, 6, 0, Buffer.from('still there')));
    unlinkSync(exported.at('gone'));
    writeFileSync(exported.at('new'), '');
    renameSync(exported.at('new'), exported.at('other'));
    chmodSync(exported.at('shut'), 0o400);
    const next = await kill(old);
    const told = losses(next);
    expect(told).toContain('"/gone" (fid 1) is gone');
    expect(told).toContain('"/other" (fid 2) is another file by now');
    expect(told).toContain('"temporary" (fid 6) is gone');
    expect(await next.errno(T.read(1, 1, 0, 10))).toBe(ESTALE);
    expect(await next.errno(T.getattr(1, 2))).toBe(ESTALE);
    expect(await next.errno(T.write(1, 6, 0, Buffer.from('x')))).toBe(ESTALE);
    if (!isRoot) expect(await next.errno(T.write(1, 3, 0, Buffer.from('x')))).toBe(ESTALE);
    expect(text(await next.ok(T.read(1, 4, 0, 10)))).toBe('content');
    for (const fid of [1, 2, 3, 4, 6, 7]) await next.ok(T.clunk(1, fid));
    expect(next.server.statistics).toMatchObject({ fids: 1, openFiles: 0 });
  });

  it('has the locks that it had, and no more', async () => {
    const old = await atWork();
    await open(old, 1, O_RDWR, 'dir', 'deep', 'file');
    await open(old, 2, O_RDWR, 'dir', 'deep', 'file');
    const locks = [
      ...[lock(1, WRITE_LOCK, 0, 100), lock(1, UNLOCK, 40, 20), lock(1, READ_LOCK, 200, 0, 8)],
      ...[lock(1, WRITE_LOCK, 150, 5, 9), lock(2, UNLOCK, 0, 0, 9)],
    ];
    for (const each of locks) expect((await old.ok(each)).fields.number(1)).toBe(0);
    const next = await kill(old);
    expect(losses(next)).toBe('');
    const other = await atWork();
    await open(other, 1, O_RDWR, 'dir', 'deep', 'file');
    const held = [lock(1, READ_LOCK, 0, 1), lock(1, READ_LOCK, 99, 1), lock(1, WRITE_LOCK, 5000, 1)];
    for (const each of held) expect((await other.ok(each)).fields.number(1)).toBe(BLOCKED);
    for (const each of [lock(1, WRITE_LOCK, 40, 20), lock(1, WRITE_LOCK, 150, 5)])
      expect((await other.ok(each)).fields.number(1)).toBe(0);
    await next.ok(T.clunk(1, 1));
    for (const each of held) expect((await other.ok(each)).fields.number(1)).toBe(0);
  });

  it('goes on without a lock that another one took meanwhile, which is told', async () => {
    const old = await atWork();
    await open(old, 1, O_RDWR, 'dir', 'deep', 'file');
    expect((await old.ok(lock(1, WRITE_LOCK, 0, 0))).fields.number(1)).toBe(0);
    const store = living[0].store.left();
    await old.server.close();
    const other = await atWork();
    await open(other, 1, O_RDWR, 'dir', 'deep', 'file');
    expect((await other.ok(lock(1, WRITE_LOCK, 0, 1))).fields.number(1)).toBe(0);
    const next = await serve(store);
    expect(losses(next)).toContain('was locked by somebody else meanwhile');
    expect(text(await next.ok(T.read(1, 1, 0, 10)))).toBe('content');
  });

  it('reads a directory on where it was, each name once', async () => {
    for (let i = 0; i < 300; i++) writeFileSync(exported.at('dir', `name-${i}`), '');
    const old = await atWork();
    await open(old, 1, O_RDONLY, 'dir');
    const names = entriesOf(await old.ok(T.readdir(1, 1, 0, 2000)));
    const next = await kill(old);
    for (;;) {
      const more = entriesOf(await next.ok(T.readdir(1, 1, names.at(-1)?.cookie ?? 0n, 2000)));
      if (more.length === 0) break;
      names.push(...more);
    }
    const listed = names.map(({ name }) => name);
    expect(new Set(listed).size).toBe(listed.length);
    expect(listed).toHaveLength(303);
  });

  it('goes on with extended attributes, half read and half written', async () => {
    const old = await atWork();
    await old.ok(T.walk(1, 0, 1, 'dir', 'deep', 'file'));
    await old.ok(T.xattrcreate(1, 1, 'user.one', 10, 0));
    await old.ok(T.write(1, 1, 0, Buffer.from('12345')));
    await old.ok(T.write(1, 1, 5, Buffer.from('67890')));
    await old.ok(T.clunk(1, 1));
    await old.ok(T.walk(1, 0, 1, 'dir', 'deep', 'file'));
    await old.ok(T.xattrwalk(1, 1, 2, 'user.one'));
    await old.ok(T.walk(1, 0, 3, 'dir', 'deep', 'file'));
    await old.ok(T.xattrcreate(1, 3, 'user.two', 6, 0));
    await old.ok(T.write(1, 3, 0, Buffer.from('abc')));
    const next = await kill(old);
    expect(text(await next.ok(T.read(1, 2, 3, 100)))).toBe('4567890');
    await next.ok(T.write(1, 3, 3, Buffer.from('def')));
    await next.ok(T.clunk(1, 3));
    await next.ok(T.xattrwalk(1, 1, 4, 'user.two'));
    expect(text(await next.ok(T.read(1, 4, 0, 100)))).toBe('abcdef');
  });

  it('begins anew with Tversion, and finds nothing of before', async () => {
    const old = await atWork();
    await open(old, 1, O_RDWR, 'dir', 'deep', 'file');
    await old.start(UID);
    const next = await kill(old);
    expect(next.server.statistics).toMatchObject({ fids: 1, openFiles: 0 });
    await next.server.dropAll();
    expect(living[1].store.journal).toBeUndefined();
  });

  it('keeps a journal no larger than what it has open, however long it works', async () => {
    const old = await atWork();
    const { store } = living[0];
    for (let i = 0; i < 3000; i++) {
      await old.ok(T.walk(1, 0, 1, 'dir', 'deep', 'file'));
      await old.ok(T.clunk(1, 1));
    }
    expect(store.begun).toBeGreaterThan(2);
    expect(store.journal?.length).toBe(256 * 1024);
    const next = await kill(old);
    expect(next.server.statistics.fids).toBe(1);
  });

  it('works on where there is no room for a journal, which is told', async () => {
    const store = new MemoryStore();
    store.full = true;
    const client = await serve(store);
    await client.start(UID);
    await client.ok(T.walk(1, 0, 1, 'dir'));
    expect(client.log.join()).toContain('there is no room for a journal');
    expect(store.journal).toBeUndefined();
  });

  it('has requests wait until its files are found again', async () => {
    const old = await atWork();
    await open(old, 1, O_RDWR, 'dir', 'deep', 'file');
    const store = living[0].store.left();
    await old.server.close();
    const next = new Sender(await HostDirectory.open(exported.path), {}, store);
    living.push({ client: next, store });
    const recovered = next.server.recover();
    const answers = [next.ok(T.read(1, 1, 0, 100)), next.ok(T.read(2, 1, 3, 100))];
    await recovered;
    expect((await Promise.all(answers)).map(text)).toEqual(['content', 'tent']);
  });

  it('is forgotten where its device is reset while its files are looked for', async () => {
    const old = await atWork();
    await open(old, 1, O_RDWR, 'dir', 'deep', 'file');
    const store = living[0].store.left();
    await old.server.close();
    const next = new Sender(await HostDirectory.open(exported.path), {}, store);
    living.push({ client: next, store });
    const recovered = next.server.recover();
    const reset = next.server.dropAll();
    await Promise.all([recovered, reset]);
    expect(next.server.statistics).toMatchObject({ fids: 0, openFiles: 0 });
    expect(store.journal).toBeUndefined();
  });
});

function entriesOf({ data }: Reply): { name: string; cookie: bigint }[] {
  const fields = new Fields(data);
  const entries = [];
  while (fields.left > 0) {
    fields.qid();
    const cookie = fields.big(8);
    fields.number(1);
    entries.push({ name: fields.text(), cookie });
  }
  return entries;
}
