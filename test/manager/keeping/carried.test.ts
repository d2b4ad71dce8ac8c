/** Mounts that share a device with others, the children of a tree and those on queues, through kills of its process. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ChildSpec, SeatSpec } from '../../../manager/device-process/protocol.js';
import type { DeviceHost } from '../../../manager/device-process/supervisor.js';
import { NOFID, NOTAG, Reply, T } from '../../devices/9p/server/support/wire.js';
import { GuestRam, TestQueue } from '../ports/vhost-user/harness.js';
import { config, Feature, memTable, pack, RawFrontEnd, Request } from '../ports/vhost-user/raw-front-end.js';
import { temporaryFolders } from '../temporary-folder.js';
import { KillableProcess } from './killable.js';

const MSIZE = 8192;
const [O_RDONLY, O_WRONLY, O_RDWR] = [0, 1, 2];
const [EINVAL, ENODEV, EBADF, ESTALE] = [22, 19, 9, 116];
const [WRITE_LOCK, BLOCKED] = [1, 1];
const MULTIPLEX = 1n << 23n;
const FUNCTION = 'slot1-fn0';
const folder = temporaryFolders();
let shared: string;
let killable: KillableProcess;

beforeEach(async () => {
  shared = folder();
  for (const name of ['a', 'b']) {
    mkdirSync(join(shared, name));
    writeFileSync(join(shared, name, 'file'), `in ${name}`);
  }
  killable = await new KillableProcess(folder()).start();
});
afterEach(() => killable.stop());

const source = (name: string) => ({ type: 'directory' as const, path: join(shared, name) });

/** One client's session over a queue. */
class Client {
  readonly queue: TestQueue;

  constructor(queue: TestQueue) {
    this.queue = queue;
  }

  async call(message: Uint8Array): Promise<Reply> {
    return new Reply(await this.queue.exchange(message, MSIZE));
  }

  async ok(message: Uint8Array): Promise<Reply> {
    const reply = await this.call(message);
    expect(reply.errno).toBe(0);
    return reply;
  }

  async errno(message: Uint8Array): Promise<number> {
    return (await this.call(message)).errno;
  }

  /** Fid 0 is the root. */
  async begin(): Promise<this> {
    await this.ok(T.version(NOTAG, MSIZE, '9P2000.L'));
    await this.ok(T.attach(1, 0, NOFID, 'root', '', 0));
    return this;
  }

  async open(fid: number, flags: number, ...names: string[]): Promise<void> {
    await this.ok(T.walk(1, 0, fid, ...names));
    await this.ok(T.lopen(1, fid, flags));
  }

  async text(fid: number): Promise<string> {
    return Buffer.from((await this.ok(T.read(1, fid, 0, 4096))).data).toString('latin1');
  }
}

async function frontEndOf(type: 'tree' | 'queues', features = 0n) {
  const socketPath = await killable.serve({ type: '9p', tag: 'c', source: { type }, readOnly: false });
  const ram = new GuestRam('9p');
  const frontEnd = await new RawFrontEnd(killable.reactor, socketPath).negotiate(
    Feature.VERSION_1 | Feature.PROTOCOL_FEATURES | Feature.INDIRECT_DESC | features,
  );
  await frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
  const client = async (index = 0): Promise<Client> => {
    const queue = new TestQueue(killable.reactor, ram, index);
    await queue.start(frontEnd);
    return new Client(queue).begin();
  };
  return { frontEnd, client };
}

describe('a tree whose process is killed', () => {
  const children = new Map<string, ChildSpec>();

  beforeEach(() => {
    children.clear();
    killable.fill = async (host) => {
      for (const child of children.values()) await host.addChild(child);
    };
  });

  async function add(name: string, path = name, more: Partial<ChildSpec> = {}): Promise<void> {
    const child = { function: FUNCTION, name, source: source(path), readOnly: false, ...more };
    await killable.host.addChild(child);
    children.set(name, child);
  }

  it('leaves the guest what it has of the children, files without names and locks among it', async () => {
    const { client } = await frontEndOf('tree');
    for (const name of ['a', 'b']) await add(name);
    const guest = await client();
    await guest.open(1, O_RDWR, 'a', 'file');
    await guest.ok(T.walk(1, 0, 2, 'b'));
    await guest.ok(T.lcreate(1, 2, 'gone', O_RDWR, 0o600, 0));
    await guest.ok(T.write(1, 2, 0, Buffer.from('no name')));
    await guest.ok(T.walk(1, 0, 3, 'b'));
    await guest.ok(T.unlinkat(1, 3, 'gone', 0));
    expect((await guest.ok(T.lock(1, 1, WRITE_LOCK, 0, 0, 4, 7, 'guest'))).fields.number(1)).toBe(0);
    const { bytes: seen } = await guest.ok(T.getattr(1, 3));
    for (let turn = 0; turn < 2; turn++) {
      await killable.kill();
      expect([await guest.text(1), await guest.text(2)]).toEqual(['in a', 'no name']);
      expect((await guest.ok(T.getattr(1, 3))).bytes).toEqual(seen);
      await guest.open(9, O_RDWR, 'a', 'file');
      expect((await guest.ok(T.lock(1, 9, WRITE_LOCK, 0, 0, 4, 8, 'guest'))).fields.number(1)).toBe(BLOCKED);
      await guest.ok(T.clunk(1, 9));
      if (turn === 0) await killable.upgrade();
    }
  });

  it('has of a child that went, or may show nothing any more, nothing but ESTALE, and all of the others', async () => {
    const { client } = await frontEndOf('tree');
    for (const name of ['a', 'b']) await add(name);
    await add('c', 'a');
    const guest = await client();
    for (const [fid, name] of ['a', 'b', 'c'].entries()) await guest.open(fid + 1, O_RDONLY, name, 'file');
    await guest.ok(T.walk(1, 0, 4, 'c'));
    await guest.ok(T.lcreate(1, 4, 'gone', O_RDWR, 0o600, 0));
    await guest.ok(T.walk(1, 0, 5, 'c'));
    await guest.ok(T.unlinkat(1, 5, 'gone', 0));
    children.delete('a');
    children.set('c', { ...children.get('c')!, revoked: true });
    await killable.kill();
    for (const fid of [1, 3, 4, 5]) expect(await guest.errno(T.getattr(1, fid))).toBe(ESTALE);
    expect(await guest.text(2)).toBe('in b');
    await add('a');
    expect(await guest.errno(T.getattr(1, 1))).toBe(ESTALE);
    await guest.open(6, O_RDONLY, 'a', 'file');
  });

  it('tells a child from the same one that was there before, of which the guest has fids still', async () => {
    const { client } = await frontEndOf('tree');
    await add('a');
    const guest = await client();
    await guest.open(1, O_RDWR, 'a', 'file');
    await guest.ok(T.walk(1, 0, 2, 'a'));
    await guest.ok(T.lcreate(1, 2, 'gone', O_RDWR, 0o600, 0));
    await guest.ok(T.walk(1, 0, 3, 'a'));
    await guest.ok(T.unlinkat(1, 3, 'gone', 0));
    await killable.host.removeChild(FUNCTION, 'a');
    await add('a');
    await killable.kill();
    for (const fid of [1, 2, 3]) expect(await guest.errno(T.getattr(1, fid))).toBe(ESTALE);
    await guest.open(4, O_RDWR, 'a', 'file');
    await killable.kill();
    expect(await guest.text(4)).toBe('in a');
    for (const fid of [1, 2, 3]) expect(await guest.errno(T.getattr(1, fid))).toBe(ESTALE);
  });

  it("goes on with the guest's helper: it is told all anew, and what it says of before is not taken for something else", async () => {
    const { client } = await frontEndOf('tree');
    await add('a', 'a', { target: '/mnt/a' });
    const guest = await client();
    await guest.open(1, O_RDONLY, 'ctl', 'events');
    await guest.open(2, O_WRONLY, 'ctl', 'ack');
    const told = await guest.text(1);
    expect(told).toBe('reset 1\nadd 1 a /mnt/a\nready\n');
    expect(Buffer.from((await guest.ok(T.read(1, 1, told.length, 4096))).data)).toHaveLength(0);
    // One that waits.
    const waiting = guest.ok(T.read(1, 1, told.length, 4096));
    await killable.host.status();
    await killable.kill();
    const again = Buffer.from((await waiting).data).toString();
    const [, id] = /^x{256}\nreset 1\nadd (\d+) a \/mnt\/a\nready\n$/.exec(again) ?? [];
    expect(Number(id)).toBeGreaterThan(2 ** 24);
    expect(await guest.errno(T.write(1, 2, 0, Buffer.from('mounted 1\n')))).toBe(EINVAL);
    await guest.ok(T.write(1, 2, 0, Buffer.from(`mounted ${id}\n`)));
    expect(await killable.host.children(FUNCTION)).toMatchObject([{ name: 'a', state: 'mounted' }]);
    await killable.upgrade();
    await killable.kill();
    const third = Buffer.from((await guest.ok(T.read(1, 1, 0, 4096))).data).toString();
    expect(Number(/add (\d+)/.exec(third)?.[1])).toBeGreaterThan(Number(id) + 2 ** 23);
    expect((await killable.host.status())[0].helper).toBe(true);
  });

  it('ends commands that ran in the guest, which goes on to run others', async () => {
    const { client } = await frontEndOf('tree');
    const guest = await client();
    await guest.open(1, O_RDONLY, 'ctl', 'exec', 'requests');
    const command = { function: FUNCTION, command: ['true'], env: {} };
    const first = await killable.host.startCommand(command);
    expect(await guest.text(1)).toBe('run 1\n');
    for (const [fid, name] of ['status', 'stdout'].entries())
      await guest.open(fid + 2, O_WRONLY, 'ctl', 'exec', '1', name);
    await guest.open(4, O_RDONLY, 'ctl', 'exec', '1', 'stdin');
    const output = killable.host.commandOutput(first);
    output.catch(() => undefined);
    await killable.kill();
    await expect(output).rejects.toMatchObject({ code: 'DEVICE_PROCESS_LOST' });
    for (const fid of [2, 3]) expect(await guest.errno(T.write(1, fid, 0, Buffer.from('x')))).toBe(ESTALE);
    expect(await guest.errno(T.read(1, 4, 0, 100))).toBe(ESTALE);
    for (const fid of [2, 3, 4]) await guest.ok(T.clunk(1, fid));
    await killable.host.startCommand(command);
    expect(await guest.text(1)).toBe('x\n');
    const [, id] = /^run (\d+)\n$/.exec(await guest.text(1)) ?? [];
    expect(Number(id)).toBeGreaterThan(2 ** 24);
    await guest.open(2, O_WRONLY, 'ctl', 'exec', String(id), 'status');
  });
});

describe('mounts on queues whose process is killed', () => {
  const seats = new Map<number, SeatSpec>();

  beforeEach(() => {
    seats.clear();
    killable.fill = async (host) => {
      for (const seat of seats.values()) await host.addSeat(seat);
    };
  });

  async function add(queue: number, tag: string, host: DeviceHost = killable.host): Promise<void> {
    const seat = { function: FUNCTION, queues: [queue], tag, source: source(tag), readOnly: false };
    await host.addSeat(seat);
    seats.set(queue, seat);
  }

  async function remove(queue: number): Promise<void> {
    seats.delete(queue);
    await killable.host.removeSeat({ function: FUNCTION, queue, force: true });
  }

  /** What config space says of a queue. */
  async function registers(frontEnd: RawFrontEnd, queue: number) {
    await frontEnd.set(Request.SET_CONFIG, config(224, 2, pack([2, queue])));
    const bytes = (await frontEnd.query(Request.GET_CONFIG, config(0, 256))).subarray(12);
    return {
      ...{ tag: bytes.toString('utf8', 2, 2 + bytes.readUInt16LE(0)), selected: bytes.readUInt16LE(224) },
      ...{ changes: bytes.readUInt32LE(228), serial: bytes.readUInt32LE(240) },
    };
  }

  it('leave each guest what it has open, and lets it know that they are the same', async () => {
    const { client, frontEnd } = await frontEndOf('queues', MULTIPLEX);
    await add(0, 'b');
    await remove(0);
    await add(3, 'a');
    await add(5, 'b');
    const [a, b] = [await client(3), await client(5)];
    await a.open(1, O_RDWR, 'file');
    await b.open(1, O_RDWR, 'file');
    await b.ok(T.walk(1, 0, 2));
    await b.ok(T.lcreate(1, 2, 'gone', O_RDWR, 0o600, 0));
    await b.ok(T.write(1, 2, 0, Buffer.from('no name')));
    await b.ok(T.unlinkat(1, 0, 'gone', 0));
    const before = [await registers(frontEnd, 3), await registers(frontEnd, 5)];
    for (let turn = 1; turn <= 2; turn++) {
      await killable.kill();
      expect([await a.text(1), await b.text(1), await b.text(2)]).toEqual(['in a', 'in b', 'no name']);
      const now = [await registers(frontEnd, 3), await registers(frontEnd, 5)];
      expect(now).toEqual(before.map((each) => ({ ...each, changes: each.changes + 2 * turn })));
      if (turn === 1) await killable.upgrade();
    }
  });

  it('have nothing of a mount that went, nor has the next one on its queue', async () => {
    const { client, frontEnd } = await frontEndOf('queues', MULTIPLEX);
    await add(1, 'a');
    await add(2, 'b');
    const [a, b] = [await client(1), await client(2)];
    await a.open(1, O_RDWR, 'file');
    await b.open(1, O_RDWR, 'file');
    const { serial, changes } = await registers(frontEnd, 1);
    seats.delete(1);
    await killable.kill();
    expect(await a.errno(T.getattr(1, 1))).toBe(ENODEV);
    expect(await b.text(1)).toBe('in b');
    expect(await registers(frontEnd, 1)).toMatchObject({ tag: '', selected: 1, serial: 0 });
    await add(1, 'a');
    expect((await registers(frontEnd, 1)).serial).toBeGreaterThan(serial);
    expect((await registers(frontEnd, 1)).changes).toBeGreaterThan(changes);
    expect(await a.errno(T.getattr(1, 1))).not.toBe(0);
    await a.begin();
    expect(await a.errno(T.getattr(1, 1))).toBe(EBADF);
    await a.open(1, O_RDONLY, 'file');
    await remove(2);
    await killable.kill();
    expect(await a.text(1)).toBe('in a');
    expect(await b.errno(T.getattr(1, 1))).toBe(ENODEV);
  });
});
