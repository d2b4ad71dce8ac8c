/**
 * Requests over real rings, their bytes cut into descriptors in every way: as legacy drivers lay them out, as VIRTIO_F_ANY_LAYOUT allows, and
 * as nobody would.
 */
import { describe, expect, it } from 'vitest';
import { MemoryBackend } from '../../../devices/blk/backends/memory/memory-backend.js';
import type { BlkOptions } from '../../../guest/blk/virtio-driver.js';
import type { RamRange } from '../../../guest/memory/ram.js';
import type { QueueRequest } from '../../../guest/virtio/queue.js';
import { machineWith, type Machine } from './machine.js';
import { header, joined, range, Type } from './support/test-queue.js';
import { pattern, randomFrom } from './support/vectors.js';

const MODES: readonly (readonly [string, BlkOptions])[] = [
  ['a split ring, chained', { packed: false, indirect: false }],
  ['a split ring, indirect', { packed: false, indirect: true }],
  ['a packed ring, chained', { packed: true, indirect: false }],
  ['a packed ring, indirect', { packed: true, indirect: true }],
];

/** Sends one request whose readable and writable bytes are cut at these places; its room, and what the device says it wrote. */
async function send(
  { ram, binding }: Machine,
  readable: Uint8Array,
  roomBytes: number,
  cuts: { read?: readonly number[]; write?: readonly number[] },
): Promise<{ room: Uint8Array; written: number }> {
  const page = ram.allocate(readable.length + roomBytes) as RamRange;
  page.bytes.set(readable);
  page.bytes.fill(0xff, readable.length, readable.length + roomBytes);
  const pieces = (start: number, length: number, places: readonly number[]) => {
    const inside = places.filter((place) => place > 0 && place < length);
    const ends = [...new Set([...inside, length])].sort((a, b) => a - b);
    return ends.map((end, i) => {
      const from = i === 0 ? 0 : ends[i - 1];
      return { address: page.address + start + from, length: end - from };
    });
  };
  const before = pieces(0, readable.length, cuts.read ?? []);
  const all = [...before, ...pieces(readable.length, roomBytes, cuts.write ?? [])];
  const written = await new Promise<number>((complete) => {
    const request: QueueRequest = {
      addresses: all.map(({ address }) => address),
      lengths: all.map(({ length }) => length),
      readableCount: before.length,
      count: all.length,
      complete,
    };
    expect(binding.device.queues[0].add(request)).toBe(true);
  });
  const room = page.bytes.slice(readable.length, readable.length + roomBytes);
  ram.free(page);
  return { room, written };
}

const DATA = 3 * 512;

describe.each(MODES)('over %s', (_name, guest) => {
  const boot = () => machineWith(new MemoryBackend({ sizeBytes: 1 << 20 }), { guest });

  /** Writes and reads back with these cuts, of header and data to write, and of data to read and status. */
  async function roundTrip(
    machine: Machine,
    seed: number,
    read: readonly number[],
    write: readonly number[],
  ) {
    const bytes = pattern(DATA, seed);
    const sector = 8 * seed;
    const out = await send(machine, joined(header(Type.OUT, sector), bytes), 1, { read });
    expect([...out.room, out.written]).toEqual([0, 1]);
    const back = await send(machine, header(Type.IN, sector), DATA + 1, { read, write });
    expect([back.room[DATA], back.written]).toEqual([0, DATA + 1]);
    expect(Buffer.from(back.room.subarray(0, DATA)).equals(bytes)).toBe(true);
  }

  it('serves the layout of old drivers: header, data in pages, status', async () => {
    await roundTrip(await boot(), 1, [16, 16 + 512, 16 + 1024], [512, 1024, DATA]);
  });

  it('serves one descriptor for all that is read, and one for all that is written', async () => {
    await roundTrip(await boot(), 2, [], []);
  });

  it('serves a header in eight descriptors', async () => {
    await roundTrip(await boot(), 3, [2, 4, 6, 8, 10, 12, 14, 16], [DATA]);
  });

  it('serves a header that is cut anywhere, with its end in the data’s first descriptor', async () => {
    const machine = await boot();
    for (let place = 1; place < 20; place++) await roundTrip(machine, place, [place], [place]);
  });

  it('serves a status at the end of the data’s last descriptor, wherever that starts', async () => {
    const machine = await boot();
    for (const place of [1, 511, 512, DATA - 1, DATA]) await roundTrip(machine, 4, [16], [place]);
  });

  it('serves descriptors of odd lengths', async () => {
    const machine = await boot();
    const random = randomFrom(7);
    const places = (length: number) => Array.from({ length: 6 }, () => random(length));
    for (let i = 0; i < 40; i++) await roundTrip(machine, i, places(16 + DATA), places(DATA + 1));
  });

  it('serves ranges that are cut anywhere', async () => {
    const machine = await boot();
    await machine.disk.write(0, pattern(64 * 512, 5));
    const request = joined(header(Type.WRITE_ZEROES), range(1, 2), range(8, 1, 1));
    for (const read of [[], [16], [16, 32], [1, 17, 33, 47], [15, 20, 24, 28, 31]]) {
      await machine.disk.write(0, pattern(64 * 512, 5));
      const { room } = await send(machine, request, 1, { read });
      expect([...room]).toEqual([0]);
      const after = await machine.disk.read(0, 64 * 512);
      const expected = pattern(64 * 512, 5);
      expected.fill(0, 512, 3 * 512);
      expected.fill(0, 8 * 512, 9 * 512);
      expect(Buffer.from(after).equals(expected)).toBe(true);
    }
  });

  it('breaks where a request has no room for its status, and is well again after a reset', async () => {
    const machine = await boot();
    const page = machine.ram.allocate(4096) as RamRange;
    page.bytes.set(header(Type.FLUSH));
    const result = await new Promise<number>((complete) => {
      const buffers = { addresses: [page.address], lengths: [16], readableCount: 1, count: 1 };
      machine.binding.device.queues[0].add({ ...buffers, complete });
    });
    expect(result).toBeLessThan(0);
    expect(machine.logs.join()).toContain('no room for its status');
    await machine.disk.close();
    const disk = await machine.binding.open();
    await disk.flush();
  });
});
