import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { DeviceSpec } from '../../../manager/device-process/protocol.js';
import { NOTAG, T } from '../../devices/9p/server/support/wire.js';
import { LoadedDisk } from '../hand-over/loaded-disk.js';
import { EchoSwitch } from '../hand-over/pinging-card.js';
import { GuestRam, TestQueue } from '../ports/vhost-user/harness.js';
import {
  config,
  Feature,
  memRegion,
  memTable,
  message,
  NEED_REPLY,
  RawFrontEnd,
  Request,
  u64,
  VERSION,
} from '../ports/vhost-user/raw-front-end.js';
import { MSIZE, ninePClient, readFid } from '../nine-p-client.js';
import { temporaryFolders } from '../temporary-folder.js';
import { KillableProcess } from './killable.js';

const MIB = 2 ** 20;
const Rgetattr = 25;
const Rlerror = 7;
const EEXIST = 17;
const KILLS = Number(process.env.CHASSIS_CRASHES ?? 3);
const folder = temporaryFolders();
let shared: string;
let killable: KillableProcess;

beforeEach(async () => {
  shared = folder();
  killable = await new KillableProcess(folder()).start();
});
afterEach(() => killable.stop());

const mount = (): DeviceSpec => ({
  ...{ type: '9p', tag: 'a', readOnly: false },
  source: { type: 'directory', path: shared },
});

const client = (socketPath: string) => ninePClient(killable.reactor, socketPath);

describe('a device process that is killed', () => {
  it('leaves a 9p client its open files, over the connection that it had', async () => {
    writeFileSync(join(shared, 'file'), 'in the file');
    const { queue, frontEnd } = await client(await killable.serve(mount()));
    await queue.exchange(T.walk(1, 0, 1, 'file'), MSIZE);
    await queue.exchange(T.lopen(1, 1, 0), MSIZE);
    for (let turn = 0; turn < 2; turn++) {
      await killable.kill();
      expect(await readFid(queue, 1)).toBe('in the file');
    }
    expect(await frontEnd.queryU64(Request.GET_STATUS)).toBe(0n);
  });

  it('leaves a 9p client files that it removed, or put others in the place of, while it had them open', async () => {
    const { queue } = await client(await killable.serve(mount()));
    for (const [fid, name] of ['removed', 'replaced'].entries()) {
      await queue.exchange(T.walk(1, 0, fid + 1), MSIZE);
      await queue.exchange(T.lcreate(1, fid + 1, name, 0o2 | 0o100, 0o600, 0), MSIZE);
      await queue.exchange(T.write(1, fid + 1, 0, Buffer.from(`was ${name}`)), MSIZE);
    }
    writeFileSync(join(shared, 'other'), 'the other');
    // A fid of the same file that is not open, such as a guest's inode has.
    await queue.exchange(T.walk(1, 0, 3, 'removed'), MSIZE);
    await queue.exchange(T.unlinkat(1, 0, 'removed', 0), MSIZE);
    await queue.exchange(T.renameat(1, 0, 'other', 0, 'replaced'), MSIZE);
    for (let turn = 0; turn < 2; turn++) {
      await killable.kill();
      expect([await readFid(queue, 1), await readFid(queue, 2)]).toEqual(['was removed', 'was replaced']);
      expect((await queue.exchange(T.getattr(1, 3), MSIZE))[4]).toBe(Rgetattr);
      if (turn === 0) await killable.changeDaemon();
    }
    await queue.exchange(T.clunk(1, 1), MSIZE);
    await queue.exchange(T.walk(1, 0, 1, 'replaced'), MSIZE);
    await queue.exchange(T.lopen(1, 1, 0), MSIZE);
    await killable.kill();
    expect(await readFid(queue, 1)).toBe('the other');
  });

  it('loses no request of a disk, whose front-end does not connect again', async () => {
    const path = join(shared, 'disk.img');
    writeFileSync(path, '');
    truncateSync(path, MIB);
    const load = await LoadedDisk.start(
      killable.reactor,
      await killable.serve({
        ...{ type: 'disk', source: { type: 'file', path }, readOnly: false, overlay: false, queues: 1 },
        serial: 's',
      }),
    );
    for (let turn = 0; turn < 2; turn++) {
      await load.progress(200);
      await killable.kill();
    }
    await load.progress(200);
    await load.stop();
  });

  const WRITEBACK = 32;
  const writeBackOf = async (frontEnd: RawFrontEnd) =>
    (await frontEnd.query(Request.GET_CONFIG, config(WRITEBACK, 1)))[12];

  it('leaves a disk the cache mode that its driver chose: before it begins, while it runs, and while it is paused', async () => {
    const path = join(shared, 'disk.img');
    writeFileSync(path, '');
    truncateSync(path, MIB);
    const socketPath = await killable.serve({
      ...{ type: 'disk', source: { type: 'file', path }, readOnly: false, overlay: false, queues: 1 },
      serial: 's',
    });
    const features = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES | (1n << 9n) | (1n << 11n);
    const frontEnd = await new RawFrontEnd(killable.reactor, socketPath).negotiate(features);
    const ram = new GuestRam('disk');
    await frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
    const choose = (mode: number) =>
      frontEnd.set(Request.SET_CONFIG, config(WRITEBACK, 1, Uint8Array.of(mode)));
    const queue = new TestQueue(killable.reactor, ram);
    await choose(0);
    await killable.kill();
    expect(await writeBackOf(frontEnd)).toBe(0);
    await choose(1);
    await queue.start(frontEnd);
    // The process is told of no message when this begins the driver's work.
    const write = Buffer.concat([Buffer.of(1), Buffer.alloc(15 + 512)]);
    expect(await queue.exchange(write, 1)).toEqual(Buffer.of(0));
    await killable.kill();
    expect(await queue.exchange(write, 1)).toEqual(Buffer.of(0));
    expect(await writeBackOf(frontEnd)).toBe(1);
    await choose(0);
    const base = await frontEnd.getVringBase(0);
    await killable.kill();
    await killable.upgrade();
    await queue.start(frontEnd, base);
    expect(await writeBackOf(frontEnd)).toBe(0);
  });

  it('leaves a card what its driver said by commands, and nothing of it to the next driver', async () => {
    const echo = await EchoSwitch.start(join(shared, 'switch'));
    onTestFinished(() => echo.close());
    const socketPath = await killable.serve({
      ...{ type: 'card', name: 'a', mac: '52:54:00:00:00:01', queuePairs: 1, up: true },
      peer: { type: 'switch', socketPath: echo.path },
    });
    const features = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES | (1n << 17n) | (1n << 18n) | (1n << 23n);
    const ram = new GuestRam('card');
    const frontEnd = await new RawFrontEnd(killable.reactor, socketPath).negotiate(features);
    await frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
    const commands = new TestQueue(killable.reactor, ram, 2);
    await commands.start(frontEnd);
    const address = async () =>
      (await frontEnd.query(Request.GET_CONFIG, config(0, 6))).subarray(12).toString('hex');
    const mac = Buffer.of(0x52, 0x54, 0, 0, 1, 1);
    expect(await commands.exchange(Buffer.of(1, 1, ...mac), 1)).toEqual(Buffer.of(0));
    await killable.kill();
    expect(await address()).toBe(mac.toString('hex'));
    // It is paused, so that what its driver said is kept; and then another one comes.
    await frontEnd.getVringBase(2);
    await killable.kill();
    expect(await address()).toBe(mac.toString('hex'));
    ram.bytes.fill(0);
    await new TestQueue(killable.reactor, ram, 2).start(frontEnd);
    expect(await address()).toBe('525400000001');
  });

  it('goes on with memory that was added, rings that were stopped, and a device that was reset', async () => {
    const { queue, frontEnd, ram } = await client(await killable.serve(mount()));
    const more = new GuestRam('more');
    const above = { ...more.region, guest: 0x2_0000_0000, user: 0x7e00_0000_0000 };
    await frontEnd.set(Request.ADD_MEM_REG, memRegion(above), [more.fd]);
    const base = await frontEnd.getVringBase(0);
    await killable.kill();
    expect(await frontEnd.ack(Request.ADD_MEM_REG, memRegion(above), [more.fd])).toBe(EEXIST);
    await queue.start(frontEnd, base);
    expect((await queue.exchange(T.getattr(1, 0), MSIZE))[4]).toBe(Rgetattr);
    await frontEnd.set(Request.RESET_DEVICE);
    await killable.kill();
    expect(await frontEnd.ack(Request.REM_MEM_REG, memRegion(above))).toBe(0);
    ram.bytes.fill(0);
    const again = new TestQueue(killable.reactor, ram);
    await frontEnd.set(Request.SET_FEATURES, u64(Feature.VERSION_1 | Feature.PROTOCOL_FEATURES));
    await again.start(frontEnd);
    await again.exchange(T.version(NOTAG, MSIZE, '9P2000.L'), MSIZE);
    expect((await again.exchange(T.getattr(1, 0), MSIZE))[4]).toBe(Rlerror);
  });

  it('had read half a message, which goes on where it was, with its descriptor', async () => {
    const { queue, frontEnd, ram } = await client(await killable.serve(mount()));
    const table = message(Request.SET_MEM_TABLE, memTable(ram.region), VERSION | NEED_REPLY);
    frontEnd.sendBytes(table.subarray(0, 20), [ram.fd]);
    // Heard of: it comes before what the keeper is told next.
    await killable.host.status();
    await killable.kill();
    frontEnd.sendBytes(table.subarray(20, 30));
    await killable.host.status();
    await killable.kill();
    frontEnd.sendBytes(table.subarray(30));
    expect((await frontEnd.reply()).payload.readBigUInt64LE()).toBe(0n);
    expect((await queue.exchange(T.getattr(1, 0), MSIZE))[4]).toBe(Rgetattr);
  });

  it('is gone on for by a process that another daemon starts than the one that started it', async () => {
    const { queue, frontEnd } = await client(await killable.serve(mount()));
    await killable.changeDaemon();
    await frontEnd.getVringBase(0).then((base) => queue.start(frontEnd, base));
    await killable.kill();
    expect((await queue.exchange(T.getattr(1, 0), MSIZE))[4]).toBe(Rgetattr);
    await killable.upgrade();
    await killable.kill();
    expect((await queue.exchange(T.getattr(1, 0), MSIZE))[4]).toBe(Rgetattr);
  });

  it('cuts a VMM off that it has served since nobody heard of it any more', async () => {
    const { frontEnd } = await client(await killable.serve(mount()));
    killable.keeper.close();
    await frontEnd.set(Request.SET_OWNER).catch(() => undefined);
    await killable.kill();
    await frontEnd.closed();
    killable.log.length = 0;
  });

  it('answers each message of its VMM once, wherever the kill falls', async () => {
    const { frontEnd, ram } = await client(await killable.serve(mount()));
    let [killing, count] = [true, 0];
    const messages = async (): Promise<void> => {
      for (; killing; count++) {
        expect(await frontEnd.ack(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd])).toBe(0);
        expect(await frontEnd.queryU64(Request.GET_STATUS)).toBe(0n);
        expect((await frontEnd.query(Request.GET_CONFIG, config(0, 3))).length).toBe(15);
        await new Promise(setImmediate);
      }
    };
    const done = messages();
    done.catch(() => undefined);
    for (let turn = 0; turn < KILLS; turn++) {
      const before = count;
      while (count < before + 2) await Promise.race([done, new Promise(setImmediate)]);
      await new Promise((resolve) => setTimeout(resolve, turn));
      await killable.kill();
    }
    killing = false;
    await done;
  });
});
