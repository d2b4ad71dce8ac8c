import { describe, expect, it } from 'vitest';
import { ChassisError, type AttachRequest } from '../../manager/control/api.js';
import { ControllerHarness, QUERY, request } from './controller-harness.js';
import { refusal } from './refusal.js';

/** An attach to queues. */
function queue(tags: readonly string[], options: Partial<AttachRequest> = {}): AttachRequest {
  return request(tags, { via: 'queue', ...options });
}

describe('mounts on queues', () => {
  const lab = ControllerHarness.perTest(3);

  /** `TAG QUEUE` of each mount that has one. */
  async function seats(): Promise<string[]> {
    const mounts = await lab.controller.mounts();
    return mounts.filter(({ via }) => via === 'queue').map(({ tag, queue: number }) => `${tag} ${number}`);
  }

  it('come with the first of them, on one function, and need no PCI event after that', async () => {
    const vmm = await lab.boot();
    expect(await lab.controller.attach(queue(['a']))).toMatchObject([
      { tag: 'a', via: 'queue', queue: 0, slot: 1, function: 0, state: 'plugged', counters: { fids: 0 } },
    ]);
    await lab.controller.attach(queue(['b', 'c']));
    expect(vmm.calls).toEqual(['plug 1: 0']);
    expect(await seats()).toEqual(['a 0', 'b 1', 'c 2']);
    expect(await lab.states()).toEqual([
      'chassis-queues 1.0 plugged',
      'a 1.0 plugged',
      'b 1.0 plugged',
      'c 1.0 plugged',
    ]);
    expect((await lab.controller.tree()).children[0].children).toMatchObject([
      { kind: 'function', tag: 'chassis-queues', children: [{ kind: 'mount', queue: 0, tag: 'a' }, {}, {}] },
    ]);
  });

  it('are on their queues before a guest can look at the function', async () => {
    const vmm = await lab.boot();
    let seen: number[] = [];
    vmm.refusePlug = () => void (seen = [...lab.devices.onQueues.keys()]);
    await lab.controller.attach(queue(['a', 'b']));
    expect(seen).toEqual([0, 1]);
  });

  it('say that Linux mounts the first alone', async () => {
    const [first, second] = await lab.controller.attach(queue(['a', 'b']));
    expect(first.mountCommand).toMatch(/^mount -t 9p .* a \/mnt\/a$/);
    expect(second.mountCommand).toBeUndefined();
    expect(second.mountNote).toMatch(/queue 1.*VIRTIO_9P_F_MULTIPLEX/);
  });

  it('are never what an attach gets by itself', async () => {
    await lab.controller.attach(queue(['q']));
    for (const tag of ['a', 'b', 'c', 'd']) await lab.controller.attach(request([tag], { via: 'auto' }));
    expect(await seats()).toEqual(['q 0']);
  });

  it('are refused where all queues are taken, with another way', async () => {
    for (let i = 0; i < 63; i += 7)
      await lab.controller.attach(queue(Array.from({ length: 7 }, (_, j) => `m${i + j}`)));
    await expect(lab.controller.attach(queue(['x', 'y']))).rejects.toMatchObject(
      refusal('NO_SLOT_FREE', /64 queues/, /--via tree/),
    );
    expect(await lab.controller.attach(queue(['x']))).toMatchObject([{ queue: 63 }]);
    await expect(lab.controller.attach(queue(['y']))).rejects.toMatchObject(refusal('NO_SLOT_FREE'));
    expect(lab.devices.onQueues.size).toBe(64);
  });

  it('are refused with a tag that config space has no room for, or that the function has', async () => {
    for (const tag of ['x'.repeat(223), 'chassis-queues']) {
      await expect(lab.controller.attach(queue([tag]))).rejects.toMatchObject(refusal('TAG_INVALID'));
    }
    expect(await lab.states()).toEqual([]);
    await lab.controller.attach(queue(['x'.repeat(222)]));
  });

  it('share their tags with all others', async () => {
    await lab.controller.attach(queue(['a']));
    await lab.controller.attach(request(['f']));
    await expect(lab.controller.attach(request(['a']))).rejects.toMatchObject(
      refusal('TAG_IN_USE', /queue 0/),
    );
    await expect(lab.controller.attach(queue(['f']))).rejects.toMatchObject(refusal('TAG_IN_USE'));
    await expect(lab.controller.attach(queue(['a']))).rejects.toMatchObject(refusal('TAG_IN_USE'));
  });

  it('take the port that the first of them asked for, and no other', async () => {
    await lab.controller.attach(queue(['a'], { port: 'vhost-user' }));
    expect(await lab.controller.attach(queue(['b'], { port: 'vhost-user' }))).toMatchObject([
      { port: 'vhost-user' },
    ]);
    await expect(lab.controller.attach(queue(['c'], { port: 'vfio-user' }))).rejects.toMatchObject(
      refusal('BAD_REQUEST', /over vhost-user/),
    );
  });

  it.each([
    ['there is none of their function yet', []],
    ['others are there', ['before']],
  ])('are attached all or none where a source cannot be opened and %s', async (_, before) => {
    const vmm = await lab.boot();
    if (before.length > 0) await lab.controller.attach(queue(before));
    const plugged = [...vmm.calls];
    lab.devices.refuseSeat = ({ tag }) =>
      tag === 'b' ? new ChassisError('SOURCE_UNREADABLE', 'no') : undefined;
    await expect(lab.controller.attach(queue(['a', 'b']))).rejects.toMatchObject(
      refusal('SOURCE_UNREADABLE'),
    );
    expect(vmm.calls).toEqual(plugged);
    expect(lab.controller.tags).toEqual(before.length > 0 ? ['chassis-queues', 'before'] : []);
    expect(lab.devices.functions.size).toBe(before.length);
    lab.devices.refuseSeat = undefined;
    await lab.controller.attach(queue(['a', 'b']));
  });

  it('leave nothing where their function cannot be plugged', async () => {
    const vmm = await lab.boot();
    vmm.refusePlug = () => new ChassisError('VMM_REFUSED', 'no room');
    await expect(lab.controller.attach(queue(['a']))).rejects.toMatchObject(
      refusal('VMM_REFUSED', /no room/),
    );
    expect(lab.controller.tags).toEqual([]);
    expect(lab.devices.functions.size).toBe(0);
    vmm.refusePlug = undefined;
    expect(await lab.controller.attach(queue(['a']))).toMatchObject([{ queue: 0, state: 'plugged' }]);
  });

  it('go one by one, refused while the guest has them mounted, and by force with what was lost', async () => {
    const vmm = await lab.boot();
    await lab.controller.attach(queue(['a', 'b', 'c']));
    lab.devices.seatFids.set(1, 3);
    expect(await lab.controller.detach('c', QUERY)).toEqual({ tags: ['c'] });
    await expect(lab.controller.detach('b', QUERY)).rejects.toMatchObject(refusal('MOUNT_BUSY'));
    expect(await seats()).toEqual(['a 0', 'b 1']);
    expect(await lab.controller.detach('b', { ...QUERY, force: true })).toEqual({
      tags: ['b'],
      lost: { fids: 3, openFiles: 0 },
    });
    expect([...lab.devices.onQueues.keys()]).toEqual([0]);
    expect(vmm.calls).toEqual(['plug 1: 0']);
  });

  it('keep the first queue for its tag while a VM has it, since guests read that once', async () => {
    await lab.boot();
    await lab.controller.attach(queue(['a']));
    await lab.controller.detach('a', QUERY);
    expect(await lab.controller.attach(queue(['b']))).toMatchObject([{ queue: 1 }]);
    expect(await lab.controller.attach(queue(['a']))).toMatchObject([{ queue: 0 }]);
    await lab.controller.detach('a', QUERY);
    for (let i = 0; i < 62; i += 2) await lab.controller.attach(queue([`m${i}`, `m${i + 1}`]));
    await expect(lab.controller.attach(queue(['x']))).rejects.toMatchObject(
      refusal('NO_SLOT_FREE', /first.*"a"/, /that tag/),
    );
    lab.controller.vmLost();
    expect(await lab.controller.attach(queue(['x']))).toMatchObject([{ queue: 0 }]);
  });

  it('have no slot to eject and no function to keep', async () => {
    await lab.controller.attach(queue(['a']));
    for (const option of [{ slot: true }, { keepFunction: true }]) {
      await expect(lab.controller.detach('a', { ...QUERY, ...option })).rejects.toMatchObject(
        refusal('BAD_REQUEST', /on a queue/),
      );
    }
  });

  it('keep their function from going, unless all of them are to go', async () => {
    const vmm = await lab.boot();
    await lab.controller.attach(queue(['a', 'b']));
    await expect(lab.controller.detach('chassis-queues', QUERY)).rejects.toMatchObject(
      refusal('SLOT_SHARED', /on its queues: "a", "b"$/, /--slot/),
    );
    await expect(
      lab.controller.detach('chassis-queues', { ...QUERY, keepFunction: true, slot: false }),
    ).rejects.toMatchObject(refusal('SLOT_SHARED'));
    expect(await lab.controller.detach('chassis-queues', { ...QUERY, slot: true })).toEqual({
      tags: ['chassis-queues'],
    });
    expect(lab.controller.tags).toEqual([]);
    await lab.controller.attach(queue(['a']));
    await lab.controller.detach('a', QUERY);
    expect(await lab.states()).toEqual(['chassis-queues 1.0 plugged']);
    await expect(
      lab.controller.detach('chassis-queues', { ...QUERY, keepFunction: true }),
    ).rejects.toMatchObject(refusal('BAD_REQUEST', /no mount of its own/));
    await lab.controller.detach('chassis-queues', QUERY);
    expect(vmm.calls).toEqual(['plug 1: 0', 'unplug 1: 0', 'plug 1: 0', 'unplug 1: 0']);
  });

  it('do not join a function that is being unplugged', async () => {
    const vmm = await lab.boot();
    await lab.controller.attach(queue(['a']));
    vmm.guest = 'ignores';
    await expect(lab.controller.detach('chassis-queues', { ...QUERY, slot: true })).rejects.toMatchObject(
      refusal('GUEST_TIMEOUT'),
    );
    await expect(lab.controller.attach(queue(['b']))).rejects.toMatchObject(refusal('CHASSIS_IN_USE'));
  });

  it('are on their queues again for the next device process, but for those whose source has gone', async () => {
    await lab.controller.attach(queue(['a', 'b', 'c']));
    lab.devices.die('it was killed');
    expect(await lab.controller.detach('a', QUERY)).toEqual({ tags: ['a'] });
    lab.refuseSeatNext = ({ tag }) => (tag === 'b' ? new ChassisError('SOURCE_MISSING', 'gone') : undefined);
    await lab.controller.attach(queue(['d', 'e']));
    expect(await seats()).toEqual(['b 1', 'c 2', 'd 0', 'e 3']);
    expect([...lab.devices.onQueues.keys()]).toEqual([2, 0, 3]);
    expect(lab.log.join()).toMatch(/b: not on queue 1/);
    await lab.controller.detach('b', QUERY);
    expect(lab.devices.onQueues.size).toBe(3);
  });

  it('are parked with their function when the VM goes, and there for the next', async () => {
    await lab.boot();
    await lab.controller.attach(queue(['a', 'b']));
    lab.controller.vmLost();
    lab.devices.disconnect('slot1-fn0');
    expect(await lab.states()).toEqual(['chassis-queues 1.0 parked', 'a 1.0 parked', 'b 1.0 parked']);
    await lab.boot();
    expect(await lab.states()).toEqual(['chassis-queues 1.0 plugged', 'a 1.0 plugged', 'b 1.0 plugged']);
  });

  it('go with the chassis', async () => {
    await lab.boot();
    await lab.controller.attach(queue(['a']));
    await lab.controller.detachAll(1000);
    expect(lab.controller.tags).toEqual([]);
    expect(lab.devices.functions.size).toBe(0);
  });
});
