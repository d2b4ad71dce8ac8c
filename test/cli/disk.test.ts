import { mkdtemp, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Chassis, Disk } from '../../manager/control/api.js';
import { TestDaemon } from '../support/daemon.js';

const MIB = 2 ** 20;

describe('disks on the command line, without a VM', () => {
  let daemon: TestDaemon;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'chassis-disk-'));
    await writeFile(join(folder, 'root.img'), '');
    await truncate(join(folder, 'root.img'), 4 * MIB);
    daemon = await TestDaemon.start();
    await daemon.json('create', 'dev', '--slots', '3');
  });
  afterAll(async () => {
    expect(await daemon.stop()).toBe(0);
    await rm(folder, { recursive: true });
  });

  it('adds a file, which waits for a VM, and says how the guest finds it', async () => {
    expect((await daemon.cli('disk', 'add', join(folder, 'root.img'))).stdout).toBe(
      'root waits in slot 1: it is plugged in once a VM runs\n' +
        '  in the guest: /dev/disk/by-id/virtio-root',
    );
    const { disk } = await daemon.json<{ disk: Disk }>(
      ...['disk', 'add', 'mem:2M', '--name', 'scratch', '--slot', '3', '--serial', 'S-1', '--queues', '2'],
    );
    expect(disk).toMatchObject({
      name: 'scratch',
      serial: 'S-1',
      queues: 2,
      slot: 3,
      sizeBytes: 2 * MIB,
      state: 'parked',
    });
  });

  it('refuses what cannot be', async () => {
    const wrong: [string[], string, number][] = [
      [['/no/such.img'], 'SOURCE_MISSING', 4],
      [[join(folder, 'root.img'), '--name', 'x'], 'SOURCE_IN_USE', 5],
      [['mem:1.5M', '--name', 'x'], 'SIZE_INVALID', 2],
      [[], 'BAD_REQUEST', 2],
      [['--cloud-init', folder], 'SOURCE_NOT_DISK', 2],
    ];
    for (const [words, code, exitCode] of wrong) {
      expect(await daemon.failure('disk', 'add', ...words)).toMatchObject({ code, exitCode });
    }
  });

  it('lists, shows and draws those that there are', async () => {
    const { stdout } = await daemon.cli('disk', 'list', '--chassis', 'dev');
    expect(stdout.split('\n')).toHaveLength(3);
    expect(stdout.split('\n')[0]).toMatch(/^NAME +SOURCE +ACCESS +SIZE +SERIAL/);
    expect(stdout.split('\n')[1]).toMatch(
      /^root +.*root\.img +rw +4M +root +1 +parked +vhost-user +0 +0 +0$/,
    );
    expect(await daemon.json<Chassis>('show')).toMatchObject({
      slotsFree: 1,
      disks: [{}, { name: 'scratch' }],
    });
    expect((await daemon.cli('tree')).stdout).toMatch(/00\.0 disk root .*root\.img \(parked\)/);
  });

  it('makes a file longer, and shorter only with --shrink', async () => {
    expect((await daemon.cli('disk', 'resize', 'root', '6M')).stdout).toBe('root has 6M');
    expect(await daemon.failure('disk', 'resize', 'root', '5M')).toMatchObject({ code: 'SIZE_INVALID' });
    await daemon.json('disk', 'resize', 'root', '5M', '--shrink');
    expect((await stat(join(folder, 'root.img'))).size).toBe(5 * MIB);
  });

  it('tells of a file that somebody cut off, and how to mend it', async () => {
    const path = join(folder, 'root.img');
    await truncate(path, MIB);
    const trouble = `${path} was cut off by somebody else, and has ${MIB} of ${5 * MIB} bytes`;
    const line = `root: ${trouble}; mend it: chassis disk resize root ${5 * MIB}`;
    expect((await daemon.cli('disk', 'list')).stdout.split('\n').at(-1)).toBe(line);
    expect((await daemon.cli('show')).stdout.split('\n')).toContain(line);
    const { disk } = await daemon.json<{ disk: Disk }>('disk', 'resize', 'root', String(5 * MIB));
    expect(disk).not.toHaveProperty('trouble');
    expect((await stat(path)).size).toBe(5 * MIB);
  });

  it('keeps a chassis from being removed, and is removed', async () => {
    expect(await daemon.failure('remove', 'dev')).toMatchObject({ code: 'CHASSIS_IN_USE', exitCode: 5 });
    expect((await daemon.cli('disk', 'remove', 'root')).stdout).toBe('root is removed');
    expect(await daemon.failure('disk', 'remove', 'root')).toMatchObject({ code: 'NO_DISK', exitCode: 4 });
    await daemon.json('disk', 'add', join(folder, 'root.img'), '--overlay', '--name', 'again');
    await daemon.json('remove', 'dev', '--force');
  });
});
