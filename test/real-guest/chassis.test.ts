import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Mount } from '../../manager/control/api.js';
import { ChassisClient } from '../../manager/control/client.js';
import { describeRealGuest, Lab, tagSeen } from './lab.js';

/** The last root ports, and the first ports of a switch. */
const SLOTS = [61, 62, 63, 64, 65, 66, 67, 68];
const PER_SLOT = 8;

describeRealGuest('a chassis of 68 slots, four of them behind a switch', () => {
  let lab: Lab;
  /** Commands take a second each to start on a busy machine, and dozens are needed here. */
  let client: ChassisClient;
  const mounts: Mount[] = [];

  beforeAll(async () => {
    lab = await Lab.start('vhost-user', 68);
    await lab.boot('6.1');
    client = new ChassisClient({ directory: lab.daemon.directory });
  });
  afterAll(() => lab.stop());

  it('takes 64 mounts, eight to a slot, which the guest mounts and uses all at once', async () => {
    for (const slot of SLOTS) {
      const tags = Array.from({ length: PER_SLOT }, (_, fn) => `m${slot}-${fn}`);
      const paths = await Promise.all(tags.map((tag) => lab.directory(tag)));
      await Promise.all(paths.map((path, i) => writeFile(join(path, 'name'), tags[i])));
      const request = tags.map((tag, i) => ({ tag, source: { type: 'directory' as const, path: paths[i] } }));
      mounts.push(...(await client.attach('lab', { mounts: request, slot, port: 'vhost-user' })));
    }
    expect(new Set(mounts.map(({ slot, function: fn }) => `${slot}.${fn}`)).size).toBe(64);
    for (const { tag } of mounts) await lab.guest.waitFor(tagSeen(tag));
    const mounting = mounts.map(
      ({ tag, mountCommand }) => `mkdir -p /mnt/${tag}; until ${mountCommand}; do usleep 50000; done`,
    );
    await lab.sh(mounting.join('\n'));
    const using = mounts.map(
      ({ tag }) =>
        `(cd /mnt/${tag}; dd if=/dev/zero of=data bs=64k count=4 2>/dev/null; cat name; echo) > /tmp/${tag} &`,
    );
    const script = `${using.join('\n')}\nwait; cat ${mounts.map(({ tag }) => `/tmp/${tag}`).join(' ')}`;
    expect((await lab.sh(script)).split('\n')).toEqual(mounts.map(({ tag }) => tag));
    for (const mount of (await lab.show()).mounts) expect(mount.counters?.bytesWritten).toBe(256 * 1024);
  });

  it('takes one mount of a slot away and puts another there, while its neighbours are in use', async () => {
    const tag = mounts[0].tag;
    const load = lab.sh(
      `cd /mnt/${mounts[1].tag}; for i in $(seq 50); do dd if=data of=copy bs=64k 2>/dev/null; cmp data copy; done`,
    );
    expect(await lab.daemon.failure('detach', tag, '--keep-function')).toMatchObject({ code: 'MOUNT_BUSY' });
    await lab.sh(`umount /mnt/${tag}`);
    await lab.detach(tag, '--keep-function');
    expect((await lab.show()).mounts[0]).toMatchObject({ tag, state: 'kept' });
    const { exitCode, stderr } = await lab.guest.sh(mounts[0].mountCommand ?? '');
    expect([exitCode, stderr]).toEqual([255, expect.stringMatching(/No such device/)]);
    const other = await lab.directory('other');
    await writeFile(join(other, 'name'), 'other');
    expect(await lab.attach(other, '--tag', tag, '--read-only')).toMatchObject([
      { slot: mounts[0].slot, function: 0 },
    ]);
    expect(
      await lab.sh(`${mounts[0].mountCommand}; cat /mnt/${tag}/name; touch /mnt/${tag}/x 2>&1 || true`),
    ).toMatch(/^other.*Read-only/);
    await load;
  });

  it('lets them go slot by slot, and nothing else with them', async () => {
    let left = mounts;
    for (const slot of SLOTS) {
      const going = mounts.filter((mount) => mount.slot === slot).map(({ tag }) => tag);
      left = left.filter((mount) => mount.slot !== slot);
      await lab.sh(`umount ${going.map((tag) => `/mnt/${tag}`).join(' ')}`);
      expect(await client.detach('lab', going[0], { slot: true })).toEqual({ tags: going });
      expect((await client.mounts('lab')).map(({ tag }) => tag)).toEqual(left.map(({ tag }) => tag));
      if (left.length > 0) expect(await lab.sh(`cat /mnt/${left[0].tag}/name`)).toBe(left[0].tag);
    }
    expect(await lab.sh('ls /sys/bus/virtio/drivers/9pnet_virtio | grep -c virtio || true')).toBe('0');
  });
});
