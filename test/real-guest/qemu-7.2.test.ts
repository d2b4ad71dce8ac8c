/** Debian 12's own QEMU has no front end for mounts, and those for disks and network cards that are served to newer ones, too. */
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChassisClient } from '../../manager/control/client.js';
import { QemuUnavailableError } from '../../testbed/errors.js';
import { LinuxGuest } from '../../testbed/guest.js';
import { bookwormQemu, type QemuBinary } from '../../testbed/qemu.js';
import { PATIENTLY } from '../manager/patiently.js';
import { refusal } from '../manager/refusal.js';
import { TestDaemon } from '../support/daemon.js';
import { deviceOf } from './support/disk-lab.js';
import { interfaceOf } from './support/switch-lab.js';

const MIB = 2 ** 20;
const LAN = { type: 'switch', switch: 'lan', isolated: false, macLock: false } as const;
const [COLD, HOT] = ['10.9.4.1', '10.9.4.2'];

/** Under CI, that there is none is a failure. */
const qemu: QemuBinary | string = await bookwormQemu().catch((error: unknown) => {
  if (process.env.CI === 'true' || !(error instanceof QemuUnavailableError)) throw error;
  return error.message;
});

describe.skipIf(typeof qemu === 'string')(
  `a guest under Debian 12's QEMU${typeof qemu === 'string' ? ` (skipped: ${qemu})` : ''}`,
  () => {
    let daemon: TestDaemon;
    let client: ChassisClient;
    let guest: LinuxGuest;
    let folder: string;

    beforeAll(async () => {
      if (typeof qemu === 'string') return;
      folder = await mkdtemp(join(tmpdir(), 'chassis-72-'));
      daemon = await TestDaemon.start();
      client = new ChassisClient({ directory: daemon.directory });
      await client.create('vm', { slots: 6 });
      await addDisk('cold');
      await client.addCard('vm', { name: 'cold0', network: LAN });
      const devices = ['vhost-user-blk-pci', 'virtio-net-pci'];
      const { args } = await client.qemuArgs('vm', {
        memoryMiB: 256,
        qemu: { version: qemu.version.join('.'), devices },
      });
      guest = await LinuxGuest.boot({ qemu, kernel: '6.1', machineArgs: args });
    });
    afterAll(async () => {
      await guest?.shutdown();
      await daemon?.stop();
      if (folder) await rm(folder, { recursive: true, force: true });
    });

    async function addDisk(name: string): Promise<string> {
      const path = join(folder, `${name}.img`);
      await writeFile(path, '');
      await truncate(path, 4 * MIB);
      await client.addDisk('vm', { name, source: { type: 'file', path } });
      return path;
    }

    async function sh(script: string): Promise<string> {
      return (await guest.ok(`set -e\n${script}`, { timeoutMs: 60_000 })).stdout.trimEnd();
    }

    /** Writes a disk in the guest, past its cache; the host finds the same. */
    async function writesAll(serial: string): Promise<void> {
      await guest.waitFor(deviceOf(serial));
      const said = await sh(`disk=/dev/$(${deviceOf(serial)})
      dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>/dev/null
      dd if=/tmp/data of=$disk bs=64k oflag=direct conv=fsync 2>/dev/null
      dd if=$disk bs=64k iflag=direct 2>/dev/null | cmp - /tmp/data
      sha256sum </tmp/data`);
      const digest = createHash('sha256')
        .update(await readFile(join(folder, `${serial}.img`)))
        .digest('hex');
      expect(said.split(' ')[0]).toBe(digest);
    }

    async function cardOf(name: string): Promise<string> {
      const card = (await client.cards('vm')).find((each) => each.name === name);
      await guest.waitFor(interfaceOf(card?.mac ?? ''));
      return sh(interfaceOf(card?.mac ?? ''));
    }

    it('uses a disk and a card that it was started with, and others that are plugged in', async () => {
      expect((await client.get('vm')).vmm).toMatchObject({
        version: expect.stringMatching(/^7\.2\./) as string,
      });
      await writesAll('cold');
      await addDisk('hot');
      await writesAll('hot');
      await client.addCard('vm', { name: 'hot0', network: LAN });
      const [cold, hot] = [await cardOf('cold0'), await cardOf('hot0')];
      // The other card is another station on the switch: in a network namespace.
      await sh(`setsid unshare -n sleep 1000 >/dev/null 2>&1 & echo $! >/run/side; sleep 0.5
      ip link set ${hot} netns $(cat /run/side)
      nsenter -t $(cat /run/side) -n sh -c "ip addr add ${HOT}/24 dev ${hot}; ip link set ${hot} up"
      ip addr add ${COLD}/24 dev ${cold}; ip link set ${cold} up`);
      await guest.waitFor(`ping -c 1 -W 1 ${HOT}`);
      // What is said of their interrupts is what the guest has.
      const cards = await client.cards('vm');
      expect(cards.map(({ interrupts }) => interrupts)).toEqual(['intx', 'intx']);
      await sh("! grep 'virtio[0-9]*-input' /proc/interrupts");
    });

    it('sees a pause and no error where its device process is killed: QEMU connects again', async () => {
      const { pid } = (await client.get('vm')).deviceProcess;
      const work = guest.ok(
        `set -e; i=0; while [ $i -lt 30 ]; do i=$((i+1)); dd if=/dev/urandom of=/tmp/w bs=64k count=8 2>/dev/null
       dd if=/tmp/w of=/dev/$(${deviceOf('cold')}) bs=64k oflag=direct conv=fsync 2>/dev/null
       dd if=/dev/$(${deviceOf('cold')}) bs=64k count=8 iflag=direct 2>/dev/null | cmp - /tmp/w; done`,
        { timeoutMs: 100_000 },
      );
      await guest.waitFor('[ -e /tmp/w ]');
      process.kill(pid ?? 0, 'SIGKILL');
      await work;
      const states = async () => {
        const { deviceProcess, disks, cards } = await client.get('vm');
        return [
          deviceProcess.pid !== pid && deviceProcess.state,
          ...[...disks, ...cards].map(({ state }) => state),
        ];
      };
      await expect.poll(states, PATIENTLY).toEqual(['running', ...Array<string>(4).fill('plugged')]);
      await writesAll('hot');
      await guest.waitFor(`ping -c 1 -W 1 ${HOT}`, 30_000);
    });

    it('gives them back, and is told that mounts need a newer one', async () => {
      await client.removeDisk('vm', 'hot');
      await client.removeCard('vm', 'hot0');
      expect((await client.disks('vm')).map(({ name }) => name)).toEqual(['cold']);
      await expect(
        client.attach('vm', { mounts: [{ tag: 'share', source: { type: 'directory', path: folder } }] }),
      ).rejects.toMatchObject(refusal('VMM_UNSUITABLE', /disks and network cards alone/, /10\.1/));
    });
  },
);
