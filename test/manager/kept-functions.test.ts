import { describe, expect, it } from 'vitest';
import { ChassisError } from '../../manager/control/api.js';
import { shownBy } from './fakes.js';
import { ControllerHarness, QUERY, request } from './controller-harness.js';
import { refusal } from './refusal.js';

const KEEP = { ...QUERY, keepFunction: true };

describe('a function that is kept when its mount goes', () => {
  const lab = ControllerHarness.perTest(3);

  it('stays in the VM with nothing to show, and its neighbours with it', async () => {
    const vmm = await lab.boot();
    await lab.controller.attach(request(['a', 'b', 'c']));
    expect(await lab.controller.detach('b', KEEP)).toEqual({ tags: ['b'] });
    expect(await lab.states()).toEqual(['a 1.0 plugged', 'b 1.1 kept', 'c 1.2 plugged']);
    expect(vmm.calls).toEqual(['plug 1: 0 1 2']);
    expect(shownBy(lab.devices.functions.get('slot1-fn1')?.device)).toBeUndefined();
    expect((await lab.controller.mounts())[1]).not.toHaveProperty('source');
  });

  it('is offered where a neighbour would go along', async () => {
    await lab.boot();
    await lab.controller.attach(request(['a', 'b']));
    await expect(lab.controller.detach('b', QUERY)).rejects.toMatchObject(
      refusal('SLOT_SHARED', /"b" shares slot 1 with "a"/, /--slot.*--keep-function/),
    );
  });

  it('takes another mount of its tag without a PCI event', async () => {
    const vmm = await lab.boot();
    await lab.controller.attach(request(['a', 'b']));
    await lab.controller.detach('b', KEEP);
    const again = request(['b']);
    again.mounts[0].readOnly = true;
    expect(await lab.controller.attach(again)).toMatchObject([
      { tag: 'b', slot: 1, function: 1, state: 'plugged', readOnly: true },
    ]);
    expect(vmm.calls).toEqual(['plug 1: 0 1']);
    expect(lab.devices.functions.get('slot1-fn1')?.device).toMatchObject({
      source: { type: 'memory' },
      readOnly: true,
    });
  });

  it('goes with its slot once no mount is left in it', async () => {
    const vmm = await lab.boot();
    await lab.controller.attach(request(['a', 'b']));
    await lab.controller.detach('b', KEEP);
    expect(await lab.controller.detach('a', QUERY)).toEqual({ tags: ['a', 'b'] });
    expect(vmm.calls).toEqual(['plug 1: 0 1', 'unplug 1: 0 1']);
    expect(lab.devices.functions.size).toBe(0);
  });

  it('is not made of a mount in use, and the mount stays', async () => {
    await lab.boot();
    await lab.controller.attach(request(['a', 'b']));
    lab.devices.fids.set('slot1-fn1', 1);
    await expect(lab.controller.detach('b', KEEP)).rejects.toMatchObject(refusal('MOUNT_BUSY'));
    expect(await lab.states()).toEqual(['a 1.0 plugged', 'b 1.1 plugged']);
  });

  it('needs a VM that has it, and is not what --slot ejects', async () => {
    await lab.controller.attach(request(['a']));
    await expect(lab.controller.detach('a', KEEP)).rejects.toMatchObject(refusal('BAD_REQUEST', /no VM has/));
    await expect(lab.controller.detach('a', { ...KEEP, slot: true })).rejects.toMatchObject(
      refusal('BAD_REQUEST', /ejects/),
    );
  });

  it('is refused to another tag, with the way out', async () => {
    await lab.boot();
    await lab.controller.attach(request(['a', 'b']));
    await lab.controller.detach('b', KEEP);
    await expect(lab.controller.attach(request(['x'], { slot: 1, function: 1 }))).rejects.toMatchObject(
      refusal('SLOT_TAKEN', /kept for the tag "b"/, /--tag b/),
    );
    await expect(lab.controller.attach(request(['b'], { slot: 2 }))).rejects.toMatchObject(
      refusal('SLOT_TAKEN', /function 1 of slot 1/),
    );
    await expect(lab.controller.attach(request(['b', 'x']))).rejects.toMatchObject(
      refusal('TAG_IN_USE', /separately|kept function/),
    );
    await expect(lab.controller.attach(request(['b', 'b']))).rejects.toMatchObject(refusal('TAG_IN_USE'));
    expect(await lab.states()).toEqual(['a 1.0 plugged', 'b 1.1 kept']);
  });

  it('takes all mounts of an attach or none', async () => {
    await lab.boot();
    await lab.controller.attach(request(['a', 'b', 'c']));
    for (const tag of ['b', 'c']) await lab.controller.detach(tag, KEEP);
    lab.devices.refuse = ({ device }) =>
      device.type === '9p' && device.tag === 'c' && device.source
        ? new ChassisError('SOURCE_UNREADABLE', 'no')
        : undefined;
    await expect(lab.controller.attach(request(['b', 'c']))).rejects.toMatchObject(
      refusal('SOURCE_UNREADABLE'),
    );
    expect(await lab.states()).toEqual(['a 1.0 plugged', 'b 1.1 kept', 'c 1.2 kept']);
    expect(shownBy(lab.devices.functions.get('slot1-fn1')?.device)).toBeUndefined();
  });

  it('is plugged empty into the next VM, and served so by the next device process', async () => {
    await lab.boot();
    await lab.controller.attach(request(['a', 'b']));
    await lab.controller.detach('b', KEEP);
    lab.controller.vmLost();
    for (const name of ['slot1-fn0', 'slot1-fn1']) lab.devices.disconnect(name);
    lab.devices.die('it was killed');
    await lab.controller.restart();
    expect((await lab.boot()).calls).toEqual(['plug 1: 0 1']);
    expect(await lab.states()).toEqual(['a 1.0 plugged', 'b 1.1 kept']);
    expect(shownBy(lab.devices.functions.get('slot1-fn1')?.device)).toBeUndefined();
  });

  it('does not take a mount while its slot is leaving', async () => {
    const vmm = await lab.boot();
    await lab.controller.attach(request(['a', 'b']));
    await lab.controller.detach('b', KEEP);
    vmm.guest = 'ignores';
    await expect(lab.controller.detach('a', QUERY)).rejects.toMatchObject(refusal('GUEST_TIMEOUT'));
    await expect(lab.controller.attach(request(['b']))).rejects.toMatchObject(
      refusal('SLOT_TAKEN', /unplugging/),
    );
  });
});
