import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ChassisError, type AttachRequest, type DetachQuery, type Mount } from '../../manager/control/api.js';
import { ChassisPaths } from '../../manager/control/state-directory.js';
import { Journal } from '../../manager/journal.js';
import { ChassisController } from '../../manager/controller.js';
import { FakeCardPorts, FakeDevices, FakeVmm } from './fakes.js';
import { refusal } from './refusal.js';
import { notingLog } from '../support/log.js';

const QUERY: DetachQuery = {
  force: false,
  slot: false,
  keepFunction: false,
  discard: false,
  timeoutMs: 1000,
};

function request(tags: string[], options: Partial<AttachRequest> = {}): AttachRequest {
  const mounts = tags.map((tag) => ({ tag, source: { type: 'memory' as const }, readOnly: false }));
  return { mounts, via: 'function', permanent: false, port: 'auto', timeoutMs: 1000, ...options };
}

describe('ChassisController', () => {
  let folder: string;
  let processes: FakeDevices[];
  let controller: ChassisController;
  let log: string[];

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'chassis-controller-'));
    processes = [];
    log = [];
    controller = new ChassisController({
      name: 'dev',
      cardPorts: new FakeCardPorts(),
      overlays: join(folder, 'overlays'),
      slotCount: 3,
      paths: new ChassisPaths(folder, 'dev'),
      startDevices: async (hooks) => {
        processes.push(new FakeDevices(processes.length + 1, hooks));
        return processes[processes.length - 1];
      },
      findDevices: async () => undefined,
      journal: new Journal(join(folder, 'journal.json'), 'dev'),
      emit: () => undefined,
      log: notingLog(log),
    });
    await controller.start();
  });
  afterEach(async () => {
    await controller.close();
    rmSync(folder, { recursive: true });
  });

  const devices = () => processes[processes.length - 1];
  const newVmm = () => new FakeVmm(devices, (slot, fn) => controller.functionDeleted(slot, fn));

  async function boot(vmm = newVmm()): Promise<FakeVmm> {
    await controller.vmConnected(vmm);
    return vmm;
  }

  /** Runs what waits for a VMM that is not going to leave. */
  async function impatiently<T>(job: () => Promise<T>): Promise<T> {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const [result] = await Promise.allSettled([job(), vi.advanceTimersByTimeAsync(10_000)]);
      if (result.status === 'rejected') throw result.reason;
      return result.value;
    } finally {
      vi.useRealTimers();
    }
  }

  async function states(): Promise<string[]> {
    return (await controller.mounts()).map(
      ({ tag, slot, function: fn, state }) => `${tag} ${slot}.${fn} ${state}`,
    );
  }

  describe('without a VM', () => {
    it('parks mounts and serves them, with INTx until the VMM is known', async () => {
      const [mount] = await controller.attach(request(['a']));
      expect(mount).toMatchObject({ tag: 'a', slot: 1, function: 0, state: 'parked' });
      expect(mount).not.toHaveProperty('interrupts');
      expect(devices().functions.get('slot1-fn0')).toMatchObject({ msix: false, device: { tag: 'a' } });
    });

    it('serves permanent mounts with MSI-X', async () => {
      await controller.attach(request(['a'], { permanent: true }));
      expect(devices().functions.get('slot1-fn0')?.msix).toBe(true);
    });

    it('attaches all mounts of a request or none', async () => {
      devices().refuse = ({ device }) =>
        device.type === '9p' && device.tag === 'b' ? new ChassisError('SOURCE_UNREADABLE', 'no') : undefined;
      await expect(controller.attach(request(['a', 'b']))).rejects.toMatchObject(
        refusal('SOURCE_UNREADABLE'),
      );
      expect(devices().functions.size).toBe(0);
      expect(await states()).toEqual([]);
    });

    it('lets one of two attaches of a tag win', async () => {
      const both = await Promise.allSettled([
        controller.attach(request(['a'])),
        controller.attach(request(['a'])),
      ]);
      expect(both.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
      expect(both[1]).toMatchObject({ reason: { code: 'TAG_IN_USE' } });
      expect(devices().functions.size).toBe(1);
    });

    it('takes one of several in a slot away, at once', async () => {
      await controller.attach(request(['a', 'b', 'c']));
      expect(await controller.detach('b', QUERY)).toEqual({ tags: ['b'] });
      expect([...devices().functions.keys()]).toEqual(['slot1-fn0', 'slot1-fn2']);
      expect(await controller.detach('a', { ...QUERY, slot: true })).toEqual({ tags: ['a', 'c'] });
      expect(devices().functions.size).toBe(0);
    });

    it('refuses to detach what is not there', async () => {
      await expect(controller.detach('x', QUERY)).rejects.toMatchObject(refusal('NO_MOUNT', /"x"/));
    });

    it('checks a directory before it makes anything', async () => {
      const file = join(folder, 'file');
      writeFileSync(file, '');
      for (const [path, code] of [
        [join(folder, 'nothing'), 'SOURCE_MISSING'],
        [file, 'SOURCE_NOT_DIRECTORY'],
        [join(file, 'x'), 'SOURCE_NOT_DIRECTORY'],
        ['relative', 'BAD_REQUEST'],
        ['/a\0b', 'BAD_REQUEST'],
      ] as const) {
        const mounts = [{ tag: 'a', source: { type: 'directory' as const, path }, readOnly: false }];
        await expect(controller.attach({ ...request([]), mounts })).rejects.toMatchObject(refusal(code));
      }
      expect(devices().functions.size).toBe(0);
    });

    it('shows a mount that a VMM without QMP has as plugged, and does not pull it out from under it', async () => {
      await controller.attach(request(['a']));
      devices().connect('slot1-fn0');
      expect(await states()).toEqual(['a 1.0 plugged']);
      await expect(controller.detach('a', QUERY)).rejects.toMatchObject(
        refusal('MOUNT_BUSY', /does not answer/),
      );
      expect(await controller.detach('a', { ...QUERY, force: true })).toEqual({ tags: ['a'] });
    });
  });

  describe('with a VM', () => {
    it('plugs what is attached, and unplugs what is detached', async () => {
      const vmm = await boot();
      const [mount] = await controller.attach(request(['a']));
      expect(mount).toMatchObject({ state: 'plugged', interrupts: 'intx' });
      expect(await controller.detach('a', QUERY)).toEqual({ tags: ['a'] });
      expect(vmm.calls).toEqual(['plug 1: 0', 'unplug 1: 0']);
      expect(devices().functions.size).toBe(0);
    });

    it('gives functions MSI-X where the VMM can unplug it', async () => {
      await controller.attach(request(['parked']));
      const vmm = newVmm();
      vmm.abilities.msixPreventsUnplug = false;
      await boot(vmm);
      await controller.attach(request(['a']));
      expect((await controller.mounts()).map(({ interrupts }) => interrupts)).toEqual(['msix', 'msix']);
      expect(await controller.detach('a', QUERY)).toEqual({ tags: ['a'] });
    });

    it('parks a function other than 0 until function 0 comes, and then plugs both', async () => {
      const vmm = await boot();
      await controller.attach(request(['b'], { slot: 2, function: 1 }));
      expect(await states()).toEqual(['b 2.1 parked']);
      await controller.attach(request(['a'], { slot: 2 }));
      expect(await states()).toEqual(['a 2.0 plugged', 'b 2.1 plugged']);
      expect(vmm.calls).toEqual(['plug 2: 0 1']);
    });

    it('takes back only its own mounts when the VMM refuses, and keeps those that waited', async () => {
      const vmm = await boot();
      vmm.refusePlug = () => new ChassisError('VMM_REFUSED', 'no room');
      await controller.attach(request(['b'], { slot: 2, function: 1 }));
      await expect(controller.attach(request(['a'], { slot: 2 }))).rejects.toMatchObject(
        refusal('VMM_REFUSED'),
      );
      expect(await states()).toEqual(['b 2.1 parked']);
      expect([...devices().functions.keys()]).toEqual(['slot2-fn1']);
      vmm.refusePlug = undefined;
      await controller.attach(request(['a'], { slot: 2 }));
      expect(await states()).toEqual(['a 2.0 plugged', 'b 2.1 plugged']);
    });

    it('refuses to detach one of several in a slot, and takes them all when told to', async () => {
      await boot();
      await controller.attach(request(['a', 'b']));
      await expect(controller.detach('b', QUERY)).rejects.toMatchObject(refusal('SLOT_SHARED', /"b".*"a"/));
      expect(await controller.detach('b', { ...QUERY, slot: true })).toEqual({ tags: ['a', 'b'] });
      expect(await states()).toEqual([]);
    });

    it('refuses to detach what the guest has mounted, unless forced', async () => {
      const vmm = await boot();
      await controller.attach(request(['a', 'b']));
      devices().fids.set('slot1-fn1', 3);
      const both = { ...QUERY, slot: true };
      await expect(controller.detach('a', both)).rejects.toMatchObject(
        refusal('MOUNT_BUSY', /"b" mounted/, /umount/),
      );
      expect(vmm.calls).toEqual(['plug 1: 0 1']);
      expect(await controller.detach('a', { ...both, force: true })).toEqual({ tags: ['a', 'b'] });
    });

    it('refuses to detach a permanent mount that the VM would not survive, by force too', async () => {
      await boot();
      await controller.attach(request(['a'], { permanent: true }));
      expect((await controller.mounts())[0].interrupts).toBe('msix');
      await expect(controller.detach('a', { ...QUERY, force: true })).rejects.toMatchObject(
        refusal('MOUNT_PERMANENT', /11\.1\.3 would abort/),
      );
      controller.vmLost();
      const detaching = controller.detach('a', QUERY);
      devices().disconnect('slot1-fn0');
      expect(await detaching).toEqual({ tags: ['a'] });
    });

    it('keeps a slot unplugging when the guest takes too long, and finishes when it complies', async () => {
      const vmm = await boot();
      await controller.attach(request(['a']));
      vmm.guest = 'ignores';
      await expect(controller.detach('a', QUERY)).rejects.toMatchObject(refusal('GUEST_TIMEOUT'));
      expect(await states()).toEqual(['a 1.0 unplugging']);
      await expect(controller.attach(request(['a']))).rejects.toMatchObject(refusal('TAG_IN_USE'));
      vmm.eject(1);
      expect(await states()).toEqual([]);
      await controller.attach(request(['a']));
      expect(await states()).toEqual(['a 1.0 plugged']);
    });

    it('can be asked again while a slot is unplugging', async () => {
      const vmm = await boot();
      await controller.attach(request(['a']));
      vmm.guest = 'ignores';
      await expect(controller.detach('a', QUERY)).rejects.toMatchObject(refusal('GUEST_TIMEOUT'));
      vmm.guest = 'agrees';
      expect(await controller.detach('a', QUERY)).toEqual({ tags: ['a'] });
    });

    it('leaves a mount plugged when the guest refuses', async () => {
      const vmm = await boot();
      await controller.attach(request(['a']));
      vmm.guest = 'refuses';
      await expect(controller.detach('a', QUERY)).rejects.toMatchObject(refusal('VMM_REFUSED'));
      expect(await states()).toEqual(['a 1.0 plugged']);
    });

    it('never touches other slots', async () => {
      const vmm = await boot();
      await controller.attach(request(['a']));
      await controller.attach(request(['b']));
      await controller.detach('a', QUERY);
      expect(await states()).toEqual(['b 2.0 plugged']);
      expect([...vmm.has]).toEqual([[2, 1]]);
    });

    it('parks mounts that the guest ejected by itself', async () => {
      const vmm = await boot();
      await controller.attach(request(['a', 'b']));
      vmm.eject(1);
      expect(await states()).toEqual(['a 1.0 parked', 'b 1.1 parked']);
    });

    it('does not use slots that the VM cannot', async () => {
      const vmm = newVmm();
      vmm.unusable.set(1, 'slot 1 is taken by a disk');
      await boot(vmm);
      expect((await controller.describe()).slotsFree).toBe(2);
      expect((await controller.attach(request(['a'])))[0].slot).toBe(2);
      await expect(controller.attach(request(['b'], { slot: 1 }))).rejects.toMatchObject(
        refusal('SLOT_TAKEN', /by a disk/),
      );
    });
  });

  describe('when VMs come and go', () => {
    it('plugs what was parked into the next VM', async () => {
      await controller.attach(request(['a', 'b']));
      await controller.attach(request(['c'], { slot: 3, function: 2 }));
      const vmm = await boot();
      expect(vmm.calls).toEqual(['plug 1: 0 1']);
      expect(await states()).toEqual(['a 1.0 plugged', 'b 1.1 plugged', 'c 3.2 parked']);
    });

    it('recognises what the VM has from its command line', async () => {
      await controller.attach(request(['a', 'b']));
      const vmm = newVmm();
      vmm.insert(1, 1);
      vmm.insert(1, 0);
      await boot(vmm);
      expect(vmm.calls).toEqual([]);
      expect(await states()).toEqual(['a 1.0 plugged', 'b 1.1 plugged']);
    });

    it('keeps a mount parked that came to a slot after the VM got its command line', async () => {
      await controller.attach(request(['a']));
      const vmm = newVmm();
      vmm.insert(1, 0);
      await controller.attach(request(['late'], { slot: 1 }));
      await boot(vmm);
      expect(await states()).toEqual(['a 1.0 plugged', 'late 1.1 parked']);
      expect(await controller.detach('late', QUERY)).toEqual({ tags: ['late'] });
      expect(await controller.detach('a', QUERY)).toEqual({ tags: ['a'] });
    });

    it('parks all mounts when the VM goes, and plugs them into the next', async () => {
      await boot();
      await controller.attach(request(['a']));
      await controller.attach(request(['b']));
      controller.vmLost();
      for (const name of ['slot1-fn0', 'slot2-fn0']) devices().disconnect(name);
      expect(await states()).toEqual(['a 1.0 parked', 'b 2.0 parked']);
      expect((await boot()).calls).toEqual(['plug 1: 0', 'plug 2: 0']);
      expect(await states()).toEqual(['a 1.0 plugged', 'b 2.0 plugged']);
    });

    it('says why a parked mount did not get into the VM', async () => {
      await controller.attach(request(['a']));
      const vmm = newVmm();
      vmm.refusePlug = () => new ChassisError('VMM_REFUSED', 'no room');
      await boot(vmm);
      expect((await controller.mounts())[0]).toMatchObject({ state: 'parked', reason: 'no room' });
    });

    it('does not plug what another VMM has open', async () => {
      await controller.attach(request(['a']));
      devices().connect('slot1-fn0');
      const vmm = await impatiently(() => boot());
      expect(vmm.calls).toEqual([]);
      expect(log.join()).toMatch(/VMM other than the one/);
    });

    it('takes a detach for done when the VM dies in the middle of it', async () => {
      const vmm = await boot();
      await controller.attach(request(['a']));
      vmm.stall();
      const detaching = controller.detach('a', QUERY);
      await new Promise(setImmediate);
      vmm.die();
      expect(await detaching).toEqual({ tags: ['a'] });
      expect(await states()).toEqual([]);
    });

    it('undoes an attach in the middle of which the VM dies', async () => {
      const vmm = await boot();
      vmm.refusePlug = () => {
        controller.vmLost();
        return new ChassisError('VMM_GONE', 'the VM went away');
      };
      await expect(controller.attach(request(['a']))).rejects.toMatchObject(refusal('VMM_GONE'));
      expect(await states()).toEqual([]);
      expect(devices().functions.size).toBe(0);
    });

    it('forgets a VM that went before it was looked at', async () => {
      await controller.attach(request(['a']));
      const vmm = newVmm();
      const connecting = controller.vmConnected(vmm);
      controller.vmLost();
      await connecting;
      expect(vmm.calls).toEqual([]);
      expect(await controller.describe()).not.toHaveProperty('vmm');
    });

    it('does not use slots with functions of an earlier daemon until they are gone', async () => {
      const vmm = newVmm();
      vmm.has.set(1, 0b11);
      await boot(vmm);
      await expect(controller.attach(request(['a'], { slot: 1 }))).rejects.toMatchObject(
        refusal('SLOT_TAKEN', /earlier daemon/),
      );
      controller.functionDeleted(1, 1);
      controller.functionDeleted(1, 0);
      expect(await controller.attach(request(['a'], { slot: 1 }))).toMatchObject([{ state: 'plugged' }]);
    });

    it('refuses attaches while an unsuitable VM is there, and parks again once it is gone', async () => {
      controller.vmRejected(new ChassisError('VMM_UNSUITABLE', 'too old'));
      await expect(controller.attach(request(['a']))).rejects.toMatchObject(refusal('VMM_UNSUITABLE'));
      expect((await controller.describe()).vmmProblem).toBe('too old');
      controller.vmLost();
      expect(await controller.attach(request(['a']))).toMatchObject([{ state: 'parked' }]);
    });
  });

  describe('when the device process dies', () => {
    it('reports it, and what the VM had as recovering', async () => {
      await boot();
      await controller.attach(request(['a']));
      await controller.attach(request(['b'], { slot: 2, function: 1 }));
      devices().die('killed by SIGKILL');
      const chassis = await controller.describe();
      expect(chassis.deviceProcess).toEqual({
        ...{ state: 'recovering', reason: 'killed by SIGKILL', restarts: 0 },
      });
      expect(chassis.mounts.map(({ state }) => state)).toEqual(['recovering', 'parked']);
    });

    it('serves all mounts anew after a restart, and leaves the running VM alone', async () => {
      const vmm = await boot();
      await controller.attach(request(['a']));
      await controller.attach(request(['b'], { slot: 2, function: 1 }));
      devices().die('killed');
      const chassis = await controller.restart();
      expect(chassis.deviceProcess).toEqual({ state: 'running', pid: 2, restarts: 1 });
      expect([...devices().functions.keys()]).toEqual(['slot1-fn0', 'slot2-fn1']);
      expect(vmm.calls).toEqual(['plug 1: 0']);
      expect(chassis.mounts[0]).toMatchObject({
        state: 'lost',
        reason: expect.stringMatching(/started anew/) as string,
      });
    });

    it('plugs them into the next VM', async () => {
      await boot();
      await controller.attach(request(['a']));
      devices().die('killed');
      await controller.restart();
      controller.vmLost();
      expect((await boot()).calls).toEqual(['plug 1: 0']);
      expect((await controller.mounts())[0]).not.toHaveProperty('reason');
    });

    it('does not ask a guest to let a cut-off function go, unless forced', async () => {
      const vmm = await boot();
      await controller.attach(request(['a']));
      devices().die('killed');
      await expect(controller.detach('a', QUERY)).rejects.toMatchObject(
        refusal('DEVICE_PROCESS_LOST', /cut off/, /stop the VM/),
      );
      expect(vmm.calls).toEqual(['plug 1: 0']);
      await controller.restart();
      vmm.guest = 'ignores';
      await expect(controller.detach('a', { ...QUERY, force: true })).rejects.toMatchObject(
        refusal('GUEST_TIMEOUT'),
      );
    });

    it('is started over by the next attach, whose mount is plugged', async () => {
      await boot();
      await controller.attach(request(['a']));
      devices().die('killed');
      expect(await controller.attach(request(['b']))).toMatchObject([{ slot: 2, state: 'plugged' }]);
      expect(await states()).toEqual(['a 1.0 lost', 'b 2.0 plugged']);
    });

    it('plugs a slot anew that the guest gave up after all', async () => {
      const vmm = await boot();
      await controller.attach(request(['a']));
      devices().die('killed');
      await controller.restart();
      vmm.eject(1);
      await controller.restart();
      expect(await states()).toEqual(['a 1.0 plugged']);
    });

    it('lets a chassis go without asking the guest for what is cut off', async () => {
      const vmm = await boot();
      await controller.attach(request(['a']));
      devices().die('killed');
      await controller.attach(request(['b']));
      await controller.detachAll(1000);
      expect(controller.tags).toEqual([]);
      expect(vmm.calls).toEqual(['plug 1: 0', 'plug 2: 0', 'unplug 2: 0']);
    });
  });

  describe('qemuArgs', () => {
    it('puts in the mounts whose slot has a function 0', async () => {
      await controller.attach(request(['a', 'b']));
      await controller.attach(request(['c'], { slot: 3, function: 2 }));
      const { args } = await controller.qemuArgs({ memoryMiB: 128 });
      const ids = args
        .filter((arg) => arg.startsWith('{'))
        .map((json) => (JSON.parse(json) as { id: string }).id);
      expect(ids).toEqual(['chassis-slot1-fn1', 'chassis-slot1-fn0']);
    });
  });

  it('refuses everything once it is closed', async () => {
    await controller.close();
    expect(devices().stopped).toBe(true);
    await expect(controller.attach(request(['a']))).rejects.toMatchObject(refusal('NO_CHASSIS'));
  });

  it('prints a mount command for each mount', async () => {
    const mounts: Mount[] = await controller.attach(request(["it's"]));
    expect(mounts[0].mountCommand).toBe(
      "mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 'it'\\''s' '/mnt/it'\\''s'",
    );
  });
});
