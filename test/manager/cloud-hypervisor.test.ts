/** A daemon and a chassis for Cloud Hypervisor, which a stand-in for that connects to: it follows the published API. */
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChassisClient } from '../../manager/control/client.js';
import { DaemonProcess } from './daemon-process.js';
import { PATIENTLY } from './patiently.js';
import { refusal } from './refusal.js';
import { temporaryFolders } from './temporary-folder.js';
import { CloudHypervisorStandIn } from './vmm/cloud-hypervisor/stand-in.js';

describe('a chassis for Cloud Hypervisor', () => {
  const folder = temporaryFolders();
  let directory: string;
  let apiSocket: string;
  let client: ChassisClient;
  let daemon: DaemonProcess;
  let vmm: CloudHypervisorStandIn;

  beforeEach(async () => {
    const path = folder();
    [directory, apiSocket] = [join(path, 'state'), join(path, 'ch.sock')];
    client = new ChassisClient({ directory });
    vmm = new CloudHypervisorStandIn();
    vmm.connects = true;
    daemon = await DaemonProcess.start(directory);
  }, 60_000);
  afterEach(async () => {
    for (const { name } of await client.list()) await client.delete(name, { force: true });
    await vmm.stop();
    await daemon.stop();
  }, 60_000);

  const memory = { type: 'memory' as const };
  const states = async () =>
    (await client.mounts('dev')).map(({ tag, slot, port, state }) => `${tag} ${slot} ${port} ${state}`);
  const create = () => client.create('dev', { slots: 3, vmm: 'cloud-hypervisor', apiSocket });

  it('plugs in what waits when a VM comes, and what is attached then, and parks it when the VM is gone', async () => {
    expect(await create()).toMatchObject({ apiSocket });
    await client.attach('dev', { mounts: [{ tag: 'first', source: memory }] });
    expect(await states()).toEqual(['first 1 vfio-user parked']);
    await vmm.listen(apiSocket);
    await expect.poll(states, PATIENTLY).toEqual(['first 1 vfio-user plugged']);
    await client.attach('dev', { mounts: [{ tag: 'second', source: memory }], via: 'function' });
    await client.addDisk('dev', { name: 'disk0', source: { type: 'memory', sizeBytes: 1 << 20 } });
    expect([...vmm.devices.keys()]).toEqual([1, 2, 3].map((slot) => `chassis-slot${slot}-fn0`));
    expect((await client.get('dev')).vmm).toMatchObject({ type: 'cloud-hypervisor', version: 'v53.0' });

    await client.detach('dev', 'first');
    expect([...vmm.devices.keys()]).toEqual(['chassis-slot2-fn0', 'chassis-slot3-fn0']);
    await vmm.stop();
    await expect.poll(states, PATIENTLY).toEqual(['second 2 vfio-user parked']);
    expect(await client.get('dev')).not.toHaveProperty('vmm');
  });

  it('is found again by the next daemon, with the VM that it has', async () => {
    await create();
    await vmm.listen(apiSocket);
    await expect.poll(async () => (await client.get('dev')).vmm, PATIENTLY).toBeDefined();
    await client.attach('dev', { mounts: [{ tag: 'kept', source: memory }] });
    await daemon.stop('SIGKILL');
    daemon = await DaemonProcess.start(directory);
    // What is connected counts as plugged in, also before the VM is found.
    await expect.poll(async () => (await client.get('dev')).vmm, PATIENTLY).toBeDefined();
    expect(await states()).toEqual(['kept 1 vfio-user plugged']);
    expect(vmm.requests).toHaveLength(1);
    await client.detach('dev', 'kept');
    expect(vmm.devices.size).toBe(0);
  });

  it('says which flags a VM needs, and has one function a slot', async () => {
    await create();
    await client.attach('dev', { mounts: [{ tag: 'a', source: memory }] });
    expect(await client.qemuArgs('dev', { memoryMiB: 512 })).toEqual({
      vmm: 'cloud-hypervisor',
      args: [
        ...['--api-socket', `path=${apiSocket}`, '--memory', 'size=512M,shared=on', '--user-device'],
        `socket=${join(directory, 'dev/s1f0.sock')},id=chassis-slot1-fn0,pci_segment=0`,
      ],
    });
    const two = ['b', 'c'].map((tag) => ({ tag, source: memory }));
    await expect(client.attach('dev', { mounts: two, via: 'function' })).rejects.toMatchObject(
      refusal('BAD_REQUEST', /./),
    );
  });

  it('says why a VM cannot be used', async () => {
    await create();
    vmm.isShared = false;
    await vmm.listen(apiSocket);
    await expect.poll(async () => (await client.get('dev')).vmmProblem, PATIENTLY).toMatch(/not shared/);
  });

  it('takes an API socket for Cloud Hypervisor alone', async () => {
    await expect(client.create('other', { apiSocket })).rejects.toMatchObject(refusal('BAD_REQUEST', /./));
  });
});
