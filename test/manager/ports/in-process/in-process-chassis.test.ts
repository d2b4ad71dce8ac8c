import { readdirSync } from 'node:fs';
import { Volume } from 'memfs';
import { afterEach, describe, expect, it } from 'vitest';
import { Guest } from '../../../../guest/index.js';
import { Chassis, type ChassisOptions } from '../../../../manager/index.js';
import { refusal } from '../../refusal.js';
import { temporaryFolders } from '../../temporary-folder.js';
import { CountingFileSystem } from './counting-file-system.js';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function newChassis(options: ChassisOptions = {}): Chassis {
  const chassis = new Chassis({ slots: 3, ...options });
  cleanups.push(() => chassis.close());
  return chassis;
}

async function boot(chassis: Chassis): Promise<Guest> {
  const guest = await Guest.boot(chassis);
  cleanups.push(() => guest.shutdown());
  return guest;
}

const card = (count: number, prefix: string) =>
  Array.from({ length: count }, (_, i) => ({
    source: Volume.fromJSON({ '/name': `${prefix}${i}` }),
    tag: `${prefix}${i}`,
  }));

describe('a card', () => {
  it('comes in one hot-plug event, with all its functions, and leaves as a whole', async () => {
    const chassis = newChassis();
    const guest = await boot(chassis);
    const infos = await chassis.attachCard(card(8, 'm'), { slot: 2 });
    expect(infos.map(({ slot, function: fn, state }) => `${slot}.${fn} ${state}`)).toEqual(
      Array.from({ length: 8 }, (_, i) => `2.${i} plugged`),
    );
    await guest.waitForTag('m7');
    const devices = new Set(guest.functions().map(({ address }) => address.slice(0, -2)));
    expect([guest.tags().length, devices.size]).toEqual([8, 1]);
    await expect(chassis.detach('m3')).rejects.toMatchObject(refusal('SLOT_SHARED', /"m0"/));
    await chassis.detach('m3', { slot: true });
    expect([guest.tags(), chassis.mounts()]).toEqual([[], []]);
  });

  it('has up to 256 functions, each mounted', async () => {
    const chassis = newChassis();
    const guest = await boot(chassis);
    await chassis.attachCard(card(256, 'm'));
    await guest.waitForTag('m255', { timeoutMs: 20_000 });
    const mounts = await Promise.all(card(256, 'm').map(({ tag }) => guest.mount(tag)));
    expect(await mounts[200].readFile('/name', 'utf8')).toBe('m200');
    await Promise.all(mounts.map((mount) => mount.unmount()));
    await chassis.detach('m0', { slot: true });
    expect(guest.functions()).toEqual([]);
    await expect(chassis.attachCard(card(257, 'm'))).rejects.toMatchObject(refusal('BAD_REQUEST'));
    await expect(chassis.attachCard([])).rejects.toMatchObject(refusal('BAD_REQUEST'));
  });

  it('is put together function by function, and is complete with function 0', async () => {
    const chassis = newChassis();
    const guest = await boot(chassis);
    for (const fn of [255, 9, 3]) {
      await chassis.attach(new Volume(), { tag: `f${fn}`, slot: 1, function: fn });
    }
    expect(guest.tags()).toEqual([]);
    await chassis.detach('f3');
    await chassis.attach(new Volume(), { tag: 'f0', slot: 1 });
    await guest.waitForTag('f255');
    expect(guest.tags()).toEqual(['f0', 'f9', 'f255']);
    const late = chassis.attach(new Volume(), { tag: 'late', slot: 1 });
    await expect(late).rejects.toMatchObject(refusal('SLOT_TAKEN', /plugged/, /free: 2, 3/));
    for (const fn of [256, -1, 1.5]) {
      const bad = chassis.attach(new Volume(), { tag: 'bad', slot: 2, function: fn });
      await expect(bad).rejects.toMatchObject(refusal('BAD_REQUEST'));
    }
  });

  it('is attached as a whole or not at all, and what was opened for it is closed again', async () => {
    const folder = temporaryFolders()();
    const chassis = newChassis();
    const given = new CountingFileSystem();
    // The first directory opens what stays open for all.
    await chassis.attach(folder, { tag: 'first' });
    await chassis.detach('first');
    const before = readdirSync('/proc/self/fd').length;
    const mounts = [
      { source: folder, tag: 'a' },
      { source: given, tag: 'b' },
      { source: '/no/such', tag: 'c' },
    ];
    await expect(chassis.attachCard(mounts)).rejects.toMatchObject(refusal('SOURCE_MISSING'));
    expect([readdirSync('/proc/self/fd').length, given.closed, chassis.mounts()]).toEqual([before, 0, []]);
    const twice = chassis.attachCard([mounts[0], mounts[0]]);
    await expect(twice).rejects.toMatchObject(refusal('TAG_IN_USE', /twice/));
    await chassis.attachCard(mounts.slice(0, 2));
    expect(chassis.slots()[0]).toEqual({ slot: 1, holds: 'card', state: 'plugged' });
  });
});

describe('an extension chassis', () => {
  it('brings slots while a guest runs, which are used as any', async () => {
    const chassis = newChassis({ slots: 2 });
    const guest = await boot(chassis);
    await chassis.attachCard(card(1, 'own'));
    const extension = await chassis.extend({ ports: 4 });
    expect(extension).toEqual({ slot: 2, slots: [3, 4, 5, 6] });
    await chassis.attachCard(card(2, 'a'));
    await chassis.attach(Volume.fromJSON({ '/name': 'q' }), { tag: 'q', via: 'queue' });
    await chassis.attach(new Volume(), { tag: 'six', slot: 6 });
    await guest.waitForTag('six', { timeoutMs: 5000 });
    expect(chassis.mounts().map(({ tag, slot }) => `${slot} ${tag}`)).toEqual([
      '1 own0',
      '3 a0',
      '3 a1',
      '4 q',
      '6 six',
    ]);
    const mount = await guest.mount('a1');
    expect(await mount.readFile('/name', 'utf8')).toBe('a1');
    expect(chassis.slots().map(({ slot, holds }) => `${slot} ${holds}`)).toEqual([
      '1 card',
      '2 extension',
      '3 card',
      '4 card',
      '5 nothing',
      '6 card',
    ]);
  });

  it('is taken out once its slots are empty, and its slots with it', async () => {
    const chassis = newChassis({ slots: 2 });
    const guest = await boot(chassis);
    const { slot, slots } = await chassis.extend({ ports: 2, slot: 1 });
    await chassis.attach(new Volume(), { tag: 'a', slot: slots[1] });
    await guest.waitForTag('a', { timeoutMs: 5000 });
    await expect(chassis.retract(slot)).rejects.toMatchObject(refusal('CHASSIS_IN_USE'));
    await expect(chassis.extend({ ports: 2, slot })).rejects.toMatchObject(refusal('SLOT_TAKEN'));
    const onIt = chassis.attach(new Volume(), { tag: 'b', slot });
    await expect(onIt).rejects.toMatchObject(refusal('SLOT_TAKEN', /extension/));
    await chassis.detach('a', { force: true });
    await chassis.retract(slot);
    expect(chassis.slots().map((each) => each.slot)).toEqual([1, 2]);
    for (const empty of [1, 3, 1.5]) {
      await expect(chassis.retract(empty)).rejects.toMatchObject(refusal('SLOT_UNKNOWN'));
    }
  });

  it('is refused where the guest has no bus numbers for it, with the way out', async () => {
    const chassis = newChassis({ slots: 31 });
    await boot(chassis);
    await expect(chassis.extend({ ports: 8 })).rejects.toMatchObject(
      refusal('NO_SLOT_FREE', /6 slots at most/, /fewer slots/),
    );
    await chassis.extend({ ports: 6 });
    await expect(chassis.extend({ ports: 0 })).rejects.toThrow(RangeError);
  });

  it('is found by a guest that boots later, and deals its numbers out again', async () => {
    const chassis = newChassis({ slots: 31 });
    await chassis.extend({ ports: 20 });
    await chassis.attach(Volume.fromJSON({ '/name': 'last' }), { tag: 'last', slot: 51 });
    const guest = await boot(chassis);
    expect(await (await guest.mount('last')).readFile('/name', 'utf8')).toBe('last');
  });
});

describe('a guest', () => {
  it('that is taken off the machine leaves everything plugged in for the next, and what it held is given back', async () => {
    const chassis = newChassis();
    const fs = new CountingFileSystem();
    await chassis.attach(fs, { tag: 'a' });
    const first = await Guest.boot(chassis);
    await first.mount('a');
    expect(fs.live).toBeGreaterThan(0);
    chassis.bus.powerOff();
    expect([fs.live, chassis.mounts()[0].state]).toEqual([0, 'plugged']);
    const second = await boot(chassis);
    expect(await (await second.mount('a')).readdir('/')).toEqual([]);
    await first.shutdown({ timeoutMs: 1 });
    expect(await second.mount('a').catch((error: { code: string }) => error.code)).toBe('EBUSY');
    await expect(chassis.detach('a')).rejects.toMatchObject(refusal('MOUNT_BUSY'));
  });

  it('that does not let go in time keeps its mount, and lets go of it when it is taken off the machine', async () => {
    const chassis = newChassis();
    const guest = await Guest.boot(chassis, { hotplug: { blinkMs: 60_000 } });
    cleanups.push(() => guest.shutdown());
    const fs = new CountingFileSystem();
    await chassis.attach(fs, { tag: 'a' });
    await guest.waitForTag('a');
    await expect(chassis.detach('a', { timeoutMs: 5 })).rejects.toMatchObject(refusal('GUEST_TIMEOUT'));
    expect(chassis.mounts()[0].state).toBe('plugged');
    const mount = await guest.mount('a');
    expect(await mount.readdir('/')).toEqual([]);
    await mount.unmount();
    const detached = chassis.detach('a');
    await new Promise((resolve) => setImmediate(resolve));
    expect(chassis.mounts()[0].state).toBe('unplugging');
    chassis.bus.powerOff();
    await detached;
    expect([fs.attached, fs.closed, fs.live, chassis.mounts()]).toEqual([1, 1, 0, []]);
  });
});
