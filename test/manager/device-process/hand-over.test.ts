/** The mounts that a daemon makes, handed over from one device process to the next: here both are this one, but for what they share. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Errno } from '../../../devices/errno.js';
import { HostDirectory } from '../../../devices/9p/fs/host-directory/host-directory.js';
import { MountTree } from '../../../devices/9p/fs/mount-tree/mount-tree.js';
import { Virtio9pMux } from '../../../devices/9p/virtio-9p-mux.js';
import { openSource } from '../../../manager/composition.js';
import type { MountTerms, Source } from '../../../manager/control/api.js';
import type { Beginning, ServedMount } from '../../../manager/device-process/served-mount.js';
import { ServedQueues } from '../../../manager/device-process/served-queues.js';
import { ServedTree } from '../../../manager/device-process/served-tree.js';
import { openMount } from '../../../manager/mount-file-system.js';
import { GivenDescriptors, SavedDescriptors } from '../../../devices/state-descriptors.js';
import { closeFd } from '../../../host/index.js';
import { openDescriptors } from '../../devices/9p/fs/host-directory/exported.js';
import { Sender } from '../../devices/9p/server/support/client.js';
import { duplicates, receiveState, sendState } from '../../devices/9p/server/support/hand-over.js';
import { Fields, T, type Reply } from '../../devices/9p/server/support/wire.js';
import { temporaryFolders } from '../temporary-folder.js';
import { notingLog } from '../../support/log.js';

const O_RDONLY = 0;
const O_WRONLY = 1;
const O_RDWR = 2;
const WRITE_LOCK = 1;
const UID = process.geteuid?.() ?? 0;

const newFolder = temporaryFolders();
let folder: string;
let before: number;
let clients: Sender[];

beforeEach(async () => {
  folder = newFolder();
  for (const name of ['source', 'upper']) mkdirSync(join(folder, name));
  mkdirSync(at('source', 'dir'));
  writeFileSync(at('source', 'dir', 'file'), 'content');
  writeFileSync(at('source', 'dir', 'other'), 'other');
  // The first directory opens what all of them use.
  (await HostDirectory.open(at('source'))).close();
  before = openDescriptors();
  clients = [];
});

afterEach(async () => {
  for (const { server, log } of clients) {
    await server.close();
    expect(log).toEqual([]);
  }
  expect(openDescriptors()).toBe(before);
});

function at(...names: string[]): string {
  return join(folder, ...names);
}

function sender(fs: ConstructorParameters<typeof Sender>[0]): Sender {
  const client = new Sender(fs);
  clients.push(client);
  return client;
}

async function mounted(terms: Partial<MountTerms>, beginning?: Beginning): Promise<[Sender, ServedMount]> {
  const source: Source = { type: 'directory', path: at('source') };
  const mount = await openMount(openSource, source, { readOnly: false, ...terms }, beginning);
  return [sender(mount.fs), mount];
}

async function open(client: Sender, fid: number, flags: number, ...names: string[]): Promise<void> {
  await client.ok(T.walk(1, 0, fid, ...names));
  await client.ok(T.lopen(1, fid, flags));
}

/** To the same mount of another process, which was opened while the old one is still there. */
async function handOver(old: Sender, terms: Partial<MountTerms>): Promise<[Sender, ServedMount]> {
  const [next, mount] = await mounted(terms, 'handed over');
  await old.server.hold();
  expect(await receiveState(next.server, sendState(old.server))).toBeUndefined();
  await old.server.close();
  return [next, mount];
}

const text = (reply: Reply): string => Buffer.from(reply.data).toString('latin1');
const lock = (fid: number, pid: number): Uint8Array => T.lock(1, fid, WRITE_LOCK, 0, 0, 0, pid, 'guest');

const limits = { maxBytes: 1 << 20, maxFiles: 100 };
const stacks: [string, () => Partial<MountTerms>][] = [
  ['as it is', () => ({})],
  ['under patterns and limits', () => ({ policy: { deny: ['*.secret'], ...limits } })],
  ['of one owner', () => ({ owner: { type: 'squash', guest: { uid: 0, gid: 0 } } })],
  ['with mapped owners', () => ({ owner: { type: 'mapped' } })],
  ['with an overlay', () => ({ overlay: { type: 'directory', path: at('upper') } })],
  [
    'with all of them',
    () => ({
      policy: { deny: ['*.secret'], ...limits },
      owner: { type: 'mapped' },
      overlay: { type: 'directory', path: at('upper') },
    }),
  ],
];

describe.each(stacks)('a mount %s', (_, terms) => {
  it('goes on in the next process with all that was open', async () => {
    const [old] = await mounted(terms());
    await old.start(UID);
    await open(old, 1, O_RDWR, 'dir', 'file');
    await open(old, 2, O_RDONLY, 'dir', 'other');
    await old.ok(T.walk(1, 0, 3, 'dir'));
    await old.ok(lock(1, 7));
    await old.ok(T.write(1, 1, 0, Buffer.from('CON')));
    await old.ok(T.walk(1, 0, 4, 'dir'));
    await old.ok(T.lcreate(1, 4, 'new', O_RDWR, 0o644, 0));
    await old.ok(T.write(1, 4, 0, Buffer.from('made by the guest')));
    await old.ok(T.unlinkat(1, 3, 'new', 0));
    await old.ok(T.unlinkat(1, 3, 'other', 0));
    await open(old, 5, O_RDONLY, 'dir');
    const first = (await old.ok(T.readdir(1, 5, 0, 50))).data;
    const rest = namesIn((await old.ok(T.readdir(1, 5, cookieOf(first), 1000))).data);
    const numbers = await pathsOf(old, 1, 2, 3, 4);
    const [next] = await handOver(old, terms());
    expect(await pathsOf(next, 1, 2, 3, 4)).toEqual(numbers);
    expect(text(await next.ok(T.read(1, 1, 0, 100)))).toBe('CONtent');
    expect(text(await next.ok(T.read(1, 2, 0, 100)))).toBe('other');
    expect(text(await next.ok(T.read(1, 4, 0, 100)))).toBe('made by the guest');
    expect(namesIn((await next.ok(T.readdir(1, 5, cookieOf(first), 1000))).data)).toEqual(rest);
    await next.ok(T.write(1, 1, 3, Buffer.from('TENT')));
    const [last] = await handOver(next, terms());
    expect(text(await last.ok(T.read(1, 1, 0, 100)))).toBe('CONTENT');
    await open(last, 6, O_RDWR, 'dir', 'file');
    // The same owner's lock, and no other's way.
    expect((await last.ok(lock(6, 7))).fields.number(1)).toBe(0);
    expect((await last.ok(lock(6, 8))).fields.number(1)).toBe(1);
    for (const fid of [1, 2, 3, 4, 5, 6]) await last.ok(T.clunk(1, fid));
    expect(last.server.statistics.openFiles).toBe(0);
  });
});

interface Entry {
  readonly name: string;
  readonly cookie: bigint;
}

function entriesOf(data: Uint8Array): Entry[] {
  const fields = new Fields(data);
  const entries: Entry[] = [];
  while (fields.left > 0) {
    fields.qid();
    const cookie = fields.big(8);
    fields.number(1);
    entries.push({ name: fields.text(), cookie });
  }
  return entries;
}

const namesIn = (data: Uint8Array): string[] => entriesOf(data).map(({ name }) => name);
const cookieOf = (data: Uint8Array): bigint => entriesOf(data).at(-1)?.cookie ?? 0n;

/** The qids' paths. */
async function pathsOf(client: Sender, ...fids: number[]): Promise<string[]> {
  const paths: string[] = [];
  for (const fid of fids)
    paths.push(Buffer.from((await client.ok(T.getattr(1, fid))).bytes.slice(20, 28)).toString('hex'));
  return paths;
}

describe('what a policy counts', () => {
  it('goes on from what the guest has added, of files without a name too', async () => {
    const terms = { policy: { maxBytes: 8 * 4096, maxFiles: 2 } };
    const [old] = await mounted(terms);
    await old.start(UID);
    await old.ok(T.walk(1, 0, 1, 'dir'));
    await old.ok(T.walk(1, 0, 2, 'dir'));
    await old.ok(T.lcreate(1, 1, 'open', O_RDWR, 0o644, 0));
    await old.ok(T.write(1, 1, 0, new Uint8Array(4 * 4096)));
    await old.ok(T.mkdir(1, 2, 'made', 0o755, 0));
    await old.ok(T.unlinkat(1, 2, 'open', 0));
    const [next] = await handOver(old, terms);
    expect(await next.errno(T.mkdir(1, 2, 'more', 0o755, 0))).toBe(Errno.ENOSPC);
    expect((await next.ok(T.write(1, 1, 4 * 4096, new Uint8Array(8 * 4096)))).fields.number(4)).toBe(
      4 * 4096,
    );
    await next.ok(T.clunk(1, 1));
    await next.ok(T.mkdir(1, 2, 'more', 0o755, 0));
  });

  it('stays taken from a guest that it was taken from, whose files stay gone', async () => {
    const [old, mount] = await mounted({});
    await old.start(UID);
    await open(old, 1, O_RDONLY, 'dir', 'file');
    const [next] = await mounted({}, 'handed over');
    mount.revoke();
    await old.server.hold();
    expect(await receiveState(next.server, sendState(old.server))).toBeUndefined();
    expect(await next.errno(T.read(1, 1, 0, 10))).toBe(Errno.ESTALE);
    expect(await next.errno(T.getattr(1, 0))).toBe(Errno.ESTALE);
    await next.ok(T.clunk(1, 1));
  });

  it('lets what is open stay open where the mount may only be read by now', async () => {
    const [old, mount] = await mounted({});
    await old.start(UID);
    await open(old, 1, O_RDWR, 'dir', 'file');
    mount.setPolicy(true, undefined);
    const [next] = await handOver(old, { readOnly: true });
    expect(text(await next.ok(T.read(1, 1, 0, 10)))).toBe('content');
    expect(await next.errno(T.write(1, 1, 0, Buffer.from('x')))).toBe(Errno.EROFS);
  });
});

describe('an overlay', () => {
  const terms = (): Partial<MountTerms> => ({ overlay: { type: 'directory', path: at('upper') } });

  it('is not handed over while a file is copied up, and is once that is done', async () => {
    writeFileSync(at('source', 'large'), new Uint8Array(8 << 20));
    const [old] = await mounted(terms());
    await old.start(UID);
    await old.ok(T.walk(1, 0, 1, 'large'));
    const opened = old.ok(T.lopen(1, 1, O_RDWR));
    expect(() => sendState(old.server)).toThrow('a request of type 12 is under way');
    const held = old.server.hold();
    await opened;
    await held;
    const [next] = await mounted(terms(), 'handed over');
    expect(await receiveState(next.server, sendState(old.server))).toBeUndefined();
    await old.server.close();
    await next.ok(T.write(1, 1, 0, Buffer.from('changed')));
    expect(readFileSync(at('upper', 'large')).subarray(0, 7).toString()).toBe('changed');
    expect(readFileSync(at('source', 'large'))[0]).toBe(0);
  });

  it('stays locked all the while, and nobody else gets its folder', async () => {
    const [old] = await mounted(terms());
    await old.start(UID);
    const [next] = await handOver(old, terms());
    await expect(mounted(terms())).rejects.toMatchObject({ code: 'SOURCE_IN_USE' });
    await next.server.close();
    const [free] = await mounted(terms());
    await free.start(UID);
  });

  it('keeps its folder where nothing comes of the hand-over', async () => {
    const [old] = await mounted(terms());
    await old.start(UID);
    const [next] = await mounted(terms(), 'handed over');
    await old.server.hold();
    const { bytes, fds } = sendState(old.server);
    expect(await receiveState(next.server, { bytes: bytes.subarray(1), fds })).toBeTypeOf('string');
    await next.server.close();
    old.server.unhold();
    await open(old, 1, O_RDWR, 'dir', 'file');
    await old.ok(T.write(1, 1, 0, Buffer.from('CONTENT')));
    expect(readFileSync(at('upper', 'dir', 'file'), 'utf8')).toBe('CONTENT');
    await expect(mounted(terms())).rejects.toMatchObject({ code: 'SOURCE_IN_USE' });
  });

  it.each([
    ['a mount in memory', { type: 'memory' } as const, {}, 'its files are in the memory of one process'],
    [
      'changes in memory',
      undefined,
      { overlay: { type: 'memory' } as const },
      'what the guest changed: its files',
    ],
  ])('of %s does not leave its machine, and says why', async (_, source, more, why) => {
    const from: Source = source ?? { type: 'directory', path: at('source') };
    const mount = await openMount(openSource, from, { readOnly: false, ...more });
    const old = sender(mount.fs);
    await old.start(UID);
    expect(() => old.server.saveState({ leavesProcess: true })).toThrow(why);
    expect(old.server.saveState().length).toBeGreaterThan(0);
    await old.ok(T.getattr(1, 0));
  });
});

describe('a tree of mounts', () => {
  const EVENTS = 20;
  const ACK = 21;

  interface Trunk {
    readonly client: Sender;
    readonly tree: MountTree;
    readonly served: ServedTree;
  }

  async function newTree(names: readonly string[], beginning?: Beginning): Promise<Trunk> {
    const tree = new MountTree({ log: () => undefined });
    const served = new ServedTree(tree, (source, terms, _watched, begins) =>
      openMount(openSource, source, terms, begins),
    );
    const source: Source = { type: 'directory', path: at('source') };
    for (const name of names)
      await served.add(
        { function: 'f', name, source, readOnly: false, target: `/mnt/${name}`, watch: name === 'watched' },
        beginning,
      );
    return { client: sender(tree), tree, served };
  }

  const read = async ({ client }: Trunk, offset: number, count = 4096, tag = 30): Promise<string> =>
    text(await client.ok(T.read(tag, EVENTS, offset, count)));

  async function withHelper(...names: string[]): Promise<Trunk> {
    const trunk = await newTree(names);
    const { client } = trunk;
    await client.start(UID);
    await open(client, EVENTS, O_RDONLY, 'ctl', 'events');
    await open(client, ACK, O_WRONLY, 'ctl', 'ack');
    return trunk;
  }

  async function handTreeOver(old: Trunk, ...names: string[]): Promise<Trunk> {
    const next = await newTree(names, 'handed over');
    await old.client.server.hold();
    expect(await receiveState(next.client.server, sendState(old.client.server))).toBeUndefined();
    await old.client.server.close();
    return next;
  }

  it('goes on under its helper, which waits for events as before', async () => {
    const old = await withHelper('a', 'b');
    old.tree.remove('a');
    const said = await read(old, 0);
    expect(said).toBe('reset 1\nadd 2 b /mnt/b\nready\n');
    expect(await read(old, said.length)).toBe('');
    await old.client.ok(T.write(1, ACK, 0, Buffer.from('mounted 2\n')));
    await open(old.client, 1, O_RDWR, 'b', 'dir', 'file');
    const waiting = old.client.send(T.read(31, EVENTS, said.length, 4096));
    const next = await handTreeOver(old, 'b');
    expect(await waiting).toHaveLength(0);
    expect(next.served.list(0)).toMatchObject([{ name: 'b', state: 'mounted', openFiles: 1 }]);
    const again = read(next, said.length, 4096, 31);
    await next.served.add({
      ...{ function: 'f', name: 'c', readOnly: false },
      source: { type: 'directory', path: at('source') },
    });
    expect(await again).toBe('add 3 c -\n');
    await next.client.ok(T.write(1, 1, 0, Buffer.from('CON')));
    expect(readFileSync(at('source', 'dir', 'file'), 'utf8')).toBe('CONtent');
    // The helper's own numbers for children are theirs still.
    const released = next.served.release('b', 5000);
    expect(await read(next, said.length + 10)).toBe('look\nrelease 2 b /mnt/b\n');
    await next.client.ok(T.write(1, ACK, 0, Buffer.from('unmounted 2\n')));
    await released;
  });

  it('tells the rest of a line, and all there is again where not all had been told', async () => {
    const old = await withHelper('first', 'second');
    const start = await read(old, 0, 14);
    expect(start).toBe('reset 1\nadd 1 ');
    const next = await handTreeOver(old, 'first', 'second');
    expect(await read(next, start.length)).toBe(
      'first /mnt/first\nreset 1\nadd 1 first /mnt/first\nadd 2 second /mnt/second\nready\n',
    );
  });

  it('has the guest look again at what is watched', async () => {
    const old = await withHelper('watched');
    const said = await read(old, 0);
    const next = await handTreeOver(old, 'watched');
    expect(await read(next, said.length)).toBe('changed watched .\npoke\n');
  });

  it('answers ESTALE for what was taken away, as before', async () => {
    const old = await withHelper('a', 'b');
    await open(old.client, 1, O_RDONLY, 'a', 'dir', 'file');
    await old.client.ok(T.walk(1, 0, 2, 'a'));
    old.served.remove('a');
    const next = await handTreeOver(old, 'b');
    expect(await next.client.errno(T.read(1, 1, 0, 10))).toBe(Errno.ESTALE);
    expect(await next.client.errno(T.getattr(1, 2))).toBe(Errno.ESTALE);
    await next.client.ok(T.clunk(1, 1));
  });

  it('is not taken over where a child is not there, which is named, and the old one goes on', async () => {
    const old = await withHelper('a', 'b');
    const next = await newTree(['a'], 'handed over');
    expect(await receiveState(next.client.server, sendState(old.client.server))).toBe(
      '"b" is not in the tree here',
    );
    await old.client.ok(T.walk(1, 0, 3, 'b', 'dir'));
  });
});

describe('mounts on queues', () => {
  function newMux(): { mux: Virtio9pMux; queues: ServedQueues; log: string[] } {
    const log: string[] = [];
    const mux = new Virtio9pMux(4);
    const queues = new ServedQueues({
      mux,
      openMount: (source, terms, beginning) => openMount(openSource, source, terms, beginning),
      serverOptions: (_, more) => ({
        ...{ maxMsizeBytes: 65536, readOnly: false, maxFids: 100, maxOpenFiles: 100 },
        log: (message) => log.push(message),
        ...more,
      }),
      log: notingLog(log),
    });
    return { mux, queues, log };
  }

  const spec = (queue: number, tag: string) => ({
    ...{ function: 'f', queues: [queue], tag, readOnly: false },
    source: { type: 'directory' as const, path: at('source') },
  });

  it('go on with the numbers that the driver knows, and refuse another layout', async () => {
    const old = newMux();
    for (const [queue, tag] of [
      [0, 'gone'],
      [1, 'one'],
      [3, 'three'],
    ] as const)
      await old.queues.add(spec(queue, tag));
    old.queues.remove(0, true);
    await old.mux.hold();
    const descriptors = new SavedDescriptors();
    const state = old.mux.saveState({ leavesProcess: true, descriptors });
    const take = async (mux: Virtio9pMux, bytes = state): Promise<string | undefined> => {
      const given = new GivenDescriptors(duplicates(descriptors.fds));
      const problem = await mux.prepareState(bytes, given);
      for (const fd of given.left) closeFd(fd);
      return problem;
    };
    const next = newMux();
    await next.queues.add(spec(3, 'three'), 'handed over');
    expect(await take(next.mux)).toBe('it has 2 mounts, and there are 1 here');
    await next.queues.add(spec(1, 'another'), 'handed over');
    expect(await take(next.mux)).toBe('its queue 1 serves another mount here');
    next.queues.remove(1, true);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await next.queues.add(spec(1, 'one'), 'handed over');
    for (let length = 0; length < state.length; length++)
      expect(await take(next.mux, state.subarray(0, length))).toBeTypeOf('string');
    expect(await take(next.mux)).toBeUndefined();
    expect(next.mux.restoreState(state)).toBeUndefined();
    expect(Buffer.from(next.mux.config).toString('hex')).toBe(Buffer.from(old.mux.config).toString('hex'));
    await old.mux.close();
    await next.mux.close();
    expect([...old.log, ...next.log]).toEqual([]);
  });
});

it('refuses a directory that did not come along', async () => {
  const client = sender(await HostDirectory.open(at('source')));
  await client.start(UID);
  const { bytes, fds } = sendState(client.server);
  for (const fd of fds) closeFd(fd);
  const next = sender(await HostDirectory.open(at('source')));
  expect(await receiveState(next.server, { bytes, fds: [] })).toContain('its directory did not come along');
  expect(existsSync(at('source'))).toBe(true);
});
