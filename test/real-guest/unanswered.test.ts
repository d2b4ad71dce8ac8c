import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describePerPort, Lab } from './lab.js';

describePerPort('when nobody answers', (port) => {
  let lab: Lab;
  let root: string;

  beforeAll(async () => {
    lab = await Lab.start(port);
    root = await lab.directory('work');
    await writeFile(join(root, 'file'), 'content');
    await lab.boot('6.1');
  });
  afterAll(() => lab.stop());

  /** `TAG STATE` of each mount. */
  async function states(): Promise<string[]> {
    return (await lab.show()).mounts.map(({ tag, state }) => `${tag} ${state}`);
  }

  async function standingStill<T>(work: () => Promise<T>): Promise<T> {
    const { pid } = lab.guest;
    process.kill(pid, 'SIGSTOP');
    try {
      return await work();
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  }

  it('an attach to a QEMU that stands still is undone, and works once it goes on', async () => {
    const failure = await standingStill(() =>
      lab.daemon.failure('attach', root, '--port', port, '--timeout', '1'),
    );
    expect(failure).toMatchObject({ code: 'GUEST_TIMEOUT', exitCode: 7 });
    expect(await states()).toEqual([]);
    // What QEMU was asked before it stood still comes true late, and is taken out again.
    await expect.poll(async () => (await lab.show()).slotsFree, { timeout: 30_000 }).toBe(4);
    const [a, b] = [await lab.directory('a'), await lab.directory('b')];
    const mounts = await lab.attach(a, b, root);
    for (const mount of mounts) await lab.mountInGuest(mount);
    expect(await lab.sh('cat /mnt/work/file; umount /mnt/work /mnt/a /mnt/b')).toBe('content');
  });

  it('a detach from a QEMU that stands still times out, and comes true once it goes on', async () => {
    const failure = await standingStill(async () => {
      const refused = await lab.daemon.failure('detach', 'work', '--slot', '--timeout', '1');
      expect(await states()).toEqual(['a unplugging', 'b unplugging', 'work unplugging']);
      return refused;
    });
    expect(failure).toMatchObject({ code: 'GUEST_TIMEOUT', exitCode: 7 });
    await expect.poll(states, { timeout: 30_000 }).toEqual([]);
  });

  it('a guest that powers off in the middle of attaches and a detach leaves whole slots, for the next one', async () => {
    await lab.mount(root, 'going');
    await lab.sh('umount /mnt/going');
    const jobs = [
      lab.daemon.cli('detach', 'going'),
      ...['x', 'y', 'z'].map(async (tag) => lab.daemon.cli('attach', root, '--tag', tag, '--port', port)),
    ];
    await lab.guest.sh('poweroff -f').catch(() => undefined);
    const codes = (await Promise.all(jobs)).map(({ exitCode }) => exitCode);
    for (const code of codes) expect([0, 4, 5, 6]).toContain(code);
    await expect.poll(async () => (await lab.show()).vmm, { timeout: 20_000 }).toBeUndefined();
    const parked = await states();
    for (const line of parked) expect(line).toMatch(/^(going|x|y|z) parked$/);
    await lab.boot('6.1');
    await expect
      .poll(states, { timeout: 20_000 })
      .toEqual(parked.map((line) => line.replace('parked', 'plugged')));
  });
});
