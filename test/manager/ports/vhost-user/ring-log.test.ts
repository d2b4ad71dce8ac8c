import { describe, expect, it, onTestFinished } from 'vitest';
import type { Chain } from '../../../../devices/virtio/device.js';
import { RegionMemory } from '../../../../devices/virtio/memory/region-memory.js';
import { DescriptorChain } from '../../../../devices/virtio/ring/descriptor-chain.js';
import type { RunningRing } from '../../../../devices/virtio/ring/running-ring.js';
import { DirtyLog } from '../../../../manager/ports/vhost-user/dirty-log.js';
import { GatedRing } from '../../../../manager/ports/vhost-user/gated-ring.js';
import { MemoryTable } from '../../../../manager/ports/vhost-user/memory-table.js';
import { RingLog, type RingLogOptions } from '../../../../manager/ports/vhost-user/ring-log.js';
import { GuestRam } from './harness.js';
import { LogFile } from './log-file.js';

const LOG_BYTES = 64;
/** A ring of 1024: its used ring fills the pages 0x10000 to 0x12000, its descriptors 0x20000 to 0x23000. */
const SIZE = 1024;
const USED = 0x10000;
const DESCRIPTORS = 0x20000;
const WRAP = 0x8000;

interface Bench {
  readonly file: LogFile;
  readonly ringLog: RingLog;
}

function ringLog(options: Partial<RingLogOptions> = {}): Bench {
  const file = new LogFile(LOG_BYTES);
  const log = new DirtyLog();
  log.replace(file.fd, LOG_BYTES, 0);
  onTestFinished(() => log.close());
  const place = { size: SIZE, descriptorAddress: DESCRIPTORS, deviceAddress: USED };
  const table = new MemoryTable(new RegionMemory());
  const flags = { data: true, packed: false, eventIdx: false };
  return { file, ringLog: new RingLog({ log, table, ...flags, ...place, ...options }) };
}

describe('the pages of a used ring that a flush is about to publish', () => {
  // Element n lies at 4 + 8 * n: 0 to 510 in the first page and in part 511, to 1022 in the second and in part 1023, in the third.
  it.each<[string, number, number, number[]]>([
    ['are one, and that of the index', 600, 601, [USED, 0x11000]],
    ['are those of the index where that is', 3, 9, [USED]],
    ['are all that the elements touch', 509, 513, [USED, 0x11000]],
    ['are those at the end and at the start of a lap', 1021, 1025, [USED, 0x11000, 0x12000]],
    ['count on through 65536', 65535, 0, [USED, 0x11000, 0x12000]],
    ['are all of a full ring', 700, 1724, [USED, 0x11000, 0x12000]],
  ])('%s', (_, nextUsed, nextAvail, pages) => {
    const { file, ringLog: log } = ringLog();
    log.beforeFlush({ nextUsed, nextAvail });
    expect(file.pages()).toEqual(pages);
  });
});

describe('the pages of a packed ring that a flush is about to publish', () => {
  it.each<[string, number, number, number[]]>([
    ['are those of the descriptors', WRAP | 300, WRAP | 301, [0x21000]],
    ['are all from the first taken to the last', WRAP | 255, WRAP | 257, [DESCRIPTORS, 0x21000]],
    ['are those at the end and at the start of a lap', WRAP | 1023, 1, [DESCRIPTORS, 0x23000]],
    ['are the same on the other lap', 1023, WRAP | 1, [DESCRIPTORS, 0x23000]],
    ['are all of a full ring', WRAP | 512, 512, [DESCRIPTORS, 0x21000, 0x22000, 0x23000]],
  ])('%s', (_, nextUsed, nextAvail, pages) => {
    const { file, ringLog: log } = ringLog({ packed: true });
    log.beforeFlush({ nextUsed, nextAvail });
    expect(file.pages()).toEqual(pages);
  });
});

describe('the page of what a ring wants to be notified of', () => {
  it.each<[string, Partial<RingLogOptions>, number[], number[]]>([
    ['is that of the flags', {}, [USED], [USED]],
    ['is that of the event, which says nothing against notifications', { eventIdx: true }, [], [0x12000]],
    ["is that of a packed ring's structure", { packed: true }, [USED], [USED]],
    [
      "is that of a packed ring's structure with the event index, too",
      { packed: true, eventIdx: true },
      [USED],
      [USED],
    ],
  ])('%s', (_, options, disabled, enabled) => {
    const { file, ringLog: log } = ringLog(options);
    log.notificationsDisabled();
    expect([...file.take()]).toEqual(disabled);
    log.notificationsEnabled();
    expect([...file.take()]).toEqual(enabled);
  });
});

/** A ring whose flush is the moment at which a driver sees what was pushed. */
function publishing(onFlush: () => void, chain: Chain): RunningRing {
  return {
    index: 0,
    size: SIZE,
    broken: false,
    held: false,
    underWay: false,
    memorySettled: () => {},
    setPaused: () => {},
    position: { nextAvail: 601, nextUsed: 600 },
    save: () => ({ nextAvail: 0, nextUsed: 0, chains: [] }),
    pop: () => chain,
    push: () => {},
    unpop: () => {},
    flush: onFlush,
    disableNotifications: () => {},
    enableNotifications: () => false,
    drop: () => {},
  };
}

describe('the order of marks', () => {
  it.each<[string, Partial<RingLogOptions>, number[], number[]]>([
    ['split', {}, [0x8000, USED, 0x11000], [USED]],
    ['packed', { packed: true }, [0x8000, 0x22000], [0x22000]],
  ])(
    'all is marked when a %s ring publishes, and what publishes it again afterwards',
    (_, options, before, after) => {
      const memory = new RegionMemory();
      const table = new MemoryTable(memory);
      onTestFinished(() => table.clear());
      const ram = new GuestRam('order', 0x1000);
      const region = { guestAddress: 0x8000, sizeBytes: 0x1000, userAddress: 0, mmapOffset: 0 };
      expect(table.add(region, ram.fd)).toBe(0);
      const chain = new DescriptorChain({});
      expect(memory.translate(0x8010, 4, true, chain.writable)).toBe(true);
      const { file, ringLog: log } = ringLog({ ...options, table });
      let seen: number[] = [];
      const ring = new GatedRing(
        publishing(() => (seen = [...file.take()]), chain),
        () => {},
      );
      ring.log = log;
      ring.pop();
      ring.push(chain, 4);
      ring.flush();
      expect(seen).toEqual(before);
      expect(file.pages()).toEqual(after);
    },
  );
});
