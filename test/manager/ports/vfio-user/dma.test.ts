import { ftruncateSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { IoVector } from '../../../../devices/io-vector.js';
import type { GuestMemory } from '../../../../devices/virtio/memory/guest-memory.js';
import { socketPair } from '../../../../host/index.js';
import { DmaMaps } from '../../../../manager/ports/vfio-user/dma.js';
import { RegionMemory } from '../../../../devices/virtio/memory/region-memory.js';
import { eventfd, mappingsOf, memoryFile, openDescriptors, owned, startServer } from './harness.js';
import { Command, EINVAL, EOPNOTSUPP, pack, Payload, REPLY } from './raw-client.js';

const EACCES = 13;
const ENOENT = 2;
const EEXIST = 17;
const ENOSPC = 28;
const PAGE = 4096;

/** The bytes at a guest-physical range; undefined where it is no memory, or not all of it. */
function bytesAt(memory: GuestMemory, address: number, length: number, writable = false): Buffer | undefined {
  const parts = new IoVector();
  if (!memory.translate(address, length, writable, parts)) return undefined;
  const bytes = Buffer.alloc(length);
  parts.gather(0, bytes, 0, length);
  return bytes;
}

describe('maps that are refused, with their descriptor closed', () => {
  const tooLarge = 2n ** 63n;
  const requests: Record<string, Buffer> = {
    'of no bytes': Payload.dmaMap(PAGE, 0),
    'of half a page': Payload.dmaMap(PAGE, PAGE / 2),
    'at an address within a page': Payload.dmaMap(PAGE + 512, PAGE),
    'at an offset within a page': Payload.dmaMap(PAGE, PAGE, 512),
    'that wrap': Payload.dmaMap(0xfffffffffffff000n, PAGE),
    'that wrap by their size': Payload.dmaMap(PAGE, 0xfffffffffffff000n),
    'beyond 2^53': Payload.dmaMap(tooLarge, PAGE),
    'that end beyond 2^53': Payload.dmaMap(2n ** 53n - BigInt(PAGE), 2 * PAGE),
    'at a file offset beyond 2^53': Payload.dmaMap(PAGE, PAGE, tooLarge),
    'whose file range wraps': Payload.dmaMap(PAGE, 2 * PAGE, 0xfffffffffffff000n),
    'that may be neither read nor written': Payload.dmaMap(PAGE, PAGE, 0, 0),
    'with unknown flags': Payload.dmaMap(PAGE, PAGE, 0, 3 | 4),
    'longer than their file': Payload.dmaMap(PAGE, 17 * PAGE),
    'that begin at the end of their file': Payload.dmaMap(PAGE, PAGE, 16 * PAGE),
    'far beyond their file': Payload.dmaMap(PAGE, PAGE, 2 ** 40),
  };
  for (const [name, payload] of Object.entries(requests)) {
    it(name, async () => {
      const harness = startServer();
      const client = await harness.negotiated();
      const file = memoryFile('refused', 16 * PAGE);
      const before = openDescriptors();
      expect(await client.errnoOf(Command.DMA_MAP, payload, { fds: [file] })).toBe(EINVAL);
      expect(openDescriptors()).toBe(before);
      expect(mappingsOf('refused')).toBe(0);
      expect(harness.memory.generation).toBe(0);
      expect(await client.errnoOf(Command.DMA_MAP, Payload.dmaMap(PAGE, PAGE), { fds: [file] })).toBe(0);
    });
  }

  it('with two descriptors', async () => {
    const client = await startServer().negotiated();
    const file = memoryFile('two', PAGE);
    const before = openDescriptors();
    expect(await client.errnoOf(Command.DMA_MAP, Payload.dmaMap(0, PAGE), { fds: [file, file] })).toBe(
      EINVAL,
    );
    expect(openDescriptors()).toBe(before);
  });

  it('of what cannot be mapped: an eventfd, a socket, a directory, a file that is open for reading alone', async () => {
    const client = await startServer().negotiated();
    const path = join(tmpdir(), `chassis-read-only-${process.pid}`);
    const writer = owned(openSync(path, 'w'));
    const readOnly = owned(openSync(path, 'r'));
    rmSync(path);
    ftruncateSync(writer, PAGE);
    const sockets = socketPair().map(owned);
    const files = [
      eventfd(),
      sockets[0],
      owned(openSync('/', 'r')),
      owned(openSync('/dev/zero', 'r+')),
      readOnly,
    ];
    const before = openDescriptors();
    const errors: number[] = [];
    for (const fd of files)
      errors.push(await client.errnoOf(Command.DMA_MAP, Payload.dmaMap(0, PAGE), { fds: [fd] }));
    expect(errors.slice(0, 2)).toEqual([EINVAL, EINVAL]);
    expect(errors.every((errno) => errno !== 0)).toBe(true);
    expect(errors[4]).toBe(EACCES);
    expect(openDescriptors()).toBe(before);
  });

  it('over another map, wherever they meet', async () => {
    const client = await startServer().negotiated();
    const file = memoryFile('overlap', 16 * PAGE);
    expect(await client.errnoOf(Command.DMA_MAP, Payload.dmaMap(4 * PAGE, 4 * PAGE), { fds: [file] })).toBe(
      0,
    );
    const before = openDescriptors();
    const overlaps = [
      [4, 4],
      [3, 2],
      [7, 1],
      [7, 2],
      [0, 16],
      [5, 1],
      [3, 6],
    ];
    for (const [start, pages] of overlaps) {
      const payload = Payload.dmaMap(start * PAGE, pages * PAGE);
      expect(await client.errnoOf(Command.DMA_MAP, payload, { fds: [file] }), `${start}+${pages}`).toBe(
        EEXIST,
      );
      expect(await client.errnoOf(Command.DMA_MAP, payload), `${start}+${pages}, no memory`).toBe(EEXIST);
    }
    expect(openDescriptors()).toBe(before);
    for (const [start, pages] of [
      [3, 1],
      [8, 1],
    ]) {
      expect(await client.errnoOf(Command.DMA_MAP, Payload.dmaMap(start * PAGE, pages * PAGE))).toBe(0);
    }
  });

  it('beyond the agreed number', () => {
    const maps = new DmaMaps(new RegionMemory());
    let accepted = 0;
    while (accepted < 70000 && maps.map(3, 0, accepted * PAGE, PAGE, -1) === 0) accepted++;
    expect(accepted).toBe(65535);
    expect(maps.map(3, 0, 65535 * PAGE, PAGE, -1)).toBe(-ENOSPC);
    expect(maps.unmap(77 * PAGE, PAGE)).toBe(0);
    expect(maps.map(3, 0, 65535 * PAGE, PAGE, -1)).toBe(0);
  });
});

describe('unmaps that are refused', () => {
  it('of what is not exactly a map', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    await client.request(Command.DMA_MAP, Payload.dmaMap(4 * PAGE, 4 * PAGE));
    const ranges: [number | bigint, number | bigint][] = [
      [4 * PAGE, 3 * PAGE],
      [4 * PAGE, 5 * PAGE],
      [5 * PAGE, 3 * PAGE],
      [3 * PAGE, 5 * PAGE],
      [8 * PAGE, PAGE],
      [0, 0],
      [0xfffffffffffff000n, PAGE],
      [4 * PAGE, 0xffffffffffffffffn],
    ];
    for (const [address, size] of ranges) {
      expect(await client.errnoOf(Command.DMA_UNMAP, Payload.dmaUnmap(address, size))).toBe(ENOENT);
    }
    expect(await client.errnoOf(Command.DMA_UNMAP, Payload.dmaUnmap(4 * PAGE, 4 * PAGE))).toBe(0);
    expect(await client.errnoOf(Command.DMA_UNMAP, Payload.dmaUnmap(4 * PAGE, 4 * PAGE))).toBe(ENOENT);
  });

  it('with flags that make no sense, or ask for a dirty bitmap', async () => {
    const client = await startServer().negotiated();
    await client.request(Command.DMA_MAP, Payload.dmaMap(PAGE, PAGE));
    const [dirtyBitmap, all] = [1, 2];
    expect(await client.errnoOf(Command.DMA_UNMAP, Payload.dmaUnmap(PAGE, PAGE, dirtyBitmap))).toBe(
      EOPNOTSUPP,
    );
    for (const flags of [4, dirtyBitmap | all, 0x80000000]) {
      expect(await client.errnoOf(Command.DMA_UNMAP, Payload.dmaUnmap(0, 0, flags))).toBe(EINVAL);
    }
    expect(await client.errnoOf(Command.DMA_UNMAP, Payload.dmaUnmap(PAGE, 0, all))).toBe(EINVAL);
    expect(await client.errnoOf(Command.DMA_UNMAP, Payload.dmaUnmap(0, PAGE, all))).toBe(EINVAL);
    expect(await client.errnoOf(Command.DMA_UNMAP, Payload.dmaUnmap(PAGE, PAGE))).toBe(0);
  });
});

describe('a map with a file', () => {
  it('is that part of the file, both ways, and one descriptor of it is kept', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const file = memoryFile('both-ways', 8 * PAGE);
    const before = openDescriptors();
    for (const address of [0x100000, 0x200000])
      await client.request(Command.DMA_MAP, Payload.dmaMap(address, 2 * PAGE, 4 * PAGE), { fds: [file] });
    expect(openDescriptors()).toBe(before + 1);
    writeSync(file, 'from the guest', 5 * PAGE - 4);
    expect(bytesAt(harness.memory, 0x100000 + PAGE - 4, 14)?.toString()).toBe('from the guest');
    const parts = new IoVector();
    expect(harness.memory.translate(0x100000 + 2 * PAGE - 3, 3, true, parts)).toBe(true);
    parts.scatter(0, Buffer.from('dev'), 0, 3);
    const read = Buffer.alloc(3);
    readSync(file, read, 0, 3, 6 * PAGE - 3);
    expect(read.toString()).toBe('dev');
    expect(bytesAt(harness.memory, 0x100000 + 2 * PAGE - 1, 2)).toBeUndefined();
    expect(bytesAt(harness.memory, 0x100000 - 1, 2)).toBeUndefined();
  });

  it('may be read or written as its flags say', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const file = memoryFile('flags', 2 * PAGE);
    const [read, write] = [1, 2];
    await client.request(Command.DMA_MAP, Payload.dmaMap(0, PAGE, 0, read), { fds: [file] });
    await client.request(Command.DMA_MAP, Payload.dmaMap(PAGE, PAGE, PAGE, write), { fds: [file] });
    const allowed = [0, PAGE].map((address) => [
      bytesAt(harness.memory, address, 1),
      bytesAt(harness.memory, address, 1, true),
    ]);
    expect(allowed.map((pair) => pair.map((bytes) => bytes !== undefined))).toEqual([
      [true, false],
      [false, true],
    ]);
  });

  it('is mapped into the process once a file, and stays until the last map of the file is gone', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const files = [memoryFile('shared-a', 64 * PAGE), memoryFile('shared-b', 64 * PAGE)];
    for (let i = 0; i < 20; i++) {
      await client.request(Command.DMA_MAP, Payload.dmaMap(i * 2 * PAGE, PAGE, i * PAGE), {
        fds: [files[i % 2]],
      });
    }
    expect([mappingsOf('shared-a'), mappingsOf('shared-b')]).toEqual([1, 1]);
    for (let i = 0; i < 18; i++)
      await client.request(Command.DMA_UNMAP, Payload.dmaUnmap(i * 2 * PAGE, PAGE));
    expect([mappingsOf('shared-a'), mappingsOf('shared-b')]).toEqual([1, 1]);
    await client.request(Command.DMA_UNMAP, Payload.dmaUnmap(36 * PAGE, PAGE));
    expect([mappingsOf('shared-a'), mappingsOf('shared-b')]).toEqual([0, 1]);
    await client.request(Command.DMA_UNMAP, Payload.dmaUnmap(38 * PAGE, PAGE));
    expect([mappingsOf('shared-a'), mappingsOf('shared-b')]).toEqual([0, 0]);
  });

  it('joins its neighbours: a buffer, and a ring in one file, may cross from one to the next', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const file = memoryFile('joined', 4 * PAGE);
    writeSync(file, 'abcd', 2 * PAGE - 2);
    for (const page of [1, 0, 2]) {
      await client.request(Command.DMA_MAP, Payload.dmaMap(page * PAGE, PAGE, (page + 1) * PAGE), {
        fds: [file],
      });
    }
    expect(bytesAt(harness.memory, PAGE - 2, 4)?.toString()).toBe('abcd');
    const ring = harness.memory.ringWindow(PAGE - 2, PAGE);
    expect(ring?.view.getUint8(ring.offset + 2)).toBe('c'.charCodeAt(0));
  });

  it('follows a file that has grown, while older maps of it go on', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const name = `chassis-growing-${process.pid}`;
    const path = join(tmpdir(), name);
    const file = owned(openSync(path, 'w+'));
    rmSync(path);
    ftruncateSync(file, PAGE);
    await client.request(Command.DMA_MAP, Payload.dmaMap(0, PAGE), { fds: [file] });
    ftruncateSync(file, 2 * PAGE);
    writeSync(file, 'grown', PAGE);
    writeSync(file, 'first', 0);
    expect(await client.errnoOf(Command.DMA_MAP, Payload.dmaMap(PAGE, PAGE, PAGE), { fds: [file] })).toBe(0);
    expect(bytesAt(harness.memory, 0, 5)?.toString()).toBe('first');
    expect(bytesAt(harness.memory, PAGE, 5)?.toString()).toBe('grown');
    expect(mappingsOf(name)).toBe(2);
    await client.request(Command.DMA_UNMAP, Payload.dmaUnmap(0, PAGE));
    expect(bytesAt(harness.memory, PAGE, 5)?.toString()).toBe('grown');
    await client.request(Command.DMA_MAP, Payload.dmaMap(0, PAGE), { fds: [file] });
    expect(mappingsOf(name)).toBe(1);
    await client.request(Command.DMA_UNMAP, Payload.dmaUnmap(0, PAGE));
    expect(await client.errnoOf(Command.DMA_UNMAP, Payload.dmaUnmap(PAGE, PAGE))).toBe(0);
    expect(mappingsOf(name)).toBe(0);
  });

  it('larger than an array can be is reached in all its parts', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const GiB = 2 ** 30;
    const file = memoryFile('large', 5 * GiB);
    await client.request(Command.DMA_MAP, Payload.dmaMap(GiB, 5 * GiB - PAGE, PAGE), { fds: [file] });
    for (const place of [
      0,
      GiB - PAGE - 2,
      2 * GiB - PAGE - 2,
      3 * GiB - 2,
      4 * GiB - PAGE - 2,
      5 * GiB - PAGE - 4,
    ]) {
      writeSync(file, 'mark', place + PAGE);
      expect(bytesAt(harness.memory, GiB + place, 4)?.toString(), `${place}`).toBe('mark');
    }
  });

  it('that is gone reads as zeros to whoever kept a view of it', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const file = memoryFile('kept', PAGE);
    writeSync(file, 'secret', 0);
    await client.request(Command.DMA_MAP, Payload.dmaMap(0, PAGE), { fds: [file] });
    const ring = harness.memory.ringWindow(0, 16);
    expect(ring?.view.getUint8(0)).toBe('s'.charCodeAt(0));
    await client.request(Command.DMA_UNMAP, Payload.dmaUnmap(0, PAGE));
    expect(ring?.view.getUint8(0)).toBe(0);
    ring?.view.setUint8(0, 1);
    const read = Buffer.alloc(1);
    readSync(file, read, 0, 1, 0);
    expect(read.toString()).toBe('s');
    expect(harness.memory.ringWindow(0, 16)).toBeUndefined();
  });
});

describe('a map without a file', () => {
  it('is accepted, is no memory, and can be unmapped', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    expect(await client.errnoOf(Command.DMA_MAP, Payload.dmaMap(0xfe000000, 0x100000))).toBe(0);
    expect(bytesAt(harness.memory, 0xfe000000, 4)).toBeUndefined();
    expect(harness.memory.ringWindow(0xfe000000, PAGE)).toBeUndefined();
    expect(await client.errnoOf(Command.DMA_UNMAP, Payload.dmaUnmap(0xfe000000, 0x100000))).toBe(0);
  });
});

describe('an unmap', () => {
  it('is answered with the request, and only that map is gone', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const file = memoryFile('answer', 2 * PAGE);
    for (const page of [0, 1])
      await client.request(Command.DMA_MAP, Payload.dmaMap(page * PAGE, PAGE, page * PAGE), { fds: [file] });
    const { generation } = harness.memory;
    const reply = await client.request(Command.DMA_UNMAP, Payload.dmaUnmap(PAGE, PAGE, 0, 24));
    expect(reply).toMatchObject({ flags: REPLY, payload: pack([4, 24], [4, 0], [8, PAGE], [8, PAGE]) });
    expect(harness.memory.generation).toBe(generation + 1);
    expect(bytesAt(harness.memory, 0, PAGE)).toBeDefined();
    expect(bytesAt(harness.memory, PAGE, 1)).toBeUndefined();
  });

  it('of all takes out everything, with and without memory', async () => {
    const harness = startServer();
    const client = await harness.negotiated();
    const file = memoryFile('all', 8 * PAGE);
    for (let i = 0; i < 8; i++) {
      await client.request(Command.DMA_MAP, Payload.dmaMap(i * PAGE, PAGE, i * PAGE), {
        fds: i % 2 === 0 ? [file] : [],
      });
    }
    const all = Payload.dmaUnmap(0, 0, 2);
    expect((await client.request(Command.DMA_UNMAP, all)).payload).toEqual(all);
    expect(mappingsOf('all')).toBe(0);
    expect(await client.errnoOf(Command.DMA_UNMAP, all)).toBe(0);
    expect(await client.errnoOf(Command.DMA_MAP, Payload.dmaMap(0, 8 * PAGE), { fds: [file] })).toBe(0);
  });
});
