import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checksText } from '../../../cli/doctor/check.js';
import { checkDaemon, checkDirectory } from '../../../cli/doctor/daemon.js';
import { checkNode } from '../../../cli/doctor/machine.js';
import { distributionOf, installation } from '../../../cli/doctor/packages.js';
import { checkQemu } from '../../../cli/doctor/programs.js';
import { ChassisError } from '../../../manager/control/api.js';
import { temporaryFolders } from '../../manager/temporary-folder.js';

describe('chassis doctor', () => {
  const folder = temporaryFolders();

  /** A program that answers as QEMU does. */
  async function fakeQemu(version: string, devices: string[]): Promise<string> {
    const path = join(folder(), 'qemu');
    const help = devices.map((name) => `name "${name}", bus PCI`).join('\n');
    const script = `#!/bin/sh\ncase $1 in --version) echo "QEMU emulator version ${version}";; *) echo '${help}';; esac\n`;
    await writeFile(path, script);
    await chmod(path, 0o755);
    return path;
  }

  it.each([
    ['20.19.0', 'ok'],
    ['22.0.0', 'ok'],
    ['20.18.9', 'failed'],
    ['18.20.4', 'failed'],
  ])('takes Node %s for %s', (version, status) => {
    expect(checkNode('>=20.19', version)).toMatchObject({ status });
  });

  it('says what a QEMU can do, and which devices one lacks', async () => {
    const all = ['vfio-user-pci', 'vhost-user-test-device-pci', 'vhost-user-blk-pci', 'virtio-net-pci'];
    expect(await checkQemu(await fakeQemu('11.1.3', all))).toMatchObject({
      status: 'ok',
      found: expect.stringMatching(
        /11\.1\.3: any device over vfio-user, mounts over vhost-user, disks/,
      ) as string,
    });
    expect(await checkQemu(await fakeQemu('10.1.0', all.slice(0, 1)))).toMatchObject({
      status: 'warning',
      found: expect.stringMatching(/lacks vhost-user-test-device-pci \(mounts over vhost-user\), /) as string,
    });
    expect(await checkQemu(await fakeQemu('10.1.0', all.slice(2)))).toMatchObject({ status: 'failed' });
  });

  it('says how to get a QEMU where there is none, or an old one', async () => {
    const cure = expect.stringMatching(/install it: .*qemu-system-x86.*--qemu/) as string;
    expect(await checkQemu(join(folder(), 'none'))).toMatchObject({ status: 'failed', cure });
    expect(await checkQemu(await fakeQemu('7.1.0', []))).toMatchObject({
      ...{ status: 'failed', cure },
      found: expect.stringMatching(/7\.1: disks and network cards need 7\.2/) as string,
    });
  });

  it('knows systems by their own name, and by the one that they are like', () => {
    expect(distributionOf('PRETTY_NAME="Debian"\nID=debian\n')).toBe('debian');
    expect(distributionOf('ID=ubuntu\nID_LIKE=debian\n')).toBe('debian');
    expect(distributionOf('ID="rocky"\nID_LIKE="rhel centos fedora"\n')).toBe('fedora');
    expect(distributionOf('ID=manjaro\nID_LIKE=arch\n')).toBe('arch');
    expect(distributionOf('ID=alpine\n')).toBeUndefined();
    expect(installation('passt', 'arch')).toBe('install it: pacman -S passt');
    expect(installation('passt', undefined)).toMatch(/apt install passt|passt \(debian\)/);
  });

  it('looks at the state directory without making it', async () => {
    const path = join(folder(), 'state');
    expect(checkDirectory(path)).toMatchObject({ status: 'ok', found: `${path}, which is not made yet` });
    await mkdir(path, { mode: 0o700 });
    expect(checkDirectory(path)).toEqual({ name: 'state', status: 'ok', found: path });
    await chmod(path, 0o755);
    expect(checkDirectory(path)).toMatchObject({ status: 'failed', cure: `run: chmod 700 ${path}` });
    expect(checkDirectory(join(path, 'x'.repeat(90)))).toMatchObject({
      status: 'failed',
      cure: expect.stringMatching(/at most/) as string,
    });
  });

  it('tells a daemon of this version from another one, and from none', async () => {
    const health = async () => ({ version: '0.1.0', pid: 7 });
    expect(await checkDaemon({ health }, '0.1.0')).toMatchObject({ status: 'ok', found: '0.1.0 (pid 7)' });
    expect(await checkDaemon({ health }, '0.2.0')).toMatchObject({
      status: 'failed',
      found: 'it is 0.1.0, and this is 0.2.0',
      cure: expect.stringMatching(/kill 7/) as string,
    });
    const none = async () => {
      throw new ChassisError('NO_DAEMON', 'no daemon answers', 'start one with: chassis serve');
    };
    expect(await checkDaemon({ health: none }, '0.1.0')).toMatchObject({
      status: 'warning',
      cure: 'start one with: chassis serve',
    });
  });

  it('prints a line for each, and the cure below', () => {
    const checks = [
      { name: 'node', status: 'ok' as const, found: '20.20.2' },
      { name: 'passt', status: 'warning' as const, found: 'there is none', cure: 'install it' },
      { name: 'qemu', status: 'failed' as const, found: 'too old', cure: 'a newer one' },
    ];
    expect(checksText(checks).split('\n')).toEqual([
      'ok       node   20.20.2',
      'warning  passt  there is none',
      '                install it',
      'FAILED   qemu   too old',
      '                a newer one',
    ]);
  });
});
