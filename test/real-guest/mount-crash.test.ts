/**
 * The process that serves a guest's mount is killed over and over while programs are at work there: git, tar, SQLite, one that holds a lock and has
 * a file open that has no name any more. None of them sees anything but a pause. One kill in three comes to a daemon that has just been killed itself,
 * and found the process. CHASSIS_CRASHES asks for more kills than there is time for.
 */
import { closeSync, openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { LockType, ofdSetLock } from '../../host/index.js';
import type { Chassis } from '../../manager/control/api.js';
import { ChassisClient } from '../../manager/control/client.js';
import { describePerPort, Lab } from './lab.js';
import { withBubblewrap } from './support/bubblewrap.js';
import { checksumsBelow, FileWork } from './support/file-work.js';

const CRASHES = { 'vhost-user': 20, 'vfio-user': 4 } as const;
/** Longer than what the daemon takes for the life of a process that dies over and over. */
const LIFE_MS = 1300;
const PATIENTLY = { timeout: 120_000, interval: 20 };
const START_TIMEOUT_MS = 180_000;
const CRASH_TIMEOUT_MS = 15_000;

withBubblewrap();

describePerPort('a device process that is killed while programs are at work on its mount', (port) => {
  const crashes = Number(process.env.CHASSIS_CRASHES ?? CRASHES[port]);
  if (!(crashes >= 1)) throw new Error('CHASSIS_CRASHES: it is how often to crash');
  let lab: Lab;

  afterEach(() => lab?.stop());

  it(
    'is a pause for git, tar and SQLite, and leaves them their locks and files without names',
    async () => {
      lab = await Lab.start(port);
      const client = new ChassisClient({ directory: lab.daemon.directory });
      const show = (): Promise<Chassis> => client.get('lab');
      await lab.boot('6.1', (args) => args, await FileWork.files());
      const folder = await lab.directory('work');
      await lab.mount(folder, 'work');
      const files = await FileWork.begin(lab.guest, '/mnt/work');
      /** What the guest has said of its files, on the host. */
      const said = async (): Promise<number> => (await stat(join(folder, 'log'))).size;
      await expect.poll(() => said().catch(() => 0), PATIENTLY).toBeGreaterThan(0);
      for (let i = 0; i < crashes; i++) {
        await delay(LIFE_MS);
        if (i % 3 === 2) await lab.daemon.restart();
        const { pid = 0 } = (await show()).deviceProcess;
        const before = await said();
        process.kill(pid, 'SIGKILL');
        const servedBy = async () => {
          const { deviceProcess, mounts } = await show();
          return [deviceProcess.pid !== pid && deviceProcess.state, ...mounts.map(({ state }) => state)];
        };
        await expect.poll(servedBy, PATIENTLY).toEqual(['running', 'plugged']);
        await expect.poll(said, PATIENTLY).toBeGreaterThan(before);
      }
      if (process.geteuid?.() === 0) expect(isConfined((await show()).deviceProcess)).toBe(true);
      expect(isLocked(join(folder, 'locked'))).toBe(true);
      const { rounds, checksums } = await files.stop();
      expect(rounds).toBeGreaterThan(0);
      expect(await checksumsBelow(folder)).toEqual(checksums);
      expect(await lab.sh('dmesg | grep -iE "9p.*(error|fail)|blocked for more" || true')).toBe('');
      await lab.sh('umount /mnt/work');
      await lab.detach('work');
      expect((await show()).deviceProcess.state).toBe('running');
    },
    START_TIMEOUT_MS + CRASH_TIMEOUT_MS * crashes,
  );
});

function isConfined({ sandbox }: Chassis['deviceProcess']): boolean {
  return sandbox?.namespaces.includes('mnt') === true;
}

/** Whether somebody else has the file locked. */
function isLocked(path: string): boolean {
  const fd = openSync(path, 'r+');
  try {
    return ofdSetLock(fd, LockType.F_WRLCK, 0, 0) !== 0;
  } finally {
    closeSync(fd);
  }
}
