import { Volume } from 'memfs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Virtio9pMux } from '../../../../devices/9p/virtio-9p-mux.js';
import { Guest } from '../../../../guest/index.js';
import { Chassis } from '../../../../manager/index.js';
import { refusal } from '../../refusal.js';
import { CountingFileSystem } from './counting-file-system.js';

const QUEUES = 8;
let chassis: Chassis;
let guest: Guest;
/** PCI functions that came. */
let plugs: number;

beforeEach(async () => {
  chassis = new Chassis({ slots: 3, queuesPerDevice: QUEUES });
  guest = await Guest.boot(chassis);
  plugs = 0;
  guest.on('plug', () => plugs++);
});

afterEach(async () => {
  await guest.shutdown();
  await chassis.close();
});

const attach = (tag: string, source: Volume | CountingFileSystem = Volume.fromJSON({ '/name': tag })) =>
  chassis.attach(source, { tag, via: 'queue' });
const places = () =>
  chassis.mounts().map(({ tag, via, slot, function: fn, queue }) => `${tag} ${via} ${slot}.${fn} ${queue}`);
const tagsOf = (count: number) => Array.from({ length: count }, (_, i) => `t${i}`);

/** What the guest hears of has been seen to. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe('mounts on queues', () => {
  it('cost one PCI event for a device full of them, and another for the next', async () => {
    for (const tag of tagsOf(QUEUES + 1)) {
      await attach(tag);
      await guest.waitForTag(tag, { timeoutMs: 5000 });
      expect(await (await guest.mount(tag)).readFile('/name', 'utf8')).toBe(tag);
    }
    expect(plugs).toBe(2);
    expect(places()).toEqual([
      ...tagsOf(QUEUES).map((tag, queue) => `${tag} queue 1.0 ${queue}`),
      `t${QUEUES} queue 2.0 0`,
    ]);
    expect(guest.functions().map(({ tag, tags }) => [tag, tags.length])).toEqual([
      ['t0', QUEUES],
      [`t${QUEUES}`, 1],
    ]);
  });

  it('are all there for a guest that boots later, and for the next', async () => {
    for (const tag of tagsOf(5)) await attach(tag);
    await guest.shutdown();
    guest = await Guest.boot(chassis);
    expect(guest.tags()).toEqual(tagsOf(5));
    await (await guest.mount('t3')).unmount();
  });

  it('come and go while their neighbours are at work, and no neighbour notices', async () => {
    for (const tag of tagsOf(3)) await attach(tag);
    await guest.waitForTag('t2');
    let running = true;
    const neighbours = tagsOf(3).map(async (tag, i) => {
      const mount = await guest.mount(tag);
      let rounds = 0;
      for (; running; rounds++) {
        await mount.writeFile('/f', `${tag} ${rounds}`);
        expect(await mount.readFile('/f', 'utf8')).toBe(`${tag} ${rounds}`);
        // Of one of them, the operations are always under way.
        if (i > 0) await turn();
      }
      await mount.unmount();
      return rounds;
    });
    for (let round = 0; round < 60; round++) {
      const fs = new CountingFileSystem();
      await attach('guest', fs);
      await guest.waitForTag('guest', { timeoutMs: 5000 });
      const mount = await guest.mount('guest');
      expect(await mount.readdir('/')).toEqual([]);
      if (round % 3 > 0) await mount.unmount();
      await chassis.detach('guest', { force: round % 3 === 0 });
      expect([fs.attached, fs.closed]).toEqual([1, 1]);
      await turn();
      await mount.unmount();
      expect(guest.tags()).toEqual(tagsOf(3));
    }
    running = false;
    for (const rounds of await Promise.all(neighbours)) expect(rounds).toBeGreaterThan(10);
    expect(plugs).toBe(1);
  });

  it('that are mounted are refused; by force what is under way fails with ENODEV, and the queue serves another at once', async () => {
    const fs = new CountingFileSystem();
    await attach('t0');
    await attach('busy', fs);
    await guest.waitForTag('busy');
    const [kept, mount] = [await guest.mount('t0'), await guest.mount('busy')];
    await expect(chassis.detach('busy')).rejects.toMatchObject(refusal('MOUNT_BUSY', /"busy"/));
    const gate = fs.gate();
    const stuck = mount.readdir('/');
    const failed = expect(stuck).rejects.toMatchObject({ code: 'ENODEV' });
    await turn();
    const detached = chassis.detach('busy', { force: true });
    await turn();
    const later = expect(mount.stat('/')).rejects.toMatchObject({ code: 'ENODEV' });
    gate.open();
    await detached;
    await Promise.all([failed, later]);
    expect(guest.tags()).toEqual(['t0']);
    await attach('next');
    await guest.waitForTag('next', { timeoutMs: 5000 });
    // The queue is lent to the mount that is no more, until that is unmounted.
    await expect(guest.mount('next')).rejects.toMatchObject({ code: 'EBUSY' });
    await mount.unmount();
    const resets = vi.spyOn(Virtio9pMux.prototype, 'resetQueue');
    expect(await (await guest.mount('next')).readFile('/name', 'utf8')).toBe('next');
    // Nothing of the session before is in the queue.
    expect(resets.mock.calls).toEqual([[1]]);
    resets.mockRestore();
    expect(await kept.readFile('/name', 'utf8')).toBe('t0');
  });

  it('tell the guest’s listeners of tags that come and go', async () => {
    const changes: unknown[] = [];
    guest.on('tags', (change) => changes.push(change));
    await attach('a');
    await turn();
    await attach('b');
    await turn();
    await chassis.detach('a');
    await turn();
    expect(changes).toEqual([
      { added: ['a'], removed: [] },
      { added: ['b'], removed: [] },
      { added: [], removed: ['a'] },
    ]);
  });

  it('are looked at one by one where the guest missed some changes', async () => {
    await attach('a');
    await guest.waitForTag('a');
    // No turn of the guest's in between.
    await Promise.all(['b', 'c', 'd'].map((tag) => attach(tag)));
    await Promise.all([chassis.detach('a'), chassis.detach('c'), attach('e')]);
    await turn();
    expect(guest.tags().sort()).toEqual(['b', 'd', 'e']);
  });

  it.each([{ msix: false }, { packed: false }, { packed: false, eventIndex: false, indirect: false }])(
    'work in every way that the guest may drive the device: %o',
    async (options) => {
      await guest.shutdown();
      guest = await Guest.boot(chassis, options);
      for (const tag of tagsOf(3)) await attach(tag);
      await guest.waitForTag('t2', { timeoutMs: 5000 });
      const mounts = await Promise.all(tagsOf(3).map((tag) => guest.mount(tag)));
      expect(await Promise.all(mounts.map((mount) => mount.readFile('/name', 'utf8')))).toEqual(tagsOf(3));
      await mounts[1].unmount();
      await chassis.detach('t1');
      await turn();
      expect(guest.tags()).toEqual(['t0', 't2']);
    },
  );

  it('leave no RAM of the guest’s taken, unmounted or pulled out, two hundred times', async () => {
    // A queue's ring takes 9 pages: leaked in every other round, they would not fit.
    const small = new Chassis({ slots: 1, queuesPerDevice: 2, ramSizeBytes: 2 << 20 });
    const user = await Guest.boot(small);
    for (let round = 0; round < 200; round++) {
      const fs = new CountingFileSystem();
      await small.attach(fs, { tag: 'round', via: 'queue' });
      await user.waitForTag('round', { timeoutMs: 5000 });
      const mount = await user.mount('round', { msize: 8192 });
      await mount.readdir('/');
      if (round % 2 === 0) await mount.unmount();
      await small.detach('round', { force: round % 2 === 1 });
      await turn();
      await mount.unmount();
      expect([fs.closed, fs.live]).toEqual([1, 0]);
    }
    await user.shutdown();
    await small.close();
  });

  it('survive a forced unmount of one of them: its queue is reset, and mounts again', async () => {
    const fs = new CountingFileSystem();
    await attach('other');
    await attach('stuck', fs);
    await guest.waitForTag('stuck');
    const [other, mount] = [await guest.mount('other'), await guest.mount('stuck')];
    const gate = fs.gate();
    const failed = expect(mount.readdir('/')).rejects.toMatchObject({ code: 'EIO' });
    await turn();
    const unmounted = mount.unmount({ force: true });
    await turn();
    gate.open();
    await Promise.all([unmounted, failed]);
    expect(await (await guest.mount('stuck')).readdir('/')).toEqual([]);
    expect(await other.readFile('/name', 'utf8')).toBe('other');
  });
});

describe('a device whose queues are mounts', () => {
  it('leaves with its slot, or once nothing is attached to it', async () => {
    const [a, b] = [new CountingFileSystem(), new CountingFileSystem()];
    await attach('a', a);
    await attach('b', b);
    await expect(chassis.retract(1)).rejects.toMatchObject(refusal('CHASSIS_IN_USE'));
    await chassis.detach('a', { slot: true });
    expect([a.closed, b.closed, chassis.mounts()]).toEqual([1, 1, []]);
    await attach('c');
    await chassis.detach('c');
    expect(chassis.slots()[0]).toEqual({ slot: 1, holds: 'card', state: 'plugged' });
    await chassis.retract(1);
    expect(chassis.slots()[0]).toEqual({ slot: 1, holds: 'nothing' });
    expect(guest.functions()).toEqual([]);
  });

  it('goes where it was asked to, and says where that cannot be', async () => {
    await chassis.attach(new Volume(), { tag: 'fn', slot: 1 });
    await chassis.attach(new Volume(), { tag: 'a', via: 'queue', slot: 3 });
    await attach('b');
    expect(places()).toEqual(['fn function 1.0 undefined', 'a queue 3.0 0', 'b queue 3.0 1']);
    const on = (slot: number) => chassis.attach(new Volume(), { tag: 'c', via: 'queue', slot });
    await expect(on(1)).rejects.toMatchObject(refusal('SLOT_TAKEN'));
    await expect(on(4)).rejects.toMatchObject(refusal('SLOT_UNKNOWN'));
    const asked = chassis.attach(new Volume(), { tag: 'c', via: 'queue', function: 1 });
    await expect(asked).rejects.toMatchObject(refusal('BAD_REQUEST'));
    await expect(attach('x'.repeat(223))).rejects.toMatchObject(refusal('TAG_INVALID', /222/));
    await expect(attach('b')).rejects.toMatchObject(refusal('TAG_IN_USE'));
  });

  it.each([0, 513, 1.5])('does not have %s queues', (queuesPerDevice) => {
    expect(() => new Chassis({ queuesPerDevice })).toThrow(RangeError);
  });

  it('may have hundreds of queues', async () => {
    const large = new Chassis({ slots: 1, queuesPerDevice: 300 });
    const user = await Guest.boot(large);
    for (const tag of tagsOf(300))
      await large.attach(Volume.fromJSON({ '/name': tag }), { tag, via: 'queue' });
    await user.waitForTag('t299', { timeoutMs: 5000 });
    const mounts = await Promise.all(tagsOf(300).map((tag) => user.mount(tag)));
    expect(await Promise.all(mounts.map((mount) => mount.readFile('/name', 'utf8')))).toEqual(tagsOf(300));
    expect(user.functions()).toHaveLength(1);
    await user.shutdown();
    await large.close();
  });
});
