/** The driver against a stand-in that follows the published API: no Cloud Hypervisor is asked. */
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CloudHypervisorClient } from '../../../../manager/vmm/cloud-hypervisor/client.js';
import { CloudHypervisorDriver } from '../../../../manager/vmm/cloud-hypervisor/driver.js';
import { refusal } from '../../refusal.js';
import { temporaryFolders } from '../../temporary-folder.js';
import { CloudHypervisorStandIn } from './stand-in.js';

const MOUNT = { function: 0, tag: 'src', port: 'vfio-user' as const, socketPath: '/d/s1f0.sock' };
const DISK = {
  ...{ function: 0, tag: 'disk0', port: 'vhost-user' as const, socketPath: '/d/s2f0.sock' },
  disk: { queues: 4 },
};
const CARD = {
  ...{ function: 0, tag: 'lan0', port: 'vhost-user' as const, socketPath: '/d/s3f0.sock' },
  card: { mac: '52:54:00:00:00:01', mtu: 1400, queuePairs: 4, up: true },
};

describe('CloudHypervisorDriver, with a stand-in', () => {
  const folder = temporaryFolders();
  let vmm: CloudHypervisorStandIn;
  let client: CloudHypervisorClient;
  let deleted: string[];

  beforeEach(async () => {
    vmm = new CloudHypervisorStandIn();
    deleted = [];
    const path = join(folder(), 'ch.sock');
    await vmm.listen(path);
    client = new CloudHypervisorClient(path);
  });
  afterEach(() => vmm.stop());

  async function open(): Promise<CloudHypervisorDriver> {
    const info = await client.info();
    if (!info) throw new Error('there is no VM');
    const { version } = await client.ping();
    const onDeleted = (slot: number, fn: number) => deleted.push(`${slot}.${fn}`);
    return new CloudHypervisorDriver(info, { client, version, onDeleted });
  }

  it('says which VMM it is, and of what it cannot do', async () => {
    const { vmm: shown, abilities } = await open();
    expect(shown).toMatchObject({ type: 'cloud-hypervisor', version: 'v53.0' });
    expect(shown.notes).toHaveLength(2);
    expect(abilities).toMatchObject({ vfioUser: true, vhostUser: false, vhostUserDisk: true });
  });

  it('refuses memory that is private, naming the flag', async () => {
    vmm.isShared = false;
    await expect(open()).rejects.toMatchObject(refusal('VMM_UNSUITABLE', /not shared/, /shared=on/));
  });

  it('adds a mount, a disk and a card, each in its own way, and with no more queues than processors', async () => {
    const driver = await open();
    await driver.plug(1, [MOUNT], 1000);
    await driver.plug(2, [DISK], 1000);
    await driver.plug(3, [CARD], 1000);
    expect(vmm.requests).toEqual([
      ['PUT', 'vm.add-user-device', { socket: '/d/s1f0.sock', id: 'chassis-slot1-fn0', pci_segment: 0 }],
      [
        'PUT',
        'vm.add-disk',
        {
          ...{ vhost_user: true, vhost_socket: '/d/s2f0.sock', num_queues: 2, queue_size: 256 },
          ...{ id: 'chassis-slot2-fn0', pci_segment: 0 },
        },
      ],
      [
        'PUT',
        'vm.add-net',
        {
          ...{ vhost_user: true, vhost_socket: '/d/s3f0.sock', mac: CARD.card.mac, num_queues: 4, mtu: 1400 },
          ...{ id: 'chassis-slot3-fn0', pci_segment: 0 },
        },
      ],
    ]);
    expect(await driver.present()).toEqual(new Map([1, 2, 3].map((slot) => [slot, 1])));
  });

  it('passes on why a device was refused', async () => {
    const driver = await open();
    await driver.plug(1, [MOUNT], 1000);
    await expect(driver.plug(1, [MOUNT], 1000)).rejects.toMatchObject(
      refusal('VMM_REFUSED', /plug slot 1: Error from API: Identifier chassis-slot1-fn0 is not unique/),
    );
    // Slot 32 is in the second segment, which this VM was started without.
    await expect(driver.plug(32, [MOUNT], 1000)).rejects.toMatchObject(
      refusal('VMM_REFUSED', /Invalid PCI segment id 1/),
    );
  });

  it('takes back what a VM that does not run would get at its next boot', async () => {
    const driver = await open();
    vmm.state = 'Created';
    await expect(driver.plug(1, [MOUNT], 1000)).rejects.toMatchObject(refusal('VMM_REFUSED', /running VM/));
    await expect.poll(() => [...vmm.devices.keys()]).toEqual([]);
  });

  it('unplugs once the guest has let go, which is told before', async () => {
    const driver = await open();
    await driver.plug(1, [MOUNT], 1000);
    await driver.unplug(1, [0], 1000);
    expect(deleted).toEqual(['1.0']);
    expect(vmm.devices.size).toBe(0);
    expect(await driver.present()).toEqual(new Map());
  });

  it('takes a device that is gone already for unplugged', async () => {
    const driver = await open();
    await driver.plug(1, [MOUNT], 1000);
    vmm.eject('chassis-slot1-fn0');
    await driver.unplug(1, [0], 1000);
    expect(deleted).toEqual(['1.0']);
  });

  it('gives up on a guest that does not answer, and tells when it complies', async () => {
    const driver = await open();
    vmm.guest = 'ignores';
    await driver.plug(1, [MOUNT], 1000);
    await expect(driver.unplug(1, [0], 50)).rejects.toMatchObject(
      refusal('GUEST_TIMEOUT', /50 ms/, /unmount/),
    );
    expect(deleted).toEqual([]);
    vmm.eject('chassis-slot1-fn0');
    await driver.look();
    expect(deleted).toEqual(['1.0']);
  });

  it('does not take a device for gone that came while it looked', async () => {
    const driver = await open();
    const before = JSON.stringify(await client.info());
    let answer: () => void = () => undefined;
    vmm.answers.set('GET vm.info', (response) => (answer = () => response.end(before)));
    const looking = driver.look();
    await driver.plug(1, [MOUNT], 1000);
    answer();
    await looking;
    expect(deleted).toEqual([]);
    vmm.answers.clear();
    expect(await driver.present()).toEqual(new Map([[1, 1]]));
  });

  it('knows what a VM has from its command line, and nothing that is not ours', async () => {
    vmm.devices.set('chassis-slot7-fn0', { route: 'vm.add-disk', config: {}, connection: undefined });
    vmm.devices.set('_disk0', { route: 'vm.add-disk', config: {}, connection: undefined });
    expect(await (await open()).present()).toEqual(new Map([[7, 1]]));
  });

  it('says that the VM went away while it waits for the guest', async () => {
    const driver = await open();
    vmm.guest = 'ignores';
    await driver.plug(1, [MOUNT], 1000);
    const unplugging = driver.unplug(1, [0], 10_000);
    setTimeout(() => void vmm.stop(), 50);
    await expect(unplugging).rejects.toMatchObject(refusal('VMM_GONE'));
  });

  it('keeps a slot from use where nobody knows whether a device came, until that is known', async () => {
    const driver = await open();
    vmm.answers.set('PUT vm.add-user-device', () => undefined);
    await expect(driver.plug(1, [MOUNT], 50)).rejects.toMatchObject(
      refusal('GUEST_TIMEOUT', /within \d+ ms/),
    );
    expect([...driver.unusable.keys()]).toEqual([1]);
    await expect.poll(() => driver.unusable.size).toBe(0);
  });

  it('takes out a device that came after it was given up', async () => {
    const driver = await open();
    vmm.answers.set('PUT vm.add-user-device', () => {
      vmm.devices.set('chassis-slot1-fn0', {
        route: 'vm.add-user-device',
        config: {},
        connection: undefined,
      });
    });
    await expect(driver.plug(1, [MOUNT], 50)).rejects.toMatchObject(refusal('GUEST_TIMEOUT'));
    await expect.poll(() => vmm.devices.size).toBe(0);
    expect([...driver.unusable.keys()]).toEqual([1]);
  });

  it.each([
    ['no JSON', '<html>', /JSON/],
    ['another shape', '{"state": 7}', /does/],
    ['more than there is room for', `"${'x'.repeat(17 << 20)}"`, /more than/],
  ])('takes a server that answers %s for none', async (_, text, message) => {
    const driver = await open();
    vmm.answers.set('GET vm.info', (response) => response.end(text));
    await expect(driver.present()).rejects.toMatchObject(refusal('VMM_GONE', message));
  });
});
