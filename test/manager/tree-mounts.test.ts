import { describe, expect, it, vi } from 'vitest';
import { ChassisError, type AttachRequest } from '../../manager/control/api.js';
import { ControllerHarness, QUERY, request } from './controller-harness.js';
import { refusal } from './refusal.js';

/** An attach over the tree; with a target below /mnt each where asked for. */
function tree(tags: readonly string[], { targets = false } = {}): AttachRequest {
  const { mounts, ...rest } = request(tags, { via: 'tree' });
  return {
    ...rest,
    mounts: mounts.map((mount) => (targets ? { ...mount, target: `/mnt/${mount.tag}` } : mount)),
  };
}

describe('mounts of the tree', () => {
  const lab = ControllerHarness.perTest(3);

  it('come with the first of them, on one function, and need no PCI event after that', async () => {
    const vmm = await lab.boot();
    expect(await lab.controller.attach(tree(['a']))).toMatchObject([
      { tag: 'a', via: 'tree', slot: 1, function: 0, state: 'plugged', inGuest: 'shown' },
    ]);
    await lab.controller.attach(tree(['b', 'c']));
    expect(vmm.calls).toEqual(['plug 1: 0']);
    expect([...lab.devices.inTree.keys()]).toEqual(['a', 'b', 'c']);
    expect(await lab.states()).toEqual([
      'chassis 1.0 plugged',
      'a 1.0 plugged',
      'b 1.0 plugged',
      'c 1.0 plugged',
    ]);
    expect((await lab.controller.tree()).children[0].children).toMatchObject([
      { kind: 'function', tag: 'chassis', children: [{ kind: 'mount', tag: 'a', state: 'shown' }, {}, {}] },
    ]);
  });

  it('are watched where that is asked for, again too after the device process died; what is in memory cannot be', async () => {
    const directory = {
      tag: 'd',
      source: { type: 'directory' as const, path: '/' },
      readOnly: true,
      watch: true,
    };
    await lab.controller.attach({
      ...tree([]),
      mounts: [directory, { ...directory, tag: 'e', watch: false }],
    });
    const watched = () => Array.from(lab.devices.inTree.values(), ({ name, watch }) => [name, watch]);
    expect(watched()).toEqual([
      ['d', true],
      ['e', undefined],
    ]);
    lab.devices.die('a test');
    await lab.controller.restart();
    expect(watched()).toEqual([
      ['d', true],
      ['e', undefined],
    ]);
    const memory = { tag: 'm', source: { type: 'memory' as const }, readOnly: false, watch: true };
    await expect(lab.controller.attach({ ...tree([]), mounts: [memory] })).rejects.toMatchObject(
      refusal('BAD_REQUEST', /mem:/),
    );
  });

  it('take over by themselves where the slots end', async () => {
    await lab.boot();
    for (const tag of ['a', 'b', 'c', 'd']) await lab.controller.attach(request([tag], { via: 'auto' }));
    expect((await lab.controller.mounts()).map(({ tag, via }) => `${tag} ${via}`)).toEqual([
      'a function',
      'b function',
      'chassis function',
      'c tree',
      'd tree',
    ]);
  });

  it('are done once they are mounted at their targets', async () => {
    await lab.boot();
    lab.devices.helper = 'waits';
    let done = false;
    const attaching = lab.controller.attach(tree(['a'], { targets: true })).finally(() => (done = true));
    await expect.poll(() => lab.devices.waiting.length).toBe(1);
    expect(done).toBe(false);
    lab.devices.waiting[0]();
    expect(await attaching).toMatchObject([{ target: '/mnt/a', inGuest: 'mounted' }]);
  });

  it.each([
    ['does not answer', 'silent', 'GUEST_TIMEOUT'],
    ['cannot mount it', 'fails', 'GUEST_REFUSED'],
  ] as const)('are all taken back where the helper %s', async (_, helper, code) => {
    await lab.boot();
    await lab.controller.attach(tree(['before']));
    lab.devices.helper = helper;
    await expect(lab.controller.attach(tree(['a', 'b'], { targets: true }))).rejects.toMatchObject(
      refusal(code),
    );
    expect([...lab.devices.inTree.keys()]).toEqual(['before']);
    expect(await lab.states()).toEqual(['chassis 1.0 plugged', 'before 1.0 plugged']);
    lab.devices.helper = 'answers';
    await lab.controller.attach(tree(['a'], { targets: true }));
  });

  it('do not wait for a helper that no VM can have', async () => {
    lab.processes[0].helper = 'silent';
    expect(await lab.controller.attach(tree(['a'], { targets: true }))).toMatchObject([{ state: 'parked' }]);
  });

  it('keep nobody waiting but who asked for them', async () => {
    await lab.boot();
    lab.devices.helper = 'waits';
    const attaching = lab.controller.attach(tree(['slow'], { targets: true }));
    await expect.poll(() => lab.devices.waiting.length).toBe(1);
    await lab.controller.attach(request(['fast']));
    await lab.controller.attach(tree(['shown']));
    await expect(lab.controller.attach(tree(['slow']))).rejects.toMatchObject(refusal('TAG_IN_USE'));
    lab.devices.waiting[0]();
    await attaching;
  });

  it('are not mixed up with others that came under their tag while they were waited for', async () => {
    await lab.boot();
    lab.devices.helper = 'waits';
    const first = lab.controller.attach(tree(['a'], { targets: true }));
    await expect.poll(() => lab.devices.waiting.length).toBe(1);
    await lab.controller.detach('a', { ...QUERY, force: true });
    await lab.controller.attach(tree(['a']));
    const released = vi.spyOn(lab.devices, 'releaseChild');
    lab.controller.vmLost();
    await expect(first).rejects.toMatchObject(refusal('VMM_GONE'));
    expect([...lab.devices.inTree.keys()]).toEqual(['a']);
    expect(lab.controller.tags).toEqual(['chassis', 'a']);
    expect(released).not.toHaveBeenCalled();
  });

  it('are attached all or none where a source cannot be opened', async () => {
    await lab.boot();
    lab.devices.refuseChild = ({ name }) =>
      name === 'b' ? new ChassisError('SOURCE_UNREADABLE', 'no') : undefined;
    await expect(lab.controller.attach(tree(['a', 'b']))).rejects.toMatchObject(refusal('SOURCE_UNREADABLE'));
    expect(lab.devices.inTree.size).toBe(0);
    expect(await lab.states()).toEqual(['chassis 1.0 plugged']);
  });

  it('share their tags with all others', async () => {
    await lab.boot();
    await lab.controller.attach(tree(['a']));
    await lab.controller.attach(request(['f']));
    await expect(lab.controller.attach(request(['a']))).rejects.toMatchObject(refusal('TAG_IN_USE', /tree/));
    await expect(lab.controller.attach(tree(['f']))).rejects.toMatchObject(refusal('TAG_IN_USE'));
    await expect(lab.controller.attach(tree(['a']))).rejects.toMatchObject(refusal('TAG_IN_USE'));
    await expect(lab.controller.attach(tree(['x', 'x']))).rejects.toMatchObject(refusal('TAG_IN_USE'));
    await expect(lab.controller.attach(tree(['chassis']))).rejects.toMatchObject(refusal('TAG_IN_USE'));
  });

  it('do not take the tag of the tree before it is there', async () => {
    await expect(lab.controller.attach(tree(['chassis']))).rejects.toMatchObject(refusal('TAG_INVALID'));
    expect(await lab.states()).toEqual([]);
  });

  it('go one by one once the guest has let go', async () => {
    await lab.boot();
    await lab.controller.attach(tree(['a', 'b'], { targets: true }));
    expect(await lab.controller.detach('a', QUERY)).toEqual({ tags: ['a'] });
    expect([...lab.devices.inTree.keys()]).toEqual(['b']);
    expect(lab.devices.mounted).toEqual(new Set(['b']));
  });

  it('stay where the guest holds them or does not answer, and go by force with what was lost', async () => {
    await lab.boot();
    await lab.controller.attach(tree(['a'], { targets: true }));
    lab.devices.holders.set('a', '42 sh');
    await expect(lab.controller.detach('a', QUERY)).rejects.toMatchObject(refusal('MOUNT_BUSY', /42 sh/));
    lab.devices.holders.delete('a');
    lab.devices.helper = 'silent';
    await expect(lab.controller.detach('a', QUERY)).rejects.toMatchObject(refusal('GUEST_TIMEOUT'));
    expect(await lab.states()).toEqual(['chassis 1.0 plugged', 'a 1.0 plugged']);
    lab.devices.holders.set('a', '42 sh');
    expect(await lab.controller.detach('a', { ...QUERY, force: true })).toEqual({
      tags: ['a'],
      lost: { fids: 2, openFiles: 1 },
    });
  });

  it('have no slot to eject and no function to keep', async () => {
    await lab.controller.attach(tree(['a']));
    for (const option of [{ slot: true }, { keepFunction: true }]) {
      await expect(lab.controller.detach('a', { ...QUERY, ...option })).rejects.toMatchObject(
        refusal('BAD_REQUEST', /of the tree/),
      );
    }
  });

  it('keep the tree from going, unless all of them are to go', async () => {
    const vmm = await lab.boot();
    await lab.controller.attach(tree(['a', 'b']));
    await expect(lab.controller.detach('chassis', QUERY)).rejects.toMatchObject(
      refusal('SLOT_SHARED', /carries: "a", "b"$/, /--slot/),
    );
    expect(await lab.controller.detach('chassis', { ...QUERY, slot: true })).toEqual({ tags: ['chassis'] });
    expect(vmm.calls).toEqual(['plug 1: 0', 'unplug 1: 0']);
    expect(await lab.states()).toEqual([]);
    await lab.controller.attach(tree(['a']));
    expect([...lab.devices.inTree.keys()]).toEqual(['a']);
  });

  it('are there again for the next device process, but for those whose source has gone', async () => {
    await lab.controller.attach(tree(['a', 'b']));
    lab.devices.die('it was killed');
    await lab.controller.detach('a', QUERY);
    await lab.controller.attach(tree(['c']));
    expect([...lab.devices.inTree.keys()]).toEqual(['b', 'c']);
  });

  it('are parked with the tree when the VM goes, and there for the next', async () => {
    await lab.boot();
    await lab.controller.attach(tree(['a']));
    lab.controller.vmLost();
    lab.devices.disconnect('slot1-fn0');
    expect(await lab.states()).toEqual(['chassis 1.0 parked', 'a 1.0 parked']);
    await lab.boot();
    expect(await lab.states()).toEqual(['chassis 1.0 plugged', 'a 1.0 plugged']);
    expect([...lab.devices.inTree.keys()]).toEqual(['a']);
  });

  it('do not wait for a guest whose VM goes: what came is taken back, what was to go is gone', async () => {
    await lab.boot();
    await lab.controller.attach(tree(['old'], { targets: true }));
    lab.devices.helper = 'waits';
    const attaching = lab.controller.attach(tree(['new'], { targets: true }));
    const detaching = lab.controller.detach('old', QUERY);
    await expect.poll(() => lab.devices.waiting.length).toBe(2);
    lab.devices.helper = 'answers';
    lab.controller.vmLost();
    await expect(attaching).rejects.toMatchObject(refusal('VMM_GONE'));
    expect(await detaching).toEqual({ tags: ['old'] });
    expect(await lab.states()).toMatchObject([expect.stringMatching(/^chassis/)]);
    expect(lab.devices.inTree.size).toBe(0);
  });

  it('go with the chassis', async () => {
    await lab.boot();
    await lab.controller.attach(tree(['a']));
    expect(lab.controller.tags).toEqual(['chassis', 'a']);
    await lab.controller.detachAll(1000);
    expect(lab.controller.tags).toEqual([]);
    expect(lab.devices.functions.size).toBe(0);
  });
});
