import { describe, expect, it } from 'vitest';
import { connectUnix, eventfdCreate, ReceivedFds, recvMessage, sendMessage } from '../../../../host/index.js';
import { openDescriptors, owned, startServer, type Harness, type EchoDevice } from './harness.js';
import {
  config,
  inflight,
  Feature,
  logBase,
  memRegion,
  memTable,
  message,
  NEED_REPLY,
  NO_FD,
  pack,
  ProtocolFeature,
  QUERIES,
  Request,
  state,
  u64,
  VERSION,
  vringAddr,
  type WireRegion,
} from './raw-front-end.js';

/** Sends bytes on a fresh connection and answers why the server closed it. */
async function closedFor(
  harness: Harness<EchoDevice>,
  bytes: Uint8Array,
  fds: number[] = [],
): Promise<string> {
  const frontEnd = harness.connect();
  const count = harness.events.length + 1;
  frontEnd.sendBytes(bytes, fds);
  await frontEnd.closed();
  await harness.eventCount(count);
  return harness.events[count - 1];
}

const NO_REQUEST = 'log: the front-end sent something that is no request';

describe('headers that no request has', () => {
  it.each([
    ['of version 0', pack([4, 1], [4, 0], [4, 0])],
    ['of version 2', pack([4, 1], [4, 2], [4, 0])],
    ['with the reply bit', pack([4, 1], [4, 5], [4, 0])],
    ['with reserved flags', pack([4, 1], [4, 0x11], [4, 0])],
    ['with a payload of 4 GiB', pack([4, 1], [4, 1], [4, 0xffffffff])],
    ['with a payload longer than any', pack([4, 24], [4, 1], [4, 12 + 4096 + 1])],
    ['of text', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
  ])('a header %s ends the connection', async (_, bytes) => {
    const harness = startServer();
    expect(await closedFor(harness, bytes)).toBe(NO_REQUEST);
    expect(harness.server.connected).toBe(false);
  });

  it('half a header and half a payload are waited for, and the end of the stream is noticed in both', async () => {
    const harness = startServer();
    for (const bytes of [pack([4, 1], [2, 1]), message(Request.SET_FEATURES, u64(0)).subarray(0, 16)]) {
      const frontEnd = harness.connect();
      frontEnd.sendBytes(bytes);
      await harness.disconnect(frontEnd);
      expect(harness.events.at(-1)).toBe('log: the front-end closed the connection');
    }
  });

  it('a request that comes byte by byte is served', async () => {
    const harness = startServer();
    const frontEnd = harness.connect();
    for (const byte of message(Request.GET_FEATURES)) frontEnd.sendBytes(Uint8Array.of(byte));
    expect((await frontEnd.reply()).payload).toHaveLength(8);
  });

  it('requests that come in one piece are answered in order', async () => {
    const frontEnd = startServer().connect();
    const requests = [Request.GET_FEATURES, Request.GET_PROTOCOL_FEATURES, Request.GET_FEATURES];
    frontEnd.sendBytes(Buffer.concat(requests.map((request) => message(request))));
    for (const request of requests) expect((await frontEnd.reply()).request).toBe(request);
  });
});

const CLOSES = 'ends the connection';
const FAULTS = 'stops the device';

describe('requests that make no sense', () => {
  const cases: [string, number, Buffer, number, string][] = [
    ['an unknown request', 99, Buffer.alloc(0), 0, CLOSES],
    ['request 0', 0, Buffer.alloc(0), 0, CLOSES],
    ['POSTCOPY_ADVISE, which is not offered', Request.POSTCOPY_ADVISE, Buffer.alloc(0), 0, CLOSES],
    ['SET_LOG_BASE without its payload', Request.SET_LOG_BASE, Buffer.alloc(0), 1, CLOSES],
    ['SET_LOG_BASE of a log in our own memory', Request.SET_LOG_BASE, u64(0), 0, CLOSES],
    ['SET_LOG_BASE with two descriptors', Request.SET_LOG_BASE, logBase(4096), 2, CLOSES],
    ['SET_LOG_FD without a descriptor', Request.SET_LOG_FD, Buffer.alloc(0), 0, FAULTS],
    ['SET_LOG_FD with two', Request.SET_LOG_FD, Buffer.alloc(0), 2, CLOSES],
    ['SET_OWNER with a payload', Request.SET_OWNER, u64(0), 0, CLOSES],
    ['SET_OWNER with a descriptor', Request.SET_OWNER, Buffer.alloc(0), 1, CLOSES],
    ['SET_FEATURES without its payload', Request.SET_FEATURES, Buffer.alloc(0), 0, CLOSES],
    ['SET_FEATURES with half a payload', Request.SET_FEATURES, Buffer.alloc(4), 0, CLOSES],
    ['SET_FEATURES with more than its payload', Request.SET_FEATURES, Buffer.alloc(12), 0, CLOSES],
    [
      'SET_FEATURES of what was not offered',
      Request.SET_FEATURES,
      u64(Feature.VERSION_1 | (1n << 63n)),
      0,
      FAULTS,
    ],
    [
      'SET_PROTOCOL_FEATURES of what was not offered',
      Request.SET_PROTOCOL_FEATURES,
      u64(1n << 63n),
      0,
      FAULTS,
    ],
    [
      'SET_MEM_TABLE without descriptors',
      Request.SET_MEM_TABLE,
      memTable({ guest: 0, size: 4096, user: 0 }),
      0,
      FAULTS,
    ],
    [
      'SET_MEM_TABLE with too many descriptors',
      Request.SET_MEM_TABLE,
      memTable({ guest: 0, size: 4096, user: 0 }),
      2,
      FAULTS,
    ],
    [
      'SET_MEM_TABLE of 9 regions',
      Request.SET_MEM_TABLE,
      memTable(...Array<WireRegion>(9).fill({ guest: 0, size: 1, user: 0 })),
      9,
      CLOSES,
    ],
    ['SET_MEM_TABLE with a count that lies', Request.SET_MEM_TABLE, pack([4, 3], [4, 0]), 3, FAULTS],
    ['SET_MEM_TABLE with a huge count', Request.SET_MEM_TABLE, pack([4, 0xffffffff], [4, 0]), 1, FAULTS],
    [
      'SET_MEM_TABLE of an eventfd',
      Request.SET_MEM_TABLE,
      memTable({ guest: 0, size: 4096, user: 0 }),
      1,
      FAULTS,
    ],
    [
      'ADD_MEM_REG without a descriptor',
      Request.ADD_MEM_REG,
      memRegion({ guest: 0, size: 4096, user: 0 }),
      0,
      FAULTS,
    ],
    [
      'ADD_MEM_REG of an eventfd',
      Request.ADD_MEM_REG,
      memRegion({ guest: 0, size: 4096, user: 0 }),
      1,
      FAULTS,
    ],
    [
      'REM_MEM_REG of what is not there',
      Request.REM_MEM_REG,
      memRegion({ guest: 0, size: 4096, user: 0 }),
      0,
      FAULTS,
    ],
    ['SET_VRING_NUM of a queue that is not there', Request.SET_VRING_NUM, state(2, 64), 0, FAULTS],
    ['SET_VRING_NUM of queue 2^32 - 1', Request.SET_VRING_NUM, state(0xffffffff, 64), 0, FAULTS],
    ['SET_VRING_NUM 0', Request.SET_VRING_NUM, state(0, 0), 0, FAULTS],
    ['SET_VRING_NUM beyond the queue', Request.SET_VRING_NUM, state(0, 128), 0, FAULTS],
    ['SET_VRING_BASE beyond 16 bits', Request.SET_VRING_BASE, state(0, 0x10000), 0, FAULTS],
    [
      'SET_VRING_ADDR outside memory',
      Request.SET_VRING_ADDR,
      vringAddr(0, { descriptor: 0, used: 0, available: 0 }),
      0,
      FAULTS,
    ],
    [
      'SET_VRING_ADDR near 2^64',
      Request.SET_VRING_ADDR,
      vringAddr(0, { descriptor: -16n, used: -4n, available: -2n }),
      0,
      FAULTS,
    ],
    [
      'SET_VRING_ADDR with unknown flags',
      Request.SET_VRING_ADDR,
      vringAddr(0, { descriptor: 0, used: 0, available: 0 }, 2),
      0,
      FAULTS,
    ],
    [
      'SET_VRING_ADDR with a log near 2^64',
      Request.SET_VRING_ADDR,
      vringAddr(0, { descriptor: 0, used: 0, available: 0 }, 1, -16n),
      0,
      FAULTS,
    ],
    ['SET_VRING_KICK without a descriptor', Request.SET_VRING_KICK, u64(0), 0, FAULTS],
    ['SET_VRING_KICK with one too many', Request.SET_VRING_KICK, u64(NO_FD), 1, FAULTS],
    ['SET_VRING_KICK with two', Request.SET_VRING_KICK, u64(0), 2, CLOSES],
    ['SET_VRING_KICK of a queue that is not there', Request.SET_VRING_KICK, u64(255), 1, FAULTS],
    ['SET_VRING_CALL with unknown bits', Request.SET_VRING_CALL, u64(0x200), 1, FAULTS],
    ['SET_VRING_CALL with high bits', Request.SET_VRING_CALL, u64(1n << 40n), 1, FAULTS],
    ['SET_VRING_ENABLE 2', Request.SET_VRING_ENABLE, state(0, 2), 0, FAULTS],
    ['SET_BACKEND_REQ_FD without a descriptor', Request.SET_BACKEND_REQ_FD, Buffer.alloc(0), 0, FAULTS],
    ['SET_BACKEND_REQ_FD of an eventfd', Request.SET_BACKEND_REQ_FD, Buffer.alloc(0), 1, FAULTS],
    ['SET_CONFIG beyond any config space', Request.SET_CONFIG, config(4095, 2), 0, FAULTS],
    ['SET_CONFIG at 2^32 - 1', Request.SET_CONFIG, config(0xffffffff, 1), 0, FAULTS],
    ['SET_CONFIG with a size that lies', Request.SET_CONFIG, config(0, 8, Buffer.alloc(4)), 0, FAULTS],
    ['SET_CONFIG with unknown flags', Request.SET_CONFIG, config(0, 4, undefined, 2), 0, FAULTS],
    ['SET_INFLIGHT_FD without a descriptor', Request.SET_INFLIGHT_FD, inflight(0x1000, 0, 1, 16), 0, FAULTS],
    ['SET_INFLIGHT_FD of no memory', Request.SET_INFLIGHT_FD, inflight(0x1000, 0, 1, 16), 1, FAULTS],
    ['SET_INFLIGHT_FD of size 0', Request.SET_INFLIGHT_FD, inflight(0, 0, 1, 16), 1, FAULTS],
    ['SET_INFLIGHT_FD of a queue of size 0', Request.SET_INFLIGHT_FD, inflight(0x1000, 0, 1, 0), 1, FAULTS],
    ['SET_INFLIGHT_FD too small for its queues', Request.SET_INFLIGHT_FD, inflight(64, 0, 2, 64), 1, FAULTS],
    ['SET_INFLIGHT_FD at an odd offset', Request.SET_INFLIGHT_FD, inflight(0x1000, 4, 1, 16), 1, FAULTS],
    ['SET_INFLIGHT_FD beyond 2^53', Request.SET_INFLIGHT_FD, inflight(0x1000, 2n ** 63n, 1, 16), 1, FAULTS],
    ['SET_STATUS beyond 8 bits', Request.SET_STATUS, u64(0x100), 0, FAULTS],
  ];

  it.each(cases)('%s is refused where it is to be acknowledged', async (_, request, payload, fdCount) => {
    const frontEnd = await startServer().connect().negotiate();
    const fds = Array.from({ length: fdCount }, () => owned(eventfdCreate()));
    const before = openDescriptors();
    expect(await frontEnd.ack(request, payload, fds)).not.toBe(0);
    expect(openDescriptors()).toBe(before);
    expect(await frontEnd.ack(Request.SET_OWNER)).toBe(0);
  });

  it.each(cases)(
    '%s stops the device or ends the connection otherwise',
    async (_, request, payload, fdCount, outcome) => {
      const harness = startServer();
      const frontEnd = await harness.connect().negotiate();
      const fds = Array.from({ length: fdCount }, () => owned(eventfdCreate()));
      const before = openDescriptors();
      frontEnd.send(request, payload, fds);
      await harness.eventCount(2);
      if (outcome === FAULTS) {
        expect(harness.events[1]).toMatch(/^log: the device needs a reset: VHOST_USER_.* failed: errno \d+$/);
        expect(await frontEnd.queryU64(Request.GET_STATUS)).toBe(64n);
        expect(openDescriptors()).toBe(before);
      } else {
        expect(harness.events[1]).toMatch(/^disconnect: .* is unknown, malformed or was not negotiated$/);
      }
    },
  );

  it('a socket is no eventfd, and is closed', async () => {
    const frontEnd = await startServer().connect().negotiate();
    const before = openDescriptors();
    for (const request of [Request.SET_VRING_KICK, Request.SET_VRING_CALL, Request.SET_VRING_ERR])
      expect(await frontEnd.ack(request, u64(0), [frontEnd.fd])).not.toBe(0);
    expect(await frontEnd.ack(Request.SET_LOG_FD, Buffer.alloc(0), [frontEnd.fd])).not.toBe(0);
    expect(openDescriptors()).toBe(before);
  });

  it('a request of a protocol feature that was not negotiated is unknown', async () => {
    const harness = startServer();
    for (const request of [Request.GET_QUEUE_NUM, Request.GET_MAX_MEM_SLOTS, Request.GET_STATUS]) {
      const frontEnd = harness.connect();
      frontEnd.send(request);
      await frontEnd.closed();
    }
    expect(harness.events).toHaveLength(3);
  });

  it('an acknowledgement that was not negotiated is not sent', async () => {
    const frontEnd = startServer().connect();
    frontEnd.sendBytes(message(Request.SET_OWNER, Buffer.alloc(0), VERSION | NEED_REPLY));
    expect(await frontEnd.queryU64(Request.GET_FEATURES)).not.toBe(0n);
  });

  it.each([
    ['GET_VRING_BASE of a queue that is not there', message(Request.GET_VRING_BASE, state(9, 0))],
    ['GET_FEATURES with a payload', message(Request.GET_FEATURES, u64(0))],
    ['GET_CONFIG without its header', message(Request.GET_CONFIG, u64(0))],
  ])('%s cannot be answered, so that the connection ends', async (_, bytes) => {
    const harness = startServer();
    const frontEnd = await harness.connect().negotiate();
    frontEnd.sendBytes(bytes);
    await frontEnd.closed();
    expect(harness.events.at(-1)).toMatch(/^disconnect: VHOST_USER_GET_/);
  });

  it('253 descriptors with one message are closed', async () => {
    const harness = startServer();
    const frontEnd = await harness.connect().negotiate();
    const fd = owned(eventfdCreate());
    const before = openDescriptors();
    expect(await frontEnd.ack(Request.SET_OWNER, Buffer.alloc(0), Array<number>(253).fill(fd))).not.toBe(0);
    expect(openDescriptors()).toBe(before);
  });
});

describe('a front-end that does not read its replies', () => {
  it('is held up once the socket is full, and loses none', async () => {
    const harness = startServer();
    const fd = owned(connectUnix(harness.path));
    const features = message(Request.SET_PROTOCOL_FEATURES, u64(ProtocolFeature.CONFIG));
    sendMessage(fd, features, 0, features.length);
    const question = message(Request.GET_CONFIG, config(0, 4096));
    let sentBytes = 0;
    for (let turnsWithoutProgress = 0; turnsWithoutProgress < 20; turnsWithoutProgress++) {
      const at = sentBytes % question.length;
      const sent = sendMessage(fd, question, at, question.length - at);
      if (sent > 0) turnsWithoutProgress = 0;
      sentBytes += Math.max(sent, 0);
      await new Promise(setImmediate);
    }
    expect(harness.server.connected).toBe(true);
    const wholeQuestions = Math.floor(sentBytes / question.length);
    expect(wholeQuestions).toBeGreaterThan(10);
    const chunk = Buffer.alloc(65536);
    const fds = new ReceivedFds(1);
    for (let left = wholeQuestions * question.length; left > 0;) {
      const received = recvMessage(fd, chunk, 0, Math.min(left, chunk.length), fds);
      if (received > 0) left -= received;
      else await new Promise(setImmediate);
    }
    expect(harness.events).toEqual(['connect']);
  });
});

describe('random bytes', () => {
  it('well-formed headers with random payloads neither crash the server nor leak descriptors', async () => {
    const harness = startServer();
    const fd = owned(eventfdCreate());
    const before = openDescriptors();
    let seed = 12345;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % below;
    };
    for (let round = 0; round < 40; round++) {
      const frontEnd = await harness.connect().negotiate();
      for (let i = 0; i < 25; i++) {
        const request = random(45);
        if (QUERIES.includes(request)) continue;
        const payload = Uint8Array.from(
          { length: [0, 8, 8, 12, 40, 72][random(6)] },
          () => [0, 1, 255][random(3)],
        );
        await frontEnd.ack(request, payload, Array<number>(random(3)).fill(fd));
      }
      await harness.disconnect(frontEnd);
    }
    expect(openDescriptors()).toBe(before);
    expect(harness.events.filter((event) => event.startsWith('reactor'))).toEqual([]);
  });
});
