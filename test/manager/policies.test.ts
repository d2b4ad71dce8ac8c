import { describe, expect, it } from 'vitest';
import type { AttachRequest, PolicyChange } from '../../manager/control/api.js';
import { ControllerHarness, QUERY, request } from './controller-harness.js';
import { refusal } from './refusal.js';

const DENY = { deny: ['**/.env'] };

function change(set: PolicyChange['set'], unset: PolicyChange['unset'] = []): PolicyChange {
  return { set, unset };
}

describe('the policy of a mount', () => {
  const lab = ControllerHarness.perTest(3);

  /** Attaches `tag` under a policy. */
  async function attach(tag: string, via: AttachRequest['via'], policy?: object): Promise<void> {
    const plain = request([tag], { via });
    await lab.controller.attach({ ...plain, mounts: plain.mounts.map((mount) => ({ ...mount, policy })) });
  }

  it.each([
    ['function', 'slot1-fn0'],
    ['tree', 'slot1-fn0,a'],
    ['queue', 'slot1-fn0,0'],
  ] as const)('goes with the mount, and changes in the device process, on a %s', async (via, name) => {
    await attach('a', via, DENY);
    const mounts = await lab.controller.mounts();
    expect(mounts.find(({ tag }) => tag === 'a')).toMatchObject({ policy: DENY, readOnly: false });
    expect(await lab.controller.policies.show('a')).toEqual({
      readOnly: false,
      revoked: false,
      policy: DENY,
    });
    await lab.controller.policies.change('a', change({ readOnly: true, maxFiles: 3 }));
    expect(lab.devices.policies.get(name)).toEqual({ readOnly: true, policy: { ...DENY, maxFiles: 3 } });
    await lab.controller.policies.revoke('a');
    expect(lab.devices.revoked).toEqual([name]);
    expect((await lab.controller.mounts()).find(({ tag }) => tag === 'a')).toMatchObject({ revoked: true });
  });

  it('is unset before it is set, and what is not named stays', async () => {
    await attach('a', 'function', { ...DENY, maxBytes: 5 });
    const { policies } = lab.controller;
    expect(await policies.change('a', change({ deny: ['x'] }))).toMatchObject({
      policy: { deny: ['x'], maxBytes: 5 },
    });
    expect(await policies.change('a', change({ allow: ['y'] }, ['deny', 'maxBytes']))).toMatchObject({
      policy: { allow: ['y'] },
    });
    expect(await policies.change('a', change({ readOnly: true }, ['allow', 'readOnly']))).toEqual({
      readOnly: true,
      revoked: false,
      policy: {},
    });
    expect(await policies.change('a', change({}, ['readOnly']))).toMatchObject({ readOnly: false });
  });

  it.each(['function', 'tree', 'queue'] as const)(
    'is the one of the next device process, on a %s',
    async (via) => {
      await attach('a', via);
      await lab.controller.policies.change('a', change(DENY));
      await lab.controller.policies.revoke('a');
      lab.devices.die('it was killed');
      await lab.controller.policies.change('a', change({ readOnly: true }));
      await lab.controller.restart();
      const shown = {
        function: lab.devices.functions.get('slot1-fn0')?.device,
        tree: lab.devices.inTree.get('a'),
        queue: lab.devices.onQueues.get(0),
      }[via];
      expect(shown).toMatchObject({ readOnly: true, policy: DENY, revoked: true });
    },
  );

  it('does not keep a mount of the tree from being detached while it waits for the guest', async () => {
    await lab.boot();
    await attach('a', 'tree');
    lab.devices.helper = 'waits';
    lab.devices.mounted.add('a');
    const detaching = lab.controller.detach('a', QUERY);
    await expect.poll(() => lab.devices.waiting.length).toBe(1);
    await lab.controller.policies.change('a', change({ readOnly: true }));
    lab.devices.waiting[0]();
    expect(await detaching).toEqual({ tags: ['a'] });
    expect(lab.devices.inTree.size).toBe(0);
  });

  it('is refused where a pattern is none, and the old one stays', async () => {
    await attach('a', 'function', DENY);
    for (const deny of [['a//b'], ['../x'], ['a**']]) {
      await expect(lab.controller.policies.change('a', change({ deny }))).rejects.toMatchObject(
        refusal('BAD_REQUEST', /the pattern/, /docs\/file-systems\.md/),
      );
    }
    expect(lab.devices.policies.size).toBe(0);
    expect(await lab.controller.policies.show('a')).toMatchObject({ policy: DENY });
    await expect(attach('b', 'function', { allow: ['x/'] })).rejects.toMatchObject(refusal('BAD_REQUEST'));
    expect(lab.controller.tags).toEqual(['a']);
  });

  it('cannot limit the fids of one mount of the tree', async () => {
    await expect(attach('a', 'tree', { maxFids: 5 })).rejects.toMatchObject(
      refusal('BAD_REQUEST', /share one session/, /--via function/),
    );
    expect(lab.controller.tags).toEqual([]);
    await attach('a', 'tree');
    await expect(lab.controller.policies.change('a', change({ maxFids: 5 }))).rejects.toMatchObject(
      refusal('BAD_REQUEST'),
    );
    await attach('b', 'function', { maxFids: 5 });
  });

  it('is for mounts alone', async () => {
    await attach('a', 'tree');
    await attach('f', 'function');
    await expect(lab.controller.policies.show('chassis')).rejects.toMatchObject(
      refusal('BAD_REQUEST', /carries mounts/),
    );
    await expect(lab.controller.policies.revoke('nothing')).rejects.toMatchObject(refusal('NO_MOUNT'));
    await lab.boot();
    await lab.controller.detach('f', { ...QUERY, keepFunction: true });
    await expect(lab.controller.policies.audit('f', { all: false, waitMs: 0 })).rejects.toMatchObject(
      refusal('NO_MOUNT'),
    );
  });

  it('is a fresh one for the next mount on a function that was kept', async () => {
    await lab.boot();
    await attach('a', 'function', DENY);
    await lab.controller.policies.revoke('a');
    await lab.controller.detach('a', { ...QUERY, keepFunction: true });
    await attach('a', 'function');
    expect(await lab.controller.policies.show('a')).toEqual({ readOnly: false, revoked: false, policy: {} });
    expect(lab.devices.functions.get('slot1-fn0')?.device).toMatchObject({
      policy: undefined,
      revoked: undefined,
    });
  });
});
