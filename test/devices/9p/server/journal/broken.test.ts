/** Journals that nobody wrote like that: each is dropped, which is told, or is a session; none throws, hangs or leaks. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { HostDirectory } from '../../../../../devices/9p/fs/host-directory/host-directory.js';
import { JOURNAL_HEADER_WORDS, WORD_BYTES } from '../../../../../devices/9p/server/journal/record.js';
import { Replay } from '../../../../../devices/9p/server/journal/replay.js';
import { randomFrom } from '../../../../support/random.js';
import { Exported, openDescriptors } from '../../fs/host-directory/exported.js';
import { Sender } from '../support/client.js';
import { T } from '../support/wire.js';
import { MemoryStore } from './memory-store.js';

let exported: Exported;
let journal: Uint8Array;

beforeEach(async () => {
  exported = await Exported.make();
  mkdirSync(exported.at('dir'));
  writeFileSync(exported.at('dir', 'file'), 'content');
  journal = await written();
});

afterEach(() => exported.remove());

/** The journal, up to its end, of a session with something of everything. */
async function written(): Promise<Uint8Array> {
  const store = new MemoryStore();
  const client = new Sender(await HostDirectory.open(exported.path), {}, store);
  await client.start(process.geteuid?.());
  const messages = [
    ...[T.walk(1, 0, 1, 'dir', 'file'), T.lopen(2, 1, 2), T.lock(3, 1, 1, 0, 0, 10, 7, 'guest')],
    ...[T.walk(1, 0, 2, 'dir'), T.lcreate(2, 2, 'new', 0o2002, 0o644, 0), T.write(3, 2, 0, [1, 2, 3])],
    ...[T.walk(1, 1, 3), T.xattrcreate(2, 3, 'user.x', 4, 0), T.write(3, 3, 0, [1, 2])],
    ...[T.walk(1, 0, 4, 'dir'), T.mkdir(2, 4, 'sub', 0o755, 0), T.renameat(3, 4, 'sub', 0, 'moved')],
    ...[T.unlinkat(1, 0, 'moved', 0x200), T.walk(2, 0, 5), T.clunk(3, 5), T.symlink(1, 0, 'link', 'to', 0)],
  ];
  for (const message of messages) await client.ok(message);
  // Begun anew, it tells the fids themselves; what comes then is told by requests.
  const left = store.left();
  await client.server.close();
  const next = new Sender(await HostDirectory.open(exported.path), {}, left);
  await next.server.recover();
  await next.ok(T.walk(1, 4, 6, 'file'));
  await next.ok(T.unlinkat(2, 4, 'file', 0));
  const bytes = left.read() ?? new Uint8Array(0);
  await next.server.close();
  return bytes.slice(0, endOf(bytes) + WORD_BYTES);
}

function endOf(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer);
  let at = JOURNAL_HEADER_WORDS * WORD_BYTES;
  while (view.getUint32(at, true) !== 0) at += (view.getUint32(at, true) >>> 8) * WORD_BYTES;
  return at;
}

async function recover(bytes: Uint8Array): Promise<string> {
  const client = new Sender(await HostDirectory.open(exported.path), {}, new MemoryStore(bytes));
  await client.server.recover();
  await client.server.close();
  expect(client.log.length).toBe(1);
  return client.log[0];
}

it('of other bytes, other versions, or without an end are dropped', async () => {
  const other = (at: number, value: number): Uint8Array => {
    const bytes = journal.slice();
    bytes[at] = value;
    return bytes;
  };
  expect(await recover(journal)).toContain('found');
  expect(await recover(new Uint8Array(0))).toContain('it is no journal');
  expect(await recover(other(0, 1))).toContain('it is no journal');
  expect(await recover(other(4, 9))).toContain('it is of version 9');
  expect(await recover(journal.subarray(0, -4))).toContain('it has no end');
  expect(await recover(other(16, 77))).toContain('it has a record of kind 77');
  expect(await recover(journal.subarray(0, 16))).toContain('it is no journal');
});

it('cut off anywhere say that, or tell less', async () => {
  for (let length = 0; length < journal.length; length++) {
    const replay = Replay.of(journal.slice(0, length));
    expect(typeof replay === 'string' || replay.fids.size <= 7).toBe(true);
  }
});

it('with any byte changed throw nothing, and leak nothing', async () => {
  const before = openDescriptors();
  const random = randomFrom(5);
  let dropped = 0;
  for (let at = 0; at < journal.length; at++) {
    const bytes = journal.slice();
    bytes[at] ^= 1 << random(8);
    Replay.of(bytes);
    if (at % 16 !== random(16)) continue;
    if (!(await recover(bytes)).includes('found')) dropped++;
    expect(openDescriptors()).toBe(before);
  }
  expect(dropped).toBeGreaterThan(3);
});
