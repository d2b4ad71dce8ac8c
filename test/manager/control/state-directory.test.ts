import { chmodSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ChassisError } from '../../../manager/control/api.js';
import {
  ChassisPaths,
  defaultStateDirectory,
  openStateDirectory,
  overlaysDirectory,
  SOCKET_PATH_MAX_BYTES,
} from '../../../manager/control/state-directory.js';
import { stampOf } from '../../../manager/process-stamp.js';
import { refusal } from '../refusal.js';
import { temporaryFolders } from '../temporary-folder.js';

const folder = temporaryFolders();

function refused(path: string): ChassisError {
  try {
    openStateDirectory(path).release();
  } catch (error) {
    if (error instanceof ChassisError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('defaultStateDirectory', () => {
  it.each([
    [{ CHASSIS_DIR: '/a/../b', XDG_RUNTIME_DIR: '/run/user/7' }, 7, '/b'],
    [{ XDG_RUNTIME_DIR: '/run/user/7' }, 7, '/run/user/7/chassis'],
    [{}, 0, '/run/chassis'],
    [{ TMPDIR: '/t' }, 7, '/t/chassis-7'],
    [{ CHASSIS_DIR: '', XDG_RUNTIME_DIR: '', TMPDIR: '/t' }, 7, '/t/chassis-7'],
  ])('of %j for user %i is %s', (env, uid, expected) => {
    expect(defaultStateDirectory(env, uid)).toBe(expected);
  });
});

describe('overlaysDirectory', () => {
  it.each([
    ['/my/state', {}, 7, '/my/state/overlays.d'],
    ['/my/state', { CHASSIS_DIR: '/my/state' }, 7, '/my/state/overlays.d'],
    ['/run/chassis', {}, 0, '/var/lib/chassis/overlays'],
    [
      '/run/user/7/chassis',
      { XDG_RUNTIME_DIR: '/run/user/7', XDG_STATE_HOME: '/s' },
      7,
      '/s/chassis/overlays',
    ],
  ])('of %s with %j for user %i lasts: %s', (directory, env, uid, expected) => {
    expect(overlaysDirectory(directory, env, uid)).toBe(expected);
  });
});

describe('openStateDirectory', () => {
  it('makes a private directory, with its parents', () => {
    const path = join(folder(), 'a', 'b');
    openStateDirectory(path);
    expect(statSync(path).mode & 0o777).toBe(0o700);
  });

  it('refuses one that others may enter, and says how to mend it', () => {
    const path = folder();
    chmodSync(path, 0o755);
    expect(refused(path)).toMatchObject(refusal('STATE_UNWRITABLE', /mode 755/, /chmod 700/));
  });

  it('refuses a file, and a symbolic link', () => {
    const path = folder();
    writeFileSync(join(path, 'file'), '');
    symlinkSync(folder(), join(path, 'link'));
    expect(refused(join(path, 'file'))).toMatchObject(refusal('STATE_UNWRITABLE'));
    expect(refused(join(path, 'link'))).toMatchObject(refusal('STATE_UNWRITABLE', /not a directory/));
    expect(refused(join(path, 'file', 'below'))).toMatchObject(refusal('STATE_UNWRITABLE'));
  });

  it.skipIf(process.getuid?.() !== 0)('refuses one of another user', () => {
    expect(refused('/proc/1/task')).toMatchObject(refusal('STATE_UNWRITABLE'));
  });

  it('refuses a path too long for the sockets, naming the limit', () => {
    const path = join('/tmp', 'x'.repeat(58));
    expect(refused(path)).toMatchObject(refusal('STATE_UNWRITABLE', /107/, /at most 62 bytes/));
  });

  it('leaves room for every socket of the longest name', () => {
    const paths = new ChassisPaths('x'.repeat(62), 'n'.repeat(32));
    for (const path of [paths.qmpSocket, paths.deviceSocket, paths.functionSocket(64, 7)]) {
      expect(Buffer.byteLength(path)).toBeLessThanOrEqual(SOCKET_PATH_MAX_BYTES);
    }
  });

  it('refuses a second holder, with the pid of the first', () => {
    const path = folder();
    const held = openStateDirectory(path);
    expect(refused(path)).toMatchObject(refusal('CHASSIS_IN_USE', new RegExp(`pid ${process.pid}\\b`)));
    held.release();
    openStateDirectory(path).release();
    expect(readdirSync(path)).toEqual([]);
  });

  const stale = { ...stampOf(process.pid), startTicks: 1 };
  it.each([
    ['a process of the same number that started at another time', JSON.stringify(stale)],
    ['a process of before the last boot', JSON.stringify({ ...stampOf(process.pid), bootId: 'other' })],
    ['nobody', ''],
    ['garbage', '{"pid": "1"}'],
    ['null', 'null'],
  ])('takes over a lock that names %s', (_, content) => {
    const path = folder();
    writeFileSync(join(path, 'daemon.lock'), content);
    openStateDirectory(path);
    expect(refused(path)).toMatchObject(refusal('CHASSIS_IN_USE'));
    expect(readdirSync(path)).toEqual(['daemon.lock']);
  });

  it('refuses where the lock is a directory', () => {
    const path = folder();
    mkdirSync(join(path, 'daemon.lock'));
    writeFileSync(join(path, 'daemon.lock', 'x'), '');
    expect(refused(path)).toMatchObject(refusal('STATE_UNWRITABLE'));
  });
});
