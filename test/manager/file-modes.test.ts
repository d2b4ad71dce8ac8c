/** What a daemon and its processes make is their user's alone, however careless the umask that they were started with. */
import { lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ChassisClient } from '../../manager/control/client.js';
import { DaemonProcess } from './daemon-process.js';
import { temporaryFolders } from './temporary-folder.js';

const LAN = { type: 'switch' as const, switch: 'lan', isolated: false, macLock: false };

describe('with a umask of 0', () => {
  const folder = temporaryFolders();
  let umask: number;
  let daemon: DaemonProcess;
  let client: ChassisClient;
  let directory: string;

  beforeEach(async () => {
    directory = join(folder(), 'state');
    client = new ChassisClient({ directory });
    umask = process.umask(0);
    daemon = await DaemonProcess.start(directory);
    process.umask(umask);
  }, 60_000);
  afterEach(async () => {
    for (const { name } of await client.list()) await client.delete(name, { force: true });
    await daemon.stop();
  }, 60_000);

  /** Everything below that others could read, write or enter, with its mode. */
  function open(path: string): string[] {
    const stat = lstatSync(path);
    const wrong = (stat.mode & 0o077) === 0 ? [] : [`${(stat.mode & 0o777).toString(8)} ${path}`];
    return [...wrong, ...(stat.isDirectory() ? below(path) : [])];
  }

  /** What guests make in overlays has the modes that they gave it; the folder above is closed. */
  function below(path: string): string[] {
    return readdirSync(path)
      .filter((name) => name !== 'upper')
      .flatMap((name) => open(join(path, name)));
  }

  it('every directory, socket and file of the state directory is private', async () => {
    const source = join(folder(), 'source');
    mkdirSync(source);
    await client.create('dev', { slots: 8 });
    await client.attach('dev', {
      mounts: [{ tag: 'reviewed', source: { type: 'directory', path: source }, overlay: { type: 'kept' } }],
    });
    await client.attach('dev', { mounts: [{ tag: 'child', source: { type: 'memory' } }], via: 'tree' });
    await client.attach('dev', { mounts: [{ tag: 'seat', source: { type: 'memory' } }], via: 'queue' });
    await client.addDisk('dev', { name: 'disk0', source: { type: 'memory', sizeBytes: 1 << 20 } });
    await client.addCard('dev', { name: 'lan0', network: LAN });
    const there = readdirSync(directory, { recursive: true, encoding: 'utf8' });
    for (const name of [
      'api.sock',
      'daemon.lock',
      'dev/device.sock',
      'dev.vm/journal.json',
      '@lan/switch.sock',
    ])
      expect(there).toContain(name);
    expect(there.filter((name) => /s\df0\.sock$/.test(name)).length).toBeGreaterThanOrEqual(5);
    expect(open(directory)).toEqual([]);
  });
});
