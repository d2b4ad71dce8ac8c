import { describe, expect, it } from 'vitest';
import { ChassisError, type EventBody } from '../../../manager/control/api.js';
import { ControllerHarness, QUERY, request } from '../controller-harness.js';

describe('what happens in a chassis', () => {
  const lab = ControllerHarness.perTest(3);

  /** What was told since the last time. */
  async function told(): Promise<EventBody[]> {
    await new Promise((resolve) => setImmediate(resolve));
    return lab.events.splice(0);
  }

  /** The same, in words. */
  async function words(): Promise<string[]> {
    return (await told()).map((event) => {
      const name = 'tag' in event ? event.tag : 'name' in event ? event.name : '';
      const state = 'state' in event ? event.state : '';
      return [event.type, name, state].filter((word) => word !== '').join(' ');
    });
  }

  it('is told of a new chassis: that it was created, and its process started', async () => {
    expect(await told()).toEqual([
      { type: 'chassis.created', slots: 3 },
      { type: 'process.started', pid: 1 },
    ]);
    await lab.controller.close();
    expect(await told()).toEqual([{ type: 'chassis.removed' }]);
  });

  it('is told of mounts that are parked, plugged when a VM comes, and parked again when it goes', async () => {
    await told();
    await lab.controller.attach(request(['a', 'b']));
    expect(await told()).toEqual([
      {
        ...{ type: 'mount.attached', tag: 'a', slot: 1, function: 0, state: 'parked', via: 'function' },
        ...{ readOnly: false, revoked: false },
      },
      expect.objectContaining({ type: 'mount.attached', tag: 'b', slot: 1, function: 1 }),
    ]);
    const vmm = await lab.boot();
    expect(await words()).toEqual([
      'vm.connected',
      ...['function.changed a plugging', 'function.changed b plugging'],
      ...['function.changed a plugged', 'function.changed b plugged'],
    ]);
    vmm.die();
    lab.controller.vmLost();
    const events = await told();
    expect(events).toContainEqual({ type: 'vm.gone' });
    expect(events).toContainEqual({
      ...{ type: 'function.changed', name: 'a', kind: 'mount', slot: 1, function: 0 },
      ...{ state: 'parked', formerly: 'plugged' },
    });
  });

  it('is told of a mount that is attached to a VM and detached from it', async () => {
    await lab.boot();
    await told();
    await lab.controller.attach(request(['a']));
    expect(await words()).toEqual([
      'mount.attached a parked',
      'function.changed a plugging',
      'function.changed a plugged',
    ]);
    await lab.controller.detach('a', QUERY);
    expect(await words()).toEqual(['mount.detached a']);
  });

  it('is told of a guest that is asked to let go, and does so later', async () => {
    const vmm = await lab.boot();
    await lab.controller.attach(request(['a']));
    vmm.guest = 'ignores';
    await told();
    await expect(lab.controller.detach('a', QUERY)).rejects.toThrow('the guest did not');
    expect(await words()).toEqual(['function.changed a unplugging']);
    vmm.eject(1);
    expect(await words()).toEqual(['mount.detached a']);
  });

  it('is told of an attach that fails as of what came and went', async () => {
    const vmm = await lab.boot();
    vmm.refusePlug = () => new ChassisError('VMM_REFUSED', 'no');
    await told();
    await expect(lab.controller.attach(request(['a']))).rejects.toThrow('no');
    expect((await words()).at(-1)).toBe('mount.detached a');
  });

  it('is told of a function that is kept without its mount, and gets another', async () => {
    await lab.boot();
    await lab.controller.attach(request(['a', 'b']));
    await told();
    await lab.controller.detach('a', { ...QUERY, keepFunction: true });
    expect(await told()).toMatchObject([
      { type: 'mount.detached', tag: 'a', kept: true },
      { type: 'function.changed', name: 'a', state: 'kept', formerly: 'plugged' },
    ]);
    await lab.controller.attach(request(['a']));
    expect(await words()).toEqual(['mount.attached a plugged', 'function.changed a plugged']);
  });

  it('is told of mounts of the tree and on queues, which come and go with what carries them', async () => {
    await told();
    await lab.controller.attach(request(['a', 'b'], { via: 'tree' }));
    await lab.controller.attach(request(['c'], { via: 'queue' }));
    const events = await told();
    expect(events.map((event) => ('tag' in event ? event.tag : event.type)).sort()).toEqual([
      ...['a', 'b', 'c', 'chassis', 'chassis-queues'],
    ]);
    expect(events).toContainEqual(
      expect.objectContaining({ type: 'mount.attached', tag: 'a', via: 'tree', slot: 1, function: 0 }),
    );
    expect(events).toContainEqual(
      expect.objectContaining({ type: 'mount.attached', tag: 'c', via: 'queue', queue: 0, slot: 2 }),
    );
    await lab.controller.detach('a', QUERY);
    expect(await told()).toEqual([{ type: 'mount.detached', tag: 'a', via: 'tree', kept: false }]);
    await lab.controller.detach('chassis', { ...QUERY, slot: true });
    expect((await words()).sort()).toEqual(['mount.detached b', 'mount.detached chassis']);
    const vmm = await lab.boot();
    // Not one for each mount that it carries, neither then nor when something else of that changes.
    expect((await words()).at(-1)).toBe('function.changed chassis-queues plugged');
    await lab.controller.policies.change('c', { set: { readOnly: true }, unset: [] });
    expect(await words()).toEqual(['mount.changed c']);
    vmm.die();
    lab.controller.vmLost();
    expect(await words()).toEqual(['vm.gone', 'function.changed chassis-queues parked']);
  });

  it('is told of a policy that changes, and of a mount that is revoked, once each', async () => {
    await lab.controller.attach(request(['a']));
    await lab.controller.attach(request(['t'], { via: 'tree' }));
    await told();
    await lab.controller.policies.change('a', { set: { deny: ['**/.env'] }, unset: [] });
    expect(await told()).toEqual([
      { type: 'mount.changed', tag: 'a', readOnly: false, revoked: false, policy: true },
    ]);
    await lab.controller.policies.change('t', { set: { readOnly: true }, unset: [] });
    expect(await told()).toEqual([
      { type: 'mount.changed', tag: 't', readOnly: true, revoked: false, policy: false },
    ]);
    await lab.controller.policies.revoke('a');
    expect(await told()).toMatchObject([{ type: 'mount.changed', tag: 'a', revoked: true, policy: false }]);
    await lab.controller.policies.revoke('a');
    expect(await told()).toEqual([]);
  });

  it('is told of disks and cards: added, resized, unplugged from their cable, removed', async () => {
    await told();
    const port = { port: 'auto' as const, timeoutMs: 1000 };
    await lab.controller.disks.add({
      ...{ name: 'd', source: { type: 'memory', sizeBytes: 4096 }, readOnly: false, overlay: false },
      ...{ queues: 1, permanent: false, ...port },
    });
    await lab.controller.networks.add({
      ...{ name: 'n', network: { type: 'switch', switch: 'lan' }, mac: '52:54:00:00:00:01' },
      ...{ queuePairs: 1, up: true, ...port },
    } as never);
    expect(await words()).toEqual(['disk.added d parked', 'card.added n parked']);
    await lab.controller.disks.resize('d', { sizeBytes: 8192, shrink: false });
    await lab.controller.networks.setLink('n', false);
    await lab.controller.networks.setLink('n', false);
    expect(await told()).toEqual([
      { type: 'disk.resized', name: 'd', sizeBytes: 8192 },
      { type: 'card.link', name: 'n', up: false },
    ]);
    await lab.controller.disks.remove('d', { force: false, timeoutMs: 1000 });
    await lab.controller.networks.remove('n', { force: false, timeoutMs: 1000 });
    expect(await told()).toEqual([
      { type: 'disk.removed', name: 'd' },
      { type: 'card.removed', name: 'n' },
    ]);
  });

  it('is told of a process that dies and comes back, and of one that is upgraded', async () => {
    await lab.boot();
    await lab.controller.attach(request(['a']));
    await told();
    lab.devices.die('killed');
    await expect.poll(() => lab.processes.length).toBe(2);
    await lab.controller.describe();
    const events = await told();
    expect(events.filter(({ type }) => type.startsWith('process'))).toEqual([
      { type: 'process.lost', reason: 'killed', recovering: true },
      { type: 'process.started', pid: 2 },
    ]);
    expect(events.filter(({ type }) => type === 'function.changed')).toMatchObject([
      { formerly: 'plugged', state: 'recovering' },
      { formerly: 'recovering', state: 'lost' },
    ]);
    const { FakeDevices } = await import('../fakes.js');
    const nothing = (): void => undefined;
    lab.devices.replacement = new FakeDevices(9, {
      ...{ onLost: nothing, onConnected: nothing, onDisconnected: nothing },
      ...{ onHelper: nothing, onChild: nothing },
    });
    await lab.controller.upgrade();
    expect(await told()).toContainEqual({ type: 'process.upgraded', formerPid: 2, pid: 9 });
  });

  it('is told of a VM that cannot be used', async () => {
    await told();
    lab.controller.vmRejected(new ChassisError('VMM_UNSUITABLE', 'too old'));
    expect(await told()).toEqual([{ type: 'vm.refused', reason: 'too old' }]);
  });

  it("is told of the guest's helper, and of what that says", async () => {
    await lab.controller.attach(request(['a'], { via: 'tree' }));
    await told();
    lab.devices.setHelper('slot1-fn0', true);
    expect(await told()).toEqual([{ type: 'helper.there' }]);
    expect(await lab.controller.describe()).toMatchObject({ guestHelper: true });
    lab.devices.childIs('slot1-fn0', { name: 'a', state: 'failed', detail: 'no such place' });
    expect(await told()).toContainEqual({
      ...{ type: 'mount.inGuest', tag: 'a', state: 'failed', reason: 'no such place' },
    });
  });

  it('is told of functions that a VMM without QMP opens and leaves', async () => {
    await lab.controller.attach(request(['a']));
    await told();
    lab.devices.connect('slot1-fn0');
    expect(await words()).toEqual(['function.changed a plugged']);
    lab.devices.disconnect('slot1-fn0');
    expect(await words()).toEqual(['function.changed a parked']);
  });

  it('is told by the next daemon from what there is on: nothing of what was, all that changes', async () => {
    await lab.boot();
    await lab.controller.attach(request(['a']));
    await told();
    await lab.takeOver();
    expect(await told()).toEqual([]);
    await lab.controller.detach('a', { ...QUERY, force: true });
    expect((await words()).at(-1)).toBe('mount.detached a');
  });
});
