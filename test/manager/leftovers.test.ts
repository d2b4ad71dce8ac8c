import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ChassisPaths } from '../../manager/control/state-directory.js';
import { sweepStateDirectory } from '../../manager/leftovers.js';
import { isRunning, stampOf } from '../../manager/process-stamp.js';
import { temporaryFolders } from './temporary-folder.js';

const folder = temporaryFolders();

function chassis(directory: string, name: string, ...files: string[]): ChassisPaths {
  const paths = new ChassisPaths(directory, name);
  mkdirSync(paths.directory);
  for (const file of files) writeFileSync(join(paths.directory, file), '');
  return paths;
}

describe('sweepStateDirectory', () => {
  it('removes what a daemon leaves, and nothing else', async () => {
    const directory = folder();
    chassis(
      directory,
      'dev',
      'device.sock',
      'device.log',
      'device.log.old',
      'device.pid',
      's1f0.sock',
      's64f7.sock',
    );
    chassis(directory, 'mine', 'device.sock', 's1f8.sock', 'notes');
    chassis(directory, 'Not-A-Name', 'device.sock');
    const elsewhere = folder();
    writeFileSync(join(elsewhere, 'device.log'), '');
    symlinkSync(elsewhere, join(directory, 'link'));
    writeFileSync(join(directory, 'api.sock'), '');
    expect(await sweepStateDirectory(directory)).toEqual([]);
    expect(readdirSync(directory).sort()).toEqual(['Not-A-Name', 'api.sock', 'link', 'mine']);
    expect(readdirSync(join(directory, 'mine')).sort()).toEqual(['notes', 's1f8.sock']);
    expect(existsSync(join(elsewhere, 'device.log'))).toBe(true);
  });

  it('keeps the QMP socket of a VM that runs, and removes one that nobody listens on', async () => {
    const directory = folder();
    const running = chassis(directory, 'running', 'device.log');
    mkdirSync(running.vmDirectory);
    const server = createServer().listen(running.qmpSocket);
    await once(server, 'listening');
    chassis(directory, 'dead.vm', 'qmp.sock', 'peers.json', 'passt.log');
    await sweepStateDirectory(directory);
    expect(readdirSync(directory)).toEqual(['running.vm']);
    expect(readdirSync(running.vmDirectory)).toEqual(['qmp.sock']);
    server.close();
  });

  it('ends a device process that outlived its daemon', async () => {
    const child = spawn('sleep', ['600']);
    await once(child, 'spawn');
    const directory = folder();
    const paths = chassis(directory, 'dev');
    writeFileSync(paths.deviceStamp, JSON.stringify(stampOf(child.pid ?? 0)));
    const ended = once(child, 'exit');
    expect(await sweepStateDirectory(directory)).toEqual([child.pid]);
    expect(await ended).toEqual([null, 'SIGKILL']);
  });

  it('lets a process live that only has the number of a device process', async () => {
    const directory = folder();
    const paths = chassis(directory, 'dev');
    writeFileSync(paths.deviceStamp, JSON.stringify({ ...stampOf(process.pid), startTicks: 1 }));
    expect(await sweepStateDirectory(directory)).toEqual([]);
    expect(readdirSync(directory)).toEqual([]);
  });
});

describe('stampOf', () => {
  it('knows a process again, and that it has ended', async () => {
    // A name with brackets and spaces, which /proc/PID/stat shows as it is.
    const program = join(folder(), ') R 1 (');
    symlinkSync(process.execPath, program);
    const child = spawn(program, ['-e', 'setInterval(() => undefined, 1e6)'], { stdio: 'ignore' });
    await once(child, 'spawn');
    const stamp = stampOf(child.pid ?? 0);
    expect(stamp && isRunning(stamp)).toBe(true);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(stamp && isRunning(stamp)).toBe(false);
  });

  it('is undefined for a process that is not there', () => {
    expect(stampOf(2 ** 22 + 1)).toBeUndefined();
  });
});
