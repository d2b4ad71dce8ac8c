import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import type { Check } from '../../../cli/doctor/check.js';
import { temporaryFolders } from '../../manager/temporary-folder.js';
import { CHASSIS } from '../../support/daemon.js';

describe('the command doctor', () => {
  const folder = temporaryFolders();

  it('looks at everything on this machine, and fails where there is no QEMU', async () => {
    const directory = join(folder(), 'state');
    const line = ['doctor', '--json', '--dir', directory, '--qemu', join(directory, 'none')];
    const { exitCode, stdout } = await execa(process.execPath, [CHASSIS, ...line], { reject: false });
    const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: Check[] };
    expect([exitCode, ok]).toEqual([1, false]);
    expect(checks.map(({ name }) => name)).toEqual([
      ...['node', 'native calls', 'open files', 'inotify watches', 'inotify instances', 'user namespaces'],
      ...['kvm', 'qemu', 'passt', 'state', 'daemon'],
    ]);
    expect(checks.filter(({ status }) => status === 'failed').map(({ name }) => name)).toEqual(['qemu']);
    expect(checks.find(({ name }) => name === 'native calls')).toMatchObject({ status: 'ok' });
    for (const { status, cure } of checks) expect(cure === undefined).toBe(status === 'ok');
  });

  it('says what is wrong where a native call cannot be made', async () => {
    const preload = join(folder(), 'preload.mjs');
    await writeFile(preload, "process.dlopen = () => { throw new Error('wrong ELF class'); };");
    const { stdout } = await execa(process.execPath, [CHASSIS, 'doctor', '--dir', join(folder(), 'state')], {
      reject: false,
      env: { NODE_OPTIONS: `--import=${preload}` },
    });
    expect(stdout).toMatch(
      /^FAILED +native calls +koffi cannot be loaded: Error: wrong ELF class\n +install the package anew/m,
    );
  });
});
