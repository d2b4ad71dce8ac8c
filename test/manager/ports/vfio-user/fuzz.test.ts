import fc from 'fast-check';
import { expect, it } from 'vitest';
import { eventfd, type Harness, mappingsOf, memoryFile, openDescriptors, startServer } from './harness.js';
import { Command, message, pack, Payload, type RawClient } from './raw-client.js';

/** Numbers that are often at the edge of something. */
const edge = fc.oneof(
  fc.constantFrom(
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    15,
    16,
    20,
    24,
    32,
    36,
    4095,
    4096,
    65535,
    1048576,
    0x7fffffff,
    0xffffffff,
  ),
  fc.nat(0xffffffff),
);
const edge64 = fc.oneof(
  edge.map(BigInt),
  fc.bigInt(0n, 2n ** 64n - 1n),
  edge.map((n) => 2n ** 64n - 1n - BigInt(n)),
);

const payload = fc.oneof(
  fc.uint8Array({ maxLength: 64 }),
  fc.array(edge, { maxLength: 10 }).map((fields) => pack(...fields.map((field) => [4, field] as const))),
  fc
    .tuple(edge64, edge64, edge64, edge, fc.integer({ min: 0, max: 7 }))
    .map(([a, s, o, z, f]) => Payload.dmaMap(a, s, o, f, z)),
  fc.tuple(fc.nat(63), fc.nat(6), fc.nat(45), fc.nat(20)).map(([f, i, s, c]) => Payload.setIrqs(f, i, s, c)),
  fc
    .tuple(fc.nat(9), edge64, fc.uint8Array({ maxLength: 32 }))
    .map(([r, o, d]) => Payload.regionWrite(r, o, d)),
);

/** A message with descriptors; `size` replaces the size in its header where it is given. */
const request = fc.record({
  command: fc.oneof({ weight: 8, arbitrary: fc.integer({ min: 1, max: 19 }) }, fc.nat(65535)),
  flags: fc.oneof({ weight: 8, arbitrary: fc.constantFrom(0, 0x10) }, edge),
  payload,
  fds: fc.array(fc.constantFrom('file', 'eventfd'), { maxLength: 18 }),
  size: fc.option(edge, { freq: 30 }),
  cut: fc.option(fc.nat(60), { freq: 20 }),
});
type FuzzRequest = typeof request extends fc.Arbitrary<infer T> ? T : never;

function bytesOf({ command, flags, payload: data, size, cut }: FuzzRequest): Buffer {
  const bytes = message(command, data, { flags });
  if (size !== null) bytes.writeUInt32LE(size, 4);
  return cut === null || cut === 0 ? bytes : bytes.subarray(0, cut);
}

it('whatever a client sends, the server goes on and keeps nothing of it', async () => {
  const harness = startServer();
  const fds = { file: memoryFile('fuzz', 16 * 4096), eventfd: eventfd() };
  const before = openDescriptors();
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.array(request, { maxLength: 12 }), async (negotiate, requests) => {
      const client = harness.connect();
      if (negotiate) await client.negotiate();
      for (const one of requests) {
        if (
          !trySend(
            client,
            bytesOf(one),
            one.fds.map((kind) => fds[kind]),
          )
        )
          break;
      }
      await settle(harness);
      await leave(harness, client);
      expect(openDescriptors()).toBe(before);
      expect(mappingsOf('fuzz')).toBe(0);
    }),
    { numRuns: 300 },
  );
  // That its client was gone before a reply is no fault of the server.
  expect(harness.events.filter((event) => /(?<!sending )failed|reactor/.test(event))).toEqual([]);
  const client = await harness.negotiated();
  expect(await client.errnoOf(Command.GET_INFO, Payload.deviceInfo())).toBe(0);
}, 60_000);

/** False once the server has closed the connection. */
function trySend(client: RawClient, bytes: Uint8Array, fds: readonly number[]): boolean {
  try {
    client.send(bytes, fds);
    return true;
  } catch {
    return false;
  }
}

async function settle(harness: Harness): Promise<void> {
  let messages = -1;
  while (messages !== harness.server.counters.messages) {
    messages = harness.server.counters.messages;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Closes the client, and waits for the server to be without one. */
async function leave(harness: Harness, client: RawClient): Promise<void> {
  client.close();
  const last = await harness.negotiated();
  await harness.disconnect(last);
}
