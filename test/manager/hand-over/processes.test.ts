import { mkdirSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Reactor } from '../../../host/index.js';
import { ChassisPaths } from '../../../manager/control/state-directory.js';
import type { DeviceSpec } from '../../../manager/device-process/protocol.js';
import { spawnDeviceProcess, type DeviceHost } from '../../../manager/device-process/supervisor.js';
import { BUILT_DEVICE_ENTRY } from '../built.js';
import { NOFID, NOTAG, T } from '../../devices/9p/server/support/wire.js';
import { GuestRam, TestQueue } from '../ports/vhost-user/harness.js';
import { Feature, memTable, RawFrontEnd, Request } from '../ports/vhost-user/raw-front-end.js';
import { refusal } from '../refusal.js';
import { temporaryFolders } from '../temporary-folder.js';
import { EchoSwitch, PingingCard } from './pinging-card.js';
import { LoadedDisk } from './loaded-disk.js';

const MIB = 2 ** 20;
const MSIZE = 8192;
const Rread = 117;
const folder = temporaryFolders();
let paths: ChassisPaths;
let reactor: Reactor;
let host: DeviceHost;
let lost: string[];

beforeEach(async () => {
  reactor = new Reactor({ onError: (error) => console.error(error) });
  reactor.start();
  lost = [];
  paths = new ChassisPaths(folder(), 'dev');
  mkdirSync(paths.directory);
  host = await spawnDeviceProcess({
    ...{ paths, entry: BUILT_DEVICE_ENTRY },
    onLost: (reason) => lost.push(reason),
    onConnected: () => undefined,
    onDisconnected: (name) => lost.push(`${name} was left`),
  });
});
afterEach(async () => {
  await host.stop();
  reactor.close();
});

async function serve(device: DeviceSpec, fn = 0): Promise<string> {
  const socketPath = paths.functionSocket(1, fn);
  await host.addFunction({ function: `slot1-fn${fn}`, socketPath, port: 'vhost-user', msix: false, device });
  return socketPath;
}

function disk(source: Extract<DeviceSpec, { type: 'disk' }>['source'], overlay = false): DeviceSpec {
  return { type: 'disk', source, readOnly: false, overlay, queues: 1, serial: 's' };
}

function cardOn(socketPath: string): DeviceSpec {
  const name = { name: 'lan0', mac: '52:54:00:00:00:01', queuePairs: 1, up: true };
  return { type: 'card', ...name, peer: { type: 'switch', socketPath } };
}

function image(): string {
  const path = join(folder(), 'disk.img');
  writeFileSync(path, '');
  truncateSync(path, MIB);
  return path;
}

/** Has another process go on. */
async function replace(): Promise<void> {
  const { pid } = host;
  host = (await host.replace()).host;
  expect(host.pid).not.toBe(pid);
}

/** A client's queue of a 9p device. */
async function client(socketPath: string): Promise<TestQueue> {
  const ram = new GuestRam('9p');
  const features = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES | Feature.INDIRECT_DESC;
  const frontEnd = await new RawFrontEnd(reactor, socketPath).negotiate(features);
  await frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
  const queue = new TestQueue(reactor, ram);
  await queue.start(frontEnd);
  await queue.exchange(T.version(NOTAG, MSIZE, '9P2000.L'), MSIZE);
  await queue.exchange(T.attach(1, 0, NOFID, 'root', '', 0), MSIZE);
  return queue;
}

async function readFid(queue: TestQueue, fid: number): Promise<string> {
  const reply = await queue.exchange(T.read(1, fid, 0, 1000), MSIZE);
  return reply[4] === Rread ? reply.subarray(11).toString() : `message ${reply[4]}`;
}

describe('a device process that another one replaces', () => {
  it('loses no request of a disk in a file, again and again', async () => {
    const load = await LoadedDisk.start(reactor, await serve(disk({ type: 'file', path: image() })));
    for (let turn = 0; turn < 4; turn++) {
      await load.progress(200);
      await replace();
    }
    await load.progress(200);
    await load.stop();
    expect(lost).toEqual([]);
    expect(await host.status()).toMatchObject([{ connected: true }]);
  });

  it('brings along what disks have in memory', async () => {
    const memory = await LoadedDisk.start(reactor, await serve(disk({ type: 'memory', sizeBytes: MIB })));
    const overlay = await LoadedDisk.start(
      reactor,
      await serve(disk({ type: 'file', path: image() }, true), 1),
    );
    await Promise.all([memory.progress(200), overlay.progress(200)]);
    await replace();
    await Promise.all([memory.progress(200), overlay.progress(200)]);
    await Promise.all([memory.stop(), overlay.stop()]);
    expect(lost).toEqual([]);
  });

  it('brings along the open files of mounts, of trees and overlays too', async () => {
    const [shared, upper] = [folder(), folder()];
    writeFileSync(join(shared, 'file'), 'in the file');
    const source = { type: 'directory', path: shared } as const;
    const overlay = { type: 'directory', path: upper } as const;
    const plain = await client(await serve({ type: '9p', tag: 'a', source, readOnly: false }));
    const layered = await client(await serve({ type: '9p', tag: 'b', source, readOnly: false, overlay }, 1));
    const tree = await client(
      await serve({ type: '9p', tag: 'c', source: { type: 'tree' }, readOnly: false }, 2),
    );
    await host.addChild({ function: 'slot1-fn2', name: 'child', source, readOnly: false });
    for (const [queue, ...names] of [[plain], [layered], [tree, 'child']] as [TestQueue, ...string[]][]) {
      await queue.exchange(T.walk(1, 0, 1, ...names, 'file'), MSIZE);
      await queue.exchange(T.lopen(1, 1, 0), MSIZE);
    }
    // Written in the overlay, and then without a name.
    await layered.exchange(T.walk(1, 0, 2), MSIZE);
    await layered.exchange(T.lcreate(1, 2, 'new', 0o2 | 0o100, 0o600, 0), MSIZE);
    await layered.exchange(T.write(1, 2, 0, Buffer.from('in the overlay')), MSIZE);
    await layered.exchange(T.unlinkat(1, 0, 'new', 0), MSIZE);
    unlinkSync(join(shared, 'file'));
    await replace();
    expect(await readFid(plain, 1)).toBe('in the file');
    expect(await readFid(layered, 1)).toBe('in the file');
    expect(await readFid(layered, 2)).toBe('in the overlay');
    expect(await readFid(tree, 1)).toBe('in the file');
    expect(await host.children('slot1-fn2')).toMatchObject([{ name: 'child', openFiles: 1 }]);
    await replace();
    expect(await readFid(layered, 2)).toBe('in the overlay');
  });

  it('keeps the connections of cards, and loses no frame', async () => {
    const echo = await EchoSwitch.start(join(folder(), 'port.sock'));
    const card = await PingingCard.start(reactor, await serve(cardOn(echo.path)));
    for (let turn = 0; turn < 4; turn++) {
      await card.pings(20);
      await replace();
    }
    await card.pings(20);
    expect(echo.connections).toBe(1);
    expect(lost).toEqual([]);
    echo.close();
  });

  it('goes on where something of it is in its memory alone, and says what', async () => {
    const load = await LoadedDisk.start(reactor, await serve(disk({ type: 'file', path: image() })));
    await serve({ type: '9p', tag: 'scratch', source: { type: 'memory' }, readOnly: false }, 1);
    const { pid } = host;
    await expect(host.replace()).rejects.toMatchObject(
      refusal('UPGRADE_REFUSED', /"scratch" shows is in the memory/),
    );
    expect(host.pid).toBe(pid);
    await load.progress(200);
    await load.stop();
    await host.removeFunction('slot1-fn1');
    await replace();
  });
});
