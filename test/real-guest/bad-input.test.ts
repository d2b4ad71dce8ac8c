import { rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describePerPort, Lab } from './lab.js';

const asRoot = process.geteuid?.() === 0;

describePerPort('a host that lets its guest down', (port) => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await Lab.start(port);
    await lab.boot('6.12');
  });
  afterAll(() => lab.stop());

  it('gives the guest an error once the directory has vanished, and can still be detached', async () => {
    const path = await lab.directory('doomed');
    await writeFile(join(path, 'file'), '');
    await lab.mount(path, 'doomed');
    await rm(path, { recursive: true });
    const { exitCode, stderr } = await lab.guest.sh('cat /mnt/doomed/file; touch /mnt/doomed/new');
    expect(exitCode).not.toBe(0);
    expect(stderr).toMatch(/No such file|Stale/);
    await lab.sh('umount /mnt/doomed');
    await lab.detach('doomed');
  });

  // A file system of its own, small enough to fill, takes root to mount.
  it.runIf(asRoot)(
    'tells the guest that the disk is full, and serves it again once there is room',
    async () => {
      const path = await lab.directory('small');
      await execa('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', path]);
      try {
        await lab.mount(path, 'small');
        const { exitCode, stderr } = await lab.guest.sh('dd if=/dev/zero of=/mnt/small/big bs=64k count=100');
        expect(exitCode).not.toBe(0);
        expect(stderr).toMatch(/No space left on device/);
        const { size } = await stat(join(path, 'big'));
        expect(Number(await lab.sh('stat -c %s /mnt/small/big'))).toBe(size);
        expect(await lab.sh('rm /mnt/small/big; echo fits > /mnt/small/f; cat /mnt/small/f')).toBe('fits');
        await lab.sh('umount /mnt/small');
        await lab.detach('small');
      } finally {
        await execa('umount', [path]);
      }
    },
  );
});

describePerPort('a QEMU that was started the wrong way', (port) => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await Lab.start(port);
  });
  afterAll(() => lab.stop());

  it('without shared memory is refused, naming the flag that is missing', async () => {
    await lab.boot('6.1', (args) => args.map((arg) => arg.replace('share=on', 'share=off')));
    const refusal = await lab.daemon.failure('attach', await lab.directory('work'));
    expect(refusal).toMatchObject({ code: 'VMM_UNSUITABLE', exitCode: 6 });
    expect(`${refusal.message} ${refusal.suggestion}`).toContain('share=on');
    expect((await lab.show()).mounts).toEqual([]);
    await lab.guest.shutdown();
  });

  it('without the ports of the chassis is refused, naming where they come from', async () => {
    await expect.poll(async () => (await lab.show()).vmm).toBeUndefined();
    await lab.boot('6.1', (args) =>
      args.map((arg) => (arg.startsWith('pcie-root-port') ? arg.replace(/id=[^,]*,/, '') : arg)),
    );
    const refusal = await lab.daemon.failure('attach', await lab.directory('work'));
    expect(refusal).toMatchObject({ code: 'VMM_UNSUITABLE', exitCode: 6 });
    expect(`${refusal.message} ${refusal.suggestion}`).toContain('chassis args');
    await lab.guest.shutdown();
  });
});
