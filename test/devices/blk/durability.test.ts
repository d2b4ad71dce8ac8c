/**
 * What a flush means, from the guest's request to the medium: a server whose cache is lost with it holds, after a flush, all that the
 * guest had been told was written.
 */
import { describe, expect, it } from 'vitest';
import { openNbdBackend } from '../../../devices/blk/backends/nbd/open-nbd.js';
import { BlkFeature } from '../../../guest/blk/constants.js';
import type { Disk } from '../../../guest/blk/disk.js';
import { ALL_FLAGS, Flag, NbdServer } from './backends/nbd/nbd-server.js';
import { machineWith } from './machine.js';
import { pattern, randomFrom } from './support/vectors.js';

const SIZE = 256 * 512;
const OPERATIONS = 300;

const SERVERS: readonly (readonly [string, number])[] = [
  ['forced unit access', ALL_FLAGS],
  ['a flush alone', ALL_FLAGS & ~Flag.FUA],
  ['a flush, on one connection', ALL_FLAGS & ~Flag.FUA & ~Flag.MULTI_CONN],
];

async function diskOn(flags: number, without = 0n) {
  const server = await NbdServer.start({ sizeBytes: SIZE, flags });
  const backend = await openNbdBackend({ uri: server.uri, connections: 3, log: () => {} });
  const { disk } = await machineWith(backend, { guest: { without } });
  return { server, disk };
}

/** Writers on lanes of their own, each of which knows what it was told; every write is of one sector. */
async function write(
  disk: Disk,
  lane: number,
  random: (below: number) => number,
  told: (sector: number, bytes: Uint8Array) => void,
): Promise<void> {
  for (let i = 0; i < OPERATIONS / 4; i++) {
    const sector = lane * 64 + random(64);
    if (random(5) === 0) {
      await disk.writeZeroes(sector * 512, 512, { unmap: random(2) === 0 });
      told(sector, new Uint8Array(512));
    } else {
      const bytes = pattern(512, i + lane * 1000);
      await disk.write(sector * 512, bytes);
      told(sector, bytes);
    }
  }
}

describe.each(SERVERS)('over a server with %s', (_name, flags) => {
  it('a flush covers every write that was complete when it was sent', async () => {
    const { server, disk } = await diskOn(flags);
    const random = randomFrom(3);
    const known = new Map<number, Uint8Array[]>();
    const told = (sector: number, bytes: Uint8Array) => {
      const history = known.get(sector) ?? [];
      known.set(sector, [...history, bytes]);
    };
    let writing = true;
    const writers = Promise.all([0, 1, 2, 3].map((lane) => write(disk, lane, random, told)));
    const flusher = (async () => {
      let flushes = 0;
      while (writing) {
        const lengths = new Map([...known].map(([sector, history]) => [sector, history.length]));
        await disk.flush();
        flushes++;
        for (const [sector, length] of lengths) {
          // It may be what was written last by then, or anything that was written since.
          const onMedium = server.medium.subarray(sector * 512, sector * 512 + 512);
          const since = (known.get(sector) as Uint8Array[]).slice(length - 1);
          const now = server.cache.subarray(sector * 512, sector * 512 + 512);
          const found = [...since, now].some((bytes) => onMedium.equals(bytes));
          expect(found, `sector ${sector} after flush ${flushes}`).toBe(true);
        }
      }
      return flushes;
    })();
    await writers;
    writing = false;
    expect(await flusher).toBeGreaterThan(0);
  });

  it.each([
    ['that was told to write through', 0n],
    ['that cannot flush', BlkFeature.VIRTIO_BLK_F_FLUSH | BlkFeature.VIRTIO_BLK_F_CONFIG_WCE],
  ])('each write of a driver %s is on the medium when it completes', async (_who, without) => {
    const { server, disk } = await diskOn(flags, without);
    if (without === 0n) disk.setWriteBack(false);
    expect(disk.info.writeBack).toBe(false);
    const check = (sector: number, bytes: Uint8Array) => {
      expect(server.medium.subarray(sector * 512, sector * 512 + 512).equals(bytes)).toBe(true);
    };
    const random = randomFrom(5);
    await Promise.all([0, 1, 2, 3].map((lane) => write(disk, lane, random, check)));
  });

  it('writes of a driver with a write-back cache are on the medium when it flushes, and need not be before', async () => {
    const { server, disk } = await diskOn(flags);
    const bytes = pattern(4096, 1);
    await disk.write(4096, bytes);
    expect(server.medium.every((byte) => byte === 0)).toBe(true);
    await disk.flush();
    expect(server.medium.subarray(4096, 8192).equals(bytes)).toBe(true);
  });
});
