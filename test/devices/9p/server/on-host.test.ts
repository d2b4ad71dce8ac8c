/** The server and a directory of the host together: what neither shows by itself. */
import {
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HostDirectory } from '../../../../devices/9p/fs/host-directory/host-directory.js';
import { Errno } from '../../../../devices/errno.js';
import { Exported, openDescriptors } from '../fs/host-directory/exported.js';
import { Sender } from './support/client.js';
import { Fields, NOFID, NOTAG, Older, T } from './support/wire.js';

const MIB = 1024 * 1024;
const UID = process.geteuid?.() ?? 0;
const WRITE_LOCK = 1;
const UNLOCK = 2;
const BLOCK = 1;

let exported: Exported;
let client: Sender;
let before: number;

beforeEach(async () => {
  exported = await Exported.make();
  before = openDescriptors();
  client = new Sender(exported.fs, { maxMsizeBytes: 8 * MIB });
});

afterEach(async () => {
  await client.server.dropAll();
  expect([client.log, client.pending, openDescriptors()]).toEqual([[], 0, before]);
  exported.remove();
});

describe('messages of many MiB', () => {
  it('are read and written in one piece, however many segments they lie in', async () => {
    client.room = 8 * MIB;
    const { fields } = await client.ok(T.version(NOTAG, 8 * MIB, '9P2000.L'));
    expect(fields.number(4)).toBe(8 * MIB);
    await client.ok(T.attach(1, 0, NOFID, '', '', UID));
    const iounit = (await client.ok(T.lcreate(1, 0, 'large', 2, 0o644, 0))).fields;
    iounit.qid();
    expect(iounit.number(4)).toBe(8 * MIB - 4096);
    const data = Uint8Array.from({ length: 5 * MIB }, (_, i) => (i * 31 + (i >> 10)) & 0xff);
    const header = T.write(1, 0, 7, []);
    const message = new Uint8Array(header.length + data.length);
    message.set(header);
    message.set(data, header.length);
    new DataView(message.buffer).setUint32(0, message.length, true);
    new DataView(message.buffer).setUint32(19, data.length, true);
    expect((await client.ok(message, { piece: 3000 })).fields.number(4)).toBe(data.length);
    expect(statSync(exported.at('large')).size).toBe(5 * MIB + 7);
    const read = await client.ok(T.read(1, 0, 7, 8 * MIB), { piece: 4096 });
    expect(Buffer.compare(read.data, data)).toBe(0);
  });
});

describe('locks between two guests', () => {
  it('are waited for without holding up either guest, and given up for with Tflush', async () => {
    writeFileSync(exported.at('f'), '');
    const otherFs = await HostDirectory.open(exported.path);
    const other = new Sender(otherFs);
    for (const guest of [client, other]) {
      await guest.start(UID);
      await guest.ok(T.walk(1, 0, 1, 'f'));
      await guest.ok(T.lopen(1, 1, 2));
    }
    // Both guests call themselves and their processes the same.
    const lock = (tag: number, type: number, flags: number) =>
      T.lock(tag, 1, type, flags, 0, 0, 100, 'debian');
    expect((await other.ok(lock(1, WRITE_LOCK, 0))).fields.number(1)).toBe(0);
    expect((await client.ok(lock(1, WRITE_LOCK, 0))).fields.number(1)).toBe(1);
    const flushed = client.send(lock(2, WRITE_LOCK, BLOCK));
    await client.ok(T.getattr(3, 1));
    await client.ok(T.flush(4, 2));
    expect(await flushed).toHaveLength(0);
    const waiting = client.call(lock(2, WRITE_LOCK, BLOCK));
    await client.ok(T.getattr(3, 1));
    await other.ok(lock(1, UNLOCK, 0));
    expect((await waiting).fields.number(1)).toBe(0);
    expect((await other.ok(lock(1, WRITE_LOCK, 0))).fields.number(1)).toBe(1);
    await other.server.close();
  });
});

describe('a path of 10,000 bytes, which no system call takes', () => {
  const DEPTH = 40;
  const NAME = 'n'.repeat(250);
  const [ROOT, DEEP, FILE] = [0, 1, 2];

  it('is walked and made at any depth, and what is there is written, renamed, read and removed', async () => {
    await client.start(UID);
    await client.ok(T.walk(1, ROOT, DEEP));
    for (let depth = 0; depth < DEPTH; depth++) {
      await client.ok(T.mkdir(1, DEEP, NAME, 0o755, 0));
      await client.ok(T.walk(1, DEEP, DEEP, NAME));
    }
    await client.ok(T.walk(1, DEEP, FILE));
    await client.ok(T.lcreate(1, FILE, 'file', 0o102, 0o644, 0));
    await client.ok(T.write(1, FILE, 0, Buffer.from('deep')));
    await client.ok(T.renameat(1, DEEP, 'file', DEEP, 'renamed'));
    await client.ok(T.clunk(1, FILE));
    await client.ok(T.clunk(1, DEEP));
    await client.ok(T.walk(1, ROOT, DEEP));
    for (let depth = 0; depth < DEPTH; depth += 10)
      await client.ok(T.walk(1, DEEP, DEEP, ...Array<string>(10).fill(NAME)));
    await client.ok(T.walk(1, DEEP, FILE, 'renamed'));
    await client.ok(T.lopen(1, FILE, 0));
    expect(Buffer.from((await client.ok(T.read(1, FILE, 0, 100))).data).toString()).toBe('deep');
    await client.ok(T.remove(1, FILE));
    expect(await client.errno(T.walk(1, DEEP, FILE, 'renamed'))).toBe(Errno.ENOENT);
  });
});

describe('a client of 9P2000.u', () => {
  it('makes, writes, lists, renames, changes and removes files', async () => {
    await client.ok(T.version(NOTAG, 8192, '9P2000.u'));
    await client.ok(T.attach(1, 0, NOFID, '', '', UID));
    await client.ok(T.walk(1, 0, 1));
    await client.ok(Older.createUnix(1, 1, 'file', 0o640, 2));
    await client.ok(T.write(1, 1, 0, Buffer.from('content')));
    await client.ok(Older.wstatUnix(1, 1, { mtime: 1000, mode: 0o600, length: 3 }));
    await client.ok(T.clunk(1, 1));
    expect(readFileSync(exported.at('file'), 'utf8')).toBe('con');
    expect([lstatSync(exported.at('file')).mode & 0o777, lstatSync(exported.at('file')).mtimeMs]).toEqual([
      0o600, 1_000_000,
    ]);
    for (const [name, perm, extension] of [
      ['dir', 0x800001ed, ''],
      ['link', 0x020001ff, '../outside/secret'],
      ['fifo', 0x00200180, ''],
    ] as const) {
      await client.ok(T.walk(1, 0, 1));
      await client.ok(Older.createUnix(1, 1, name, perm, 0, extension));
      await client.ok(T.clunk(1, 1));
    }
    expect(readlinkSync(exported.at('link'))).toBe('../outside/secret');
    expect(lstatSync(exported.at('fifo')).isFIFO()).toBe(true);
    await client.ok(T.walk(1, 0, 1));
    await client.ok(Older.open(1, 1, 0));
    const fields = new Fields((await client.ok(T.read(1, 1, 0, 8000))).data);
    const listed = new Map<string, string | undefined>();
    while (fields.left > 0) {
      const { name, unix } = fields.stat(true);
      listed.set(name, unix?.extension);
    }
    expect([...listed].sort()).toEqual([
      ['dir', ''],
      ['fifo', ''],
      ['file', ''],
      ['link', '../outside/secret'],
    ]);
    for (const [from, to] of [
      ['file', 'renamed'],
      ['dir', 'directory'],
    ]) {
      await client.ok(T.walk(1, 0, 2, from));
      await client.ok(Older.wstatUnix(1, 2, { name: to }));
      const told = (await client.ok(Older.stat(1, 2))).fields;
      told.number(2);
      expect(told.stat(true).name).toBe(to);
      await client.ok(T.remove(1, 2));
    }
    // What cannot be opened on the host is not: neither the link's target nor the FIFO.
    for (const name of ['link', 'fifo']) {
      await client.ok(T.walk(1, 0, 2, name));
      const { type, fields: error } = await client.call(Older.open(1, 2, 0));
      expect([type, error.text()]).toEqual([
        107,
        name === 'link' ? 'Too many levels of symbolic links' : 'No such device or address',
      ]);
      await client.ok(T.remove(1, 2));
    }
    expect(readdirSync(exported.path)).toEqual([]);
  });

  it('is told by plain 9P2000 that a name is taken, and nothing is replaced', async () => {
    await client.ok(T.version(NOTAG, 8192, '9P2000'));
    await client.ok(Older.attach(1, 0, NOFID, String(UID), ''));
    writeFileSync(exported.at('a'), 'a');
    writeFileSync(exported.at('b'), 'b');
    await client.ok(T.walk(1, 0, 1, 'a'));
    expect((await client.call(Older.wstat(1, 1, { name: 'b' }))).ename).toBe('File exists');
    expect(readFileSync(exported.at('b'), 'utf8')).toBe('b');
  });
});

describe('Tgetattr', () => {
  it('tells when a file was made, where it is asked and the host knows', async () => {
    await client.start(UID);
    writeFileSync(exported.at('f'), '');
    const { birthtimeNs } = statSync(exported.at('f'), { bigint: true });
    await client.ok(T.walk(1, 0, 1, 'f'));
    const { fields } = await client.ok(T.getattr(1, 1, 0x3fff));
    const valid = fields.number(8);
    fields.bytes(13 + 12 + 40 + 48);
    const [seconds, nanoseconds] = [fields.big(8), fields.big(8)];
    expect(valid & ~0x800).toBe(0x7ff);
    expect((valid & 0x800) !== 0).toBe(seconds !== 0n);
    if (seconds !== 0n) expect(seconds * 1_000_000_000n + nanoseconds).toBe(birthtimeNs);
    const basic = (await client.ok(T.getattr(1, 1, 0x7ff))).fields;
    expect(basic.number(8)).toBe(0x7ff);
  });
});

describe('a file that went away on the host', () => {
  it('is ENOENT to Tgetattr, so that Linux looks its name up anew, and ESTALE to open', async () => {
    await client.start(UID);
    writeFileSync(exported.at('f'), '');
    await client.ok(T.walk(1, 0, 1, 'f'));
    writeFileSync(exported.at('g'), 'other');
    renameSync(exported.at('g'), exported.at('f'));
    expect(await client.errno(T.getattr(1, 1))).toBe(Errno.ENOENT);
    expect(await client.errno(T.lopen(1, 1, 0))).toBe(Errno.ESTALE);
    await client.ok(T.walk(1, 0, 2, 'f'));
    await client.ok(T.getattr(1, 2));
  });
});
