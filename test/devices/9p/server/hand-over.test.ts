/** A client that is handed over with its descriptors, while the old server is still there: as from one process to another of the same host. */
import {
  chmodSync,
  existsSync,
  fstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../devices/errno.js';
import { GivenDescriptors, SavedDescriptors } from '../../../../devices/state-descriptors.js';
import { closeFd } from '../../../../host/index.js';
import { isRoot, openDescriptors } from '../fs/host-directory/exported.js';
import { MemoryStore } from './journal/memory-store.js';
import type { Sender } from './support/client.js';
import { DirectoryServers, openFile, textOf } from './support/directory-servers.js';
import { closeAll, duplicates, receiveState, sendState } from './support/hand-over.js';
import { T } from './support/wire.js';

const UID = process.geteuid?.() ?? 0;
const O_RDONLY = 0;
const O_RDWR = 2;
const O_APPEND = 0o2000;
const WRITE_LOCK = 1;
const [SUCCESS, BLOCKED] = [0, 1];
const WAITS = 1;
const REMOVE_DIRECTORY = 0x200;

const lab = DirectoryServers.perTest();

/** The new server is ready before the old one ends. */
async function handOver(old: Sender): Promise<Sender> {
  const next = await lab.add();
  expect(await receiveState(next.server, sendState(old.server))).toBeUndefined();
  await old.server.dropAll();
  return next;
}

const lock = (fid: number, type: number, flags: number, pid: number, tag = 1): Uint8Array =>
  T.lock(tag, fid, type, flags, 0, 0, pid, 'guest');

describe('a client that is handed over with its descriptors', () => {
  it('goes on with a file that was unlinked while it was open', async () => {
    const old = await lab.atWork();
    await openFile(old, 1, O_RDWR, 'dir', 'deep', 'file');
    await openFile(old, 2, O_RDONLY, 'dir', 'deep', 'file');
    await old.ok(T.walk(1, 0, 3, 'dir', 'deep', 'file'));
    await old.ok(T.walk(1, 0, 4, 'dir', 'deep'));
    const seen = (await old.ok(T.getattr(1, 1))).bytes.slice(20, 28);
    await old.ok(T.unlinkat(1, 4, 'file', 0));
    const next = await handOver(old);
    await next.ok(T.write(1, 1, 7, Buffer.from(' goes on')));
    expect(textOf(await next.ok(T.read(1, 2, 0, 100)))).toBe('content goes on');
    expect((await next.ok(T.getattr(1, 3))).bytes.slice(20, 28)).toEqual(seen);
    expect(existsSync(lab.exported.at('dir', 'deep', 'file'))).toBe(false);
    const last = await handOver(next);
    expect(textOf(await last.ok(T.read(1, 1, 0, 100)))).toBe('content goes on');
    for (const fid of [1, 2, 3]) await last.ok(T.clunk(1, fid));
  });

  it('goes on in a directory that was removed while it was open, and in one that the host has moved away', async () => {
    mkdirSync(lab.exported.at('gone'));
    mkdirSync(lab.exported.at('away'));
    writeFileSync(lab.exported.at('away', 'inside'), 'still');
    const old = await lab.atWork();
    await openFile(old, 1, O_RDONLY, 'gone');
    await openFile(old, 2, O_RDONLY, 'away');
    await old.ok(T.unlinkat(1, 0, 'gone', REMOVE_DIRECTORY));
    renameSync(lab.exported.at('away'), lab.exported.at('..', 'outside', 'away'));
    const next = await handOver(old);
    expect((await next.ok(T.readdir(1, 1, 0, 1000))).data).toHaveLength(0);
    expect((await next.ok(T.readdir(1, 2, 0, 1000))).data.length).toBeGreaterThan(0);
    await next.ok(T.getattr(1, 1));
    renameSync(lab.exported.at('..', 'outside', 'away'), lab.exported.at('away'));
  });

  it('has the very files open that it had, whatever has their names by now', async () => {
    const old = await lab.atWork();
    await openFile(old, 1, O_RDWR | O_APPEND, 'dir', 'deep', 'file');
    await old.ok(T.walk(1, 0, 2, 'dir', 'deep', 'file'));
    writeFileSync(lab.exported.at('other'), 'another file');
    renameSync(lab.exported.at('other'), lab.exported.at('dir', 'deep', 'file'));
    const next = await handOver(old);
    await next.ok(T.write(1, 1, 0, Buffer.from('+more')));
    expect(textOf(await next.ok(T.read(1, 1, 0, 100)))).toBe('content+more');
    expect(readFileSync(lab.exported.at('dir', 'deep', 'file'), 'utf8')).toBe('another file');
    // This fid's name leads to another file, and its own is nowhere.
    expect(await next.errno(T.getattr(1, 2))).toBe(Errno.ESTALE);
    expect(await next.errno(T.lopen(1, 2, O_RDONLY))).toBe(Errno.ESTALE);
    const last = await handOver(next);
    expect(await last.errno(T.getattr(1, 2))).toBe(Errno.ESTALE);
    await last.ok(T.clunk(1, 2));
  });

  it.skipIf(isRoot)('writes on where the file could not be opened again', async () => {
    const old = await lab.atWork();
    await openFile(old, 1, O_RDWR, 'dir', 'deep', 'file');
    chmodSync(lab.exported.at('dir', 'deep', 'file'), 0);
    const next = await handOver(old);
    await next.ok(T.write(1, 1, 0, Buffer.from('CONTENT')));
  });

  it('has its locks while both servers are there, and after the old one is gone', async () => {
    const old = await lab.atWork();
    await openFile(old, 1, O_RDWR, 'dir', 'deep', 'file');
    expect((await old.ok(lock(1, WRITE_LOCK, 0, 7))).fields.number(1)).toBe(SUCCESS);
    const other = await lab.atWork();
    await openFile(other, 1, O_RDWR, 'dir', 'deep', 'file');
    const next = await lab.add();
    expect(await receiveState(next.server, sendState(old.server))).toBeUndefined();
    expect((await other.ok(lock(1, WRITE_LOCK, 0, 9))).fields.number(1)).toBe(BLOCKED);
    await old.server.close();
    expect((await other.ok(lock(1, WRITE_LOCK, 0, 9))).fields.number(1)).toBe(BLOCKED);
    await next.ok(T.clunk(1, 1));
    expect((await other.ok(lock(1, WRITE_LOCK, 0, 9))).fields.number(1)).toBe(SUCCESS);
  });

  it('is served from the directory that it had, wherever that is by now', async () => {
    const old = await lab.atWork();
    await openFile(old, 1, O_RDONLY, 'dir', 'deep', 'file');
    const moved = lab.exported.at('..', 'moved');
    renameSync(lab.exported.path, moved);
    mkdirSync(lab.exported.path);
    const next = await handOver(old);
    await next.ok(T.walk(1, 0, 2, 'dir', 'deep', 'file'));
    expect(textOf(await next.ok(T.read(1, 1, 0, 100)))).toBe('content');
    rmdirSync(lab.exported.path);
    renameSync(moved, lab.exported.path);
  });
});

describe('the journal of a session that another process has by now', () => {
  async function journaled(store: MemoryStore): Promise<Sender> {
    return lab.add({}, store);
  }

  it("is that one's, and the old server does not remove it when it ends", async () => {
    const store = new MemoryStore();
    const old = await journaled(store);
    await old.start(UID);
    await openFile(old, 1, O_RDWR, 'dir', 'deep', 'file');
    const next = await journaled(store);
    await old.server.hold();
    expect(await receiveState(next.server, sendState(old.server))).toBeUndefined();
    next.server.unhold();
    await old.server.close();
    const recovered = await journaled(store.left());
    await recovered.server.recover();
    expect(textOf(await recovered.ok(T.read(1, 1, 0, 100)))).toBe('content');
    expect(recovered.log.splice(0)).toEqual(["9p: found 2 fids of the guest's again: undefined"]);
    await next.server.dropAll();
    expect(store.journal).toBeUndefined();
  });

  it("is the old one's still where nothing comes of it", async () => {
    const store = new MemoryStore();
    const old = await journaled(store);
    await old.start(UID);
    await old.server.hold();
    closeAll(sendState(old.server));
    old.server.unhold();
    await openFile(old, 1, O_RDWR, 'dir', 'deep', 'file');
    await old.server.dropAll();
    expect(store.journal).toBeUndefined();
  });
});

describe('a server that is held still', () => {
  it('takes back what waits for a lock, and the next server waits for it', async () => {
    const old = await lab.atWork();
    await openFile(old, 1, O_RDWR, 'dir', 'deep', 'file');
    const other = await lab.atWork();
    await openFile(other, 1, O_RDWR, 'dir', 'deep', 'file');
    await other.ok(lock(1, WRITE_LOCK, 0, 9));
    let answers = 0;
    const waits = old.call(lock(1, WRITE_LOCK, WAITS, 7, 5)).then(() => answers++);
    void waits.catch(() => undefined);
    await old.server.hold();
    await other.ok(T.clunk(1, 1));
    const next = await lab.add();
    expect(await receiveState(next.server, sendState(old.server))).toBeUndefined();
    expect(answers).toBe(0);
    expect((await next.ok(lock(1, WRITE_LOCK, WAITS, 7, 5))).fields.number(1)).toBe(SUCCESS);
    await old.server.dropAll();
  });

  it('answers nothing until it is let go, and then each request once', async () => {
    const client = await lab.atWork();
    await openFile(client, 1, O_RDWR, 'dir', 'deep', 'file');
    const other = await lab.atWork();
    await openFile(other, 1, O_RDWR, 'dir', 'deep', 'file');
    await other.ok(lock(1, WRITE_LOCK, 0, 9));
    const locked = client.ok(lock(1, WRITE_LOCK, WAITS, 7, 5));
    await client.server.hold();
    const requests = [
      client.ok(T.mkdir(10, 0, 'new', 0o755, 0)),
      client.ok(T.read(11, 1, 0, 100)),
      client.ok(T.flush(12, 99)),
    ];
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(client.pending).toBe(4);
    expect(existsSync(lab.exported.at('new'))).toBe(false);
    client.server.unhold();
    await Promise.all(requests);
    await other.ok(T.clunk(1, 1));
    expect((await locked).fields.number(1)).toBe(SUCCESS);
    expect(client.pending).toBe(0);
  });

  it('still ends a request that its client has given up', async () => {
    const client = await lab.atWork();
    await openFile(client, 1, O_RDWR, 'dir', 'deep', 'file');
    const other = await lab.atWork();
    await openFile(other, 1, O_RDWR, 'dir', 'deep', 'file');
    await other.ok(lock(1, WRITE_LOCK, 0, 9));
    const locked = client.send(lock(1, WRITE_LOCK, WAITS, 7, 5));
    await client.server.hold();
    const flushed = client.ok(T.flush(6, 5));
    client.server.unhold();
    await flushed;
    expect(await locked).toHaveLength(0);
  });
});

describe('a state with descriptors', () => {
  /** An unlinked file that is open and locked, a directory half read, and a file by its name. */
  async function rich(): Promise<Sender> {
    const old = await lab.atWork();
    await openFile(old, 1, O_RDWR, 'dir', 'deep', 'file');
    await old.ok(lock(1, WRITE_LOCK, 0, 7));
    await openFile(old, 2, O_RDONLY, 'dir');
    await old.ok(T.readdir(1, 2, 0, 60));
    writeFileSync(lab.exported.at('named'), '');
    await openFile(old, 3, O_RDONLY, 'named');
    unlinkSync(lab.exported.at('dir', 'deep', 'file'));
    await old.ok(T.walk(1, 0, 4, 'dir'));
    return old;
  }

  it('is refused without a leak wherever a byte of it is cut off or another one', async () => {
    const old = await rich();
    const descriptors = new SavedDescriptors();
    const state = old.server.saveState({ leavesProcess: true, descriptors });
    const next = await lab.add();
    const idle = openDescriptors();
    const tryState = async (bytes: Uint8Array): Promise<string | undefined> => {
      const given = new GivenDescriptors(duplicates(descriptors.fds));
      const problem = await next.server.restoreState(bytes, given);
      for (const fd of given.left) closeFd(fd);
      if (problem === undefined) await next.server.dropAll();
      expect(openDescriptors()).toBe(idle);
      return problem;
    };
    for (let length = 0; length < state.length; length++)
      expect(await tryState(state.subarray(0, length))).toBeTypeOf('string');
    for (let at = 0; at < state.length; at++) {
      const changed = state.slice();
      changed[at] ^= 0x55;
      await tryState(changed);
    }
    expect(await tryState(state)).toBeUndefined();
  });

  it('is refused where the descriptors are others, or too few, and the old server goes on', async () => {
    const old = await rich();
    const next = await lab.add();
    const foreign = sendState(old.server);
    const turned = { ...foreign, fds: [...foreign.fds].reverse() };
    expect(await receiveState(next.server, turned)).toBeTypeOf('string');
    const cut = sendState(old.server);
    closeAll({ ...cut, fds: cut.fds.splice(1) });
    expect(await receiveState(next.server, cut)).toContain('/dir/deep/file');
    await old.ok(T.write(1, 1, 0, Buffer.from('goes on')));
  });

  it('leaves the descriptors of the saved server alone', async () => {
    const old = await rich();
    const descriptors = new SavedDescriptors();
    old.server.saveState({ leavesProcess: true, descriptors });
    for (const fd of descriptors.fds) fstatSync(fd);
    await old.ok(T.read(1, 1, 0, 10));
  });
});
