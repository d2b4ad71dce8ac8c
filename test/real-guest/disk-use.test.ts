import { stat, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Disk } from '../../manager/control/api.js';
import { describeRealGuest } from './lab.js';
import { withBubblewrap } from './support/bubblewrap.js';
import { deviceOf, DiskLab, MIB } from './support/disk-lab.js';
import { NbdProcess } from './support/nbd-process.js';

const BLOCK_BYTES = 512;

withBubblewrap();

describeRealGuest("a Linux guest's own tools on disks of a chassis", () => {
  let disks: DiskLab;

  beforeAll(async () => {
    disks = await DiskLab.start();
    await disks.boot('6.1', 2);
  });
  afterAll(() => disks?.stop());

  async function spaceBytes(path: string): Promise<number> {
    return (await stat(path)).blocks * BLOCK_BYTES;
  }

  it('make a file system, fill it, and leave it clean', async () => {
    const path = await disks.image('filled.img', 48 * MIB);
    const device = await disks.add('filled', path);
    await disks.lab.sh(`${disks.inGuest('mke2fs')} -q -t ext4 ${device} && mkdir -p /mnt/filled
      mount -t ext4 ${device} /mnt/filled && cd /mnt/filled && mkdir many
      i=0; while [ $i -lt 200 ]; do echo $i > many/$i; i=$((i + 1)); done
      ! dd if=/dev/zero of=fill bs=1M 2>/dev/null
      cd / && umount /mnt/filled`);
    await disks.remove('filled');
    const { exitCode, stdout } = await disks.onHost('e2fsck', '-fn', path);
    expect({ exitCode, stdout }).toMatchObject({ exitCode: 0 });
    expect((await disks.onHost('debugfs', '-R', 'cat many/199', path)).stdout).toBe('199');
  });

  it.each<[string, (name: string) => Promise<{ source: string; words?: string[]; server?: NbdProcess }>]>([
    ['a file', async (name) => ({ source: await disks.image(name, 16 * MIB) })],
    ['an overlay', async (name) => ({ source: await disks.image(name, 16 * MIB), words: ['--overlay'] })],
    [
      'nbdkit',
      async (name) => {
        const server = await NbdProcess.nbdkit(disks, await disks.image(name, 16 * MIB));
        return { source: server.source, server };
      },
    ],
    [
      "qemu-nbd's qcow2",
      async (name) => {
        const path = disks.path(name);
        await disks.onHost('qemu-img', 'create', '-q', '-f', 'qcow2', path, '16M');
        const server = await NbdProcess.qemuNbd(disks, path, 'qcow2');
        return { source: server.source, server };
      },
    ],
  ])('read back from %s what they wrote in any order', async (_where, prepare) => {
    const { source, words = [], server } = await prepare('verified.img');
    const device = await disks.add('verified', source, ...words);
    const printed = await disks.lab.sh(disks.fioVerify(device, 16));
    // Field 5 of fio's terse format: errors.
    expect(printed.split(';')[4]).toBe('0');
    await disks.remove('verified');
    await server?.stop();
  });

  it.each(['vhost-user', 'vfio-user'])(
    'have a queue for each processor over %s, and all are used',
    async (port) => {
      const device = await disks.add(port, 'mem:8M', '--port', port, '--queues', '3');
      const block = device.replace('/dev/', '/sys/block/');
      // Linux takes no more than it has processors.
      expect(await disks.lab.sh(`cat ${block}/mq/0/cpu_list ${block}/mq/1/cpu_list; ls ${block}/mq`)).toBe(
        '0\n1\n0\n1',
      );
      const move = (processor: number, data: string) =>
        disks.lab.sh(`yes ${data} | head -c 4194304 >/tmp/${data}
        taskset ${1 << processor} dd if=/tmp/${data} of=${device} bs=64k seek=${64 * processor} oflag=direct 2>/dev/null
        taskset ${1 << processor} dd if=${device} bs=64k skip=${64 * processor} count=64 iflag=direct 2>/dev/null | cmp - /tmp/${data}`);
      await Promise.all([move(0, 'here'), move(1, 'there')]);
      const { disks: shown } = await disks.lab.daemon.json<{ disks: Disk[] }>('disk', 'list');
      const requests = shown
        .find(({ name }) => name === port)
        ?.counters?.queues.map((queue) => queue.requests);
      expect(requests).toHaveLength(3);
      expect(Math.min(...(requests ?? []).slice(0, 2))).toBeGreaterThanOrEqual(128);
      expect(requests?.[2]).toBe(0);
      await disks.remove(port);
    },
  );

  it('give space back to the host by discarding, and by writing zeroes that may unmap', async () => {
    const path = await disks.image('sparse.img', 16 * MIB);
    const device = await disks.add('sparse', path);
    await disks.lab.sh(`yes | dd of=${device} bs=1M count=16 iflag=fullblock conv=fsync 2>/dev/null`);
    expect(await spaceBytes(path)).toBeGreaterThanOrEqual(16 * MIB);
    await disks.lab.sh(`${disks.inGuest('blkdiscard')} -o 0 -l ${8 * MIB} ${device}`);
    expect(await spaceBytes(path)).toBeLessThanOrEqual(8 * MIB);
    await disks.lab.sh(`${disks.inGuest('fallocate')} -p -o ${8 * MIB} -l ${4 * MIB} ${device}`);
    expect(await spaceBytes(path)).toBeLessThanOrEqual(4 * MIB);
    // Zeroes that may not unmap keep the space.
    await disks.lab.sh(`${disks.inGuest('blkdiscard')} -z -o 0 -l ${4 * MIB} ${device}`);
    expect(await spaceBytes(path)).toBeGreaterThanOrEqual(8 * MIB);
    const zeroes = `dd if=${device} bs=1M count=12 iflag=direct 2>/dev/null | tr -d '\\0' | wc -c`;
    expect(await disks.lab.sh(zeroes)).toBe('0');
    await disks.remove('sparse');
  });

  it('find user data on the disk that cloud-init looks for', async () => {
    const path = disks.path('user-data.yaml');
    await writeFile(path, '#cloud-config\nhostname: seeded\n');
    const device = await disks.add('seed', '--cloud-init', path);
    expect(await disks.lab.sh(`${disks.inGuest('blkid')} -o export ${device}`)).toMatch(/^LABEL=CIDATA$/m);
    const files = await disks.lab.sh(`mkdir -p /mnt/seed && mount -t vfat -o ro ${device} /mnt/seed
      ls /mnt/seed && cat /mnt/seed/user-data /mnt/seed/meta-data && umount /mnt/seed`);
    expect(files).toMatch(
      /^meta-data\nuser-data\n#cloud-config\nhostname: seeded\ninstance-id: chassis-[0-9a-f]{16}$/,
    );
    await disks.remove('seed');
  });

  it('do not notice other disks that come and go under load', async () => {
    const { lab } = disks;
    const steady = await disks.add('steady', await disks.image('steady.img', 16 * MIB));
    const loops = `while ! [ -e /tmp/enough ]; do ${disks.fioVerify(steady, 8)} || exit; done`;
    const verified = lab.sh(`rm -f /tmp/enough; ${loops}`);
    for (let i = 0; i < 3; i++) {
      const device = await disks.add('passing', 'mem:8M');
      // It is pulled from under a reader and a writer, who get errors and no more.
      await lab.sh(`for rw in if of; do
        (while dd $rw=${device} \${rw}lag=direct bs=64k count=64; do :; done) <&- >/dev/null 2>&1 & done`);
      await sleep(200);
      await disks.remove('passing');
      await lab.guest.waitFor(`! ${deviceOf('passing')} 2>/dev/null`);
    }
    await lab.sh('touch /tmp/enough');
    expect(await verified).toMatch(/^3;fio/);
    await disks.remove('steady');
  });
});
