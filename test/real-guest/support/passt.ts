import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { describe } from 'vitest';
import { QemuUnavailableError } from '../../../testbed/errors.js';
import { findPasst } from '../../../testbed/passt.js';

/** The guest's address, and the one that stands for the host's loopback interface. */
export const PASST_GUEST = '10.0.2.15';
export const PASST_GATEWAY = '10.0.2.2';

const command = await findPasst().catch((error: unknown) => {
  // As for real guests: no packages, no test, but not unnoticed.
  if (error instanceof QemuUnavailableError && process.env.CI !== 'true') return error;
  throw error;
});

/** Groups tests that need passt: skipped, with the reason in the title, where it cannot be had. */
export function describePasst(title: string, body: () => void): void {
  if (command instanceof QemuUnavailableError) describe.skip(`${title} (skipped: ${command.message})`, body);
  else describe(title, body);
}

/** passt, until `stop`: it waits for one connection at `path`, and ends with that. */
export function startPasst() {
  if (command instanceof QemuUnavailableError) throw command;
  const folder = mkdtempSync(join(tmpdir(), 'chassis-passt-'));
  // Started by root it becomes nobody, who needs the folder for the socket.
  chmodSync(folder, 0o777);
  const path = join(folder, 'socket');
  const addresses = ['--address', PASST_GUEST, '--netmask', '24', '--gateway', PASST_GATEWAY];
  const [file, ...prefix] = command;
  const passt = spawn(file, [...prefix, '--foreground', '--one-off', '--socket', path, ...addresses], {
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

/** Puts passt on the PATH of what is started from now on. Answers what takes it away. */
export function passtOnPath(): () => void {
  if (command instanceof QemuUnavailableError) throw command;
  const folder = mkdtempSync(join(tmpdir(), 'chassis-passt-'));
  writeFileSync(join(folder, 'passt'), `#!/bin/sh\nexec ${command.join(' ')} "$@"\n`, { mode: 0o755 });
  const { PATH } = process.env;
  process.env.PATH = `${folder}${delimiter}${PATH}`;
  return () => {
    process.env.PATH = PATH;
    rmSync(folder, { recursive: true });
  };
}
