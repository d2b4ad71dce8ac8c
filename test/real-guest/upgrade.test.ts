/**
 * A Linux guest at work on a disk and on files while its device process is replaced over and over: it sees no error, and finds everything as it
 * left it. CHASSIS_UPGRADES asks for more than there is time for.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { ChassisClient } from '../../manager/control/client.js';
import { describePerPort } from './lab.js';
import { DiskLab, MIB } from './support/disk-lab.js';
import { checksumsBelow, FileWork } from './support/file-work.js';

const UPGRADES = Number(process.env.CHASSIS_UPGRADES ?? 20);
if (!(UPGRADES >= 1)) throw new Error('CHASSIS_UPGRADES: it is how many upgrades to go through');
const DISK_MIB = 32;
/** Between two writes of fio's: the guest's one processor has more to do. */
const THINK_US = 4000;
/** Most of what the files' log has of a round; each upgrade waits for one. */
const LINES_A_ROUND = 12;
const PATIENTLY = { timeout: 120_000, interval: 20 };
const TIMEOUT_MS = 240_000 + 15_000 * UPGRADES;

describePerPort('a guest at work', (port) => {
  let disks: DiskLab;
  afterEach(() => disks.stop());

  it(
    `sees no error while its device process is replaced ${UPGRADES} times`,
    async () => {
      disks = await DiskLab.start(4, port);
      const { lab } = disks;
      const client = new ChassisClient({ directory: lab.daemon.directory });
      await disks.boot('6.1', 1, await FileWork.files());
      const device = await disks.add('data', await disks.image('data.img', DISK_MIB * MIB), '--port', port);
      const folder = await lab.directory('work');
      await lab.mount(folder, 'work');
      const files = await FileWork.begin(lab.guest, '/mnt/work');
      let upgrading = true;
      const fio = async (): Promise<void> => {
        do {
          const fioSlowly = `${disks.fioVerify(device, DISK_MIB)} --nice=19 --thinktime=${THINK_US}`;
          const printed = await lab.sh(fioSlowly, { timeoutMs: TIMEOUT_MS });
          expect(printed.split(';')[4]).toBe('0');
        } while (upgrading);
      };
      const verified = fio();
      verified.catch(() => undefined);
      /** What the guest has said of its files, on the host. */
      const said = async (): Promise<number> => (await stat(join(folder, 'log'))).size;
      await expect.poll(() => said().catch(() => 0), PATIENTLY).toBeGreaterThan(0);
      for (let i = 0; i < UPGRADES; i++) {
        const before = await said();
        const { pid, formerPid } = await client.upgrade('lab');
        expect(pid).not.toBe(formerPid);
        await expect.poll(said, PATIENTLY).toBeGreaterThan(before);
      }
      upgrading = false;
      const { rounds, checksums } = await files.stop();
      await verified;
      expect(rounds).toBeGreaterThan(UPGRADES / LINES_A_ROUND - 1);
      expect(await checksumsBelow(folder)).toEqual(checksums);
      expect(await lab.sh('dmesg | grep -iE "I/O error|critical|not a head|blocked for more" || true')).toBe(
        '',
      );
      await lab.sh('umount /mnt/work');
      await lab.detach('work');
      expect((await lab.show()).deviceProcess.state).toBe('running');
    },
    TIMEOUT_MS,
  );
});
