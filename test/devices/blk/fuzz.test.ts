/** Requests of any bytes in buffers of any cut, against a disk in memory: each is answered once, and within its own buffers. */
import { describe, expect, it } from 'vitest';
import { MemoryBackend } from '../../../devices/blk/backends/memory/memory-backend.js';
import { VirtioBlk } from '../../../devices/blk/virtio-blk.js';
import {
  header,
  joined,
  NO_STATUS,
  range,
  Status,
  TestChain,
  TestContext,
  TestQueue,
  Type,
} from './support/test-queue.js';
import { randomFrom } from './support/vectors.js';

const CASES = Number(process.env.BLK_FUZZ_CASES ?? 50_000);
const SEED = Number(process.env.BLK_FUZZ_SEED ?? 1);
const SECTORS = 64;

const SECTORS_OF_INTEREST = [
  0n,
  1n,
  63n,
  64n,
  65n,
  2n ** 32n,
  2n ** 53n,
  2n ** 55n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const COUNTS_OF_INTEREST = [0, 1, 63, 64, 65, 0x7fff_ffff, 0xffff_ffff];
const TYPES = [...Object.values(Type), 2, 7, 17, 0x8000_0000];

function request(random: (below: number) => number): Uint8Array {
  const sector = SECTORS_OF_INTEREST[random(SECTORS_OF_INTEREST.length)];
  const parts = [header(TYPES[random(TYPES.length)], random(2) === 0 ? BigInt(random(SECTORS)) : sector)];
  if (random(2) === 0) parts.push(new Uint8Array(512 * random(4)));
  for (let i = random(4); i > 0; i--) {
    const count = COUNTS_OF_INTEREST[random(COUNTS_OF_INTEREST.length)];
    parts.push(range(random(2) === 0 ? random(SECTORS) : sector, count, random(8) === 0 ? random(4) : 0));
  }
  let bytes = joined(...parts);
  for (let i = random(3); i > 0; i--) bytes[random(bytes.length)] ^= 1 << random(8);
  if (random(6) === 0) bytes = bytes.slice(0, random(bytes.length + 1));
  return bytes;
}

const cuts = (random: (below: number) => number) =>
  Array.from({ length: random(5) }, () => [0, 1, 15, 16, 17, 511, 512, 513][random(8)]);

/** The answer about the lifetime, which there is none of, is the only one that could come later. */
function problemOf(queue: TestQueue, chain: TestChain, room: number): string | undefined {
  if (queue.pushed.length !== 1) return `it was given back ${queue.pushed.length} times`;
  const { writtenBytes } = queue.pushed[0];
  if (chain.status > Status.UNSUPP) return `its status is ${chain.status}`;
  if (writtenBytes < 0 || writtenBytes > room) return `${writtenBytes} bytes of ${room} were written`;
  const untouched = chain.data.subarray(writtenBytes);
  if (chain.status !== Status.OK || writtenBytes === room) return undefined;
  return untouched.every((byte) => byte === NO_STATUS) ? undefined : 'more was written than it says';
}

describe('a disk', () => {
  it(`answers ${CASES} requests of all sorts, each once and in its own buffers`, () => {
    const random = randomFrom(SEED);
    const device = new VirtioBlk(new MemoryBackend({ sizeBytes: SECTORS * 512 }), {
      serial: 'f',
      log: () => {},
    });
    const queue = new TestQueue();
    const context = new TestContext(device.features, [queue]);
    device.activate(context);
    const seen = [0, 0, 0];
    for (let i = 0; i < CASES; i++) {
      const readable = request(random);
      const room = [1, 1, 7, 21, 512, 513, 1025, 2049][random(8)];
      const chain = new TestChain(readable, room, { read: cuts(random), write: cuts(random) });
      const before = readable.slice();
      queue.pushed.length = 0;
      device.handleChain(queue, chain);
      const problem = problemOf(queue, chain, room);
      if (problem === undefined && Buffer.compare(readable, before) === 0) seen[chain.status]++;
      else throw new Error(`seed ${SEED}, case ${i}: ${problem ?? 'it wrote to what it may only read'}`);
    }
    expect(context.faults).toEqual([]);
    console.log(
      `${CASES} requests (seed ${SEED}): ${seen[0]} done, ${seen[1]} refused, ${seen[2]} unsupported`,
    );
    expect(Math.min(...seen)).toBeGreaterThan(CASES / 100);
  });
});
