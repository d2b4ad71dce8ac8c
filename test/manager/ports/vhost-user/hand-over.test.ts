import { describe, expect, it, onTestFinished } from 'vitest';
import { Value } from '@sinclair/typebox/value';
import { OutgoingParcel } from '../../../../manager/device-process/hand-over/parcel.js';
import { VhostUserState } from '../../../../manager/ports/vhost-user/port-state.js';
import { VhostUserServer } from '../../../../manager/ports/vhost-user/server.js';
import { carried } from '../../hand-over/carried.js';
import {
  EchoDevice,
  GUEST_BASE,
  GuestRam,
  openDescriptors,
  PackedQueue,
  startServer,
  TestQueue,
  type AnyQueue,
  type Harness,
} from './harness.js';
import { logBytesFor, LogFile } from './log-file.js';
import {
  Feature,
  memTable,
  NEED_REPLY,
  pack,
  Request,
  u64,
  VERSION,
  type RawFrontEnd,
} from './raw-front-end.js';

const PAUSE_MS = 1000;
const LOGGED_BYTES = 0x100000;

interface Bench {
  readonly harness: Harness<EchoDevice>;
  readonly frontEnd: RawFrontEnd;
  readonly queue: AnyQueue;
  readonly ram: GuestRam;
  /** Who serves now. */
  server: VhostUserServer;
  device: EchoDevice;
}

async function running(packed = false): Promise<Bench> {
  const harness = startServer();
  const ram = new GuestRam('hand-over');
  const frontEnd = await harness.ready(
    ram,
    packed ? Feature.VERSION_1 | Feature.RING_PACKED | Feature.PROTOCOL_FEATURES : undefined,
  );
  const queue = packed ? new PackedQueue(harness.reactor, ram) : new TestQueue(harness.reactor, ram);
  await queue.start(frontEnd);
  await queue.roundTrip('first');
  return { harness, frontEnd, queue, ram, server: harness.server, device: harness.device };
}

function successor({ harness }: Bench, device = new EchoDevice()) {
  const server = new VhostUserServer({
    path: harness.path,
    reactor: harness.reactor,
    device,
    onConnect: () => harness.events.push('connect'),
    onDisconnect: (reason) => harness.events.push(`disconnect: ${reason}`),
    log: (line) => harness.events.push(line),
  });
  onTestFinished(() => server.close());
  return { server, device };
}

/** What one server says, as JSON brings it to the next one. */
function saved(server: VhostUserServer) {
  const parcel = new OutgoingParcel();
  const data: unknown = JSON.parse(JSON.stringify(server.save(parcel)));
  if (!Value.Check(VhostUserState, data)) throw new Error('what a server says is not what it should be');
  return { data, parcel: carried(parcel) };
}

async function handOver(bench: Bench): Promise<void> {
  expect(await bench.server.pause(PAUSE_MS)).toBeUndefined();
  const { data, parcel } = saved(bench.server);
  const next = successor(bench);
  expect(await next.server.restore(data, parcel)).toBeUndefined();
  next.server.resume();
  Object.assign(bench, next);
}

describe.each([false, true])('a back-end that another one takes over (packed rings: %s)', (packed) => {
  it('answers each request once, through 20 of them', async () => {
    const bench = await running(packed);
    for (let turn = 0; turn < 20; turn++) {
      const unheard = bench.queue.offer(`before ${turn}`)[1];
      const count = bench.queue.call.count + 1;
      await handOver(bench);
      await bench.queue.call.reaches(count);
      expect(bench.queue.driver.reap()).toHaveLength(1);
      expect(bench.queue.textAt(unheard)).toBe(`before ${turn}`);
      bench.queue.driver.allowInterrupts();
      expect(await bench.queue.roundTrip(`after ${turn}`)).toBe(`after ${turn}`);
    }
    expect(bench.harness.events).toEqual(['connect']);
  });

  it('is one that a paused virtual machine goes on with', async () => {
    const bench = await running(packed);
    const base = await bench.frontEnd.getVringBase(0);
    await handOver(bench);
    await bench.queue.start(bench.frontEnd, base);
    expect(await bench.queue.roundTrip('second')).toBe('second');
    expect(bench.device.calls).toEqual(['activate']);
  });
});

describe('a hand-over of a back-end', () => {
  it('goes on with the log of dirty pages, in the middle of a migration', async () => {
    const bench = await running();
    const { frontEnd, queue } = bench;
    const log = new LogFile(logBytesFor(GUEST_BASE + LOGGED_BYTES));
    expect(await log.give(frontEnd)).toBe(true);
    const features = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES | Feature.LOG_ALL;
    await frontEnd.set(Request.SET_FEATURES, u64(features));
    await frontEnd.set(Request.SET_VRING_ADDR, queue.addressesLogged(true));
    await handOver(bench);
    log.take();
    const count = queue.call.count + 1;
    const at = GUEST_BASE + 0x20000;
    queue.driver.add([
      { address: at, length: 1 },
      { address: at + 0x1000, length: 1, writable: true },
    ]);
    queue.kick();
    await queue.call.reaches(count);
    const used = Math.floor(queue.driver.deviceArea / 0x1000) * 0x1000;
    expect([...log.take()].sort()).toEqual([used, at + 0x1000].sort());
  });

  it('waits for requests under way, and takes no others meanwhile', async () => {
    const bench = await running();
    bench.device.keep = true;
    bench.queue.offer('slow');
    bench.queue.kick();
    await bench.device.until(() => bench.device.kept.length === 1);
    const paused = bench.server.pause(PAUSE_MS);
    bench.queue.offer('later');
    bench.queue.kick();
    setTimeout(() => bench.device.answer(), 10);
    expect(await paused).toBeUndefined();
    expect(bench.queue.driver.reap()).toHaveLength(1);
    expect(bench.device.kept).toHaveLength(0);
  });

  it('says what does not end in time, and all goes on', async () => {
    const bench = await running();
    bench.device.keep = true;
    bench.queue.offer('blocked');
    bench.queue.kick();
    await bench.device.until(() => bench.device.kept.length === 1);
    expect(await bench.server.pause(20)).toBe('requests under way did not end in time: 1 of queue 0');
    bench.server.resume();
    bench.device.keep = false;
    bench.device.answer();
    await bench.queue.call.reaches(2);
    expect(bench.queue.driver.reap()).toHaveLength(1);
    bench.queue.driver.allowInterrupts();
    expect(await bench.queue.roundTrip('next')).toBe('next');
  });

  it('can be given up after the state was told', async () => {
    const bench = await running();
    await bench.server.pause(PAUSE_MS);
    const { parcel } = saved(bench.server);
    parcel.close();
    bench.queue.offer('meanwhile');
    bench.server.resume();
    await bench.queue.call.reaches(2);
    expect(bench.queue.driver.reap()).toHaveLength(1);
  });

  it('takes half a message along, with its descriptors', async () => {
    const bench = await running();
    const { frontEnd, ram } = bench;
    const table = memTable(ram.region);
    const header = pack([4, Request.SET_MEM_TABLE], [4, VERSION | NEED_REPLY], [4, table.length]);
    const message = Buffer.concat([header, table]);
    frontEnd.sendBytes(message.subarray(0, 20), [ram.fd]);
    await new Promise((resolve) => setTimeout(resolve, 5));
    await handOver(bench);
    frontEnd.sendBytes(message.subarray(20));
    expect((await frontEnd.reply()).payload.readBigUInt64LE()).toBe(0n);
    expect(await bench.queue.roundTrip('mapped')).toBe('mapped');
  });

  it('leaves the socket where it is: the next VMM connects to it', async () => {
    const bench = await running();
    await handOver(bench);
    bench.frontEnd.close();
    while (bench.harness.events.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(bench.harness.events).toEqual(['connect', 'disconnect: the front-end closed the connection']);
    await bench.harness.connect().negotiate();
    expect(bench.server.connected).toBe(true);
  });

  it('refuses a ring that is larger than the device has, and closes what came', async () => {
    const bench = await running();
    await bench.server.pause(PAUSE_MS);
    const before = openDescriptors();
    const { data, parcel } = saved(bench.server);
    data.backEnd.vrings[0].size = 4096;
    const next = successor(bench);
    expect(await next.server.restore(data, parcel)).toBe('queue 0 is larger than it can be here');
    parcel.close();
    await next.server.close();
    expect(openDescriptors()).toEqual(before);
    bench.server.resume();
    expect(await bench.queue.roundTrip('still here')).toBe('still here');
  });
});
