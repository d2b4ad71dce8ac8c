import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Chassis, Mount } from '../../manager/control/api.js';
import { findKernel } from '../../testbed/kernel.js';
import { CHASSIS, TestDaemon } from '../support/daemon.js';
import { describeRealGuest, qemuProgram } from './lab.js';

describeRealGuest('chassis run', () => {
  let daemon: TestDaemon;
  let folder: string;
  let qemu: string;

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    folder = await mkdtemp(join(tmpdir(), 'chassis-run-'));
    qemu = await qemuProgram(folder);
    await daemon.json('create', 'dev', '--slots', '3');
  });
  afterAll(async () => {
    await daemon.stop();
    await rm(folder, { recursive: true });
  });

  it('boots a QEMU that is wired to the chassis, with what is attached already, over the port that suits it', async () => {
    await daemon.json('attach', folder, '--tag', 'early');
    await daemon.json('disk', 'add', 'mem:1M', '--name', 'root');
    const { imagePath } = await findKernel('6.1');
    // Without a root file system the kernel stops in a panic, which is all that is needed of it here.
    const line = ['run', '--dir', daemon.directory, '--qemu', qemu, '--accel', 'tcg', '--memory', '256'];
    const boot = ['--kernel', imagePath, '--append', 'console=ttyS0', '--', '-no-reboot'];
    const running = execa(process.execPath, [CHASSIS, ...line, ...boot], { reject: false, stdin: 'ignore' });
    try {
      await expect
        .poll(() => daemon.json<Chassis>('show'), { timeout: 30_000 })
        .toMatchObject({
          vmm: { type: 'qemu' },
          mounts: [{ tag: 'early', state: 'plugged', port: 'vhost-user' }],
          disks: [{ name: 'root', state: 'plugged', port: 'vhost-user', interrupts: 'msix' }],
        });
      const { mounts } = await daemon.json<{ mounts: Mount[] }>(
        'attach',
        'mem:',
        '--tag',
        'late',
        '--via',
        'function',
      );
      expect(mounts).toMatchObject([{ tag: 'late', state: 'plugged', interrupts: 'intx' }]);
    } finally {
      running.kill('SIGTERM');
      await running;
    }
    expect((await running).exitCode).toBe(0);
    await expect.poll(() => daemon.json<Chassis>('show')).not.toHaveProperty('vmm');
  });

  it('answers with the exit code of QEMU', async () => {
    const line = ['run', '--json', '--qemu', qemu, '--accel', 'tcg', '--', '-device', 'no-such-device'];
    const { exitCode, stdout, stderr } = await daemon.cli(...line);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/no-such-device/);
    expect(JSON.parse(stdout)).toMatchObject({
      exitCode: 1,
      command: expect.arrayContaining([qemu]) as unknown,
    });
  });
});
