import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const hasPasst = spawnSync('passt', ['--version']).error === undefined;

/** The guest's address, and the one that stands for the host's loopback interface. */
export const PASST_GUEST = '10.0.2.15';
export const PASST_GATEWAY = '10.0.2.2';

/** passt, until `stop`: it waits for one connection at `path`, and ends with that. */
export function startPasst() {
  const folder = mkdtempSync(join(tmpdir(), 'chassis-passt-'));
  // Started by root it becomes nobody, who needs the folder for the socket.
  chmodSync(folder, 0o777);
  const path = join(folder, 'socket');
  const addresses = ['--address', PASST_GUEST, '--netmask', '24', '--gateway', PASST_GATEWAY];
  const passt = spawn('passt', ['--foreground', '--one-off', '--socket', path, ...addresses], {
    stdio: 'ignore',
  });
  return {
    path,
    stop: async () => {
      passt.kill();
      if (passt.exitCode === null && passt.signalCode === null) await once(passt, 'exit');
      rmSync(folder, { recursive: true });
    },
  };
}
