import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { QemuDriver } from '../../../manager/vmm/qemu.js';
import { hasQuirk, MSIX_UNPLUG_ABORTS } from '../../../manager/vmm/qemu-check.js';
import { QmpClient } from '../../../manager/vmm/qmp.js';
import { refusal } from '../refusal.js';
import { FakeQemu } from './fake-qemu.js';
import { GREETING, refused } from './fake-qmp.js';

const SLOTS = 3;
const functions = (...numbers: number[]) =>
  numbers.map((fn) => ({
    function: fn,
    tag: `tag${fn}`,
    port: 'vfio-user' as const,
    socketPath: `/d/s1f${fn}.sock`,
  }));
const overVhostUser = (...numbers: number[]) =>
  functions(...numbers).map((plugged) => ({ ...plugged, tag: 'über', port: 'vhost-user' as const }));

describe('QemuDriver', () => {
  let qemu: FakeQemu;
  let client: QmpClient;
  let deleted: string[];

  beforeEach(async () => {
    qemu = new FakeQemu(SLOTS);
    deleted = [];
    await qemu.listen();
  });
  afterEach(async () => {
    vi.useRealTimers();
    client.close();
    await qemu.close();
  });

  async function open(): Promise<QemuDriver> {
    client = await QmpClient.connect(qemu.path);
    const driver = await QemuDriver.open(client, {
      slotCount: SLOTS,
      onDeleted: (slot, fn) => deleted.push(`${slot}.${fn}`),
    });
    qemu.commands.length = 0;
    return driver;
  }

  describe('refuses', () => {
    const version = (major: number, minor: number, micro: number) => ({
      QMP: { version: { qemu: { major, minor, micro } } },
    });

    it('a QEMU that is too old, naming both versions', async () => {
      qemu.greet = () => version(7, 1, 9);
      await expect(open()).rejects.toMatchObject({
        code: 'VMM_UNSUITABLE',
        message: 'this is QEMU 7.1.9, and 7.2.0 is the oldest that is known to work',
      });
    });

    it('a QEMU with none of the devices', async () => {
      qemu.hasVfioUser = false;
      await expect(open()).rejects.toMatchObject(
        refusal('VMM_UNSUITABLE', /without any of the devices/, /vfio-user-pci or vhost-user-blk-pci/),
      );
    });

    it.each([
      ['private', [{ id: 'pc.ram', share: false }], /"pc.ram"/],
      [
        'partly private',
        [
          { id: 'm0', share: true },
          { id: 'm1', share: false },
        ],
        /"m1"/,
      ],
      ['without a backend', [], /not shared/],
    ])('memory that is %s, naming the flag', async (_, memory, message) => {
      qemu.memory = memory;
      await expect(open()).rejects.toMatchObject(
        refusal('VMM_UNSUITABLE', message, /-object memory-backend-memfd.*share=on/),
      );
    });

    it('a VM without our ports', async () => {
      qemu.peripherals.clear();
      await expect(open()).rejects.toMatchObject(refusal('VMM_UNSUITABLE', /./, /chassis args/));
    });

    it('nothing of a VM that went away meanwhile, but says so', async () => {
      qemu.answer = () => {
        qemu.hangUp();
        return undefined;
      };
      await expect(open()).rejects.toMatchObject({ code: 'VMM_GONE' });
    });
  });

  describe('looks', () => {
    it('at the version and its faults', async () => {
      const driver = await open();
      expect(driver.vmm).toMatchObject({ type: 'qemu', version: '11.1.3' });
      expect(driver.vmm.notes).toHaveLength(1);
      expect(driver.abilities).toMatchObject({ msixPreventsUnplug: true, cardMsix: true });
    });

    it('at a version without them', async () => {
      qemu.greet = () => ({ QMP: { version: { qemu: { major: 10, minor: 1, micro: 5 } } } });
      const driver = await open();
      expect(driver.abilities.msixPreventsUnplug).toBe(false);
      expect(driver.vmm.notes).toEqual([]);
    });

    it('at the one whose cards do with INTx', async () => {
      qemu.greet = () => ({ QMP: { version: { qemu: { major: 7, minor: 2, micro: 22 } } } });
      expect((await open()).abilities.cardMsix).toBe(false);
    });

    it('for functions of ours that are there already', async () => {
      for (const id of [
        'chassis-slot1-fn0',
        'chassis-slot3-fn0',
        'chassis-slot3-fn7',
        'mine-slot2-fn0',
        'chassis-slot2-fn9',
      ]) {
        qemu.peripherals.set(id, 'child<vfio-user-pci>');
      }
      expect([...(await (await open()).present())]).toEqual([
        [1, 0b1],
        [3, 0b1000_0001],
      ]);
    });

    it('for ports that are missing or taken, until they are free', async () => {
      qemu.peripherals.delete('chassis-slot2');
      qemu.parentBuses.set(
        '/machine/peripheral-anon/device[0]',
        '/machine/peripheral/chassis-slot3/chassis-slot3',
      );
      qemu.parentBuses.set('/machine/peripheral-anon/device[1]', '/machine/q35/pcie.0');
      const driver = await open();
      expect([...driver.unusable.keys()].sort()).toEqual([2, 3]);
      expect(driver.unusable.get(2)).toMatch(/without a port/);
      expect(driver.unusable.get(3)).toMatch(/not ours/);
      qemu.event('DEVICE_DELETED', { path: '/machine/peripheral-anon/device[0]' });
      await driver.present();
      expect([...driver.unusable.keys()]).toEqual([2]);
      expect(deleted).toEqual([]);
    });
  });

  describe('plugs', () => {
    it('one function, by its socket', async () => {
      await (await open()).plug(1, functions(0), 1000);
      expect(qemu.commands[0].arguments).toEqual({
        driver: 'vfio-user-pci',
        id: 'chassis-slot1-fn0',
        bus: 'chassis-slot1',
        addr: '0.0',
        multifunction: false,
        socket: { type: 'unix', path: '/d/s1f0.sock' },
      });
    });

    it('one function over vhost-user: its chardev first, then the generic device with room for the tag', async () => {
      await (await open()).plug(1, overVhostUser(0), 1000);
      expect(qemu.commands.map(({ execute, arguments: args }) => [execute, args])).toEqual([
        [
          'chardev-add',
          {
            id: 'chassis-slot1-fn0',
            backend: {
              type: 'socket',
              data: { addr: { type: 'unix', data: { path: '/d/s1f0.sock' } }, server: false },
            },
          },
        ],
        [
          'device_add',
          {
            driver: 'vhost-user-test-device-pci',
            id: 'chassis-slot1-fn0',
            bus: 'chassis-slot1',
            addr: '0.0',
            multifunction: false,
            'virtio-id': 9,
            num_vqs: 1,
            vq_size: 128,
            config_size: 7,
            chardev: 'chassis-slot1-fn0',
          },
        ],
      ]);
    });

    it('the function whose queues carry mounts: with all its queues, and all of its config space', async () => {
      await (await open()).plug(1, [{ ...overVhostUser(0)[0], mux: true }], 1000);
      expect(qemu.commands[1].arguments).toMatchObject({ 'virtio-id': 9, num_vqs: 64, config_size: 256 });
    });

    it('a network card over vhost-user: QEMU’s own, with our queues behind it, and its cable out if it is to be', async () => {
      const card = { mac: '52:54:00:00:00:01', mtu: 9000, queuePairs: 2, up: false };
      const driver = await open();
      await driver.plug(1, [{ ...overVhostUser(0)[0], card }], 1000);
      const id = 'chassis-slot1-fn0';
      expect(qemu.commands.slice(1).map(({ execute, arguments: args }) => [execute, args])).toEqual([
        ['netdev_add', { type: 'vhost-user', id, chardev: id, queues: 2 }],
        [
          'device_add',
          {
            ...{ driver: 'virtio-net-pci', id, bus: 'chassis-slot1', addr: '0.0', multifunction: false },
            ...{ mac: card.mac, mq: true, vectors: 6, host_mtu: 9000, romfile: '' },
            ...{ ctrl_guest_offloads: false, netdev: id },
          },
        ],
        ['set_link', { name: id, up: false }],
      ]);
      await driver.setLink(1, 0, true);
      expect(qemu.commands.at(-1)).toMatchObject({ execute: 'set_link', arguments: { name: id, up: true } });
    });

    it('a network card over vfio-user as any other function', async () => {
      const card = { mac: '52:54:00:00:00:01', queuePairs: 1, up: false };
      await (await open()).plug(1, [{ ...functions(0)[0], card }], 1000);
      expect(qemu.commands.map(({ execute, arguments: args }) => [execute, args.driver])).toEqual([
        ['device_add', 'vfio-user-pci'],
      ]);
    });

    it('and leaves neither netdev nor chardev of a card that was refused', async () => {
      const card = { mac: '52:54:00:00:00:01', queuePairs: 1, up: true };
      const driver = await open();
      qemu.refuseAdd = () => refused('no room');
      const plugging = driver.plug(1, [{ ...overVhostUser(0)[0], card }], 1000);
      await expect(plugging).rejects.toMatchObject(refusal('VMM_REFUSED'));
      expect([qemu.netdevs.size, qemu.chardevs.size]).toEqual([0, 0]);
    });

    it('and leaves no chardev of a function that was refused', async () => {
      const driver = await open();
      qemu.refuseAdd = () => refused('no room');
      await expect(driver.plug(1, overVhostUser(0), 1000)).rejects.toMatchObject(refusal('VMM_REFUSED'));
      expect(qemu.chardevs.size).toBe(0);
    });

    it('several functions, function 0 last, all as parts of a multi-function card', async () => {
      await (await open()).plug(1, functions(0, 2, 1), 1000);
      expect(qemu.changes.map((change) => change.slice(-3))).toEqual(['fn1', 'fn2', 'fn0']);
      expect(qemu.commands.every(({ arguments: args }) => args.multifunction === true)).toBe(true);
    });

    it('and takes back what it added when a later function is refused', async () => {
      const driver = await open();
      qemu.refuseAdd = ({ id }) => (id === 'chassis-slot1-fn0' ? refused('no room') : undefined);
      await expect(driver.plug(1, functions(0, 1, 2), 1000)).rejects.toMatchObject({
        code: 'VMM_REFUSED',
        message: 'QEMU refused to plug slot 1: no room',
      });
      expect(qemu.devices).toEqual([]);
      expect(driver.unusable.size).toBe(0);
    });

    it('and never deletes what was there before it came', async () => {
      const driver = await open();
      qemu.peripherals.set('chassis-slot1-fn0', 'child<vfio-user-pci>');
      await expect(driver.plug(1, functions(0), 1000)).rejects.toMatchObject({ code: 'VMM_REFUSED' });
      expect(qemu.devices).toEqual(['chassis-slot1-fn0']);
    });

    it('and takes back a function whose answer came too late', async () => {
      const driver = await open();
      const answer = qemu.answer;
      qemu.answer = async (command) => {
        const result = await answer(command);
        return command.execute === 'device_add' ? undefined : result;
      };
      await expect(driver.plug(1, functions(1), 30)).rejects.toMatchObject({ code: 'GUEST_TIMEOUT' });
      expect(qemu.devices).toEqual([]);
    });

    it('and marks a slot in which something was left', async () => {
      const driver = await open();
      qemu.refuseAdd = ({ id }) => (id === 'chassis-slot1-fn0' ? refused('no room') : undefined);
      const answer = qemu.answer;
      qemu.answer = (command) =>
        command.execute === 'device_del' ? refused('hot-unplug is disabled') : answer(command);
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      const plugging = expect(driver.plug(1, functions(0, 1), 100_000)).rejects.toMatchObject(
        refusal('VMM_REFUSED'),
      );
      await vi.waitFor(() => expect(qemu.changes).toHaveLength(3), { interval: 1 });
      await vi.waitFor(
        () => {
          vi.advanceTimersByTime(1000);
          expect(driver.unusable.size).toBe(1);
        },
        { interval: 1 },
      );
      await plugging;
      expect(driver.unusable.get(1)).toMatch(/attach that failed/);
      qemu.deleted('chassis-slot1-fn1');
      await driver.present();
      expect(driver.unusable.size).toBe(0);
    });

    it('and says so when the VM goes away', async () => {
      const driver = await open();
      qemu.refuseAdd = () => {
        qemu.hangUp();
        return undefined;
      };
      await expect(driver.plug(1, functions(0, 1), 1000)).rejects.toMatchObject({ code: 'VMM_GONE' });
    });
  });

  describe('unplugs', () => {
    async function plugged(...numbers: number[]): Promise<QemuDriver> {
      const driver = await open();
      await driver.plug(1, functions(...numbers), 1000);
      qemu.commands.length = 0;
      return driver;
    }

    it('a slot with one request, and waits until the last function is gone', async () => {
      const driver = await plugged(0, 1, 2);
      await driver.unplug(1, [0, 1, 2], 1000);
      expect(qemu.changes).toEqual(['device_del chassis-slot1-fn0']);
      expect(deleted.sort()).toEqual(['1.0', '1.1', '1.2']);
    });

    it('and has removed the chardevs of all its functions when it answers', async () => {
      const driver = await open();
      await driver.plug(1, overVhostUser(0, 1), 1000);
      expect(qemu.chardevs.size).toBe(2);
      await driver.unplug(1, [0, 1], 1000);
      expect(qemu.chardevs.size).toBe(0);
      await driver.plug(1, overVhostUser(0), 1000);
    });

    it('and leaves other slots alone', async () => {
      const driver = await plugged(0);
      await driver.plug(2, functions(0), 1000);
      await driver.unplug(1, [0], 1000);
      expect(qemu.devices).toEqual(['chassis-slot2-fn0']);
      expect(deleted).toEqual(['1.0']);
    });

    it('and tells when the guest refuses', async () => {
      const driver = await plugged(0);
      qemu.guest = 'refuses';
      await expect(driver.unplug(1, [0], 1000)).rejects.toMatchObject(
        refusal('VMM_REFUSED', /refused to let/),
      );
      expect(deleted).toEqual([]);
    });

    it('and tells when QEMU refuses', async () => {
      const driver = await plugged(0);
      qemu.answer = () => refused("Bus 'chassis-slot1' does not support hotplugging");
      await expect(driver.unplug(1, [0], 1000)).rejects.toMatchObject(refusal('VMM_REFUSED', /hotplugging/));
    });

    it('and gives up in time, but hears of it when the guest complies later', async () => {
      const driver = await plugged(0, 1);
      qemu.guest = 'ignores';
      await expect(driver.unplug(1, [0, 1], 30)).rejects.toMatchObject({ code: 'GUEST_TIMEOUT' });
      expect(deleted).toEqual([]);
      qemu.eject(1);
      await driver.present();
      expect(deleted.sort()).toEqual(['1.0', '1.1']);
    });

    it('and waits on where a request is under way already', async () => {
      const driver = await plugged(0);
      qemu.answer = () => {
        setImmediate(() => qemu.eject(1));
        return refused('Device chassis-slot1-fn0 is already in the process of unplug');
      };
      await driver.unplug(1, [0], 1000);
      expect(deleted).toEqual(['1.0']);
    });

    it('and asks again, for a guest that was booting forgets', async () => {
      const driver = await plugged(0);
      qemu.guest = 'ignores';
      vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setTimeout', 'clearTimeout'] });
      const unplugging = driver.unplug(1, [0], 20_000);
      await vi.waitFor(() => expect(qemu.changes).toHaveLength(1), { interval: 1 });
      qemu.guest = 'agrees';
      vi.advanceTimersByTime(6000);
      await unplugging;
      expect(qemu.changes).toHaveLength(2);
    });

    it('and takes functions that the VM does not have for gone', async () => {
      const driver = await plugged(1);
      await driver.unplug(1, [0, 1], 1000);
      expect(deleted.sort()).toEqual(['1.0', '1.1']);
    });

    it('and says so when the VM goes away', async () => {
      const driver = await plugged(0);
      qemu.guest = 'ignores';
      const outcome = expect(driver.unplug(1, [0], 5000)).rejects.toMatchObject({ code: 'VMM_GONE' });
      await vi.waitFor(() => expect(qemu.changes).toHaveLength(1));
      qemu.hangUp();
      await outcome;
    });
  });
});

describe('QemuDriver, where QEMU stands still', () => {
  it('gives a slot back once QEMU goes on and turns out never to have added the device', async () => {
    const qemu = new FakeQemu(SLOTS);
    await qemu.listen();
    const client = await QmpClient.connect(qemu.path);
    try {
      const driver = await QemuDriver.open(client, { slotCount: SLOTS, onDeleted: () => undefined });
      const perform = qemu.answer;
      qemu.answer = () => undefined;
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      const plugging = driver.plug(1, functions(0), 50).catch((error: unknown) => error);
      const [failure] = await Promise.all([plugging, vi.advanceTimersByTimeAsync(30_000)]);
      expect(failure).toMatchObject({ code: 'GUEST_TIMEOUT' });
      expect([...driver.unusable.keys()]).toEqual([1]);
      // It does late what it was asked: the device's socket is gone by then, so that there is nothing to add or to delete.
      qemu.answer = perform;
      await vi.advanceTimersByTimeAsync(30_000);
      vi.useRealTimers();
      await expect.poll(() => driver.unusable.size).toBe(0);
      await driver.plug(1, functions(0), 1000);
    } finally {
      vi.useRealTimers();
      client.close();
      await qemu.close();
    }
  });
});

describe('hasQuirk', () => {
  it.each([
    [10, 1, 9, false],
    [10, 2, 0, true],
    [11, 0, 2, true],
    [11, 1, 3, true],
  ])(
    'knows whether QEMU %i.%i.%i aborts when a function with MSI-X is unplugged',
    (major, minor, micro, expected) => {
      expect(hasQuirk({ major, minor, micro }, MSIX_UNPLUG_ABORTS)).toBe(expected);
    },
  );

  it('ends with the release that has the fix', () => {
    const quirk = { ...MSIX_UNPLUG_ABORTS, fixedIn: { major: 12, minor: 0, micro: 0 } };
    expect(hasQuirk({ major: 11, minor: 9, micro: 9 }, quirk)).toBe(true);
    expect(hasQuirk({ major: 12, minor: 0, micro: 0 }, quirk)).toBe(false);
  });

  it('takes the version from the greeting that the tests use', () => {
    expect(hasQuirk(GREETING.QMP.version.qemu, MSIX_UNPLUG_ABORTS)).toBe(true);
  });
});
