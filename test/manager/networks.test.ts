import { describe, expect, it } from 'vitest';
import { ChassisError, type AddCardRequest, type Network } from '../../manager/control/api.js';
import { ControllerHarness, QUERY, request } from './controller-harness.js';
import { refusal } from './refusal.js';

const lab = ControllerHarness.perTest(3);
const SWITCH: Network = { type: 'switch', switch: 'lan', isolated: false, macLock: false };
const TAP: Network = { type: 'tap', interface: 't0' };
const REMOVAL = { force: false, timeoutMs: 1000 };

function card(name: string, options: Partial<AddCardRequest> = {}): AddCardRequest {
  const asked = { name, network: SWITCH, queuePairs: 1, up: true, permanent: false };
  return { ...asked, port: 'auto', timeoutMs: 1000, ...options };
}

/** `NAME SLOT STATE` of each card. */
async function states(): Promise<string[]> {
  return (await lab.controller.networks.list()).map(({ name, slot, state }) => `${name} ${slot} ${state}`);
}

describe('a network card', () => {
  it('waits without a VM, is plugged into the one that comes, and parked for the next', async () => {
    await lab.controller.networks.add(card('lan0'));
    expect(await states()).toEqual(['lan0 1 parked']);
    const vmm = await lab.boot();
    expect(await states()).toEqual(['lan0 1 plugged']);
    vmm.die();
    lab.controller.vmLost();
    expect(await states()).toEqual(['lan0 1 parked']);
    expect([...lab.cardPorts.joined.keys()]).toEqual(['dev/slot1-fn0']);
  });

  it('is made as it was asked for, at its port of the switch', async () => {
    const network = { ...SWITCH, vlan: 7, macLock: true };
    const added = await lab.controller.networks.add(
      card('lan0', { network, mac: '52:54:00:00:00:01', mtu: 9000, queuePairs: 2, up: false }),
    );
    expect(added).toMatchObject({ network, mac: '52:54:00:00:00:01', mtu: 9000, queuePairs: 2, up: false });
    expect(added).toMatchObject({ carrier: false, switchPort: lab.cardPorts.counted, statistics: {} });
    expect(lab.cardPorts.joined.get('dev/slot1-fn0')).toEqual({ network, mac: '52:54:00:00:00:01' });
    expect(lab.devices.functions.get('slot1-fn0')).toMatchObject({
      port: 'vhost-user',
      device: {
        ...{ type: 'card', name: 'lan0', mtu: 9000, queuePairs: 2, up: false },
        peer: { type: 'switch', socketPath: '/switch/dev/slot1-fn0' },
      },
    });
  });

  it('on no switch takes no port of one', async () => {
    await lab.controller.networks.add(card('t', { network: TAP }));
    expect(lab.cardPorts.joined.size).toBe(0);
    expect(lab.devices.functions.get('slot1-fn0')?.device).toMatchObject({ peer: TAP });
  });

  it('has an address of its own that is the same each time, and a station’s of this site', async () => {
    const { mac } = await lab.controller.networks.add(card('a'));
    expect(mac).toMatch(/^[0-9a-f][26ae](:[0-9a-f]{2}){5}$/);
    const other = await lab.controller.networks.add(card('b'));
    expect(other.mac).not.toBe(mac);
    await lab.controller.networks.remove('a', REMOVAL);
    expect((await lab.controller.networks.add(card('a'))).mac).toBe(mac);
    await expect(lab.controller.networks.add(card('c', { mac }))).rejects.toMatchObject(
      refusal('MAC_IN_USE', /"a" has the address/, /--mac/),
    );
  });

  it('shares names with mounts and disks, and its slot with nobody', async () => {
    await lab.controller.attach(request(['m']));
    await expect(lab.controller.networks.add(card('m'))).rejects.toMatchObject(refusal('TAG_IN_USE', /"m"/));
    await lab.controller.networks.add(card('lan0'));
    await expect(lab.controller.attach(request(['lan0']))).rejects.toMatchObject(
      refusal('TAG_IN_USE', /lan0/, /a network card has that one/),
    );
    await expect(lab.controller.attach(request(['n'], { slot: 2 }))).rejects.toMatchObject(
      refusal('SLOT_TAKEN', /as a network card has/, /free: 3/),
    );
    await expect(lab.controller.detach('lan0', QUERY)).rejects.toMatchObject({ code: 'NO_MOUNT' });
    await expect(lab.controller.networks.remove('m', REMOVAL)).rejects.toMatchObject(
      refusal('NO_CARD', /"m"/, /chassis detach m/),
    );
    await expect(lab.controller.disks.remove('lan0', REMOVAL)).rejects.toMatchObject({ code: 'NO_DISK' });
  });

  it('reaches a VMM without network cards over vfio-user', async () => {
    const vmm = lab.newVmm();
    vmm.abilities.vhostUserNet = false;
    await lab.boot(vmm);
    expect(await lab.controller.networks.add(card('lan0'))).toMatchObject({ port: 'vfio-user' });
    await expect(lab.controller.networks.add(card('b', { port: 'vhost-user' }))).rejects.toMatchObject(
      refusal('VMM_UNSUITABLE', /virtio-net-pci/),
    );
  });

  it('has MSI-X over vfio-user where it is to stay', async () => {
    await lab.boot();
    const added = (name: string, permanent: boolean) =>
      lab.controller.networks.add(card(name, { port: 'vfio-user', permanent }));
    expect(await added('stays', true)).toMatchObject({ permanent: true, interrupts: 'msix' });
    expect(await added('goes', false)).toMatchObject({ permanent: false, interrupts: 'intx' });
  });

  it('is shown and drawn with the chassis, and goes with it', async () => {
    await lab.controller.networks.add(card('lan0'));
    expect(await lab.controller.describe()).toMatchObject({ slotsFree: 2, cards: [{ name: 'lan0' }] });
    expect(JSON.stringify(await lab.controller.tree())).toContain(
      '{"kind":"card","address":"00.0","tag":"lan0","state":"parked","source":"switch lan","children":[]}',
    );
    await lab.controller.detachAll(1000);
    expect(lab.cardPorts.joined.size).toBe(0);
    expect(lab.controller.tags).toEqual([]);
  });
});

describe('the port of a card on a switch', () => {
  it('is given back when the guest has let the card go that was to be removed', async () => {
    const vmm = await lab.boot();
    await lab.controller.networks.add(card('a'));
    vmm.guest = 'ignores';
    await expect(lab.controller.networks.remove('a', REMOVAL)).rejects.toMatchObject({
      code: 'GUEST_TIMEOUT',
    });
    expect(lab.cardPorts.joined.size).toBe(1);
    vmm.eject(1);
    await expect.poll(() => lab.cardPorts.joined.size).toBe(0);
  });

  it('is given back where the card cannot be made or plugged in', async () => {
    lab.devices.refuse = () => new ChassisError('NETWORK_UNAVAILABLE', 'no');
    await expect(lab.controller.networks.add(card('a'))).rejects.toMatchObject({
      code: 'NETWORK_UNAVAILABLE',
    });
    expect([lab.cardPorts.joined.size, await states()]).toEqual([0, []]);
    lab.devices.refuse = undefined;
    const vmm = await lab.boot();
    vmm.refusePlug = () => new ChassisError('VMM_REFUSED', 'no');
    await expect(lab.controller.networks.add(card('a'))).rejects.toMatchObject({ code: 'VMM_REFUSED' });
    expect([lab.cardPorts.joined.size, await states()]).toEqual([0, []]);
  });

  it('outlives the device process, and is given back when the card goes meanwhile', async () => {
    await lab.controller.networks.add(card('a'));
    lab.devices.die('killed');
    expect(lab.cardPorts.joined.size).toBe(1);
    await lab.controller.restart();
    expect(lab.devices.functions.get('slot1-fn0')?.device).toMatchObject({ name: 'a' });
    lab.devices.die('killed');
    await lab.controller.networks.remove('a', REMOVAL);
    expect(lab.cardPorts.joined.size).toBe(0);
  });

  it('that cannot be had makes no card', async () => {
    lab.cardPorts.refuse = new ChassisError('NETWORK_UNAVAILABLE', 'the switch is lost');
    await expect(lab.controller.networks.add(card('a'))).rejects.toMatchObject({
      code: 'NETWORK_UNAVAILABLE',
    });
    expect(await states()).toEqual([]);
  });
});

describe('the cable of a card', () => {
  it('is pulled and plugged in, in the device and where the VMM tells the guest', async () => {
    const vmm = await lab.boot();
    await lab.controller.networks.add(card('v', { port: 'vfio-user' }));
    await lab.controller.networks.add(card('h'));
    for (const name of ['v', 'h']) {
      expect(await lab.controller.networks.setLink(name, false)).toMatchObject({ up: false, carrier: false });
    }
    expect([...vmm.links]).toEqual([[2, false]]);
    expect(await lab.controller.networks.setLink('h', true)).toMatchObject({ up: true, carrier: true });
    expect([...vmm.links]).toEqual([[2, true]]);
    await expect(lab.controller.networks.setLink('none', true)).rejects.toMatchObject({ code: 'NO_CARD' });
  });

  it('stays out for a VM that has the card from its command line, and for a device process that is new', async () => {
    await lab.controller.networks.add(card('h', { up: false }));
    const vmm = lab.newVmm();
    vmm.insert(1, 0);
    await lab.boot(vmm);
    expect([...vmm.links]).toEqual([[1, false]]);
    lab.devices.die('killed');
    await lab.controller.restart();
    expect(lab.devices.functions.get('slot1-fn0')?.device).toMatchObject({ up: false });
    // A QEMU that connects again tells its guest that the cable is in.
    vmm.links.clear();
    expect(await states()).toEqual(['h 1 recovering']);
    lab.devices.connect('slot1-fn0');
    expect(await states()).toEqual(['h 1 plugged']);
    expect([...vmm.links]).toEqual([[1, false]]);
  });
});

describe('a capture', () => {
  const capture = { path: '/tmp/x.pcapng', maxBytes: 1e6, forMs: 1000, asOnWire: false };

  it('keeps nobody waiting while it lasts', async () => {
    await lab.controller.networks.add(card('a'));
    const captured = lab.controller.networks.capture('a', capture);
    await lab.controller.networks.setLink('a', false);
    await lab.controller.networks.endCapture('a');
    expect(await captured).toEqual({ frames: 1, bytes: 300, reason: 'ended' });
  });

  it('is of a card that there is, in a file of the host', async () => {
    await expect(lab.controller.networks.capture('a', capture)).rejects.toMatchObject({ code: 'NO_CARD' });
    await lab.controller.networks.add(card('a'));
    for (const path of ['x.pcapng', '/tmp/x\0']) {
      await expect(lab.controller.networks.capture('a', { ...capture, path })).rejects.toMatchObject(
        refusal('BAD_REQUEST', /absolute path/),
      );
    }
  });
});
