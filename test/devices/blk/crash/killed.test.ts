/**
 * Guests whose device process dies in the middle of their writes, again and again. CHASSIS_CRASHES asks for more of them than the few
 * that there is time for.
 */
import { once } from 'node:events';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { randomFrom } from '../../../support/random.js';
import { ALL_FLAGS, Flag, NbdServer } from '../backends/nbd/nbd-server.js';
import { temporaryFolder } from '../support/files.js';
import type { DoomedDisk } from './doomed-guest.js';
import { diskBytes, flushedRecords, lostRecords, type CrashLayout } from './flush-log.js';

const CRASHES = Number(process.env.CHASSIS_CRASHES ?? 3);
if (!(CRASHES >= 1)) throw new Error('CHASSIS_CRASHES: it is how often to crash');
const GUEST = fileURLToPath(
  new URL('../../../../dist/test/devices/blk/crash/doomed-guest.js', import.meta.url),
);
/** From its first flush on. */
const LIFE_MS = 60;
const TIMEOUT_MS = 60_000 + CRASHES * 2000;

/** Written at once, and by threads: a record is more than is written inline. */
const SMALL: CrashLayout = { lanes: 4, places: 16, recordBytes: 4096 };
const LARGE: CrashLayout = { lanes: 3, places: 4, recordBytes: 1536 * 1024 };

const random = randomFrom(7);

/** Lets a guest write, and kills it. Answers the log that it left. */
async function crash(layout: CrashLayout, disk: DoomedDisk): Promise<string> {
  const guest = execa(process.execPath, [GUEST, JSON.stringify(layout), JSON.stringify(disk)], {
    reject: false,
    stdin: 'ignore',
    stripFinalNewline: false,
  });
  await Promise.race([once(guest.stdout, 'data'), guest]);
  await sleep(random(LIFE_MS));
  guest.kill('SIGKILL');
  const { stdout, stderr, signal } = await guest;
  expect({ stderr, signal }).toEqual({ stderr: '', signal: 'SIGKILL' });
  expect(Math.max(...flushedRecords(layout, stdout))).toBeGreaterThan(0);
  return stdout;
}

describe('what a completed flush covered outlives the process that served the disk', () => {
  it.each([
    ['in a file', SMALL, true],
    ['in a file, written by threads', LARGE, true],
    ['in a file that is written through', SMALL, false],
  ])(
    '%s',
    async (_where, layout, writeBack) => {
      const path = join(temporaryFolder(), 'disk.img');
      for (let i = 0; i < CRASHES; i++) {
        writeFileSync(path, '');
        truncateSync(path, diskBytes(layout));
        const log = await crash(layout, { path, writeBack });
        expect(lostRecords(layout, log, readFileSync(path)).slice(0, 5)).toEqual([]);
      }
    },
    TIMEOUT_MS,
  );

  it.each([
    ['that can write through', ALL_FLAGS],
    ['that can only flush', ALL_FLAGS & ~Flag.FUA],
  ])(
    'on an NBD server %s, and loses what it has not flushed',
    async (_which, flags) => {
      for (let i = 0; i < CRASHES; i++) {
        const server = await NbdServer.start({ sizeBytes: diskBytes(SMALL), flags });
        const log = await crash(SMALL, { uri: server.uri, writeBack: i % 2 === 0 });
        expect(lostRecords(SMALL, log, server.medium).slice(0, 5)).toEqual([]);
      }
    },
    TIMEOUT_MS,
  );
});
