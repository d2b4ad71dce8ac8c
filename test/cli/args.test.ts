import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestDaemon } from '../support/daemon.js';

describe('args, for VMs that others start', () => {
  let daemon: TestDaemon;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'chassis-args-'));
    daemon = await TestDaemon.start();
    await daemon.json('create', 'dev', '--slots', '2');
    await daemon.json(
      'create',
      'cloud',
      '--vmm',
      'cloud-hypervisor',
      '--api-socket',
      join(folder, 'ch.sock'),
    );
  }, 60_000);
  afterAll(async () => {
    await daemon.stop();
    await rm(folder, { recursive: true });
  });

  it('prints a libvirt domain, with what follows -- as it was typed', async () => {
    const further = ['-device', 'virtio-rng-pci', '-device', 'virtio-balloon-pci'];
    const { stdout } = await daemon.cli(
      'args',
      'dev',
      '--format',
      'libvirt',
      '--memory',
      '256',
      '--',
      ...further,
    );
    expect(stdout).toMatch(/^<domain type='kvm'[^]*<memory unit='MiB'>256<[^]*<\/domain>$/);
    const values = [...stdout.matchAll(/<qemu:arg value='(.*)'\/>/g)].map(([, value]) => value);
    expect(values.slice(-4)).toEqual(further);
    expect(values.join(' ')).not.toContain('memory-backend');
  });

  it('prints the flags of Cloud Hypervisor for a chassis that is for it, which show and tree know', async () => {
    const { stdout } = await daemon.cli('args', 'cloud');
    expect(stdout).toBe(`--api-socket path=${join(folder, 'ch.sock')} --memory size=1024M,shared=on`);
    const service = await daemon.json<{ text: string; vmm: string; args: string[] }>(
      ...['args', 'cloud', '-f', 'systemd'],
    );
    expect(service.text).toMatch(/^ExecStart=cloud-hypervisor \\\n {2}--api-socket path=/m);
    expect([service.vmm, service.args[0]]).toEqual(['cloud-hypervisor', '--api-socket']);
    expect((await daemon.cli('show', 'cloud')).stdout).toMatch(/^api {7}\/.*ch\.sock$/m);
    expect((await daemon.cli('tree', 'cloud')).stdout).toBe('-[0000:00]---[slots 1..8]');
  });

  it.each([
    ['dev', 'cloud-hypervisor', /for qemu/],
    ['cloud', 'libvirt', /for cloud-hypervisor/],
  ])('refuses chassis %s in the format %s', async (chassis, format, message) => {
    expect(await daemon.failure('args', chassis, '--format', format)).toMatchObject({
      ...{ code: 'VMM_UNSUITABLE', exitCode: 6 },
      message: expect.stringMatching(message) as string,
      suggestion: expect.stringMatching(/chassis create NAME --vmm/) as string,
    });
  });

  it('has run refuse a chassis that is not for QEMU, and words that are for nobody', async () => {
    const qemu = join(folder, 'qemu');
    await writeFile(qemu, '#!/bin/sh\necho "QEMU emulator version 11.1.3"\n');
    await chmod(qemu, 0o755);
    expect(await daemon.failure('run', '--chassis', 'cloud', '--qemu', qemu)).toMatchObject({
      ...{ code: 'VMM_UNSUITABLE', exitCode: 6 },
      suggestion: expect.stringMatching(/chassis args cloud/) as string,
    });
    expect(await daemon.failure('run', 'disk.img')).toMatchObject({ code: 'BAD_REQUEST', exitCode: 2 });
    expect(await daemon.failure('args', 'dev', 'cloud')).toMatchObject({ code: 'BAD_REQUEST', exitCode: 2 });
  });
});
