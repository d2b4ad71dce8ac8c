import {
  mkdirSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Reactor } from '../../../host/index.js';
import { ChassisClient } from '../../../manager/control/client.js';
import { ChassisPaths } from '../../../manager/control/state-directory.js';
import { Daemon } from '../../../manager/daemon.js';
import { BUILT_DEVICE_ENTRY, BUILT_SWITCH_ENTRY } from '../built.js';
import { NOFID, NOTAG, T } from '../../devices/9p/server/support/wire.js';
import { GuestRam, TestQueue } from '../ports/vhost-user/harness.js';
import { expectant, goOn } from '../ports/vhost-user/moved.js';
import { config, Feature, memTable, RawFrontEnd, Request } from '../ports/vhost-user/raw-front-end.js';
import { refusal } from '../refusal.js';
import { temporaryFolders } from '../temporary-folder.js';

const MSIZE = 8192;
const Rread = 117;
const Rlerror = 7;
const Rlock = 53;
const FEATURES = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES;
const CONFIG_WCE = 1n << 11n;
const FLUSH = 1n << 9n;
const WRITEBACK = 32;
const LAN = { type: 'switch', switch: 'lan', isolated: false, macLock: false } as const;

/** A driver's queue, and how it goes on elsewhere. */
interface Guest {
  readonly frontEnd: RawFrontEnd;
  readonly ram: GuestRam;
  readonly queue: TestQueue;
  readonly features: bigint;
}

describe('a chassis that is saved', () => {
  const folder = temporaryFolders();
  let home: string;
  let shared: string;
  let reactor: Reactor;
  let client: ChassisClient;
  let file: string;
  const daemons: Daemon[] = [];
  const frontEnds: RawFrontEnd[] = [];

  beforeEach(async () => {
    home = folder();
    shared = join(home, 'shared');
    mkdirSync(shared);
    writeFileSync(join(shared, 'file'), 'in the file');
    file = join(home, 'saved');
    reactor = new Reactor({ onError: (error) => console.error(error) });
    reactor.start();
    await start('a');
    client = new ChassisClient({ directory: join(home, 'a') });
    await client.create('dev', { slots: 6 });
  });
  afterEach(async () => {
    for (const frontEnd of frontEnds.splice(0)) frontEnd.close();
    for (const daemon of daemons.splice(0)) await daemon.end();
    reactor.close();
  });

  async function start(directory: string): Promise<void> {
    const daemon = new Daemon({
      directory: join(home, directory),
      log: () => undefined,
      onShutdown: () => undefined,
      deviceEntry: BUILT_DEVICE_ENTRY,
      switchEntry: BUILT_SWITCH_ENTRY,
    });
    daemons.push(daemon);
    await daemon.start();
  }

  /** The next daemon, with a state directory of its own; what the first one had is gone. */
  async function elsewhere(): Promise<void> {
    await client.delete('dev', { force: true });
    client = new ChassisClient({ directory: join(home, 'b') });
    await start('b');
  }

  function connect(slot: number, directory: string): RawFrontEnd {
    const path = new ChassisPaths(join(home, directory), 'dev').functionSocket(slot, 0);
    const frontEnd = new RawFrontEnd(reactor, path);
    frontEnds.push(frontEnd);
    return frontEnd;
  }

  /** A driver that begins, with its first queue or another one. */
  async function drive(slot: number, features = FEATURES | 1n, index = 0): Promise<Guest> {
    const ram = new GuestRam('saved');
    const frontEnd = await connect(slot, 'a').negotiate(features);
    await frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
    const queue = new TestQueue(reactor, ram, index);
    await queue.start(frontEnd);
    return { frontEnd, ram, queue, features };
  }

  /** Its VM is paused. Answers what has it go on elsewhere. */
  async function pause(slot: number, { frontEnd, ram, queue, features }: Guest) {
    const base = await frontEnd.getVringBase(queue.index);
    return async (directory: string, from = base): Promise<RawFrontEnd> => {
      const next = await expectant({ connect: () => connect(slot, directory) });
      await goOn(next, ram, features, [[queue, from]]);
      return next;
    };
  }

  const directory = (path: string) => ({ type: 'directory', path }) as const;

  async function attach(tag: string, via: 'function' | 'tree' | 'queue' = 'function'): Promise<number> {
    const mounts = [{ tag, source: directory(shared) }];
    const [mount] = await client.attach('dev', {
      mounts,
      via,
      ...(via === 'function' && { port: 'vhost-user' }),
    });
    // Served for a QEMU that has the generic device.
    if (via !== 'function')
      await client.qemuArgs('dev', { qemu: { version: '11.1.3', devices: ['vhost-user-test-device-pci'] } });
    return mount.slot;
  }

  async function image(name: string, sizeBytes = 65536): Promise<{ path: string; slot: number }> {
    const path = join(home, name);
    writeFileSync(path, '');
    truncateSync(path, sizeBytes);
    const { slot } = await client.addDisk('dev', { name, source: { type: 'file', path } });
    return { path, slot };
  }

  async function openFile({ queue }: Guest, ...names: string[]): Promise<void> {
    await queue.exchange(T.version(NOTAG, MSIZE, '9P2000.L'), MSIZE);
    await queue.exchange(T.attach(1, 0, NOFID, 'root', '', 0), MSIZE);
    await queue.exchange(T.walk(1, 0, 1, ...names), MSIZE);
    await queue.exchange(T.lopen(1, 1, 2), MSIZE);
  }

  async function read({ queue }: Guest): Promise<string> {
    const reply = await queue.exchange(T.read(1, 1, 0, 1000), MSIZE);
    return reply[4] === Rread ? reply.subarray(11).toString() : `message ${reply[4]}`;
  }

  it('has its guest go on with open files and locks, under another daemon', async () => {
    const slot = await attach('share');
    const guest = await drive(slot);
    await openFile(guest, 'file');
    expect((await guest.queue.exchange(T.lock(1, 1, 1, 0, 0, 10, 7, 'me'), MSIZE))[4]).toBe(Rlock);
    await pause(slot, guest);
    expect(await client.save('dev', { path: file })).toMatchObject({ chassis: 'dev', path: file });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    // The guest may go on here, too: nothing was changed.
    await guest.queue.start(guest.frontEnd, await guest.frontEnd.getVringBase(0));
    expect(await read(guest)).toBe('in the file');
    const goesOnLater = await pause(slot, guest);
    await client.save('dev', { path: file });
    await elsewhere();
    expect(await client.restoreSaved({ path: file })).toMatchObject({ name: 'dev', slots: 6 });
    // Who looks at it first, and goes, takes nothing away.
    await (await connect(slot, 'b').negotiate(guest.features)).getVringBase(0);
    frontEnds.pop()?.close();
    await goesOnLater('b');
    expect(await read(guest)).toBe('in the file');
    // F_GETLK of another owner: what it meets is the lock of before.
    const met = await guest.queue.exchange(T.getlock(1, 1, 1, 0, 10, 8, 'other'), MSIZE);
    expect(met[7]).toBe(1);
  });

  it('is as at power-on for a driver that begins anew', async () => {
    const slot = await attach('share');
    const guest = await drive(slot);
    await openFile(guest, 'file');
    await pause(slot, guest);
    await client.save('dev', { path: file });
    await elsewhere();
    await client.restoreSaved({ path: file });
    guest.ram.bytes.fill(0);
    const fresh = { ...guest, queue: new TestQueue(reactor, guest.ram) };
    const frontEnd = await connect(slot, 'b').negotiate(guest.features);
    await frontEnd.set(Request.SET_MEM_TABLE, memTable(guest.ram.region), [guest.ram.fd]);
    await fresh.queue.start(frontEnd);
    expect(await read(fresh)).toBe(`message ${Rlerror}`);
  });

  it.each(['tree', 'queue'] as const)('brings back what is mounted over a %s', async (via) => {
    const slot = await attach('share', via);
    const guest = await drive(slot);
    await openFile(guest, ...(via === 'tree' ? ['share'] : []), 'file');
    const goesOn = await pause(slot, guest);
    await client.save('dev', { path: file });
    await elsewhere();
    await client.restoreSaved({ path: file });
    await goesOn('b');
    expect(await read(guest)).toBe('in the file');
    expect(await client.mounts('dev')).toContainEqual(expect.objectContaining({ tag: 'share', via }));
  });

  it('brings back disks with the cache mode that the guest chose, and cards', async () => {
    const { slot } = await image('disk');
    await client.addCard('dev', { name: 'lan0', network: LAN });
    const guest = await drive(slot, FEATURES | CONFIG_WCE | FLUSH);
    await guest.frontEnd.set(Request.SET_CONFIG, config(WRITEBACK, 1, Uint8Array.of(0)));
    await pause(slot, guest);
    await client.save('dev', { path: file });
    const before = await client.get('dev');
    await elsewhere();
    await client.restoreSaved({ path: file, name: 'dev' });
    const after = await client.get('dev');
    expect(after.disks.map(({ name, slot: at, sizeBytes }) => [name, at, sizeBytes])).toEqual([
      ['disk', slot, 65536],
    ]);
    expect(after.cards.map(({ mac }) => mac)).toEqual(before.cards.map(({ mac }) => mac));
    const reply = await (
      await expectant({ connect: () => connect(slot, 'b') })
    ).query(Request.GET_CONFIG, config(0, 60));
    expect(reply[12 + WRITEBACK]).toBe(0);
  });

  it('is not restored where what it counts on is missing or another one: all of that is named, and nothing is there', async () => {
    const slot = await attach('share');
    const guest = await drive(slot);
    await openFile(guest, 'file');
    await pause(slot, guest);
    const gone = join(home, 'gone');
    mkdirSync(gone);
    await client.attach('dev', { mounts: [{ tag: 'gone', source: directory(gone) }], via: 'function' });
    const { path } = await image('disk');
    await client.save('dev', { path: file });
    await elsewhere();
    const attempt = () => client.restoreSaved({ path: file });
    unlinkSync(join(shared, 'file'));
    await expect(attempt()).rejects.toMatchObject(
      refusal('RESTORE_REFUSED', /mount share .*"\/file" \(fid 1\) is not there/),
    );
    truncateSync(path, 131072);
    await expect(attempt()).rejects.toMatchObject(
      refusal('RESTORE_REFUSED', /disk: it has 131072 bytes here, and had 65536/),
    );
    rmdirSync(gone);
    unlinkSync(path);
    await expect(attempt()).rejects.toMatchObject(
      refusal('RESTORE_REFUSED', new RegExp(`there is no ${gone}[^]*there is no ${path}`)),
    );
    expect(await client.list()).toEqual([]);
    expect(readdirSync(join(home, 'b'))).not.toContain('dev');
  });

  it('is not saved while its guest is at work, or where something is in memory alone: each of it is named', async () => {
    const slot = await attach('share');
    await openFile(await drive(slot), 'file');
    await expect(client.save('dev', { path: file })).rejects.toMatchObject(
      refusal('SAVE_REFUSED', /mount share .*pause the VM first/),
    );
    await client.addDisk('dev', { name: 'ram', source: { type: 'memory', sizeBytes: 4096 } });
    await client.attach('dev', { mounts: [{ tag: 'mem', source: { type: 'memory' } }], via: 'function' });
    await expect(client.save('dev', { path: file })).rejects.toMatchObject(
      refusal('SAVE_REFUSED', /mem: [^]*disk ram: it is in memory|disk ram: it is in memory[^]*mem: /),
    );
    expect(readdirSync(home)).not.toContain('saved');
    expect(readdirSync(home).filter((name) => name.startsWith('.saved'))).toEqual([]);
  });

  it('is not saved with a file that is open and has no name', async () => {
    const slot = await attach('share');
    const guest = await drive(slot);
    await openFile(guest, 'file');
    await guest.queue.exchange(T.unlinkat(1, 0, 'file', 0), MSIZE);
    await pause(slot, guest);
    await expect(client.save('dev', { path: file })).rejects.toMatchObject(
      refusal('SAVE_REFUSED', /"\/file" \(fid 1\) is open but unlinked/),
    );
  });

  it('is not restored beside itself: names and disks are in use', async () => {
    await image('disk');
    await client.save('dev', { path: file });
    await expect(client.restoreSaved({ path: file })).rejects.toMatchObject(refusal('CHASSIS_EXISTS'));
    await expect(client.restoreSaved({ path: file, name: 'twin' })).rejects.toMatchObject(
      refusal('RESTORE_REFUSED', /disk: .*is in use/),
    );
  });

  it('is no use where its file was cut off or changed', async () => {
    await attach('share');
    await client.save('dev', { path: file });
    const bytes = readFileSync(file);
    const other = join(home, 'other');
    for (const [broken, why] of [
      [bytes.subarray(0, 10), /cut off/],
      [bytes.subarray(0, -1), /should have/],
      [Buffer.concat([bytes.subarray(0, 40), Buffer.from([bytes[40] ^ 1]), bytes.subarray(41)]), /checksum/],
      [Buffer.from('{"chassis": "dev"}'), /no state of a chassis/],
    ] as const) {
      writeFileSync(other, broken);
      await expect(client.restoreSaved({ path: other })).rejects.toMatchObject(
        refusal('SAVED_STATE_INVALID', why),
      );
    }
    await expect(client.restoreSaved({ path: home })).rejects.toMatchObject(
      refusal('SAVED_STATE_INVALID', /regular file/),
    );
    await expect(client.restoreSaved({ path: join(home, 'none') })).rejects.toMatchObject(
      refusal('SOURCE_MISSING'),
    );
  });
});
