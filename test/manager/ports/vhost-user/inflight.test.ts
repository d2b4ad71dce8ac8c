/**
 * What was under way comes back. A back-end that is killed is played by one that is left where it stands, with its front-end: nothing that it
 * holds is touched any more, and the next one has only what outlives a process.
 */
import {
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Reactor } from '../../../../host/index.js';
import { closeFd, memfdCreate } from '../../../../host/index.js';
import { VhostUserServer } from '../../../../manager/ports/vhost-user/server.js';
import type { Harness } from './harness.js';
import {
  EchoDevice,
  GuestRam,
  owned,
  PackedQueue,
  startServer,
  TestQueue,
  type AnyQueue,
} from './harness.js';
import { Feature, inflight, memTable, RawFrontEnd, Request } from './raw-front-end.js';

const FEATURES = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES;
/** A split ring's fallback after a lost connection. */
const usedIndex = (queue: TestQueue): number => queue.driver.usedIndex;

/** The back-end that comes after a kill, and a front-end that has agreed on everything with it. */
class NextLife {
  readonly device = new EchoDevice();
  readonly log: string[] = [];
  readonly frontEnd: RawFrontEnd;
  readonly server: VhostUserServer;

  constructor(reactor: Reactor, path: string, inflightPath: string) {
    this.server = new VhostUserServer({
      ...{ path, inflightPath, reactor, device: this.device },
      onConnect: () => undefined,
      onDisconnect: () => undefined,
      log: (line) => this.log.push(line),
    });
    this.server.listen();
    this.frontEnd = new RawFrontEnd(reactor, path);
    onTestFinished(async () => {
      this.frontEnd.close();
      await this.server.close();
    });
  }

  async ready(ram: GuestRam, features = FEATURES): Promise<this> {
    await this.frontEnd.negotiate(features);
    await this.frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
    return this;
  }
}

/** A device that has answered one request and keeps two, and what it takes to go on without it. */
async function keptTwo(packed: boolean) {
  const harness = startServer();
  const ram = new GuestRam('inflight');
  const features = packed ? FEATURES | Feature.RING_PACKED : FEATURES;
  const frontEnd = await harness.ready(ram, features);
  const queue: AnyQueue = new (packed ? PackedQueue : TestQueue)(harness.reactor, ram);
  const { device } = harness;
  await queue.start(frontEnd);
  await queue.roundTrip('first');
  device.keep = true;
  const answers = ['second', 'third'].map((text) => queue.offer(text)[1]);
  queue.kick();
  await device.until(() => device.kept.length === 2);
  const next = (inflightPath = `${harness.path}.copy`) => {
    if (inflightPath.endsWith('.copy')) copyFileSync(inflightPathOf(harness), inflightPath);
    return new NextLife(harness.reactor, `${harness.path}.${(lives += 1)}`, inflightPath);
  };
  return { harness, frontEnd, ram, queue, features, answers, next };
}
let lives = 0;

function inflightPathOf({ path }: Harness<EchoDevice>): string {
  return path.replace(/socket$/, 'inflight');
}

describe.each([
  ['a split ring', false],
  ['a packed ring', true],
])('after a kill, over a file of our own: %s', (_, packed) => {
  it('goes on with the requests that were under way, with no kick, and interrupts', async () => {
    const { ram, queue, features, answers, next } = await keptTwo(packed);
    const life = await next().ready(ram, features);
    const interrupts = queue.call.count;
    // What QEMU says: the used index, and of a packed ring what it knew when that started.
    await queue.start(life.frontEnd, packed ? queue.freshBase : usedIndex(queue as TestQueue));
    await queue.call.reaches(interrupts + 1);
    while (queue.driver.reap().length === 0) await new Promise(setImmediate);
    expect(answers.map((buffer) => queue.textAt(buffer))).toEqual(['second', 'third']);
    expect(await queue.roundTrip('fourth')).toBe('fourth');
    expect(life.log).toEqual([]);
  });

  it('is another one where the guest has other memory', async () => {
    const { harness, features, next } = await keptTwo(packed);
    const life = next();
    const ram = new GuestRam('another');
    const queue: AnyQueue = new (packed ? PackedQueue : TestQueue)(harness.reactor, ram);
    await life.ready(ram, features);
    await queue.start(life.frontEnd);
    expect(await queue.roundTrip('x')).toBe('x');
    expect(life.device.calls).toEqual(['activate']);
  });

  it('is another one where the driver has set it up anew, in the same place', async () => {
    const { harness, ram, features, next } = await keptTwo(packed);
    const life = next();
    ram.bytes.fill(0);
    const queue: AnyQueue = new (packed ? PackedQueue : TestQueue)(harness.reactor, ram);
    await life.ready(ram, features);
    await queue.start(life.frontEnd);
    expect(await queue.roundTrip('x')).toBe('x');
  });

  it('interrupts for what was used before, even where nothing is under way', async () => {
    const { harness, ram, queue, features, next } = await keptTwo(packed);
    harness.device.answer();
    await queue.used();
    const life = await next().ready(ram, features);
    const count = queue.call.count;
    await queue.start(life.frontEnd, packed ? queue.freshBase : usedIndex(queue as TestQueue));
    await queue.call.reaches(count + 1);
    expect(await queue.roundTrip('fourth')).toBe('fourth');
  });
});

describe('a connection that is lost, while the back-end lives', () => {
  it('costs no request: the next connection goes on with what was under way', async () => {
    const { harness, frontEnd, ram, queue, features, answers } = await keptTwo(false);
    await harness.disconnect(frontEnd);
    harness.device.keep = false;
    const again = await harness.ready(ram, features);
    await queue.start(again, usedIndex(queue as TestQueue));
    while (queue.driver.reap().length === 0) await new Promise(setImmediate);
    expect(answers.map((buffer) => queue.textAt(buffer))).toEqual(['second', 'third']);
  });
});

describe('a driver that resets its device', () => {
  it('is not given back what it had under way', async () => {
    const { harness, frontEnd, ram, features, next } = await keptTwo(false);
    await frontEnd.set(Request.RESET_DEVICE);
    const life = next();
    const queue = new TestQueue(harness.reactor, ram);
    await life.ready(ram, features);
    // In memory nothing has changed but this: a driver that begins anew empties its ring.
    await queue.start(life.frontEnd);
    expect(await queue.roundTrip('x')).toBe('x');
  });
});

describe('the file of our own', () => {
  it('is written over where it is something else, and never followed where it is a link', async () => {
    const harness = startServer();
    const path = `${harness.path}.odd`;
    for (const bytes of [
      Buffer.alloc(10),
      Buffer.alloc(statSizeOf(harness), 0xff),
      Buffer.alloc(1 << 20, 1),
    ]) {
      writeFileSync(path, bytes);
      const ram = new GuestRam('odd');
      const life = await new NextLife(harness.reactor, `${harness.path}.${(lives += 1)}`, path).ready(ram);
      const queue = new TestQueue(harness.reactor, ram);
      await queue.start(life.frontEnd);
      expect(await queue.roundTrip('x')).toBe('x');
    }
  });

  it('is not there for those who leave for good', async () => {
    const { harness, frontEnd } = await keptTwo(false);
    expect(existsSync(inflightPathOf(harness))).toBe(true);
    await harness.disconnect(frontEnd);
    expect(existsSync(inflightPathOf(harness))).toBe(true);
    harness.server.forget();
    expect(existsSync(inflightPathOf(harness))).toBe(false);
  });

  it('costs nobody a request where it cannot be made', async () => {
    const harness = startServer();
    const ram = new GuestRam('none');
    const path = `${harness.path}.${(lives += 1)}`;
    const life = await new NextLife(harness.reactor, path, '/nowhere/inflight').ready(ram);
    const queue = new TestQueue(harness.reactor, ram);
    await queue.start(life.frontEnd);
    expect(await queue.roundTrip('x')).toBe('x');
    expect(life.log.join()).toMatch(/requests under way are not written down: Error: ENOENT/);
  });
});

describe('the area that a front-end keeps', () => {
  it('comes from the back-end, goes to the next one, and brings back what was under way', async () => {
    const harness = startServer();
    const ram = new GuestRam('kept');
    const frontEnd = await harness.ready(ram);
    const reply = await frontEnd.query(Request.GET_INFLIGHT_FD, inflight(0, 0, 2, 64));
    const fd = owned(frontEnd.takeFd());
    const sizeBytes = Number(reply.readBigUInt64LE());
    expect([
      reply.length,
      Number(reply.readBigUInt64LE(8)),
      reply.readUInt16LE(16),
      reply.readUInt16LE(18),
    ]).toEqual([24, 0, 2, 64]);
    expect(sizeBytes).toBe(2 * (16 + 64 * 16 + 48));
    await frontEnd.set(Request.SET_INFLIGHT_FD, inflight(sizeBytes, 0, 2, 64), [fd]);
    const queue = new TestQueue(harness.reactor, ram, 1);
    const { device } = harness;
    await queue.start(frontEnd);
    device.keep = true;
    const [, answer] = queue.offer('kept');
    queue.kick();
    await device.until(() => device.kept.length === 1);
    expect(existsSync(inflightPathOf(harness))).toBe(false);

    const life = new NextLife(harness.reactor, `${harness.path}.${(lives += 1)}`, `${harness.path}.other`);
    await life.ready(ram);
    await life.frontEnd.set(Request.SET_INFLIGHT_FD, inflight(sizeBytes, 0, 2, 64), [fd]);
    await queue.start(life.frontEnd, usedIndex(queue));
    while (queue.driver.reap().length === 0) await new Promise(setImmediate);
    expect(queue.textAt(answer)).toBe('kept');
  });

  it('may hold any bytes', async () => {
    const harness = startServer();
    for (const byte of [0xff, 1]) {
      const ram = new GuestRam('hostile');
      const fd = owned(memfdCreate('hostile', 0x4000));
      const file = openSync(`/proc/self/fd/${fd}`, 'r+');
      writeFileSync(file, Buffer.alloc(0x4000, byte));
      closeSync(file);
      const frontEnd = await harness.ready(ram);
      await frontEnd.set(Request.SET_INFLIGHT_FD, inflight(0x4000, 0, 2, 64), [fd]);
      const queue = new TestQueue(harness.reactor, ram);
      await queue.start(frontEnd);
      expect(await queue.roundTrip('x')).toBe('x');
      expect(await frontEnd.ack(Request.SET_INFLIGHT_FD, inflight(0x4000, 0, 2, 64), [fd])).toBe(16);
      await harness.disconnect(frontEnd);
    }
  });

  it('is made afresh for each question', async () => {
    const harness = startServer();
    const frontEnd = await harness.ready(new GuestRam('two'));
    for (let i = 0; i < 3; i++) {
      await frontEnd.query(Request.GET_INFLIGHT_FD, inflight(0, 0, 1, 64));
      const fd = frontEnd.takeFd();
      expect(readFileSync(fd).every((byte) => byte === 0)).toBe(true);
      closeFd(fd);
    }
  });
});

function statSizeOf(harness: Harness<EchoDevice>): number {
  const path = inflightPathOf(harness);
  return existsSync(path) ? statSync(path).size : 8192;
}
