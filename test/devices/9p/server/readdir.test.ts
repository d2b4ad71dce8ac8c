import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../devices/errno.js';
import { Client } from './support/client.js';
import { Fields, type Reply, T } from './support/wire.js';

async function withDirectory(names: Iterable<string> = []): Promise<Client> {
  const client = await Client.attached();
  for (const name of names) client.fs.file(name, '');
  await client.ok(T.walk(1, 0, 1));
  await client.ok(T.lopen(1, 1, 0));
  return client;
}

interface Entry {
  qid: { type: number; version: number; path: bigint };
  offset: number;
  type: number;
  name: string;
}

function entriesOf(reply: Reply): Entry[] {
  const fields = new Fields(reply.data);
  const entries: Entry[] = [];
  while (fields.left > 0)
    entries.push({
      qid: fields.qid(),
      offset: fields.number(8),
      type: fields.number(1),
      name: fields.text(),
    });
  return entries;
}

describe('Treaddir', () => {
  it('gives every entry with its qid, its type and where to go on', async () => {
    const client = await withDirectory(['file']);
    client.fs.directory('directory');
    await client.ok(T.symlink(1, 0, 'link', 'file', 0));
    const entries = entriesOf(await client.ok(T.readdir(1, 1, 0, 8192)));
    expect(entries.map(({ name, type, offset, qid }) => [name, type, offset, qid.type])).toEqual([
      ['.', 4, 1, 0x80],
      ['..', 4, 2, 0x80],
      ['file', 8, 3, 0],
      ['directory', 4, 4, 0x80],
      ['link', 10, 5, 0x02],
    ]);
    await client.ok(T.walk(1, 0, 2, 'file'));
    const attributes = (await client.ok(T.getattr(1, 2))).fields;
    attributes.number(8);
    expect(entries[2].qid.path).toBe(attributes.qid().path);
    await client.expectNoLeaks();
  });

  it('gives everything once, in replies of any size that hold an entry', async () => {
    const names = Array.from({ length: 300 }, (_, i) => `${'n'.repeat(i % 250)}${i}`);
    for (const count of [300, 1000, 8192, 9000, 30000]) {
      const client = await withDirectory(names);
      const seen: string[] = [];
      let offset = 0;
      for (;;) {
        const reply = await client.ok(T.readdir(1, 1, offset, count), { piece: 777 });
        expect(reply.data.length).toBeLessThanOrEqual(count);
        const entries = entriesOf(reply);
        if (entries.length === 0) break;
        seen.push(...entries.map(({ name }) => name));
        offset = entries[entries.length - 1].offset;
      }
      expect(seen).toEqual(['.', '..', ...names]);
      await client.expectNoLeaks();
    }
  });

  it('fills a reply to its last byte', async () => {
    const client = await withDirectory(['abc']);
    // '.', '..' and 'abc' take 25, 26 and 27 bytes.
    expect(entriesOf(await client.ok(T.readdir(1, 1, 0, 78)))).toHaveLength(3);
    expect(entriesOf(await client.ok(T.readdir(1, 1, 0, 77)))).toHaveLength(2);
    expect(entriesOf(await client.ok(T.readdir(1, 1, 0, 8192), { room: 11 + 78 }))).toHaveLength(3);
    expect(entriesOf(await client.ok(T.readdir(1, 1, 0, 8192), { room: 11 + 77 }))).toHaveLength(2);
  });

  it('with no room for the next entry is refused, because no entries would mean the end', async () => {
    const client = await withDirectory(['abc']);
    expect(await client.errno(T.readdir(1, 1, 0, 24))).toBe(Errno.EINVAL);
    expect(await client.errno(T.readdir(1, 1, 0, 0))).toBe(Errno.EINVAL);
    expect(await client.errno(T.readdir(1, 1, 0, 8192), { room: 11 })).toBe(Errno.EINVAL);
    expect((await client.ok(T.readdir(1, 1, 3, 0))).data).toHaveLength(0);
  });

  it('passes every byte of a name on', async () => {
    const name = Array.from({ length: 255 }, (_, i) => String.fromCharCode(i + 1))
      .filter((character) => character !== '/')
      .join('');
    const client = await withDirectory([name]);
    expect(entriesOf(await client.ok(T.readdir(1, 1, 2, 8192)))[0].name).toBe(name);
  });

  it('of a file, of an unknown or of an unopened fid is refused', async () => {
    const client = await withDirectory(['file']);
    await client.ok(T.walk(1, 0, 2, 'file'));
    expect(await client.errno(T.readdir(1, 2, 0, 100))).toBe(Errno.EBADF);
    await client.ok(T.lopen(1, 2, 0));
    expect(await client.errno(T.readdir(1, 2, 0, 100))).toBe(Errno.ENOTDIR);
    expect(await client.errno(T.readdir(1, 0, 0, 100))).toBe(Errno.EBADF);
    expect(await client.errno(T.readdir(1, 99, 0, 100))).toBe(Errno.EBADF);
  });

  it('has one reader of a fid at a time', async () => {
    const client = await withDirectory(['file']);
    const gate = client.fs.gate('readdir');
    const first = client.call(T.readdir(1, 1, 0, 100));
    await gate.arrived;
    expect(await client.errno(T.readdir(2, 1, 0, 100))).toBe(Errno.EBUSY);
    gate.open();
    expect((await first).type).toBe(41);
    expect(await client.errno(T.readdir(2, 1, 0, 100))).toBe(0);
    await client.expectNoLeaks();
  });

  it('gives what was found before a failure, and then the failure', async () => {
    const client = await withDirectory();
    client.fs.readdirInstead = (cookie, sink) => {
      if (cookie === 0) sink.entry('first', 5, 0, 8, 1);
      return -Errno.EIO;
    };
    expect(entriesOf(await client.ok(T.readdir(1, 1, 0, 100)))).toHaveLength(1);
    expect(await client.errno(T.readdir(1, 1, 1, 100))).toBe(Errno.EIO);
  });

  it.each([-1, NaN, 0.5, 2 ** 53])(
    'refuses an entry with the position %d, and reports it',
    async (cookie) => {
      const client = await withDirectory();
      client.fs.readdirInstead = (_cookie, sink) => {
        expect(sink.entry('bad', 5, 0, 8, cookie)).toBe(false);
        return 0;
      };
      expect(await client.errno(T.readdir(1, 1, 0, 100))).toBe(Errno.EIO);
      expect(client.log).toHaveLength(1);
    },
  );

  it('refuses an entry whose name is no bytes, and gives those before it', async () => {
    const client = await withDirectory();
    client.fs.readdirInstead = (_cookie, sink) => {
      sink.entry('good', 5, 0, 8, 1);
      expect(sink.entry('b\u0101d', 5, 0, 8, 2)).toBe(false);
      expect(sink.entry('good again', 5, 0, 8, 3)).toBe(false);
      return 0;
    };
    expect(entriesOf(await client.ok(T.readdir(1, 1, 0, 100))).map(({ name }) => name)).toEqual(['good']);
    expect(client.log).toHaveLength(1);
  });

  it('takes no entry once it has answered, whatever its file system does', async () => {
    const client = await withDirectory();
    let late: (() => boolean) | undefined;
    client.fs.readdirInstead = (_cookie, sink) => {
      late = () => sink.entry('late', 5, 0, 8, 1);
      throw new Error('half-way');
    };
    expect(await client.errno(T.readdir(1, 1, 0, 100))).toBe(Errno.EIO);
    expect(late?.()).toBe(false);
    client.fs.readdirInstead = undefined;
    expect(entriesOf(await client.ok(T.readdir(1, 1, 0, 100))).map(({ name }) => name)).toEqual(['.', '..']);
  });
});
