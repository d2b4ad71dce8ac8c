import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Chassis } from '../../manager/control/api.js';
import { findBusybox } from '../../testbed/busybox.js';
import { buildInitramfs } from '../../testbed/initramfs.js';
import { findKernel } from '../../testbed/kernel.js';
import { TestDaemon } from '../support/daemon.js';
import { describeRealGuest, qemuProgram } from './lab.js';

/** What a distribution's boot comes to: drivers, the tree, its helper. */
const INIT = `#!/bin/sh
export PATH=/bin HOME=/root
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /tmp /run /root /chassis /var/lib
while read -r module; do insmod "$module"; done </etc/modules
until mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=none chassis /chassis 2>/dev/null; do sleep 0.2; done
sh /chassis/ctl/helper.sh --exec
poweroff -f
`;

interface Applied {
  readonly guests: { readonly started: string[]; readonly steps: { step: string; ran: boolean }[] };
}

describeRealGuest('a manifest with a VM and steps in its guest', () => {
  let daemon: TestDaemon;
  let folder: string;
  let manifest: string;

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    folder = await mkdtemp(join(tmpdir(), 'chassis-provision-'));
    manifest = join(folder, 'chassis.yaml');
    await mkdir(join(folder, 'src'));
    await writeFile(join(folder, 'src', 'name'), 'shared\n');
    await mkdir(join(folder, 'site'));
    await writeFile(join(folder, 'site', 'index'), 'first\n');
    await qemuProgram(folder);
    const kernel = await findKernel('6.12');
    const files = [{ path: '/init', bytes: INIT }];
    await writeFile(join(folder, 'initrd'), await buildInitramfs(kernel, await findBusybox(), files));
    await writeManifest(kernel.imagePath, 'echo installed >> /root/installs', 'exit 3');
  });
  afterAll(async () => {
    const pid = await readFile(join(folder, 'pid'), 'utf8').catch(() => '');
    await daemon.stop();
    try {
      if (pid !== '') process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has ended.
    }
    await rm(folder, { recursive: true });
  });

  async function writeManifest(kernel: string, install: string, last: string): Promise<void> {
    const text = `
chassis:
  dev:
    slots: 2
    mounts:
      src: {source: src, target: /work}
    vm:
      qemu: ${join(folder, 'qemu')}
      accel: tcg
      memory: 512M
      kernel: ${kernel}
      initrd: initrd
      append: console=ttyS0 quiet
      console: console.log
      args: [-pidfile, ${join(folder, 'pid')}]
    provision:
      - {name: install, run: '${install}', when: once}
      - {name: site, copy: {from: site/., to: /site}}
      - {name: count, run: 'cat /site/index >> /root/counts', when: always}
      - {name: last, run: 'echo before; ${last}'}
`;
    await writeFile(manifest, text);
  }

  async function change(from: string, to: string): Promise<void> {
    await writeFile(manifest, (await readFile(manifest, 'utf8')).replace(from, to));
  }

  async function ran(): Promise<string[]> {
    const { guests } = await daemon.json<Applied>('apply', '-f', manifest);
    return guests.steps.filter((step) => step.ran).map(({ step }) => step);
  }

  async function inGuest(script: string): Promise<string> {
    const { exitCode, stdout, stderr } = await daemon.cli('exec', '--', 'sh', '-c', script);
    expect([exitCode, stderr]).toEqual([0, '']);
    return stdout;
  }

  it('starts the VM, does the steps in order, and says which one failed, and how', async () => {
    expect((await daemon.cli('apply', '-f', manifest, '--dry-run')).exitCode).toBe(8);
    const { exitCode, stdout, stderr } = await daemon.cli('apply', '-f', manifest);
    const console_ = await readFile(join(folder, 'console.log'), 'utf8').catch(() => '');
    expect([exitCode, stdout, stderr, console_.slice(-500)]).toEqual([
      6,
      expect.stringMatching(
        /starting the VM of dev[^]*install is done[^]*site is done[^]*count is done[^]*last \.\.\./,
      ),
      expect.stringMatching(/the step last of dev failed: exit code 3\s+before/),
      expect.anything(),
    ]);
    expect(await readFile(join(daemon.directory, 'provision/dev/04-last.log'), 'utf8')).toBe('before\n');
    expect(await inGuest('cat /root/installs /site/index /work/name')).toBe('installed\nfirst\nshared');
    expect(await daemon.failure('wait', '--for', 'provisioned', '--timeout', '1')).toMatchObject({
      exitCode: 7,
    });
  });

  it('goes on from there once it is mended, with the VM left alone', async () => {
    const { vmm } = await daemon.json<Chassis>('show');
    expect(vmm).toBeDefined();
    await change('exit 3', 'exit 0');
    expect(await ran()).toEqual(['count', 'last']);
    await daemon.json('wait', '--for', 'provisioned', '--timeout', '20');
  });

  it('does again what has changed, and what is to be done each time, and nothing else', async () => {
    expect((await daemon.cli('apply', '-f', manifest, '--dry-run')).exitCode).toBe(0);
    expect(await ran()).toEqual(['count']);
    await change('echo installed', 'echo other');
    await writeFile(join(folder, 'site', 'index'), 'second\n');
    const dry = await daemon.cli('apply', '-f', manifest, '--dry-run');
    expect([dry.exitCode, dry.stdout.split('\n').at(-1)]).toEqual([8, '+ step site in dev (changed)']);
    expect(await ran()).toEqual(['site', 'count']);
    expect(await inGuest('cat /root/installs /root/counts')).toBe('installed\nfirst\nfirst\nfirst\nsecond');
  });

  it('provisions the next guest anew, which remembers nothing', async () => {
    await daemon.cli('exec', '--', 'poweroff', '-f');
    await daemon.json('wait', '--for', 'gone', '--timeout', '30');
    expect(await ran()).toEqual(['install', 'site', 'count', 'last']);
    expect(await inGuest('cat /root/installs')).toBe('other');
  });
});
