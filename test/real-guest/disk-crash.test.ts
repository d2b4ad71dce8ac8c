/**
 * What dies in the middle of writes that a guest has flushed, one by one: the process that serves the disk, or the VMM. The guest says on
 * its console what was flushed, which is a file of the host. CHASSIS_CRASHES asks for more of each than there is time for.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { diskBytes, flushedRecords, lostRecords, type CrashLayout } from '../devices/blk/crash/flush-log.js';
import { randomFrom } from '../support/random.js';
import type { Chassis } from '../../manager/control/api.js';
import { ChassisClient } from '../../manager/control/client.js';
import { PATIENTLY } from '../manager/patiently.js';
import { describeRealGuest, Lab } from './lab.js';

const CRASHES = Number(process.env.CHASSIS_CRASHES ?? 6);
if (!(CRASHES >= 1)) throw new Error('CHASSIS_CRASHES: it is how often to crash');

const LAYOUT: CrashLayout = { lanes: 3, places: 16, recordBytes: 4096 };
/** From the first flush on. */
const LIFE_MS = 600;
const TIMEOUT_MS = 120_000 + 40_000 * CRASHES;

const random = randomFrom(11);

/** In the guest: writes records (flush-log.ts) to a disk, each of them flushed, until it is stopped. */
function writeRecords(device: string): string {
  const { lanes, places, recordBytes } = LAYOUT;
  return `echo "records on ${device}" >/dev/ttyS0
lane() {
  n=1
  while :; do
    yes "$(printf '%02d:%012d' $1 $n)" | head -c ${recordBytes} |
      dd of=/dev/${device} bs=${recordBytes} seek=$(($1 * ${places} + n % ${places})) iflag=fullblock conv=notrunc,fsync 2>/dev/null || exit
    echo "flushed $1 $n" >/dev/ttyS0
    n=$((n + 1))
  done
}
for i in $(seq 0 ${lanes - 1}); do lane $i & done
wait`;
}

describeRealGuest('what a guest has flushed outlives', () => {
  let lab: Lab;
  /** Without the start of a command for each of many questions. */
  let client: ChassisClient;

  beforeEach(async () => {
    lab = await Lab.start('vhost-user');
    client = new ChassisClient({ directory: lab.daemon.directory });
  });
  afterEach(() => lab.stop());

  async function addDisk(name: string): Promise<string> {
    const path = join(lab.folder, `${name}.img`);
    await writeFile(path, Buffer.alloc(diskBytes(LAYOUT)));
    await client.addDisk('lab', { name, source: { type: 'file', path } });
    return path;
  }

  function show(): Promise<Chassis> {
    return client.get('lab');
  }

  /** Has the guest write to a disk (`vda`), and answers once it may be stopped; `log` is what it has said since. */
  async function writing(device: string): Promise<{ log: () => Promise<string> }> {
    const { guest } = lab;
    await guest.waitFor(`[ -b /dev/${device} ]`);
    const mark = `records on ${device}\r\n`;
    const log = async (): Promise<string> => (await guest.console()).split(mark)[1] ?? '';
    // It ends with the guest, or never.
    guest.sh(writeRecords(device), { timeoutMs: 3_600_000 }).catch(() => undefined);
    await expect
      .poll(async () => Math.min(...flushedRecords(LAYOUT, await log())), { timeout: 20_000 })
      .toBeGreaterThan(0);
    await sleep(random(LIFE_MS));
    return { log };
  }

  it(
    'the process that serves its disk, which the next one goes on with',
    async () => {
      await lab.boot('6.1');
      const path = await addDisk('doomed');
      const { log } = await writing('vda');
      for (let i = 0; i < CRASHES; i++) {
        const { pid } = (await show()).deviceProcess;
        process.kill(pid ?? 0, 'SIGKILL');
        const said = await log();
        expect(lostRecords(LAYOUT, said, await readFile(path))).toEqual([]);
        await expect
          .poll(async () => {
            const { deviceProcess, disks } = await show();
            return [deviceProcess.pid !== pid && deviceProcess.state, ...disks.map(({ state }) => state)];
          }, PATIENTLY)
          .toEqual(['running', 'plugged']);
        const flushed = flushedRecords(LAYOUT, said);
        const goesOn = async () =>
          flushedRecords(LAYOUT, await log()).map((last, lane) => last > flushed[lane]);
        await expect.poll(goesOn, PATIENTLY).toEqual(flushed.map(() => true));
        await sleep(random(LIFE_MS));
      }
    },
    TIMEOUT_MS,
  );

  it(
    'its VMM',
    async () => {
      const path = await addDisk('doomed');
      for (let i = 0; i < CRASHES; i++) {
        const { exited, pid } = await lab.boot('6.1');
        const { log } = await writing('vda');
        process.kill(pid, 'SIGKILL');
        await exited;
        await expect.poll(async () => (await show()).disks).toMatchObject([{ state: 'parked' }]);
        expect(lostRecords(LAYOUT, await log(), await readFile(path))).toEqual([]);
        await writeFile(path, Buffer.alloc(diskBytes(LAYOUT)), { flag: 'r+' });
      }
    },
    TIMEOUT_MS,
  );
});
