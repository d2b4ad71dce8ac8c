/** What mounts have in memory, handed over from one device process to the next: here both are this one. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openSource } from '../../../manager/composition.js';
import type { MountTerms, Source } from '../../../manager/control/api.js';
import { movableMounts } from '../../../manager/device-process/hand-over/mount-offer.js';
import { OutgoingParcel } from '../../../manager/device-process/hand-over/parcel.js';
import type { Beginning, ServedMount } from '../../../manager/device-process/served-mount.js';
import { openMount } from '../../../manager/mount-file-system.js';
import { Sender } from '../../devices/9p/server/support/client.js';
import { receiveState, sendState } from '../../devices/9p/server/support/hand-over.js';
import { Fields, T, type Reply } from '../../devices/9p/server/support/wire.js';
import { randomFrom } from '../../support/random.js';
import { carried } from '../hand-over/carried.js';
import { temporaryFolders } from '../temporary-folder.js';

const O_RDONLY = 0;
const O_RDWR = 2;
const AT_REMOVEDIR = 0x200;
const UID = process.geteuid?.() ?? 0;
const MODE = 1;
const OWNER = 2;
const ENTRIES = 60;
/** As bytes. */
const NAME = Buffer.from('ä').toString('latin1');

const newFolder = temporaryFolders();
let folder: string;
let clients: Sender[];

beforeEach(() => {
  folder = newFolder();
  mkdirSync(join(folder, 'dir'));
  writeFileSync(join(folder, 'dir', 'below'), 'below');
  clients = [];
});
afterEach(async () => {
  for (const { server, log } of clients) {
    await server.close();
    expect(log).toEqual([]);
  }
});

type Terms = Partial<MountTerms> & { readonly source: Source };
const MEMORY = { type: 'memory' } as const;

async function mounted(
  { source, ...terms }: Terms,
  beginning?: Beginning,
): Promise<{ client: Sender; mount: ServedMount }> {
  const mount = await openMount(openSource, source, { readOnly: false, ...terms }, beginning);
  const client = new Sender(mount.fs);
  clients.push(client);
  return { client, mount };
}

/** To the same mount of another process. */
async function handOver(old: { client: Sender; mount: ServedMount }, terms: Terms): Promise<typeof old> {
  const next = await mounted(terms, 'handed over');
  const [from, to] = [old, next].map(({ mount }) =>
    movableMounts(
      () => ({ children: [], seats: [] }),
      () => new Map([['mount', mount]]),
    ),
  );
  await old.client.server.hold();
  const parcel = new OutgoingParcel();
  from.offer(parcel);
  from.pause();
  to.restore({ data: JSON.parse(JSON.stringify(from.save(parcel))), parcel: carried(parcel) });
  expect(await receiveState(next.client.server, sendState(old.client.server))).toBeUndefined();
  to.resume();
  await old.client.server.close();
  return next;
}

const text = (reply: Reply): string => Buffer.from(reply.data).toString('latin1');
const bytes = (length: number): Uint8Array => new Uint8Array(length).fill(7);

function entriesOf(data: Uint8Array): { name: string; cookie: bigint }[] {
  const fields = new Fields(data);
  const entries: { name: string; cookie: bigint }[] = [];
  while (fields.left > 0) {
    fields.qid();
    const cookie = fields.big(8);
    fields.number(1);
    entries.push({ name: fields.text(), cookie });
  }
  return entries;
}

/** All that Tgetattr says, without the access times. */
async function attributes(client: Sender, ...fids: number[]): Promise<string[]> {
  const all: string[] = [];
  for (const fid of fids) {
    const fields = [...(await client.ok(T.getattr(1, fid))).bytes.slice(7)];
    fields.splice(8 + 13 + 4 + 4 + 4 + 8 + 8 + 8 + 8 + 8, 16);
    all.push(Buffer.from(fields).toString('hex'));
  }
  return all;
}

async function room(client: Sender): Promise<string> {
  return Buffer.from((await client.ok(T.statfs(1, 0))).bytes.slice(7)).toString('hex');
}

const limits = { maxBytes: 1 << 22, maxFiles: 200 };
const stacks: [string, () => Terms][] = [
  ['in memory', () => ({ source: MEMORY })],
  ['with an overlay in memory', () => ({ source: { type: 'directory', path: folder }, overlay: MEMORY })],
  ['in memory with an overlay in memory', () => ({ source: MEMORY, overlay: MEMORY })],
  ['in memory under limits', () => ({ source: MEMORY, policy: limits })],
  [
    'in memory of one owner',
    () => ({
      source: MEMORY,
      owner: { type: 'squash', guest: { uid: 0, gid: 0 }, host: { uid: 0, gid: 0 } },
    }),
  ],
];

describe.each(stacks)('a mount %s', (_, terms) => {
  it('goes on in the next process with its files, open ones and such without a name too', async () => {
    const old = await mounted(terms());
    const { client } = old;
    await client.start(UID);
    const empty = await room(client);
    await client.ok(T.mkdir(1, 0, 'made', 0o750, 0));
    await client.ok(T.walk(1, 0, 1, 'made'));
    await client.ok(T.walk(1, 1, 2));
    await client.ok(T.lcreate(1, 2, 'file', O_RDWR, 0o640, 0));
    await client.ok(T.write(1, 2, 100, Buffer.from('content')));
    await client.ok(T.symlink(1, 1, 'link', 'file', 0));
    await client.ok(T.walk(1, 1, 3, 'link'));
    // Without a name, and open twice.
    await client.ok(T.walk(1, 1, 4));
    await client.ok(T.lcreate(1, 4, 'gone', O_RDWR, 0o600, 0));
    await client.ok(T.write(1, 4, 0, Buffer.from('gone, and open')));
    await client.ok(T.walk(1, 1, 5, 'gone'));
    await client.ok(T.walk(1, 1, 6, 'gone'));
    await client.ok(T.lopen(1, 5, O_RDONLY));
    await client.ok(T.unlinkat(1, 1, 'gone', 0));
    // Its number may be another file's by now.
    await client.ok(T.walk(1, 1, 7));
    await client.ok(T.lcreate(1, 7, 'after', O_RDWR, 0o600, 0));
    const fids = [1, 2, 3, 4, 5, 6, 7];
    const before = await attributes(client, ...fids);
    const used = await room(client);
    const next = await handOver(await handOver(old, terms()), terms());
    const goesOn = next.client;
    expect(await attributes(goesOn, ...fids)).toEqual(before);
    expect(text(await goesOn.ok(T.read(1, 2, 100, 100)))).toBe('content');
    expect(text(await goesOn.ok(T.read(1, 5, 0, 100)))).toBe('gone, and open');
    await goesOn.ok(T.write(1, 4, 0, Buffer.from('GONE')));
    expect(text(await goesOn.ok(T.read(1, 5, 0, 100)))).toBe('GONE, and open');
    expect(await room(goesOn)).toBe(used);
    for (const fid of [2, 3, 4, 5, 6, 7]) await goesOn.ok(T.clunk(1, fid));
    for (const name of ['file', 'link', 'after']) await goesOn.ok(T.unlinkat(1, 1, name, 0));
    await goesOn.ok(T.clunk(1, 1));
    await goesOn.ok(T.unlinkat(1, 0, 'made', AT_REMOVEDIR));
    expect(await room(goesOn)).toBe(empty);
    expect(goesOn.server.statistics.openFiles).toBe(0);
  });

  it('has a directory read to its end of which entries go meanwhile', async () => {
    const old = await mounted(terms());
    const { client } = old;
    await client.start(UID);
    await client.ok(T.mkdir(1, 0, 'many', 0o755, 0));
    await client.ok(T.walk(1, 0, 1, 'many'));
    for (let i = 0; i < ENTRIES; i++) await client.ok(T.mkdir(1, 1, `entry${i}`, 0o755, 0));
    await client.ok(T.walk(1, 1, 2));
    await client.ok(T.lopen(1, 2, O_RDONLY));
    const seen = entriesOf((await client.ok(T.readdir(1, 2, 0, 500))).data);
    for (const { name } of seen)
      if (!name.startsWith('.')) await client.ok(T.unlinkat(1, 1, name, AT_REMOVEDIR));
    const next = await handOver(old, terms());
    for (let more = seen; more.length > 0; seen.push(...more))
      more = entriesOf((await next.client.ok(T.readdir(1, 2, seen.at(-1)?.cookie ?? 0n, 500))).data);
    const wanted = ['.', '..', ...Array.from({ length: ENTRIES }, (_, i) => `entry${i}`)];
    expect(seen.map(({ name }) => name).sort()).toEqual(wanted.sort());
  });
});

describe('a mount in memory', () => {
  const terms = { source: MEMORY };

  it('has its files with nobody who has mounted it, owners and names of one file among them', async () => {
    const old = await mounted(terms);
    const { client } = old;
    await client.start(UID);
    await client.ok(T.walk(1, 0, 1));
    await client.ok(T.lcreate(1, 1, NAME, O_RDWR, 0o600, 0));
    await client.ok(T.link(1, 0, 1, 'other'));
    await client.ok(T.setattr(1, 1, { valid: MODE | OWNER, mode: 0o4711, uid: 1234 }));
    const before = await attributes(client, 1, 1);
    for (const fid of [1, 0]) await client.ok(T.clunk(1, fid));
    const next = await handOver(old, terms);
    await next.client.start(UID);
    await next.client.ok(T.walk(1, 0, 1, NAME));
    await next.client.ok(T.walk(1, 0, 2, 'other'));
    expect(await attributes(next.client, 1, 2)).toEqual(before);
    await next.client.ok(T.unlinkat(1, 0, 'other', 0));
    await next.client.ok(T.lcreate(1, 0, 'new', O_RDWR, 0o600, 0));
  });

  it('keeps a file open whose one name went, and that has another', async () => {
    const old = await mounted(terms);
    const { client } = old;
    await client.start(UID);
    await client.ok(T.walk(1, 0, 1));
    await client.ok(T.lcreate(1, 1, 'one', O_RDWR, 0o600, 0));
    await client.ok(T.link(1, 0, 1, 'two'));
    await client.ok(T.unlinkat(1, 0, 'one', 0));
    const next = await handOver(old, terms);
    await next.client.ok(T.write(1, 1, 0, Buffer.from('both')));
    await next.client.ok(T.walk(1, 0, 2, 'two'));
    await next.client.ok(T.lopen(1, 2, O_RDONLY));
    expect(text(await next.client.ok(T.read(1, 2, 0, 10)))).toBe('both');
  });

  it('is refused with bytes that nobody saved, whatever they are', async () => {
    const { client, mount } = await mounted(terms);
    await client.start(UID);
    await client.ok(T.mkdir(1, 0, 'dir', 0o755, 0));
    await client.ok(T.walk(1, 0, 1, 'dir'));
    await client.ok(T.walk(1, 1, 2));
    await client.ok(T.lcreate(1, 2, 'file', O_RDWR, 0o600, 0));
    await client.ok(T.write(1, 2, 0, bytes(20)));
    await client.ok(T.unlinkat(1, 1, 'file', 0));
    const saved = mount.inMemory[0].save().slice();
    const random = randomFrom(8);
    const restored = async (given: Uint8Array): Promise<boolean> =>
      (await mounted(terms, 'handed over')).mount.inMemory[0].restore(given);
    for (let length = 0; length < saved.length; length += 7)
      expect(await restored(saved.subarray(0, length))).toBe(false);
    for (let i = 0; i < 300; i++) {
      const changed = saved.slice();
      changed[random(changed.length)] = random(256);
      // What is still a tree is one of files; nothing else may come of it.
      expect(typeof (await restored(changed))).toBe('boolean');
    }
    expect(await restored(saved)).toBe(true);
  });
});
