import { expect, it } from 'vitest';
import { attachedText, mountsTable } from '../../cli/support/mounts-text.js';
import { planText } from '../../cli/support/plan-text.js';
import type { Mount, Plan } from '../../manager/control/api.js';

const MOUNT: Mount = {
  ...{ chassis: 'dev', tag: 'a', source: { type: 'memory' }, readOnly: false, permanent: false },
  ...{
    via: 'tree',
    slot: 2,
    function: 0,
    state: 'plugged',
    inGuest: 'shown',
    mountCommand: 'mount --bind x y',
  },
};

it.each<[string, Partial<Mount>, RegExp]>([
  ['seen', {}, /^a is seen in the tree, .*guest-setup\)\n {2}elsewhere: mount --bind x y$/],
  ['to be seen', { state: 'parked' }, /^a will be seen once a VM runs/],
  ['mounted', { target: '/work', inGuest: 'mounted' }, /^a is mounted at \/work in the guest$/],
  ['to be mounted', { target: '/work', inGuest: 'waiting' }, /^a will be mounted at \/work once/],
])('says of a mount of the tree that it is %s', (_, change, text) => {
  expect(attachedText({ ...MOUNT, ...change })).toMatch(text);
});

it('says of a mount on a queue which one, how Linux mounts the first, and who can mount the others', () => {
  const mount: Mount = { ...MOUNT, via: 'queue', queue: 0, mountNote: 'and none of the others' };
  expect(attachedText(mount).split('\n')).toEqual([
    'a is plugged into slot 2, function 0, queue 0',
    '  in the guest: mount --bind x y',
    '  note: and none of the others',
  ]);
  expect(attachedText({ ...mount, queue: 1, mountCommand: undefined }).split('\n')).toHaveLength(2);
  expect(mountsTable([mount])).toMatch(/ queue 0 +2 +0 +shown/);
});

it('says of a mount with an overlay how its changes are seen, and what a guest may do with each', () => {
  const mount: Mount = { ...MOUNT, overlay: { type: 'memory' } };
  expect(attachedText(mount)).toMatch(/elsewhere: .*\n {2}changes stay apart: chassis diff a$/);
  const access = (change: Partial<Mount>) => mountsTable([{ ...mount, ...change }]).split(/\s+mem:\s+/)[1];
  expect(access({})).toMatch(/^overlay /);
  expect(access({ readOnly: true })).toMatch(/^ro /);
  expect(access({ readOnly: true, revoked: true })).toMatch(/^revoked /);
});

const PLAN: Plan = {
  ...{ vmm: 'qemu', via: 'function', mounts: 600, slots: 75, functionsPerSlot: 8, extensions: 1 },
  ...{ extensionKind: 'switch', growsWhileRunning: false, room: 600, left: 0, oneByOne: 75 },
};

it('says of a plan what it needs, takes and leaves, and what does not change while a VM runs', () => {
  expect(planText(PLAN, 'chassis create NAME').split('\n')).toEqual([
    '600 mounts on qemu, each as a function of its own',
    '  needs       75 slots of 8 functions each, some of them on 1 switch as extension chassis',
    '  takes       600 mounts, so 0 are left',
    '              that is with 8 attached at a time, which then leave together; one at a time, each takes a slot: 75',
    '  note        slots are fixed once the VM runs',
    '  make it     chassis create NAME',
  ]);
  expect(planText({ ...PLAN, via: 'tree', slots: 1, extensions: 2 }, 'x')).toMatch(/1 slot .* 2 switches/);
});
