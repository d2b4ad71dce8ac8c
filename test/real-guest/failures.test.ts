import { access, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describePerPort, Lab, tagSeen } from './lab.js';

describePerPort('when something dies', (port) => {
  let lab: Lab;
  let root: string;

  beforeAll(async () => {
    lab = await Lab.start(port);
    root = await lab.directory('work');
    await writeFile(join(root, 'file'), 'content');
  });
  afterAll(() => lab.stop());

  it('a QEMU killed in the middle of I/O leaves a chassis that the next guest boots with, mounts included', async () => {
    await lab.boot('6.1');
    await lab.mount(root, 'work');
    const writing = lab.guest.sh('dd if=/dev/zero of=/mnt/work/big bs=1M count=4096', { timeoutMs: 60_000 });
    const died = expect(writing).rejects.toMatchObject({ code: 'GUEST_STOPPED' });
    await expect
      .poll(() =>
        access(join(root, 'big')).then(
          () => true,
          () => false,
        ),
      )
      .toBe(true);
    process.kill(lab.guest.pid, 'SIGKILL');
    await died;
    await expect.poll(async () => (await lab.show()).vmm).toBeUndefined();
    expect((await lab.show()).mounts).toMatchObject([{ tag: 'work', state: 'parked' }]);

    await lab.boot('6.1');
    await expect.poll(async () => (await lab.show()).mounts[0].state).toBe('plugged');
    await lab.mountInGuest((await lab.show()).mounts[0]);
    expect(await lab.sh('cat /mnt/work/file')).toBe('content');
    await lab.mount(await lab.directory('second'), 'second');
    await lab.sh('umount /mnt/second');
    await lab.detach('second');
  });

  it('a device process that was killed is started over, and its mounts come back with the next guest', async () => {
    await lab.sh('umount /mnt/work');
    const { deviceProcess } = await lab.show();
    process.kill(deviceProcess.pid ?? 0, 'SIGKILL');
    await expect
      .poll(
        async () => {
          const { deviceProcess: next, mounts } = await lab.show();
          return [next.state, next.pid !== deviceProcess.pid, mounts[0].state];
        },
        { timeout: 10_000 },
      )
      .toEqual(['running', true, 'plugged']);
    await lab.guest.shutdown();
    await expect.poll(async () => (await lab.show()).vmm).toBeUndefined();
    await lab.boot('6.12');
    await lab.guest.waitFor(tagSeen('work'));
    await lab.mountInGuest((await lab.show()).mounts[0]);
    expect(await lab.sh('cat /mnt/work/file; umount /mnt/work')).toBe('content');
  });
});
