/** `ctl/events` and `ctl/ack`, read and written by helpers that may be slow, many or hostile. */
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../../devices/errno.js';
import { escape } from '../../../../../devices/9p/fs/mount-tree/event-lines.js';
import { NOTAG, T } from '../../server/support/wire.js';
import { READ_ONLY, READ_WRITE, TreeClient, WRITE_ONLY } from './support.js';

const EVENTS = 20;
const ACK = 21;

async function withHelper(): Promise<TreeClient> {
  const client = await TreeClient.attached({ maxFids: 5000, maxOpenFiles: 3000 });
  await client.open(EVENTS, READ_ONLY, 'ctl', 'events');
  await client.open(ACK, WRITE_ONLY, 'ctl', 'ack');
  return client;
}

/** Reads like Linux: on after a short answer, until there is no more for now. */
class Reader {
  readonly #client: TreeClient;
  readonly #fid: number;
  #offset = 0;

  constructor(client: TreeClient, fid = EVENTS) {
    this.#client = client;
    this.#fid = fid;
  }

  async next(count = 8192, tag = 50): Promise<string> {
    let all = '';
    while (all.length < count) {
      const part = await this.#client.read(this.#fid, this.#offset, count - all.length, tag);
      if (part === '') break;
      this.#offset += part.length;
      all += part;
    }
    return all;
  }
}

describe('ctl/events', () => {
  it('tells what there is, then what changes, each as it happens', async () => {
    const client = await TreeClient.attached();
    client.add('plain');
    client.add('there', { target: '/work' });
    await client.open(EVENTS, READ_ONLY, 'ctl', 'events');
    const reader = new Reader(client);
    expect(await reader.next()).toBe('reset 1\nadd 1 plain -\nadd 2 there /work\nready\n');
    const next = reader.next();
    client.add('new', { target: '/new' });
    expect(await next).toBe('add 3 new /new\n');
    const last = reader.next();
    client.tree.remove('there');
    expect(await last).toBe('remove 2 there /work\n');
    await client.expectNoLeaks();
  });

  it('says to the host when the first reader comes and the last one goes, or its guest with it', async () => {
    const client = await TreeClient.attached();
    expect(client.tree.hasHelper).toBe(false);
    for (const fid of [30, 31]) await client.open(fid, READ_ONLY, 'ctl', 'events');
    expect([client.tree.hasHelper, client.helper]).toEqual([true, [true]]);
    await client.ok(T.clunk(1, 30));
    expect(client.helper).toEqual([true]);
    await client.ok(T.clunk(1, 31));
    expect([client.tree.hasHelper, client.helper]).toEqual([false, [true, false]]);
    await client.open(32, READ_ONLY, 'ctl', 'events');
    await client.server.dropAll();
    expect(client.helper).toEqual([true, false, true, false]);
  });

  it('tells all that happens in one turn in one answer, and nothing in between is lost', async () => {
    const client = await withHelper();
    const reader = new Reader(client);
    await reader.next();
    const next = reader.next();
    for (let i = 0; i < 50; i++) client.add(`child-${i}`);
    expect((await next).split('\n')).toHaveLength(51);
    client.add('between');
    expect(await reader.next()).toBe('add 51 between -\n');
  });

  it('tells only the latest of what changed again before it was told', async () => {
    const client = await withHelper();
    const reader = new Reader(client);
    await reader.next();
    client.add('stays', { target: '/a' });
    client.add('goes', { target: '/b' });
    client.tree.remove('goes');
    expect(await reader.next()).toBe('add 1 stays /a\nremove 2 goes /b\n');
  });

  it('gives the same bytes to a reader of one byte at a time, and to one of any other size', async () => {
    const client = await TreeClient.attached();
    for (let i = 0; i < 20; i++) client.add(`a ${i}`, { target: `/${'t'.repeat(i * 10)}` });
    const streams: string[] = [];
    for (const size of [1, 7, 4096]) {
      const fid = 30 + size;
      await client.open(fid, READ_ONLY, 'ctl', 'events');
      let text = '';
      while (!text.endsWith('ready\n')) text += await client.read(fid, text.length, size);
      streams.push(text);
    }
    expect(streams[1]).toBe(streams[0]);
    expect(streams[2]).toBe(streams[0]);
  });

  it('answers the read behind a short answer with nothing, once, and then waits', async () => {
    const client = await withHelper();
    const { length } = await client.read(EVENTS, 0, 100);
    expect(await client.read(EVENTS, length, 100)).toBe('');
    const waits = client.call(T.read(5, EVENTS, length, 100));
    client.add('new');
    expect(Buffer.from((await waits).data).toString()).toBe('add 1 new -\n');
    // One that is not behind it is another read, which waits.
    const other = client.send(T.read(5, EVENTS, 0, 100));
    await client.ok(T.getattr(1, 0));
    expect(client.pending).toBe(1);
    await client.ok(T.flush(6, 5));
    expect(await other).toHaveLength(0);
  });

  it('begins anew for each that opens it', async () => {
    const client = await withHelper();
    client.add('a');
    expect(await new Reader(client).next()).toContain('add 1 a -\n');
    await client.open(30, READ_ONLY, 'ctl', 'events');
    expect(await new Reader(client, 30).next()).toBe('reset 1\nadd 1 a -\nready\n');
  });

  it('of a reader that never reads remembers little, and tells it everything from the start', async () => {
    const client = await withHelper();
    const reader = new Reader(client);
    await reader.next();
    client.add('first');
    for (let i = 0; i < 5000; i++) {
      client.add(`passing-${i}`);
      client.tree.remove(`passing-${i}`);
    }
    client.add('last');
    const lines = (await reader.next(1 << 20)).split('\n');
    expect(lines.slice(0, 2)).toEqual(['reset 1', 'add 1 first -']);
    expect(lines.slice(-3)).toEqual(['add 5002 last -', 'ready', '']);
    expect(lines.length).toBeLessThan(1100);
  });

  it('tells of what comes, changes and goes while it tells what there is', async () => {
    const client = await withHelper();
    for (let i = 0; i < 100; i++) client.add(`child-${i}`, { target: '/t' });
    const reader = new Reader(client);
    let text = await reader.next(200);
    client.add('late');
    client.tree.remove('child-0');
    client.tree.remove('child-99');
    text += await reader.next();
    const lines = text.split('\n').filter((line) => line.includes('late') || /child-(0|99) /.test(line));
    expect(lines).toEqual(['add 1 child-0 /t', 'add 101 late -', 'remove 1 child-0 /t']);
    expect(text.indexOf('remove 1 ')).toBeGreaterThan(text.indexOf('ready'));
  });

  it('has a look before the first release in each answer, and only there', async () => {
    const client = await withHelper();
    for (const [i, name] of ['a', 'b', 'c', 'd'].entries()) {
      client.add(name, { target: '/t' });
      await client.walk(40 + i, name);
    }
    const reader = new Reader(client);
    await reader.next();
    const releases = ['a', 'b'].map((name) => client.tree.release(name, { timeoutMs: 60_000 }));
    client.tree.remove('d');
    expect(await reader.next()).toBe('look\nrelease 1 a /t\nrelease 2 b /t\nremove 4 d /t\n');
    releases.push(client.tree.release('c', { timeoutMs: 60_000 }));
    expect(await reader.next()).toBe('look\nrelease 3 c /t\n');
    await client.write(ACK, 'unmounted 1\nunmounted 2\nunmounted 3\n');
    await Promise.all(releases);
  });

  it('that waits ends with Tflush, clunk, Tversion and the server, and leaves nothing', async () => {
    const client = await withHelper();
    await new Reader(client).next();
    const flushed = client.send(T.read(5, EVENTS, 0, 100));
    await client.ok(T.flush(6, 5));
    expect(await flushed).toHaveLength(0);
    const clunked = client.call(T.read(5, EVENTS, 0, 100));
    await client.ok(T.clunk(6, EVENTS));
    expect((await clunked).errno).toBe(Errno.EINTR);
    await client.open(EVENTS, READ_ONLY, 'ctl', 'events');
    await client.read(EVENTS, 0);
    const versioned = client.call(T.read(5, EVENTS, 0, 100));
    await client.ok(T.version(NOTAG, 8192, '9P2000.L'));
    expect((await versioned).errno).toBe(Errno.EINTR);
    await client.start();
    await client.open(EVENTS, READ_ONLY, 'ctl', 'events');
    await client.read(EVENTS, 0);
    const dropped = client.send(T.read(5, EVENTS, 0, 100));
    await client.expectNoLeaks();
    expect(await dropped).toHaveLength(0);
  });

  it('that waits ends with EIO when the tree is closed under it', async () => {
    const client = await withHelper();
    await new Reader(client).next();
    const read = client.call(T.read(5, EVENTS, 0, 100));
    await client.tree.close();
    expect((await read).errno).toBe(Errno.EIO);
  });

  it('has room for 64 readers, 16 of which wait, once each, so that others are served', async () => {
    const client = await TreeClient.attached();
    for (let i = 0; i < 64; i++) {
      await client.open(100 + i, READ_ONLY, 'ctl', 'events');
      await client.read(100 + i, 0);
    }
    await client.walk(99, 'ctl', 'events');
    expect(await client.errno(T.lopen(1, 99, READ_ONLY))).toBe(Errno.EMFILE);
    const waits = Array.from({ length: 16 }, (_, i) => client.send(T.read(200 + i, 100 + i, 0, 100)));
    expect(await client.errno(T.read(1, 100, 0, 100))).toBe(Errno.EBUSY);
    expect(await client.errno(T.read(1, 150, 0, 100))).toBe(Errno.EAGAIN);
    await client.ok(T.getattr(1, 0));
    client.add('new');
    expect((await Promise.all(waits)).every((reply) => reply.length > 11)).toBe(true);
    await client.ok(T.clunk(1, 163));
    await client.ok(T.lopen(1, 99, READ_ONLY));
    await client.expectNoLeaks();
  });

  it('is for reading, and tells nothing of itself that Linux would cache by', async () => {
    const client = await TreeClient.attached();
    const fields = await client.walk(1, 'ctl', 'events');
    fields.qid();
    expect(fields.qid().version).toBe(0);
    for (const flags of [WRITE_ONLY, READ_WRITE])
      expect(await client.errno(T.lopen(1, 1, flags))).toBe(Errno.EACCES);
    await client.ok(T.lopen(1, 1, READ_ONLY));
    expect((await client.write(1, 'x')).errno).toBe(Errno.EBADF);
    await client.ok(T.getattr(1, 1));
  });
});

describe('words of events', () => {
  it('are printable ASCII without blanks, from which printf %b makes the bytes again', () => {
    const bytes = Array.from({ length: 255 }, (_, i) => String.fromCharCode(i + 1)).join('');
    const word = escape(bytes);
    expect(word).toMatch(/^[!-~]+$/);
    const decoded = word.replace(/\\0([0-7]{3})/g, (_, digits: string) =>
      String.fromCharCode(parseInt(digits, 8)),
    );
    expect(decoded).toBe(bytes);
  });

  it('are never what says that there is no target', () => {
    expect(escape('-')).toBe('\\0055');
    expect(escape('--')).toBe('--');
  });
});

describe('ctl/ack', () => {
  it('takes whole lines at any offset, several in one write', async () => {
    const client = await withHelper();
    client.add('a', { target: '/a' });
    client.add('b', { target: '/b' });
    expect((await client.write(ACK, 'mounted 1\nfailed 2 mount: no such device\n', 12_345)).errno).toBe(0);
    expect(client.tree.entries().map(({ state, detail }) => [state, detail])).toEqual([
      ['mounted', ''],
      ['failed', 'mount: no such device'],
    ]);
    expect(client.changes).toEqual(['a', 'b']);
    expect((await client.write(ACK, 'mounted 2')).errno).toBe(0);
    expect(client.tree.entry('b')).toMatchObject({ state: 'mounted', detail: '' });
  });

  it.each([
    'mounted',
    'mounted ',
    'mounted  1',
    'mounted x',
    'mounted -1',
    'mounted 1.5',
    'mounted 1e3',
    'mounted 9007199254740993000',
    'mounted 2',
    'mounted 0',
    'exploded 1',
    '__proto__ 1',
    'constructor 1',
    ' mounted 1',
    'mounted\0 1',
    'mounted 1\nmounted 2\n',
    'mounted 1\nwhat\n',
    '\xff\xfe',
  ])('refuses %o with EINVAL, and takes nothing of it', async (text) => {
    const client = await withHelper();
    client.add('a', { target: '/a' });
    const reply = await client.call(T.write(1, ACK, 0, Buffer.from(text, 'latin1')));
    expect(reply.errno).toBe(Errno.EINVAL);
    expect(client.tree.entry('a')?.state).toBe('waiting');
    expect(client.changes).toEqual([]);
  });

  it('refuses more than it would ever need with EMSGSIZE', async () => {
    const client = await withHelper();
    client.add('a', { target: '/a' });
    expect((await client.write(ACK, `failed 1 ${'x'.repeat(1015)}`)).errno).toBe(0);
    expect((await client.write(ACK, `failed 1 ${'x'.repeat(1016)}`)).errno).toBe(Errno.EMSGSIZE);
    expect(client.tree.entry('a')?.detail).toHaveLength(500);
  });

  it('makes what a guest says harmless to a terminal', async () => {
    const client = await withHelper();
    client.add('a', { target: '/a' });
    await client.write(ACK, 'failed 1 a\x1b[2Jb\u202ec\x9bd\u2028é\r\n');
    expect(client.tree.entry('a')?.detail).toBe('a?[2Jb?c?d?é?');
  });

  it('takes nothing about a child that is gone', async () => {
    const client = await withHelper();
    client.add('a', { target: '/a' });
    client.tree.remove('a');
    client.add('a', { target: '/a' });
    expect((await client.write(ACK, 'mounted 1')).errno).toBe(Errno.EINVAL);
    expect(client.tree.entry('a')?.state).toBe('waiting');
  });

  it('can be truncated, as shells do, and not be read or changed otherwise', async () => {
    const client = await withHelper();
    await client.walk(1, 'ctl', 'ack');
    await client.ok(T.setattr(1, 1, { valid: 8 | 32 | 64, size: 0 }));
    await client.ok(T.setattr(1, ACK, { valid: 8, size: 0 }));
    expect(await client.errno(T.setattr(1, 1, { valid: 1, mode: 0o777 }))).toBe(Errno.EROFS);
    expect(await client.errno(T.lopen(1, 1, READ_ONLY))).toBe(Errno.EACCES);
    await client.ok(T.lopen(1, 1, WRITE_ONLY | 0o1000));
    expect(await client.errno(T.read(1, 1, 0, 1))).toBe(Errno.EBADF);
    expect((await client.write(1, '')).errno).toBe(0);
  });
});
