import { mkdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import type { Disk } from '../../manager/control/api.js';
import { describeRealGuest } from './lab.js';
import { DiskLab, MIB } from './support/disk-lab.js';
import { NbdProcess } from './support/nbd-process.js';

const isRoot = process.geteuid?.() === 0;

describeRealGuest('a file system of a Linux guest survives', () => {
  let disks: DiskLab;

  beforeAll(async () => {
    disks = await DiskLab.start();
    await disks.boot('6.1');
  });
  afterAll(() => disks?.stop());

  /** A file system of the host in memory, which root alone can mount. */
  async function smallFolder(sizeMiB: number): Promise<string> {
    const folder = disks.path('small');
    await mkdir(folder);
    await execa('mount', ['-t', 'tmpfs', '-o', `size=${sizeMiB}M`, 'small', folder]);
    onTestFinished(async () => {
      await execa('umount', ['--lazy', folder]);
    });
    return folder;
  }

  it.runIf(isRoot)('a host that has no space left, and goes on once it has', async () => {
    const { lab } = disks;
    const folder = await smallFolder(16);
    const path = await disks.image(join('small', 'thin.img'), 64 * MIB);
    const device = await disks.add('thin', path);
    // Its journal is there from the start; what follows finds no room.
    await lab.sh(`${disks.inGuest('mke2fs')} -q -t ext4 -E lazy_journal_init=0 -J size=4 ${device}
      mkdir -p /mnt/thin && mount -t ext4 -o errors=remount-ro ${device} /mnt/thin
      echo kept > /mnt/thin/kept && sync`);
    const full = `yes | dd of=/mnt/thin/big bs=1M count=40 iflag=fullblock oflag=direct 2>&1`;
    const { exitCode, stdout } = await lab.guest.sh(full, { timeoutMs: 60_000 });
    expect(exitCode).not.toBe(0);
    expect(stdout).toMatch(/Input\/output error/);
    expect(await lab.sh('cat /mnt/thin/kept')).toBe('kept');

    await execa('mount', ['-o', 'remount,size=128M', folder]);
    await lab.guest.sh('umount /mnt/thin');
    // 1: it mended what was cut short.
    await lab.sh(`${disks.inGuest('e2fsck')} -fy ${device} >/dev/null || [ $? = 1 ]`);
    await lab.sh(`mount -t ext4 ${device} /mnt/thin`);
    expect(await lab.sh('cat /mnt/thin/kept')).toBe('kept');
    await lab.sh(`yes | dd of=/mnt/thin/big bs=1M count=30 iflag=fullblock oflag=direct conv=fsync 2>/dev/null
      umount /mnt/thin`);
    await disks.remove('thin');
    expect((await disks.onHost('e2fsck', '-fn', path)).exitCode).toBe(0);
  });

  it('a medium that fails for a while, once the disk is added anew', async () => {
    const { lab } = disks;
    const path = await disks.image('failing.img', 32 * MIB);
    const failing = disks.path('failing');
    const server = await NbdProcess.nbdkitFailing(disks, path, failing);
    const before = await disks.add('failing', server.source);
    await lab.sh(`${disks.inGuest('mke2fs')} -q -t ext4 ${before}
      mkdir -p /mnt/failing && mount -t ext4 -o errors=remount-ro ${before} /mnt/failing
      echo kept > /mnt/failing/kept && sync`);
    await writeFile(failing, '');
    const write = 'yes | dd of=/mnt/failing/big bs=64k count=16 iflag=fullblock conv=fsync';
    expect((await lab.guest.sh(write)).exitCode).not.toBe(0);
    await rm(failing);
    // What a failed flush may have lost cannot be known: the disk as it was takes no more.
    await lab.guest.sh('umount /mnt/failing');
    await disks.remove('failing');
    const after = await disks.add('mended', server.source);
    await lab.sh(`${disks.inGuest('e2fsck')} -fy ${after} >/dev/null || [ $? = 1 ]
      mount -t ext4 ${after} /mnt/failing`);
    expect(await lab.sh(`cat /mnt/failing/kept; ${write} 2>/dev/null; umount /mnt/failing`)).toBe('kept');
    await disks.remove('mended');
    await server.stop();
    expect((await disks.onHost('e2fsck', '-fn', path)).exitCode).toBe(0);
  });

  it('an image that is cut off under it, once it is given its size again', async () => {
    const { lab } = disks;
    const [size, left] = [32 * MIB, 24 * MIB];
    const path = await disks.image('cut.img', size);
    const device = await disks.add('cut', path);
    await lab.sh(`${disks.inGuest('mke2fs')} -q -t ext4 -E lazy_journal_init=0 -J size=4 ${device}
      mkdir -p /mnt/cut && mount -t ext4 -o errors=remount-ro ${device} /mnt/cut
      echo kept > /mnt/cut/kept && sync && umount /mnt/cut`);
    await truncate(path, left);
    const write = (at: number) =>
      `yes | dd of=${device} bs=64k seek=${at / 65536} count=1 iflag=fullblock oflag=direct`;
    expect(await lab.guest.sh(write(left))).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/Input\/output error/) as string,
    });
    expect((await stat(path)).size).toBe(left);
    const { disks: shown } = await lab.daemon.json<{ disks: Disk[] }>('disk', 'list');
    expect(shown).toMatchObject([
      { name: 'cut', sizeBytes: size, trouble: expect.stringMatching(/cut off/) as string },
    ]);
    await lab.daemon.json('disk', 'resize', 'cut', String(size));
    // What was cut off is gone, and what was not is there.
    await lab.sh(`${write(left)} 2>/dev/null
      ${disks.inGuest('e2fsck')} -fy ${device} >/dev/null || [ $? = 1 ]
      mount -t ext4 ${device} /mnt/cut`);
    expect(await lab.sh('cat /mnt/cut/kept; sync; umount /mnt/cut')).toBe('kept');
    await disks.remove('cut');
    expect((await disks.onHost('e2fsck', '-fn', path)).exitCode).toBe(0);
  });

  it('an NBD server that is killed, and is there again later', async () => {
    const { lab } = disks;
    const path = await disks.image('remote.img', 32 * MIB);
    const server = await NbdProcess.qemuNbd(disks, path, 'raw');
    const device = await disks.add('remote', server.source);
    await lab.sh(`${disks.inGuest('mke2fs')} -q -t ext4 ${device}
      mkdir -p /mnt/remote && mount -t ext4 ${device} /mnt/remote`);
    const copies = lab.sh(`cd /mnt/remote && i=0
      while [ $i -lt 10 ]; do
        yes $i | dd of=f$i bs=64k count=16 iflag=fullblock conv=fsync 2>/dev/null
        i=$((i + 1)); echo $i >/tmp/copies
      done; cat /tmp/copies`);
    for (const copied of [2, 4, 7]) {
      await lab.guest.waitFor(`[ $(cat /tmp/copies) -ge ${copied} ]`, 30_000);
      await server.kill();
      await sleep(300);
      await server.again();
    }
    expect(await copies).toBe('10');
    const sums = 'for i in 0 1 2 3 4 5 6 7 8 9; do head -c 1048576 /mnt/remote/f$i | uniq; done';
    await lab.sh('umount /mnt/remote');
    await lab.sh(`mount -t ext4 ${device} /mnt/remote`);
    expect(await lab.sh(sums)).toBe('0\n1\n2\n3\n4\n5\n6\n7\n8\n9');
    await lab.sh('umount /mnt/remote');
    await disks.remove('remote');
    await server.stop();
    expect((await disks.onHost('e2fsck', '-fn', path)).exitCode).toBe(0);
  });
});
