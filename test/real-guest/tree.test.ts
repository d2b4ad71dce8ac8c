import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Event, Mount } from '../../manager/control/api.js';
import { ChassisClient } from '../../manager/control/client.js';
import { describeRealGuest, Lab, tagSeen } from './lab.js';

describeRealGuest('mounts of the tree in a Linux guest', () => {
  let lab: Lab;
  /** What the daemon told. */
  const told: Event[] = [];

  beforeAll(async () => {
    lab = await Lab.start('vhost-user');
    const client = new ChassisClient({ directory: lab.daemon.directory });
    const events = await client.events();
    void (async () => {
      for await (const event of events) told.push(event);
    })().catch(() => undefined);
    await lab.boot('6.12');
  });
  afterAll(() => lab.stop());

  /** Attaches over the tree; what the daemon said. */
  async function attach(...words: string[]): Promise<Mount[]> {
    return (await lab.daemon.json<{ mounts: Mount[] }>('attach', ...words)).mounts;
  }

  async function folderWith(name: string, content: string): Promise<string> {
    const path = await lab.directory(name);
    await writeFile(join(path, 'name'), content);
    return path;
  }

  async function mountTree(): Promise<void> {
    const [tree] = (await lab.show()).mounts;
    await lab.guest.waitFor(tagSeen('chassis'));
    await lab.guest.waitFor(tree.mountCommand ?? '');
  }

  it('come to a guest that mounts the tree, with one PCI function for all', async () => {
    await attach(await folderWith('one', '1'), '--via', 'tree');
    await mountTree();
    await attach(
      await folderWith('two', '2'),
      await folderWith('three', '3'),
      '--via',
      'tree',
      '--read-only',
    );
    expect(
      await lab.sh(
        'cat /run/chassis/chassis/one/name /run/chassis/chassis/two/name /run/chassis/chassis/three/name; ls /run/chassis/chassis',
      ),
    ).toBe('123ctl\none\nthree\ntwo');
    expect(
      await lab.sh(
        'echo x > /run/chassis/chassis/one/new; echo x > /run/chassis/chassis/two/new 2>/dev/null || echo refused',
      ),
    ).toBe('refused');
    expect(await readFile(join(lab.folder, 'one', 'new'), 'utf8')).toBe('x\n');
    expect(await lab.sh('ls /sys/bus/virtio/drivers/9pnet_virtio | grep -c virtio')).toBe('1');
  });

  it('are not attached where no helper mounts them at their target, and nothing is left of the attempt', async () => {
    const failure = await lab.daemon.failure(
      ...['attach', await folderWith('four', '4'), '--target', '/four', '--timeout', '2'],
    );
    expect(failure).toMatchObject({ code: 'GUEST_TIMEOUT', exitCode: 7 });
    expect(failure.suggestion).toMatch(/guest-setup/);
    expect(await lab.sh('ls /run/chassis/chassis')).toBe('ctl\none\nthree\ntwo');
  });

  it('are mounted at their targets by the helper once attach is done', async () => {
    await lab.sh('sh /run/chassis/chassis/ctl/helper.sh >/dev/null 2>&1 &');
    const [mount] = await attach(join(lab.folder, 'four'), '--target', '/work/four');
    expect(mount).toMatchObject({ via: 'tree', target: '/work/four', inGuest: 'mounted' });
    expect(told.map(({ type }) => type)).toEqual(expect.arrayContaining(['vm.connected', 'helper.there']));
    expect(told).toContainEqual(
      expect.objectContaining({ type: 'mount.inGuest', tag: 'four', state: 'mounted' }),
    );
    expect(await lab.sh('cat /work/four/name; echo changed > /work/four/name')).toBe('4');
    expect(await readFile(join(lab.folder, 'four', 'name'), 'utf8')).toBe('changed\n');
  });

  it('are not attached where the guest cannot mount them, and the error says why', async () => {
    await lab.sh('echo text > /file');
    const failure = await lab.daemon.failure('attach', await folderWith('five', '5'), '--target', '/file/x');
    expect(failure).toMatchObject({ code: 'GUEST_REFUSED', exitCode: 6 });
    expect(failure.message).toMatch(/five: .*(Not a directory|can't create)/i);
    expect(told).toContainEqual(
      expect.objectContaining({
        type: 'mount.inGuest',
        tag: 'five',
        state: 'failed',
        reason: expect.anything() as string,
      }),
    );
    expect(await lab.sh('ls /run/chassis/chassis')).toBe('ctl\nfour\none\nthree\ntwo');
  });

  it('go once the guest has unmounted them, without a PCI event', async () => {
    await lab.detach('four');
    expect(await lab.sh('ls /work/four; ls /run/chassis/chassis')).toBe('ctl\none\nthree\ntwo');
    await lab.detach('three');
    expect(await lab.sh('ls /run/chassis/chassis')).toBe('ctl\none\ntwo');
  });

  it('stay while somebody is in them, who is named, and go by force with what was lost', async () => {
    await attach(join(lab.folder, 'four'), '--target', '/work/four');
    await lab.sh('cd /work/four; sleep 1000 < name >/dev/null 2>&1 & echo $! > /tmp/sleeper');
    const pid = await lab.sh('cat /tmp/sleeper');
    const failure = await lab.daemon.failure('detach', 'four');
    expect(failure).toMatchObject({ code: 'MOUNT_BUSY', exitCode: 5 });
    expect(failure.message).toMatch(new RegExp(`\\b${pid} (sleep|busybox|sh)\\b`));
    expect(await lab.sh('cat /work/four/name')).toBe('changed');
    const forced = await lab.daemon.json<{ lost?: { fids: number; openFiles: number } }>(
      'detach',
      'four',
      '--force',
    );
    expect(forced.lost?.openFiles).toBeGreaterThan(0);
    const { exitCode } = await lab.guest.sh(`cat /proc/${pid}/fd/0`);
    expect(exitCode).not.toBe(0);
    expect(await lab.sh('cat /run/chassis/chassis/one/name; ls /run/chassis/chassis')).toBe('1ctl\none\ntwo');
    await lab.sh(`kill ${pid}`);
  });

  it('wait for the next guest where this one is killed while it mounts them', async () => {
    await lab.sh('kill -STOP $(cat /run/chassis-helper/*/pid)');
    const attaching = lab.daemon.failure(
      'attach',
      join(lab.folder, 'four'),
      '--target',
      '/four',
      '--timeout',
      '20',
    );
    await expect.poll(async () => (await lab.show()).mounts.length).toBe(4);
    process.kill(lab.guest.pid, 'SIGKILL');
    expect(await attaching).toMatchObject({ code: 'VMM_GONE', exitCode: 6 });
    await expect
      .poll(() => told.map(({ type }) => type))
      .toEqual(expect.arrayContaining(['vm.gone', 'helper.gone']));
    expect((await lab.show()).mounts.map(({ tag, state }) => `${tag} ${state}`)).toEqual([
      'chassis parked',
      'one parked',
      'two parked',
    ]);
    await lab.boot('6.1');
    await mountTree();
    expect(await lab.sh('cat /run/chassis/chassis/one/name /run/chassis/chassis/two/name')).toBe('12');
  });

  it('leave with the tree once the guest has unmounted it', async () => {
    expect(await lab.daemon.failure('detach', 'chassis')).toMatchObject({ code: 'SLOT_SHARED' });
    expect(await lab.daemon.failure('detach', 'chassis', '--slot')).toMatchObject({ code: 'MOUNT_BUSY' });
    await lab.sh('umount /run/chassis/chassis');
    await lab.detach('chassis', '--slot');
    expect((await lab.show()).mounts).toEqual([]);
    await lab.guest.waitFor(`! { ${tagSeen('chassis')}; }`);
  });
});
