import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, expect, it, vi } from 'vitest';
import {
  ChassisError,
  type AddDiskRequest,
  type DiskSource,
  type TopologyNode,
} from '../../manager/control/api.js';
import { ControllerHarness, QUERY, request } from './controller-harness.js';
import { DISK_QUEUE_SIZE } from '../../manager/vmm/qemu-names.js';
import { refusal } from './refusal.js';

const lab = ControllerHarness.perTest(3);
const MEMORY: DiskSource = { type: 'memory', sizeBytes: 8192 };
const FILE: DiskSource = { type: 'file', path: '/images/root.img' };
const SEED: DiskSource = { type: 'cloud-init', path: '/user-data.yaml' };
const REMOVAL = { force: false, timeoutMs: 1000 };

function disk(name: string, options: Partial<AddDiskRequest> = {}): AddDiskRequest {
  const asked = { name, source: MEMORY, readOnly: false, overlay: false, queues: 2 };
  return { ...asked, permanent: false, port: 'auto', timeoutMs: 1000, ...options };
}

/** `NAME SLOT STATE` of each disk. */
async function states(): Promise<string[]> {
  return (await lab.controller.disks.list()).map(({ name, slot, state }) => `${name} ${slot} ${state}`);
}

describe('disks whose device process died while there was no daemon', () => {
  const added = async () => {
    await lab.controller.disks.add(disk('memory'));
    await lab.controller.disks.add(disk('overlay', { source: FILE, overlay: true }));
    await lab.controller.disks.add(disk('file', { source: FILE }));
  };
  const served = () =>
    [...lab.devices.functions.values()].map(({ device }) => device.type === 'disk' && device.serial);

  it('are not shown to the VM that is still there with other contents than it wrote', async () => {
    await added();
    const vm = createServer().listen(lab.paths.qmpSocket);
    await once(vm, 'listening');
    try {
      await lab.takeOver(lab.journaled, false);
      expect(served()).toEqual(['file']);
      const disks = await lab.controller.disks.list();
      expect(disks.find(({ name }) => name === 'memory')?.reason).toMatch(/what the guest wrote was in/);
    } finally {
      vm.close();
    }
  });

  it('begin anew where there is no VM', async () => {
    await added();
    await lab.takeOver(lab.journaled, false);
    expect(served()).toEqual(['memory', 'overlay', 'file']);
  });
});

describe('a disk', () => {
  it('waits without a VM, is plugged into the one that comes, and parked for the next', async () => {
    await lab.controller.disks.add(disk('root'));
    expect(await states()).toEqual(['root 1 parked']);
    const vmm = await lab.boot();
    expect(vmm.calls).toEqual(['plug 1: 0']);
    expect(await states()).toEqual(['root 1 plugged']);
    vmm.die();
    lab.controller.vmLost();
    expect(await states()).toEqual(['root 1 parked']);
    expect(lab.devices.functions.has('slot1-fn0')).toBe(true);
    await lab.boot();
    expect(await states()).toEqual(['root 1 plugged']);
  });

  it('is made as it was asked for, and known by the first characters of its name', async () => {
    const name = 'debian-13-generic-amd64';
    const added = await lab.controller.disks.add(disk(name, { source: FILE, overlay: true }));
    expect(added).toMatchObject({ chassis: 'dev', name, source: FILE, overlay: true, slot: 1, function: 0 });
    expect(lab.devices.functions.get('slot1-fn0')).toMatchObject({
      port: 'vhost-user',
      device: { type: 'disk', source: FILE, overlay: true, readOnly: false, serial: 'debian-13-generic-am' },
    });
    expect(added.counters).not.toHaveProperty('fids');
  });

  it('reaches a VMM without vhost-user disks over vfio-user', async () => {
    const vmm = lab.newVmm();
    vmm.abilities.vhostUserDisk = false;
    await lab.boot(vmm);
    expect(await lab.controller.disks.add(disk('root'))).toMatchObject({
      port: 'vfio-user',
      state: 'plugged',
    });
    await expect(lab.controller.disks.add(disk('b', { port: 'vhost-user' }))).rejects.toMatchObject(
      refusal('VMM_UNSUITABLE', /vhost-user-blk-pci/),
    );
    expect(await states()).toEqual(['root 1 plugged']);
  });

  it('has as many queues as were asked for, also where its device process is made anew', async () => {
    expect(await lab.controller.disks.add(disk('root', { queues: 3 }))).toMatchObject({ queues: 3 });
    lab.devices.die('killed');
    await lab.controller.restart();
    expect(lab.devices.functions.get('slot1-fn0')).toMatchObject({ device: { queues: 3 } });
  });

  it('is on the command line of the next VM', async () => {
    await lab.controller.disks.add(disk('root'));
    const { args } = await lab.controller.qemuArgs({ memoryMiB: 64 });
    const device = args.map((arg) => (arg.startsWith('{') ? (JSON.parse(arg) as object) : {})).at(-1);
    expect(device).toMatchObject({
      driver: 'vhost-user-blk-pci',
      'num-queues': 2,
      // A queue's size is what the disk counts on when it says how many segments a request may have.
      'queue-size': DISK_QUEUE_SIZE,
      ...{ id: 'chassis-slot1-fn0', chardev: 'chassis-slot1-fn0', bus: 'chassis-slot1', addr: '0.0' },
    });
  });

  it.each([
    ['a mount has', () => lab.controller.attach(request(['x']))],
    ['a disk has', () => lab.controller.disks.add(disk('x'))],
    ['a mount of the tree has', () => lab.controller.attach(request(['x'], { via: 'tree' }))],
  ])('cannot have a name that %s', async (_, make) => {
    await make();
    await expect(lab.controller.disks.add(disk('x', { serial: 'y' }))).rejects.toMatchObject(
      refusal('TAG_IN_USE'),
    );
  });

  it('keeps its name from mounts', async () => {
    await lab.controller.disks.add(disk('x'));
    for (const via of ['function', 'tree'] as const) {
      await expect(lab.controller.attach(request(['x'], { via }))).rejects.toMatchObject(
        refusal('TAG_IN_USE', /./, /a disk has that one/),
      );
    }
  });

  it('has a serial that no other disk has', async () => {
    await lab.controller.disks.add(disk('x'));
    await expect(lab.controller.disks.add(disk('y', { serial: 'x' }))).rejects.toMatchObject(
      refusal('TAG_IN_USE', /serial/, /--serial/),
    );
    await lab.controller.disks.add(disk('z', { serial: 'other' }));
    expect(await states()).toEqual(['x 1 parked', 'z 2 parked']);
  });

  it('has its slot for itself, also while no VM has it', async () => {
    await lab.controller.disks.add(disk('x', { slot: 2 }));
    await lab.controller.attach(request(['m']));
    await expect(lab.controller.attach(request(['n'], { slot: 2 }))).rejects.toMatchObject(
      refusal('SLOT_TAKEN', /a disk has a slot of its own/, /free: 3/),
    );
    await expect(lab.controller.disks.add(disk('y', { slot: 1 }))).rejects.toMatchObject(
      refusal('SLOT_TAKEN', /a disk has a slot of its own/),
    );
    await lab.controller.disks.add(disk('y'));
    await expect(lab.controller.disks.add(disk('z'))).rejects.toMatchObject(refusal('NO_SLOT_FREE'));
    expect(await states()).toEqual(['x 2 parked', 'y 3 parked']);
  });

  it('with an overlay keeps changes in the folder that was asked for', async () => {
    const options = { overlay: true, overlayDirectory: '/var/tmp' };
    expect(await lab.controller.disks.add(disk('x', { source: FILE, ...options }))).toMatchObject(options);
    expect(lab.devices.functions.get('slot1-fn0')).toMatchObject({ device: options });
  });

  it('with user data for cloud-init is read-only, asked for or not', async () => {
    expect(await lab.controller.disks.add(disk('seed', { source: SEED }))).toMatchObject({ readOnly: true });
    expect(lab.devices.functions.get('slot1-fn0')).toMatchObject({
      device: { type: 'disk', source: SEED, readOnly: true },
    });
  });

  it.each<[string, Partial<AddDiskRequest>]>([
    ['a path that is not absolute', { source: { type: 'file', path: 'root.img' } }],
    ['an overlay that nobody may write to', { source: FILE, overlay: true, readOnly: true }],
    ['an overlay over memory', { overlay: true }],
    ['user data at a path that is not absolute', { source: { type: 'cloud-init', path: 'user-data' } }],
    ['a folder for changes that there are not', { source: FILE, overlayDirectory: '/var/tmp' }],
    ['a folder that is not absolute', { source: FILE, overlay: true, overlayDirectory: 'tmp' }],
    ['an overlay over user data', { source: SEED, overlay: true }],
  ])('is refused with %s', async (_, options) => {
    await expect(lab.controller.disks.add(disk('x', options))).rejects.toMatchObject(refusal('BAD_REQUEST'));
    expect(await states()).toEqual([]);
  });

  it('that cannot be opened, or that the VMM refuses, leaves nothing behind', async () => {
    lab.devices.refuse = () => new ChassisError('SOURCE_MISSING', 'no such file');
    await expect(lab.controller.disks.add(disk('x'))).rejects.toMatchObject(refusal('SOURCE_MISSING'));
    lab.devices.refuse = undefined;
    const vmm = await lab.boot();
    vmm.refusePlug = () => new ChassisError('VMM_REFUSED', 'no');
    await expect(lab.controller.disks.add(disk('x'))).rejects.toMatchObject(refusal('VMM_REFUSED'));
    expect(await states()).toEqual([]);
    expect(lab.devices.functions.size).toBe(0);
  });

  it('is drawn in its slot, and shown with the chassis', async () => {
    await lab.controller.disks.add(disk('x', { slot: 2 }));
    const root: TopologyNode = await lab.controller.tree();
    expect(root.children[1]).toMatchObject({
      slot: 2,
      children: [{ kind: 'disk', address: '00.0', tag: 'x', source: 'mem:8192', state: 'parked' }],
    });
    expect(await lab.controller.describe()).toMatchObject({
      mounts: [],
      disks: [{ name: 'x' }],
      slotsFree: 2,
    });
  });
});

describe('resizing a disk', () => {
  it('goes on by itself once its VM is connected to the next device process', async () => {
    await lab.controller.disks.add(disk('h'));
    await lab.controller.disks.add(disk('v', { port: 'vfio-user' }));
    await lab.boot();
    lab.devices.die('killed');
    expect(await states()).toEqual(['h 1 recovering', 'v 2 recovering']);
    await vi.waitFor(async () =>
      expect((await lab.controller.describe()).deviceProcess.state).toBe('running'),
    );
    // Over vfio-user, QEMU does not connect again.
    expect(await states()).toEqual(['h 1 recovering', 'v 2 lost']);
    lab.devices.connect('slot1-fn0');
    expect(await states()).toEqual(['h 1 plugged', 'v 2 lost']);
    expect(lab.log.join()).toMatch(/slot 1: the VM is connected again/);
  });

  it('changes what it is made of after the device process died', async () => {
    await lab.controller.disks.add(disk('m'));
    await lab.controller.disks.add(disk('o', { source: FILE, overlay: true }));
    await lab.controller.disks.add(disk('f', { source: FILE, serial: 'f' }));
    for (const name of ['m', 'o', 'f']) {
      expect(await lab.controller.disks.resize(name, { sizeBytes: 16384, shrink: false })).toMatchObject({
        name,
        sizeBytes: 16384,
      });
    }
    lab.devices.die('killed');
    await lab.controller.restart();
    const specs = [...lab.devices.functions.values()].map(({ device }) => device);
    expect(specs).toMatchObject([
      { source: { sizeBytes: 16384 } },
      { source: FILE, overlayBytes: 16384 },
      { source: FILE },
    ]);
    expect(specs[2]).not.toHaveProperty('overlayBytes');
  });

  it('remembers the last size of two that are asked for at once', async () => {
    await lab.controller.disks.add(disk('m'));
    await Promise.all(
      [16384, 32768].map((sizeBytes) => lab.controller.disks.resize('m', { sizeBytes, shrink: false })),
    );
    expect((await lab.controller.disks.list())[0]).toMatchObject({ source: { sizeBytes: 32768 } });
  });

  it('that fails changes nothing', async () => {
    await lab.controller.disks.add(disk('m'));
    await expect(lab.controller.disks.resize('m', { sizeBytes: 512, shrink: false })).rejects.toMatchObject(
      refusal('SIZE_INVALID'),
    );
    expect((await lab.controller.disks.list())[0]).toMatchObject({ source: MEMORY, sizeBytes: 8192 });
    await lab.controller.attach(request(['mount']));
    await expect(
      lab.controller.disks.resize('mount', { sizeBytes: 512, shrink: false }),
    ).rejects.toMatchObject(refusal('NO_DISK', /./, /it is a mount/));
  });
});

it('a disk whose image somebody cut off says so', async () => {
  await lab.controller.disks.add(disk('f', { source: FILE }));
  expect((await lab.controller.disks.list())[0]).not.toHaveProperty('trouble');
  lab.devices.diskTroubles.set('slot1-fn0', 'it was cut off');
  expect(await lab.controller.disks.list()).toMatchObject([{ name: 'f', trouble: 'it was cut off' }]);
});

describe('a disk that is removed', () => {
  it('while it is resized is not resized', async () => {
    await lab.controller.disks.add(disk('m'));
    lab.devices.resizeDisk = async () => {
      await lab.controller.disks.remove('m', REMOVAL);
      await lab.controller.disks.add(disk('m'));
    };
    expect(await lab.controller.disks.resize('m', { sizeBytes: 16384, shrink: false })).toMatchObject({
      source: MEMORY,
      sizeBytes: 8192,
    });
  });
});

describe('removing a disk', () => {
  it('is refused of a permanent one that the VM would not survive, by force too', async () => {
    const vmm = await lab.boot();
    const added = await lab.controller.disks.add(disk('x', { port: 'vfio-user', permanent: true }));
    expect(added).toMatchObject({ permanent: true, interrupts: 'msix' });
    await expect(lab.controller.disks.remove('x', { ...REMOVAL, force: true })).rejects.toMatchObject(
      refusal('MOUNT_PERMANENT', /11\.1\.3 would abort/),
    );
    expect(vmm.calls).toEqual(['plug 1: 0']);
    expect(await states()).toEqual(['x 1 plugged']);
  });

  it('asks the guest, and takes nothing else', async () => {
    const vmm = await lab.boot();
    await lab.controller.disks.add(disk('x'));
    await lab.controller.attach(request(['m']));
    await lab.controller.disks.remove('x', REMOVAL);
    expect(vmm.calls.at(-1)).toBe('unplug 1: 0');
    expect(await states()).toEqual([]);
    expect(await lab.states()).toEqual(['m 2.0 plugged']);
    expect([...lab.devices.functions.keys()]).toEqual(['slot2-fn0']);
  });

  it('leaves all as it was where the guest refuses, and a standing request where it does not answer', async () => {
    const vmm = await lab.boot();
    await lab.controller.disks.add(disk('x'));
    vmm.guest = 'refuses';
    await expect(lab.controller.disks.remove('x', REMOVAL)).rejects.toMatchObject(refusal('VMM_REFUSED'));
    expect(await states()).toEqual(['x 1 plugged']);
    vmm.guest = 'ignores';
    await expect(lab.controller.disks.remove('x', REMOVAL)).rejects.toMatchObject(refusal('GUEST_TIMEOUT'));
    expect(await states()).toEqual(['x 1 unplugging']);
    expect(lab.devices.connected.has('slot1-fn0')).toBe(true);
    vmm.eject(1);
    expect(await states()).toEqual([]);
  });

  it('that was cut off asks the guest only by force', async () => {
    const vmm = await lab.boot();
    await lab.controller.disks.add(disk('x'));
    lab.devices.die('killed');
    await expect(lab.controller.disks.remove('x', REMOVAL)).rejects.toMatchObject(
      refusal('DEVICE_PROCESS_LOST'),
    );
    expect(vmm.calls).not.toContain('unplug 1: 0');
    await lab.controller.restart();
    await lab.controller.disks.remove('x', { ...REMOVAL, force: true });
    expect(vmm.calls).toContain('unplug 1: 0');
    expect(await states()).toEqual([]);
  });

  it('is not the business of detach', async () => {
    await lab.controller.disks.add(disk('x'));
    await expect(lab.controller.detach('x', QUERY)).rejects.toMatchObject(refusal('NO_MOUNT'));
    await expect(lab.controller.disks.remove('y', REMOVAL)).rejects.toMatchObject(refusal('NO_DISK'));
  });

  it('goes along when the whole chassis is emptied', async () => {
    await lab.boot();
    await lab.controller.disks.add(disk('x'));
    await lab.controller.attach(request(['m']));
    expect(lab.controller.tags).toEqual(['x', 'm']);
    await lab.controller.detachAll(1000);
    expect(lab.controller.tags).toEqual([]);
    expect(lab.devices.functions.size).toBe(0);
  });
});
