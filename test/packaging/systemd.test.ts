import { spawnSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolders } from '../manager/temporary-folder.js';

const UNITS = new URL('../../packaging/systemd/', import.meta.url);
const has = (program: string) => spawnSync(program, ['--version']).status === 0;

describe('the systemd units', () => {
  const folder = temporaryFolders();

  it.runIf(has('systemd-analyze')).each([
    ['chassis.service', '--system'],
    ['user/chassis.service', '--user'],
  ])('%s is one that systemd finds nothing wrong with', (name, manager) => {
    const path = join(folder(), 'chassis.service');
    // Wherever npm puts the command: systemd looks for it when the unit starts.
    const unit = readFileSync(new URL(name, UNITS), 'utf8');
    writeFileSync(path, unit.replace('ExecStart=chassis ', `ExecStart=${process.execPath} `));
    const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', manager, '--man=no', path], {
      encoding: 'utf8',
      env: { ...process.env, XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? folder() },
    });
    expect(`${stdout}${stderr}`).toBe('');
    expect(status).toBe(0);
  });

  it.each(['chassis.service', 'user/chassis.service'])('%s leaves guests what they use', (name) => {
    const unit = readFileSync(new URL(name, UNITS), 'utf8');
    expect(unit).toMatch(/^KillMode=process$/m);
    expect(unit).toMatch(/^RuntimeDirectoryPreserve=yes$/m);
    expect(unit).toMatch(/^RuntimeDirectoryMode=0700$/m);
  });

  it.runIf(has('systemd-tmpfiles'))('the tmpfiles.d lines make private directories', () => {
    const root = folder();
    // Who is not root cannot give files to root.
    const lines = readFileSync(new URL('chassis.tmpfiles.conf', UNITS), 'utf8').replaceAll(
      'root root',
      '- -',
    );
    const { status, stderr } = spawnSync('systemd-tmpfiles', ['--create', `--root=${root}`, '-'], {
      input: lines,
      encoding: 'utf8',
    });
    expect([status, stderr]).toEqual([0, '']);
    for (const path of ['run/chassis', 'var/lib/chassis'])
      expect(statSync(join(root, path)).mode & 0o777).toBe(0o700);
  });
});
