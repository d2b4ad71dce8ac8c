import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmdirSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LockType, ofdSetLock } from '../../../host/index.js';
import { decodeSaved, encodeSaved } from '../../../manager/saved-state/saved-file.js';
import { T } from '../../devices/9p/server/support/wire.js';
import { TestQueue } from '../ports/vhost-user/harness.js';
import { memTable, Request } from '../ports/vhost-user/raw-front-end.js';
import { refusal } from '../refusal.js';
import { temporaryFolders } from '../temporary-folder.js';
import {
  cacheMode,
  chooseCache,
  CONFIG_WCE,
  directory,
  FEATURES,
  FLUSH,
  LAN,
  MSIZE,
  openFile,
  readFile,
  SavingLab,
} from './saving-lab.js';

const Rlerror = 7;
const Rlock = 53;

describe('a chassis that is saved', () => {
  const folder = temporaryFolders();
  let lab: SavingLab;

  beforeEach(async () => {
    lab = await SavingLab.start(folder());
  });
  afterEach(() => lab.end());

  it('has its guest go on with open files and locks, under another daemon', async () => {
    const slot = await lab.attach('share');
    const guest = await lab.drive(slot);
    await openFile(guest, 'file');
    expect((await guest.queue.exchange(T.lock(1, 1, 1, 0, 0, 10, 7, 'me'), MSIZE))[4]).toBe(Rlock);
    await lab.pause(slot, guest);
    expect(await lab.client.save('dev', { path: lab.file })).toMatchObject({
      chassis: 'dev',
      path: lab.file,
    });
    expect(statSync(lab.file).mode & 0o777).toBe(0o600);
    // The guest may go on here, too: nothing was changed.
    await guest.queue.start(guest.frontEnd, await guest.frontEnd.getVringBase(0));
    expect(await readFile(guest)).toBe('in the file');
    const goesOnLater = await lab.pause(slot, guest);
    await lab.client.save('dev', { path: lab.file });
    await lab.elsewhere();
    expect(await lab.client.restoreSaved({ path: lab.file })).toMatchObject({ name: 'dev', slots: 6 });
    // Who looks at it first, and goes, takes nothing away.
    await (await lab.connect(slot, 'b').negotiate(guest.features)).getVringBase(0);
    lab.leave();
    await goesOnLater('b');
    expect(await readFile(guest)).toBe('in the file');
    // F_GETLK of another owner: what it meets is the lock of before.
    const met = await guest.queue.exchange(T.getlock(1, 1, 1, 0, 10, 8, 'other'), MSIZE);
    expect(met[7]).toBe(1);
  });

  it('is as at power-on for a driver that begins anew', async () => {
    const slot = await lab.attach('share');
    const guest = await lab.drive(slot);
    await openFile(guest, 'file');
    await lab.pause(slot, guest);
    await lab.client.save('dev', { path: lab.file });
    await lab.elsewhere();
    await lab.client.restoreSaved({ path: lab.file });
    guest.ram.bytes.fill(0);
    const fresh = { ...guest, queue: new TestQueue(lab.reactor, guest.ram) };
    const frontEnd = await lab.connect(slot, 'b').negotiate(guest.features);
    await frontEnd.set(Request.SET_MEM_TABLE, memTable(guest.ram.region), [guest.ram.fd]);
    await fresh.queue.start(frontEnd);
    expect(await readFile(fresh)).toBe(`message ${Rlerror}`);
  });

  it.each(['tree', 'queue'] as const)('brings back what is mounted over a %s', async (via) => {
    const slot = await lab.attach('share', via);
    const guest = await lab.drive(slot);
    await openFile(guest, ...(via === 'tree' ? ['share'] : []), 'file');
    const goesOn = await lab.pause(slot, guest);
    await lab.client.save('dev', { path: lab.file });
    await lab.elsewhere();
    await lab.client.restoreSaved({ path: lab.file });
    await goesOn('b');
    expect(await readFile(guest)).toBe('in the file');
    expect(await lab.client.mounts('dev')).toContainEqual(expect.objectContaining({ tag: 'share', via }));
  });

  it('brings back disks with the cache mode that the guest chose, and cards', async () => {
    const { slot } = await lab.image('disk');
    await lab.client.addCard('dev', { name: 'lan0', network: LAN });
    const guest = await lab.drive(slot, FEATURES | CONFIG_WCE | FLUSH);
    await chooseCache(guest, 0);
    await lab.pause(slot, guest);
    await lab.client.save('dev', { path: lab.file });
    const before = await lab.client.get('dev');
    await lab.elsewhere();
    await lab.client.restoreSaved({ path: lab.file, name: 'dev' });
    const after = await lab.client.get('dev');
    expect(after.disks.map(({ name, slot: at, sizeBytes }) => [name, at, sizeBytes])).toEqual([
      ['disk', slot, 65536],
    ]);
    expect(after.cards.map(({ mac }) => mac)).toEqual(before.cards.map(({ mac }) => mac));
    expect(await cacheMode(await lab.expectant(slot, 'b'))).toBe(0);
  });

  it('is not restored where what it counts on is missing or another one: all of that is named, and nothing is there', async () => {
    const slot = await lab.attach('share');
    const guest = await lab.drive(slot);
    await openFile(guest, 'file');
    await lab.pause(slot, guest);
    const gone = join(lab.home, 'gone');
    mkdirSync(gone);
    await lab.client.attach('dev', { mounts: [{ tag: 'gone', source: directory(gone) }], via: 'function' });
    const { path } = await lab.image('disk');
    await lab.client.save('dev', { path: lab.file });
    await lab.elsewhere();
    const attempt = () => lab.client.restoreSaved({ path: lab.file });
    unlinkSync(join(lab.shared, 'file'));
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
    expect(await lab.client.list()).toEqual([]);
    expect(readdirSync(join(lab.home, 'b'))).not.toContain('dev');
  });

  it('is not restored where what it counts on is somebody else’s by now: all of that is named', async () => {
    writeFileSync(join(lab.shared, 'locked'), '');
    const [replaced, locked] = [await lab.attach('replaced'), await lab.attach('locked')];
    for (const slot of [replaced, locked]) {
      const guest = await lab.drive(slot);
      await openFile(guest, slot === locked ? 'locked' : 'file');
      if (slot === locked)
        expect((await guest.queue.exchange(T.lock(1, 1, 1, 0, 0, 10, 7, 'me'), MSIZE))[4]).toBe(Rlock);
      await lab.pause(slot, guest);
    }
    const upper = join(lab.home, 'upper');
    mkdirSync(upper);
    const overlay = { type: 'directory', path: upper } as const;
    const mount = { tag: 'over', source: directory(lab.shared), overlay };
    await lab.client.attach('dev', { mounts: [mount], via: 'function' });
    const { path } = await lab.image('disk');
    await lab.client.addCard('dev', { name: 'lan0', network: LAN });
    await lab.client.save('dev', { path: lab.file });
    await lab.elsewhere();
    const attempt = () => lab.client.restoreSaved({ path: lab.file });
    writeFileSync(join(lab.shared, 'other'), 'another one');
    renameSync(join(lab.shared, 'other'), join(lab.shared, 'file'));
    const locker = openSync(join(lab.shared, 'locked'), 'r+');
    ofdSetLock(locker, LockType.F_WRLCK, 0, 0);
    await expect(attempt()).rejects.toMatchObject(
      refusal(
        'RESTORE_REFUSED',
        /mount replaced .*"\/file" \(fid 1\)[^]*mount locked .*"\/locked" \(fid 1\)[^]*lock/,
      ),
    );
    closeSync(locker);
    truncateSync(path, 4096);
    renameSync(upper, join(lab.home, 'elsewhere'));
    withNetwork(lab.file, { type: 'tap', interface: 'lo' });
    const problems = [/over: .*upper/, /disk: it has 4096 bytes here, and had 65536/, /lan0: .*\blo\b/];
    const refused = (await attempt().catch((error: unknown) => error)) as { code: string; message: string };
    expect(refused.code).toBe('RESTORE_REFUSED');
    for (const problem of problems) expect(refused.message).toMatch(problem);
    expect(await lab.client.list()).toEqual([]);
    expect(readdirSync(join(lab.home, 'b'))).not.toContain('dev');
  });

  it('is not saved while its guest is at work, or where something is in memory alone: each of it is named', async () => {
    const slot = await lab.attach('share');
    await openFile(await lab.drive(slot), 'file');
    await expect(lab.client.save('dev', { path: lab.file })).rejects.toMatchObject(
      refusal('SAVE_REFUSED', /mount share .*pause the VM first/),
    );
    await lab.client.addDisk('dev', { name: 'ram', source: { type: 'memory', sizeBytes: 4096 } });
    await lab.client.attach('dev', { mounts: [{ tag: 'mem', source: { type: 'memory' } }], via: 'function' });
    await expect(lab.client.save('dev', { path: lab.file })).rejects.toMatchObject(
      refusal('SAVE_REFUSED', /mem: [^]*disk ram: it is in memory|disk ram: it is in memory[^]*mem: /),
    );
    expect(readdirSync(lab.home)).not.toContain('saved');
    expect(readdirSync(lab.home).filter((name) => name.startsWith('.saved'))).toEqual([]);
  });

  it('is saved with all that its guest has, where its device process died while the guest was paused', async () => {
    const [slot, disk] = [await lab.attach('share'), (await lab.image('disk')).slot];
    const [guest, writer] = [await lab.drive(slot), await lab.drive(disk, FEATURES | CONFIG_WCE | FLUSH)];
    await openFile(guest, 'file');
    await chooseCache(writer, 0);
    const [goesOn, writesOn] = [await lab.pause(slot, guest), await lab.pause(disk, writer)];
    await lab.killDevices();
    await lab.client.save('dev', { path: lab.file });
    await lab.elsewhere();
    await lab.client.restoreSaved({ path: lab.file });
    await goesOn('b');
    expect(await readFile(guest)).toBe('in the file');
    expect(await cacheMode(await writesOn('b'))).toBe(0);
  });

  it('is not saved with a file that is open and has no name', async () => {
    const slot = await lab.attach('share');
    const guest = await lab.drive(slot);
    await openFile(guest, 'file');
    await guest.queue.exchange(T.unlinkat(1, 0, 'file', 0), MSIZE);
    await lab.pause(slot, guest);
    await expect(lab.client.save('dev', { path: lab.file })).rejects.toMatchObject(
      refusal('SAVE_REFUSED', /"\/file" \(fid 1\) is open but unlinked/),
    );
  });

  it('is not restored beside itself: names and disks are in use', async () => {
    await lab.image('disk');
    await lab.client.save('dev', { path: lab.file });
    await expect(lab.client.restoreSaved({ path: lab.file })).rejects.toMatchObject(
      refusal('CHASSIS_EXISTS'),
    );
    await expect(lab.client.restoreSaved({ path: lab.file, name: 'twin' })).rejects.toMatchObject(
      refusal('RESTORE_REFUSED', /disk: .*is in use/),
    );
  });

  it('is no use where its file was cut off or changed', async () => {
    await lab.attach('share');
    await lab.client.save('dev', { path: lab.file });
    const bytes = readFileSync(lab.file);
    const other = join(lab.home, 'other');
    for (const [broken, why] of [
      [bytes.subarray(0, 10), /cut off/],
      [bytes.subarray(0, -1), /should have/],
      [Buffer.concat([bytes.subarray(0, 40), Buffer.from([bytes[40] ^ 1]), bytes.subarray(41)]), /checksum/],
      [Buffer.from('{"chassis": "dev"}'), /no state of a chassis/],
    ] as const) {
      writeFileSync(other, broken);
      await expect(lab.client.restoreSaved({ path: other })).rejects.toMatchObject(
        refusal('SAVED_STATE_INVALID', why),
      );
    }
    await expect(lab.client.restoreSaved({ path: lab.home })).rejects.toMatchObject(
      refusal('SAVED_STATE_INVALID', /regular file/),
    );
    await expect(lab.client.restoreSaved({ path: join(lab.home, 'none') })).rejects.toMatchObject(
      refusal('SOURCE_MISSING'),
    );
  });
});

/** The file's one card is plugged into another network. */
function withNetwork(path: string, network: object): void {
  const saved = decodeSaved(readFileSync(path));
  if (typeof saved === 'string') throw new Error(saved);
  const devices = saved.document.devices.map((device) =>
    'card' in device ? { ...device, card: { ...device.card, network } } : device,
  );
  writeFileSync(path, encodeSaved({ ...saved, document: { ...saved.document, devices: devices as never } }));
}
