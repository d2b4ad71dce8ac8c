/** Device processes of two versions: of what is built here, and of a copy that speaks the first version of the hand-over only. */
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Reactor } from '../../../host/index.js';
import { ChassisPaths } from '../../../manager/control/state-directory.js';
import { spawnDeviceProcess, type DeviceHost } from '../../../manager/device-process/supervisor.js';
import { BUILT_DEVICE_ENTRY } from '../built.js';
import { refusal } from '../refusal.js';
import { temporaryFolders } from '../temporary-folder.js';
import { LoadedDisk } from './loaded-disk.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const BUILT = join(ROOT, 'dist');
const MIB = 2 ** 20;
const folder = temporaryFolders();
let reactor: Reactor;
/** Where the daemon finds the executable of the version that is installed. */
let installed: string;
let host: DeviceHost;

beforeEach(() => {
  reactor = new Reactor({ onError: (error) => console.error(error) });
  reactor.start();
  installed = join(folder(), 'entry.js');
});
afterEach(async () => {
  await host.stop();
  reactor.close();
});

function install(entry: string): void {
  rmSync(installed, { force: true });
  symlinkSync(entry, installed);
}

/** The entry of an older one. */
function olderEntry(): string {
  const root = folder();
  for (const name of ['package.json', 'node_modules']) symlinkSync(join(ROOT, name), join(root, name));
  for (const name of ['manager', 'devices', 'host', 'guest'])
    cpSync(join(BUILT, name), join(root, 'dist', name), { recursive: true });
  const entry = join(root, 'dist', relative(BUILT, BUILT_DEVICE_ENTRY));
  const protocol = join(dirname(entry), 'hand-over', 'protocol.js');
  const older = readFileSync(protocol, 'utf8')
    .replace(/HAND_OVER_VERSION = \d+;/, 'HAND_OVER_VERSION = 1;')
    .replace(/VERSIONS_TAKEN = .*;/, 'VERSIONS_TAKEN = [1];');
  writeFileSync(protocol, older);
  return entry;
}

it('a newer version takes over from an older one under load, and no older one from a newer', async () => {
  const older = olderEntry();
  install(older);
  const paths = new ChassisPaths(folder(), 'dev');
  mkdirSync(paths.directory);
  const lost: string[] = [];
  host = await spawnDeviceProcess({
    ...{ paths, entry: installed },
    onLost: (reason) => lost.push(reason),
    onConnected: () => undefined,
    onHelper: () => undefined,
    onChild: () => undefined,
    onDisconnected: (name) => lost.push(`${name} was left`),
  });
  const path = join(folder(), 'disk.img');
  writeFileSync(path, '');
  truncateSync(path, MIB);
  const socketPath = paths.functionSocket(1, 0);
  await host.addFunction({
    ...{ function: 'disk', socketPath, port: 'vhost-user', msix: false },
    device: {
      type: 'disk',
      source: { type: 'file', path },
      readOnly: false,
      overlay: false,
      queues: 1,
      serial: 's',
    },
  });
  const load = await LoadedDisk.start(reactor, socketPath);
  await load.progress(200);
  const { pid } = host;
  install(BUILT_DEVICE_ENTRY);
  host = (await host.replace()).host;
  expect(host.pid).not.toBe(pid);
  await load.progress(200);
  install(older);
  await expect(host.replace()).rejects.toMatchObject(
    refusal('UPGRADE_REFUSED', /hands over by version \d+ of the protocol, and the new one takes 1:/),
  );
  await load.progress(200);
  await load.stop();
  expect(lost).toEqual([]);
});
