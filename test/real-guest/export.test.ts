/** `chassis export` on the host, mounted over TCP by a Linux guest that reaches the host by QEMU's user network. */
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa, type ResultPromise } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { LinuxGuest } from '../../testbed/guest.js';
import { CHASSIS } from '../support/daemon.js';
import { describeRealGuest, requireRealQemu } from './lab.js';

/** Where a guest on QEMU's user network is, and where it reaches the host's loopback interface. */
const GUEST = '10.0.2.15';
const HOST = '10.0.2.2';

describeRealGuest('an export over TCP in a Linux guest', () => {
  let folder: string;
  let server: ResultPromise;
  let port: string;
  let guest: LinuxGuest;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'chassis-export-'));
    server = execa(process.execPath, [CHASSIS, 'export', folder, '--listen', 'tcp:127.0.0.1:0', '--json'], {
      reject: false,
      stdin: 'ignore',
    });
    const { value } = (await server.stdout![Symbol.asyncIterator]().next()) as { value: unknown };
    port = /tcp:127\.0\.0\.1:(\d+)/.exec(String(value))![1];
    guest = await LinuxGuest.boot({
      qemu: requireRealQemu(),
      kernel: '6.12',
      extraArgs: ['-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net'],
    });
    await guest.ok(`ifconfig eth0 ${GUEST} netmask 255.255.255.0 up`);
  });
  afterAll(async () => {
    await guest.shutdown();
    server.kill('SIGTERM');
    await server;
    await rm(folder, { recursive: true });
  });

  it.each(['9p2000.L', '9p2000.u', '9p2000'])(
    'is read, written, renamed in and unmounted with version=%s',
    async (version) => {
      await writeFile(join(folder, 'given'), 'from the host');
      const { stdout } = await guest.ok(
        `set -e
        mkdir -p /mnt/export
        mount -t 9p -o trans=tcp,port=${port},version=${version},msize=65536 ${HOST} /mnt/export
        cd /mnt/export
        cat given; echo
        head -c 3000000 /dev/urandom >/tmp/random
        mkdir folder
        cp /tmp/random folder/written
        mv folder/written folder/renamed
        cmp folder/renamed /tmp/random
        ls folder
        rm given
        cd /
        umount /mnt/export
        sha256sum </tmp/random`,
        { timeoutMs: 120_000 },
      );
      const [given, listed, digest] = stdout.split('\n');
      expect([given, listed]).toEqual(['from the host', 'renamed']);
      const content = await readFile(join(folder, 'folder', 'renamed'));
      expect(createHash('sha256').update(content).digest('hex')).toBe(digest.split(' ')[0]);
      await expect(readFile(join(folder, 'given'))).rejects.toThrow('ENOENT');
      await rm(join(folder, 'folder'), { recursive: true });
    },
  );

  it.runIf(process.geteuid?.() === 0)('keeps modes, owners and links with version=9p2000.L', async () => {
    const { stdout } = await guest.ok(
      `set -e
      mount -t 9p -o trans=tcp,port=${port},version=9p2000.L,msize=65536 ${HOST} /mnt/export
      cd /mnt/export
      echo x >file
      chmod 640 file
      chown 33:44 file
      ln file second
      ln -s file link
      stat -c '%a %u %g %h' file
      readlink link
      cd /
      umount /mnt/export`,
      { timeoutMs: 60_000 },
    );
    expect(stdout).toBe('640 33 44 2\nfile\n');
  });
});
