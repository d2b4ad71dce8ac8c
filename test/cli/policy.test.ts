import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Mount, PolicyView } from '../../manager/control/api.js';
import { CHASSIS, TestDaemon } from '../support/daemon.js';

describe('policies on the command line', () => {
  let daemon: TestDaemon;

  beforeAll(async () => {
    daemon = await TestDaemon.start();
    await daemon.json('create', 'dev');
  });
  afterAll(async () => {
    expect(await daemon.stop()).toBe(0);
  });

  it('come with a mount, are shown, and change one by one', async () => {
    const words = ['--deny', '**/.env', '--deny', '**/*.key', '--quota-bytes', '1G', '--max-open-files', '9'];
    await daemon.json('attach', 'mem:', '--tag', 'a', ...words, '--owner', 'squash:1000:1000');
    const { mounts } = await daemon.json<{ mounts: Mount[] }>('mounts');
    expect(mounts).toMatchObject([
      {
        policy: { deny: ['**/.env', '**/*.key'], maxBytes: 2 ** 30, maxOpenFiles: 9 },
        owner: { type: 'squash', guest: { uid: 1000, gid: 1000 } },
      },
    ]);
    expect((await daemon.cli('policy', 'a')).stdout.split('\n')).toEqual([
      'a: read and write',
      '  deny            **/.env',
      '  deny            **/*.key',
      '  quota-bytes     1G',
      '  max-open-files  9',
    ]);
    const changed = ['--read-only', '--allow', 'src/**', '--unset', 'deny', '--unset', 'max-open-files'];
    expect(await daemon.json<PolicyView>('policy', 'a', ...changed)).toEqual({
      readOnly: true,
      revoked: false,
      policy: { allow: ['src/**'], maxBytes: 2 ** 30 },
    });
    expect((await daemon.cli('show')).stdout).toMatch(
      /a has the owners squash:1000:1000\na: read-only\n +allow/,
    );
    expect(await daemon.json('policy', 'a', '--unset', 'all')).toMatchObject({ readOnly: false, policy: {} });
  });

  it.each([
    ['a pattern that is none', ['policy', 'a', '--deny', '../x'], 'BAD_REQUEST', 2],
    ['a quota that is none', ['policy', 'a', '--quota-bytes', 'much'], 'SIZE_INVALID', 2],
    ['owners that are none', ['attach', 'mem:', '-t', 'x', '--owner', 'root'], 'BAD_REQUEST', 2],
  ])('refuse %s', async (_, words, code, exitCode) => {
    expect(await daemon.failure(...words)).toMatchObject({ code, exitCode });
  });

  it('revoke a mount, which stays plugged in', async () => {
    expect((await daemon.cli('revoke', 'a')).stdout).toMatch(/a is revoked.*chassis detach a/);
    expect((await daemon.cli('mounts')).stdout).toMatch(/a +mem: +revoked/);
    expect(await daemon.json('audit', 'a')).toEqual({ events: [], dropped: 0, next: 0 });
  });

  it('follow what a guest does until they are interrupted, with exit code 0', async () => {
    const line = [CHASSIS, 'audit', 'a', '--follow', '--all', '--dir', daemon.directory];
    const following = execa(process.execPath, line, { reject: false });
    setTimeout(() => following.kill('SIGINT'), 3000);
    expect(await following).toMatchObject({ exitCode: 0, stdout: '' });
  });
});
