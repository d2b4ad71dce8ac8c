import { open, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Disk } from '../../manager/control/api.js';
import { NbdServer } from '../devices/blk/backends/nbd/nbd-server.js';
import { describeRealGuest, Lab } from './lab.js';

const MIB = 2 ** 20;

/** In the guest: the block device with a serial, as `vda`; fails while there is none. */
function deviceOf(serial: string): string {
  return `basename $(dirname $(grep -lx ${serial} /sys/block/vd*/serial))`;
}

describeRealGuest('a disk plugged into a running Linux guest', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await Lab.start('vhost-user');
    await lab.boot('6.1');
  });
  afterAll(() => lab.stop());

  /** A disk of the host in a file whose first bytes are these. */
  async function image(name: string, content: string): Promise<string> {
    const path = join(lab.folder, name);
    await writeFile(path, content);
    await truncate(path, 8 * MIB);
    return path;
  }

  async function add(...words: string[]): Promise<Disk> {
    const { disk } = await lab.daemon.json<{ disk: Disk }>('disk', 'add', ...words);
    await lab.guest.waitFor(deviceOf(disk.serial));
    return disk;
  }

  async function firstBytes(path: string, lengthBytes: number): Promise<string> {
    const file = await open(path);
    try {
      return (await file.read(Buffer.alloc(lengthBytes), 0, lengthBytes, 0)).buffer.toString();
    } finally {
      await file.close();
    }
  }

  async function sectors(serial: string): Promise<string> {
    return lab.sh(`cat /sys/block/$(${deviceOf(serial)})/size`);
  }

  for (const port of ['vhost-user', 'vfio-user'] as const) {
    it(`over ${port} keeps in its file what the guest writes, grows under it, and is ejected`, async () => {
      const path = await image(`${port}.img`, 'from the host');
      const disk = await add(path, '--port', port);
      expect(disk).toMatchObject({ name: port, serial: port, state: 'plugged', port, sizeBytes: 8 * MIB });
      // What the daemon says of interrupts is what the guest has.
      const usesMsix = (await lab.guest.sh('grep -q "MSI.*virtio.*-req" /proc/interrupts')).exitCode === 0;
      expect(disk.interrupts).toBe(usesMsix ? 'msix' : 'intx');
      expect(usesMsix).toBe(port === 'vhost-user');
      const device = `/dev/$(${deviceOf(port)})`;
      expect(await lab.sh(`head -c 13 ${device}`)).toBe('from the host');
      await lab.sh(`printf 'from the guest' | dd of=${device} bs=1M conv=notrunc,fsync 2>/dev/null`);
      expect(await firstBytes(path, 14)).toBe('from the guest');

      await lab.daemon.json('disk', 'resize', port, '12M');
      await lab.guest.waitFor(`[ $(cat /sys/block/$(${deviceOf(port)})/size) = ${(12 * MIB) / 512} ]`);
      expect((await stat(path)).size).toBe(12 * MIB);

      const { disks } = await lab.daemon.json<{ disks: Disk[] }>('disk', 'list');
      expect(disks).toMatchObject([{ name: port, sizeBytes: 12 * MIB, driver: { registers: 'modern' } }]);
      expect(disks[0].counters?.bytesWritten).toBeGreaterThan(0);

      // A guest that still has it open, and has not written back what it wrote, does so and lets it go.
      await lab.sh(
        `sleep 300 <${device} & printf 'at the last moment' | dd of=${device} conv=notrunc 2>/dev/null`,
      );
      await lab.daemon.json('disk', 'remove', port);
      expect(await firstBytes(path, 18)).toBe('at the last moment');
      await lab.guest.waitFor(`! ${deviceOf(port)} 2>/dev/null`);
      expect((await lab.show()).slotsFree).toBe(4);
    });
  }

  it('with an overlay leaves its file as it was', async () => {
    const path = await image('base.img', 'as it was');
    const before = await readFile(path);
    await add(path, '--overlay', '--name', 'throwaway');
    const device = `/dev/$(${deviceOf('throwaway')})`;
    await lab.sh(`printf 'thrown away' | dd of=${device} bs=1M conv=notrunc,fsync 2>/dev/null`);
    expect(await lab.sh(`echo 3 > /proc/sys/vm/drop_caches; head -c 11 ${device}`)).toBe('thrown away');
    await lab.daemon.json('disk', 'remove', 'throwaway');
    expect((await readFile(path)).equals(before)).toBe(true);
  });

  it('on an NBD server is written there, and grows as the server says', async () => {
    const server = await NbdServer.start({ sizeBytes: MIB });
    await add(`nbd:${server.uri}`, '--name', 'remote');
    await lab.sh(
      `printf 'to the server' | dd of=/dev/$(${deviceOf('remote')}) conv=notrunc,fsync 2>/dev/null`,
    );
    expect(server.medium.toString('latin1', 0, 13)).toBe('to the server');
    server.resize(2 * MIB);
    await lab.daemon.json('disk', 'resize', 'remote', '2M');
    await lab.guest.waitFor(`[ $(cat /sys/block/$(${deviceOf('remote')})/size) = ${(2 * MIB) / 512} ]`);
    await lab.daemon.json('disk', 'remove', 'remote');
  });

  it('that a guest does not let go of works on, and goes once the guest complies', async () => {
    await add('mem:1M', '--name', 'held');
    process.kill(lab.guest.pid, 'SIGSTOP');
    try {
      expect(await lab.daemon.failure('disk', 'remove', 'held', '--timeout', '1')).toMatchObject({
        code: 'GUEST_TIMEOUT',
        exitCode: 7,
      });
      expect((await lab.show()).disks).toMatchObject([{ name: 'held', state: 'unplugging' }]);
    } finally {
      process.kill(lab.guest.pid, 'SIGCONT');
    }
    await expect.poll(async () => (await lab.show()).disks, { timeout: 20_000 }).toEqual([]);
  });

  it('in memory is there for the next VM when one goes away, with what was written', async () => {
    await add('mem:4M', '--name', 'scratch');
    await lab.sh(`printf kept | dd of=/dev/$(${deviceOf('scratch')}) conv=fsync 2>/dev/null`);
    await lab.guest.sh('poweroff -f').catch(() => undefined);
    await expect
      .poll(async () => (await lab.show()).disks, { timeout: 20_000 })
      .toMatchObject([{ name: 'scratch', state: 'parked' }]);
    await lab.boot('6.1');
    expect(await sectors('scratch')).toBe(String((4 * MIB) / 512));
    expect(await lab.sh(`head -c 4 /dev/$(${deviceOf('scratch')})`)).toBe('kept');
  });
});
