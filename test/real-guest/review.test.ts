import { readdir, readFile, writeFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { AuditPage, Change } from '../../manager/control/api.js';
import { describeRealGuest, Lab } from './lab.js';

describeRealGuest('a project that a Linux guest works on, and the host reviews', () => {
  let lab: Lab;
  let project: string;

  beforeAll(async () => {
    lab = await Lab.start('vhost-user');
    await lab.boot('6.12');
    project = await lab.directory('project');
    await mkdir(join(project, 'src', 'deep'), { recursive: true });
    for (const [name, content] of Object.entries(FILES)) await writeFile(join(project, name), content);
  });
  afterAll(() => lab.stop());

  const FILES = {
    README: 'read me',
    'src/main.c': 'main',
    'src/old.c': 'old',
    'src/deep/data': 'data',
    '.env': 'secret',
  };

  /** The host's files as they were. */
  async function untouched(): Promise<void> {
    for (const [name, content] of Object.entries(FILES))
      expect(await readFile(join(project, name), 'utf8')).toBe(content);
    const names = await readdir(project, { recursive: true });
    expect(names.sort()).toEqual([...Object.keys(FILES), 'src', 'src/deep'].sort());
  }

  async function diff(): Promise<string[]> {
    const { changes } = await lab.daemon.json<{ changes: Change[] }>('diff', 'project');
    return changes.map(({ kind, path, from }) => `${kind} ${from === undefined ? '' : `${from} `}${path}`);
  }

  it('is edited, renamed and deleted in without the host noticing, and its changes are listed', async () => {
    await lab.mount(project, 'project', '--overlay');
    await lab.sh(`cd /mnt/project
      echo more >> src/main.c
      mv src/deep src/renamed
      mv README README.md
      rm src/old.c
      mkdir build && cp src/main.c build/copy.c`);
    expect(await lab.sh('cd /mnt/project && cat src/main.c src/renamed/data && ls src build')).toBe(
      'mainmore\ndatabuild:\ncopy.c\n\nsrc:\nmain.c\nrenamed',
    );
    await untouched();
    expect(await diff()).toEqual([
      'renamed /README /README.md',
      'added /build',
      'added /build/copy.c',
      'changed /src/main.c',
      'removed /src/old.c',
      'renamed /src/deep /src/renamed',
    ]);
  });

  it('gets the changes of one path, and the others are dropped under the guest', async () => {
    await lab.daemon.json('commit', 'project', 'src/main.c');
    expect(await readFile(join(project, 'src/main.c'), 'utf8')).toBe('mainmore\n');
    expect(await diff()).toHaveLength(5);
    await lab.daemon.json('discard', 'project');
    expect(await diff()).toEqual([]);
    expect(await lab.sh('cd /mnt/project && cat README src/main.c && ls . src')).toBe(
      'read memainmore\n.:\nREADME\nsrc\n\nsrc:\ndeep\nmain.c\nold.c',
    );
    await lab.sh('umount /mnt/project');
    await writeFile(join(project, 'src/main.c'), 'main');
    await untouched();
    await lab.detach('project');
  });

  it('keeps what was changed for the next mount, on whatever carries it', async () => {
    await lab.mount(project, 'project', '--overlay');
    await lab.sh('echo kept > /mnt/project/kept && umount /mnt/project');
    const { kept } = await lab.daemon.json<{ kept: unknown[] }>('detach', 'project');
    expect(kept).toMatchObject([{ tag: 'project', source: project }]);
    expect(await diff()).toEqual(['added /kept']);
    await lab.mount(project, 'project', '--overlay', '--deny', '**/.env');
    expect(await lab.sh('cat /mnt/project/kept; ls -A /mnt/project')).toBe('kept\nREADME\nkept\nsrc');
  });

  it('is under a policy that changes while it is in use, and tells what it refused', async () => {
    expect(await lab.sh('cat /mnt/project/.env 2>&1 || true')).toMatch(/No such file/);
    await lab.daemon.json('policy', 'project', '--read-only', '--deny', 'src');
    expect(await lab.sh('(echo two >> /mnt/project/kept) 2>&1 || true')).toMatch(/Read-only file system/);
    expect(await lab.sh('cat /mnt/project/src/main.c 2>&1 || true')).toMatch(/No such file/);
    expect(await lab.sh('cat /mnt/project/.env')).toBe('secret');
    const quotas = ['--quota-bytes', '64K', '--quota-files', '2'];
    await lab.daemon.json('policy', 'project', '--unset', 'all', ...quotas);
    expect(await lab.sh('dd if=/dev/zero of=/mnt/project/large bs=4k count=64 2>&1 || true')).toMatch(
      /No space left/,
    );
    await lab.sh('rm /mnt/project/large');
    expect(await lab.sh('cd /mnt/project; for i in 1 2 3; do mkdir q$i 2>&1 || true; done')).toMatch(
      /^mkdir: .*q3.*No space left/,
    );
    const { events } = await lab.daemon.json<AuditPage>('audit', 'project');
    const told = events.map(({ operation, path, errno }) => `${operation} ${path} ${errno}`);
    expect(told).toEqual(expect.arrayContaining(['walk /.env 2', 'walk /src 2', 'open /kept 30']));
  });

  it('is taken from the guest at once, and stays plugged in', async () => {
    await lab.sh('sleep 1000 < /mnt/project/kept > /dev/null 2>&1 & echo $! > /tmp/sleeper');
    await lab.daemon.json('revoke', 'project');
    expect(await lab.sh('ls /mnt/project 2>&1 || true')).toMatch(/Stale file handle/);
    await lab.sh('kill $(cat /tmp/sleeper)');
    await lab.guest.waitFor('umount /mnt/project');
    expect(
      await lab.sh('mount -t 9p -o trans=virtio,version=9p2000.L project /mnt/project 2>&1 || true'),
    ).toMatch(/Stale file handle|failed/);
    expect((await lab.show()).mounts).toMatchObject([{ tag: 'project', state: 'plugged', revoked: true }]);
    await lab.detach('project', '--discard');
    expect(await lab.show()).toMatchObject({ mounts: [], kept: [] });
    await untouched();
  });
});
