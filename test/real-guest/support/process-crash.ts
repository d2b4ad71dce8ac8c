/** A device process that is killed under its guest, and what the guest's programs must go on with. */
import { closeSync, openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { expect } from 'vitest';
import { LockType, ofdSetLock } from '../../../host/index.js';
import type { Lab } from '../lab.js';

const PATIENTLY = { timeout: 120_000, interval: 20 };

/** What the guest has said in logs of the host's, in bytes each. */
async function said(logs: readonly string[]): Promise<number[]> {
  return Promise.all(logs.map((log) => stat(log).then(({ size }) => size)));
}

/** Resolves once the guest has begun each of them. */
export async function begun(logs: readonly string[]): Promise<void> {
  const sizes = async () => said(logs).catch(() => [0]);
  await expect.poll(async () => Math.min(...(await sizes())), PATIENTLY).toBeGreaterThan(0);
}

/** Kills the process; resolves once what it served is served again, and the guest's programs go on. */
export async function crash(lab: Lab, logs: readonly string[]): Promise<void> {
  const { pid = 0 } = (await lab.show()).deviceProcess;
  const before = await said(logs);
  process.kill(pid, 'SIGKILL');
  const servedBy = async () => {
    const { deviceProcess, mounts } = await lab.show();
    const states = new Set(mounts.map(({ state }) => state));
    return [deviceProcess.pid !== pid && deviceProcess.state, ...states];
  };
  await expect.poll(servedBy, PATIENTLY).toEqual(['running', 'plugged']);
  const growths = async () => (await said(logs)).map((size, i) => size - before[i]);
  await expect.poll(async () => Math.min(...(await growths())), PATIENTLY).toBeGreaterThan(0);
}

/** Whether somebody else has the file locked. */
export function isLocked(path: string): boolean {
  const fd = openSync(path, 'r+');
  try {
    return ofdSetLock(fd, LockType.F_WRLCK, 0, 0) !== 0;
  } finally {
    closeSync(fd);
  }
}
