/** Changes on the host, as `ctl/events` tells them, and what the guest does to wake those who watch. */
import { describe, expect, it } from 'vitest';
import { POKE_SECONDS } from '../../../../../devices/9p/fs/mount-tree/poke.js';
import { Errno } from '../../../../../devices/errno.js';
import { collectGarbage } from '../../../../host/support.js';
import { T } from '../../server/support/wire.js';
import { READ_ONLY, TreeClient, WRITE_ONLY } from './support.js';

const EVENTS = 20;
const ACK = 21;
const MTIME = 32;
const CTIME = 64;
const MTIME_SET = 256;
const MODE = 1;

async function withReader(): Promise<TreeClient> {
  const client = await TreeClient.attached();
  client.add('a', { watched: true });
  client.add('b', { watched: true });
  client.add('unwatched');
  await client.open(EVENTS, READ_ONLY, 'ctl', 'events');
  await client.open(ACK, WRITE_ONLY, 'ctl', 'ack');
  expect(await client.read(EVENTS)).toBe(
    'reset 1\nadd 1 a - watched\nadd 2 b - watched\nadd 3 unwatched -\nready\n',
  );
  return client;
}

/** The lines of one answer, from wherever it goes on. */
async function lines(client: TreeClient, count = 1 << 16): Promise<string[]> {
  return (await client.read(EVENTS, 1e6, count)).split('\n').slice(0, -1);
}

describe('changes on the host', () => {
  it('are told by child and path, then to be acted on, and each once however often it happened', async () => {
    const client = await withReader();
    for (let i = 0; i < 1000; i++) client.tree.changed('a', 'src/main.ts');
    client.tree.changed('b', '-');
    client.tree.changed('b', 'a b\\\xff');
    client.tree.changed('unwatched', 'x');
    expect(await lines(client)).toEqual([
      'changed a src/main.ts',
      'changed b \\0055',
      'changed b a\\0040b\\0134\\0377',
      'poke',
    ]);
    await client.write(ACK, 'poked');
    client.tree.changed('a', 'src/main.ts');
    expect(await lines(client)).toEqual(['changed a src/main.ts', 'poke']);
  });

  it('wake a reader that waits, once for all of a turn', async () => {
    const client = await withReader();
    const waits = lines(client);
    client.tree.changed('a', 'x');
    client.tree.changed('a', 'y');
    expect(await waits).toEqual(['changed a x', 'changed a y', 'poke']);
  });

  it('are acted on after 256 of them, and no more are told before that is said; what is asked is told', async () => {
    const client = await withReader();
    for (let i = 0; i < 600; i++) client.tree.changed('a', `f${i}`);
    const first = await lines(client);
    expect([first.length, first.at(-1)]).toEqual([257, 'poke']);
    client.add('new');
    expect(await lines(client)).toEqual(['add 4 new -']);
    const waits = lines(client);
    await client.write(ACK, 'poked');
    const second = await waits;
    expect([second.length, second[0], second.at(-1)]).toEqual([257, 'changed a f256', 'poke']);
    await client.write(ACK, 'poked');
    expect(await lines(client)).toHaveLength(89);
  });

  it('that were acted on leave a reader waiting where there is nothing new', async () => {
    const client = await withReader();
    client.tree.changed('a', 'x');
    expect(await lines(client)).toEqual(['changed a x', 'poke']);
    const waits = lines(client);
    await client.write(ACK, 'poked');
    client.tree.changed('a', 'y');
    expect(await waits).toEqual(['changed a y', 'poke']);
  });

  it('are nothing to one that opens the events later, and the end of a child ends its', async () => {
    const client = await withReader();
    client.tree.changed('a', 'x');
    client.tree.changed('b', 'y');
    await client.open(30, READ_ONLY, 'ctl', 'events');
    expect(await client.read(30)).not.toContain('changed');
    client.tree.remove('a');
    expect(await lines(client)).toEqual(['remove 1 a -', 'changed b y', 'poke']);
    expect(() => client.tree.changed('a', 'x')).toThrow(
      expect.objectContaining({ code: 'NO_SUCH_CHILD' }) as Error,
    );
  });

  it('of a million files take little memory, and are told as everything and the latest', async () => {
    const client = await withReader();
    collectGarbage();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < 1_000_000; i++) client.tree.changed(i % 2 === 0 ? 'a' : 'b', `directory/file-${i}`);
    collectGarbage();
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(4 << 20);
    let text = '';
    while (!text.includes('file-999999\npoke\n')) {
      text += await client.read(EVENTS, 1e6, 1 << 16);
      await client.write(ACK, 'poked');
    }
    const all = text.split('\n');
    expect(all.length).toBeLessThan(1100);
    for (const line of [
      'changed a .',
      'changed b .',
      'changed a directory/file-999998',
      'changed b directory/file-999999',
    ])
      expect(all).toContain(line);
    expect(all.indexOf('changed a .')).toBeLessThan(all.indexOf('changed a directory/file-999998'));
  });

  it('do not keep what is to be mounted from being told first', async () => {
    const client = await withReader();
    client.tree.changed('a', 'x');
    client.add('new', { target: '/new' });
    expect(await lines(client)).toEqual(['add 4 new /new', 'changed a x', 'poke']);
  });
});

describe('a poke', () => {
  const poke = { valid: MTIME | MTIME_SET | CTIME, mtimeSec: POKE_SECONDS };

  it('changes nothing, of files that are open too, and is allowed where nothing may be changed', async () => {
    const client = await TreeClient.attached();
    client.add('a', { watched: true, readOnly: true });
    await client.walk(1, 'a');
    const attributes = async () => Buffer.from((await client.ok(T.getattr(1, 1))).bytes).toString('hex');
    const before = await attributes();
    await client.ok(T.setattr(1, 1, poke));
    await client.open(2, READ_ONLY, 'a');
    await client.ok(T.setattr(1, 2, poke));
    expect(await attributes()).toBe(before);
  });

  it('is that time alone: whatever else is asked for with it, or at another time, is done or refused', async () => {
    const client = await TreeClient.attached();
    client.add('a', { watched: true, readOnly: true });
    client.add('unwatched', { readOnly: true });
    await client.walk(1, 'a');
    await client.walk(2, 'unwatched');
    expect(await client.errno(T.setattr(1, 1, { ...poke, valid: poke.valid | MODE }))).toBe(Errno.EROFS);
    expect(await client.errno(T.setattr(1, 1, { ...poke, valid: MTIME }))).toBe(Errno.EROFS);
    expect(await client.errno(T.setattr(1, 1, { ...poke, mtimeNsec: 1 }))).toBe(Errno.EROFS);
    expect(await client.errno(T.setattr(1, 2, poke))).toBe(Errno.EROFS);
    client.tree.remove('a');
    expect(await client.errno(T.setattr(1, 1, poke))).toBe(Errno.ESTALE);
  });
});
