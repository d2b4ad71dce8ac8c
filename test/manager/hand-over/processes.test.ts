import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { TapBackend } from '../../../devices/net/backends/tap/tap-backend.js';
import type { Frame } from '../../../devices/net/frame.js';
import { Reactor } from '../../../host/index.js';
import { ChassisPaths } from '../../../manager/control/state-directory.js';
import type { DeviceSpec } from '../../../manager/device-process/protocol.js';
import { spawnDeviceProcess, type DeviceHost } from '../../../manager/device-process/supervisor.js';
import { BUILT_DEVICE_ENTRY } from '../built.js';
import { NbdServer } from '../../devices/blk/backends/nbd/nbd-server.js';
import { enterNetworkNamespace, ip } from '../../devices/net/backends/tap/namespace.js';
import { bytesOf, frameOf, TestPort } from '../../devices/net/support/frames.js';
import { T } from '../../devices/9p/server/support/wire.js';
import type { TestQueue } from '../ports/vhost-user/harness.js';
import { MSIZE, ninePClient, readFid } from '../nine-p-client.js';
import { refusal } from '../refusal.js';
import { temporaryFolders } from '../temporary-folder.js';
import { EchoSwitch, PingingCard } from './pinging-card.js';
import { LoadedDisk } from './loaded-disk.js';

const MIB = 2 ** 20;
const O_RDWR = 2;
/** TAP devices are made in a network namespace of the test's own, if there can be one. */
const noNamespace = enterNetworkNamespace();
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
    onHelper: () => undefined,
    onChild: () => undefined,
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

type CardPeer = Extract<DeviceSpec, { type: 'card' }>['peer'];

function cardOn(peer: CardPeer): DeviceSpec {
  const name = { name: 'lan0', mac: '52:54:00:00:00:01', queuePairs: 1, up: true };
  return { type: 'card', ...name, peer };
}

/** A program that sends back each frame, on the PATH as passt. Answers how often it was started. */
function fakePasst(): () => number {
  const directory = folder();
  const starts = join(directory, 'starts');
  const script = `#!/bin/sh\necho x >>${starts}\necho DHCP: >&2\nexec cat <&3 >&3\n`;
  writeFileSync(join(directory, 'passt'), script, { mode: 0o755 });
  const { PATH } = process.env;
  process.env.PATH = `${directory}:${PATH}`;
  onTestFinished(() => void (process.env.PATH = PATH));
  return () => readFileSync(starts, 'utf8').trim().split('\n').length;
}

/** A host that sends back each frame. */
class Echo extends TestPort {
  private readonly backend: TapBackend;

  constructor(backend: TapBackend) {
    super();
    this.backend = backend;
  }

  override offer(frame: Frame): boolean {
    this.backend.send(frameOf(bytesOf(frame)));
    return true;
  }
}

/** Resolves once the bridge brings frames to its port. */
async function bridged(name: string): Promise<void> {
  const described = () => execFileSync('ip', ['-d', 'link', 'show', name], { encoding: 'utf8' });
  await expect.poll(described).toMatch(/bridge_slave state forwarding/);
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
  return (await ninePClient(reactor, socketPath)).queue;
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

  it('goes on with the connections to an NBD server', async () => {
    const server = await NbdServer.start({ sizeBytes: MIB });
    const load = await LoadedDisk.start(reactor, await serve(disk({ type: 'nbd', uri: server.uri })));
    const overlaid = await LoadedDisk.start(
      reactor,
      await serve(disk({ type: 'nbd', uri: server.uri }, true), 1),
    );
    await load.progress(200);
    await expect.poll(() => server.connections).toBe(8);
    for (let turn = 0; turn < 2; turn++) {
      await Promise.all([load.progress(200), overlaid.progress(200)]);
      await replace();
    }
    await Promise.all([load.progress(200), overlaid.progress(200)]);
    await Promise.all([load.stop(), overlaid.stop()]);
    expect(server.connections).toBe(8);
    expect(lost).toEqual([]);
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
    const card = await PingingCard.start(
      reactor,
      await serve(cardOn({ type: 'switch', socketPath: echo.path })),
    );
    for (let turn = 0; turn < 4; turn++) {
      await card.pings(20);
      await replace();
    }
    await card.pings(20);
    expect(echo.connections).toBe(1);
    expect(lost).toEqual([]);
    echo.close();
  });

  it('keeps passt, which is the same one then, and a TAP device', async () => {
    const starts = fakePasst();
    // Found by a process that starts from now on.
    await replace();
    const passt = await PingingCard.start(
      reactor,
      await serve(cardOn({ type: 'passt', hostLoopback: true, publish: [] })),
    );
    const cards = [passt];
    if (noNamespace === undefined) {
      const socketPath = await serve(cardOn({ type: 'tap', interface: 'near' }), 1);
      const far = new TapBackend({ name: 'far', reactor });
      far.port = new Echo(far);
      onTestFinished(() => far.close());
      // The kernel's own announcements would come in between.
      ip('link', 'set', 'br0', 'addrgenmode', 'none');
      ip('address', 'flush', 'dev', 'br0');
      for (const name of ['near', 'far']) {
        ip('link', 'set', name, 'addrgenmode', 'none');
        ip('link', 'set', name, 'master', 'br0', 'up');
      }
      await bridged('near');
      cards.push(await PingingCard.start(reactor, socketPath));
    }
    for (let turn = 0; turn < 2; turn++) {
      for (const card of cards) await card.pings(20);
      await replace();
    }
    for (const card of cards) await card.pings(20);
    expect(starts()).toBe(1);
    expect(lost).toEqual([]);
  });

  it('brings along what mounts have in memory, of the queues of a card with many too', async () => {
    const [memory, shared] = [{ type: 'memory' } as const, folder()];
    const source = { type: 'directory', path: shared } as const;
    const terms = { readOnly: false, overlay: memory };
    const scratch = await client(await serve({ type: '9p', tag: 'a', source: memory, readOnly: false }));
    const layered = await client(await serve({ type: '9p', tag: 'b', source, ...terms }, 1));
    const tree = await client(
      await serve({ type: '9p', tag: 'c', source: { type: 'tree' }, readOnly: false }, 2),
    );
    await host.addChild({ function: 'slot1-fn2', name: 'child', source: memory, readOnly: false });
    const queues = await serve({ type: '9p', tag: 'd', source: { type: 'queues' }, readOnly: false }, 3);
    await host.addSeat({ function: 'slot1-fn3', queues: [0], tag: 'seat', source: memory, readOnly: false });
    const seated = await client(queues);
    const all: [TestQueue, ...string[]][] = [[scratch], [layered], [tree, 'child'], [seated]];
    for (const [queue, ...names] of all) {
      await queue.exchange(T.walk(1, 0, 1, ...names), MSIZE);
      await queue.exchange(T.lcreate(1, 1, 'file', O_RDWR, 0o644, 0), MSIZE);
      await queue.exchange(T.write(1, 1, 0, Buffer.from('in memory')), MSIZE);
    }
    await replace();
    for (const [queue] of all) {
      expect(await readFid(queue, 1)).toBe('in memory');
      await queue.exchange(T.write(1, 1, 3, Buffer.from('MEMORY')), MSIZE);
    }
    await replace();
    for (const [queue] of all) expect(await readFid(queue, 1)).toBe('in MEMORY');
  });

  it('goes on where it has more in memory than can be moved in a moment, and says where', async () => {
    const load = await LoadedDisk.start(reactor, await serve(disk({ type: 'file', path: image() })));
    const source = { type: 'memory' } as const;
    const queue = await client(await serve({ type: '9p', tag: 'scratch', source, readOnly: false }, 1));
    await queue.exchange(T.lcreate(1, 0, 'file', O_RDWR, 0o644, 0), MSIZE);
    const P9_SETATTR_SIZE = 8;
    await queue.exchange(T.setattr(1, 0, { valid: P9_SETATTR_SIZE, size: 65 * MIB }), MSIZE);
    const { pid } = host;
    await expect(host.replace()).rejects.toMatchObject(
      refusal('UPGRADE_REFUSED', /"scratch" has in memory is more than 64 MiB/),
    );
    expect(host.pid).toBe(pid);
    await load.progress(200);
    await load.stop();
    await queue.exchange(T.setattr(1, 0, { valid: P9_SETATTR_SIZE, size: 0 }), MSIZE);
    await replace();
  });
});
