import { chmod, copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Chassis, QemuArgs } from '../../manager/control/api.js';
import { findBusybox } from '../../testbed/busybox.js';
import { LinuxGuest } from '../../testbed/guest.js';
import { initScript } from '../../testbed/guest-init.js';
import { describeRealGuest, requireRealQemu } from './lab.js';
import { DiskLab, MIB } from './support/disk-lab.js';

/** Loads the drivers, and goes on from the disk: what a distribution's initramfs does. */
const SWITCHING_INIT = `#!/bin/sh
export PATH=/bin
mount -t devtmpfs dev /dev
while read -r module; do insmod "$module"; done </etc/modules
modprobe ext4
mkdir /root-disk
until mount -t ext4 /dev/vda /root-disk; do sleep 0.1; done
umount /dev
exec switch_root /root-disk /sbin/init
`;

describeRealGuest('Linux with its root file system on a disk of a chassis', () => {
  let disks: DiskLab;

  beforeAll(async () => {
    disks = await DiskLab.start(1);
  });
  afterAll(() => disks?.stop());

  /** A file system with busybox and the testbed's agent in it. */
  async function rootImage(): Promise<string> {
    const tree = disks.path('root');
    const busybox = await findBusybox();
    for (const name of ['bin', 'sbin', 'etc', 'dev', 'proc', 'sys', 'usr']) {
      await mkdir(join(tree, name), { recursive: true });
    }
    await copyFile(busybox.path, join(tree, 'bin/busybox'));
    for (const applet of busybox.applets.filter((name) => name !== 'busybox')) {
      await symlink('busybox', join(tree, 'bin', applet));
    }
    const files = { 'sbin/init': initScript, 'etc/modules': '', 'usr/share/large': 'x'.repeat(4 * MIB) };
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(tree, name)), { recursive: true });
      await writeFile(join(tree, name), text);
    }
    await chmod(join(tree, 'sbin/init'), 0o755);
    const image = await disks.image('root.img', 32 * MIB);
    const made = await disks.onHost('mke2fs', '-q', '-t', 'ext4', '-d', tree, image);
    expect(made).toMatchObject({ exitCode: 0 });
    return image;
  }

  async function boot(): Promise<LinuxGuest> {
    const { args } = await disks.lab.daemon.json<QemuArgs>('args', '--memory', '512');
    return LinuxGuest.boot({
      qemu: requireRealQemu(),
      kernel: '6.1',
      machineArgs: args,
      extraFiles: [{ path: '/init', bytes: SWITCHING_INIT }],
    });
  }

  it('boots from it, changes it, and leaves it clean', async () => {
    const image = await rootImage();
    await disks.lab.daemon.json('disk', 'add', image);
    const guest = await boot();
    const script = `awk '$2 == "/" { print $1, $3, substr($4, 1, 2) }' /proc/mounts | tail -n 1
      tr -d x </usr/share/large | wc -c
      mkdir /var && cp /usr/share/large /var/copy && echo changed >/etc/changed && sync`;
    const { stdout } = await guest.ok(script, { timeoutMs: 60_000 });
    expect(stdout).toBe('/dev/vda ext4 rw\n0\n');
    const [disk] = (await disks.lab.daemon.json<Chassis>('show')).disks;
    expect(disk).toMatchObject({ state: 'plugged', driver: { registers: 'modern' } });
    // Before the machine goes off, as a distribution does.
    await guest.ok('mount -o remount,ro /');
    await guest.shutdown();
    expect((await disks.onHost('e2fsck', '-fn', image)).exitCode).toBe(0);
    expect((await disks.onHost('debugfs', '-R', 'cat /etc/changed', image)).stdout).toBe('changed');
  });
});
