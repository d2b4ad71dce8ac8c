/** What comes of messages while somebody keeps the connection: that they are looked at first, and taken later, is seen by no front-end. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { duplicateFd } from '../../../../host/index.js';
import { IncomingParcel } from '../../../../manager/device-process/hand-over/parcel.js';
import type { KeptConnection, Told } from '../../../../manager/ports/keeping/told.js';
import { VhostUserServer } from '../../../../manager/ports/vhost-user/server.js';
import { EchoDevice, GuestRam, Harness, openDescriptors, TestQueue } from './harness.js';
import { memTable, message, NEED_REPLY, Request, u64, VERSION } from './raw-front-end.js';

function keptServer(tell: (told: Told) => Promise<boolean> = async () => true) {
  const told: Told[] = [];
  const keeper = {
    isThere: true,
    tell: async (what: Told): Promise<boolean> => {
      told.push(what);
      await new Promise(setImmediate);
      return tell(what);
    },
    ended: async () => undefined,
  };
  return { harness: new Harness(new EchoDevice(), { keeper }), keeper, told };
}

/** What the keeper has for the next process, by now. */
function keptBy(told: readonly Told[]): KeptConnection {
  const parts = new Map(told.flatMap((each) => each.parts).map((part) => [part.name, part]));
  const given = Array.from(parts, ([name, { data, fds }]) => {
    const parcel = new IncomingParcel(
      [],
      fds.map((fd) => duplicateFd(fd)),
    );
    onTestFinished(() => parcel.close());
    return [name, { data, parcel }] as const;
  });
  return { number: told.findLast(({ number }) => number !== undefined)?.number ?? 0, parts: new Map(given) };
}

describe('a connection that is kept', () => {
  it('goes on with a ring of which all that was told is from before its first kick, without another', async () => {
    const { harness, keeper, told } = keptServer();
    const { path, inflightPath, reactor } = harness;
    const ram = new GuestRam('unkicked');
    const frontEnd = await harness.ready(ram);
    const queue = new TestQueue(reactor, ram);
    await queue.start(frontEnd);
    expect(await queue.roundTrip('first')).toBe('first');
    // As a killed one, it does nothing more.
    expect(await harness.server.pause(1000)).toBeUndefined();
    const [, answer] = queue.offer('second');
    const device = Object.assign(new EchoDevice(), { adoptDriver: () => device.calls.push('adopted') });
    const next = new VhostUserServer({
      ...{ path: `${path}.next`, inflightPath, reactor, device, keeper },
      ...{ onConnect: () => undefined, onDisconnect: () => undefined, log: () => undefined },
    });
    onTestFinished(() => next.close());
    expect(await next.goOnFor(keptBy(told))).toBeUndefined();
    expect(device.calls).toEqual(['activate']);
    for (let count = queue.call.count; queue.driver.reap().length === 0;) await queue.call.reaches(++count);
    expect(queue.textAt(answer)).toBe('second');
  });

  it('takes descriptors for those of the message that they came with, however messages follow each other', async () => {
    const { harness } = keptServer();
    const ram = new GuestRam('kept');
    const frontEnd = await harness.ready(ram);
    const queue = new TestQueue(harness.reactor, ram);
    const table = message(Request.SET_MEM_TABLE, memTable(ram.region), VERSION | NEED_REPLY);
    for (let i = 0; i < 3; i++) {
      frontEnd.send(Request.SET_STATUS, u64(1));
      frontEnd.sendBytes(table, [ram.fd]);
      frontEnd.send(Request.SET_STATUS, u64(2));
      expect((await frontEnd.reply()).payload.readBigUInt64LE()).toBe(0n);
      expect(await frontEnd.queryU64(Request.GET_STATUS)).toBe(2n);
    }
    await queue.start(frontEnd);
    expect(await queue.roundTrip('x')).toBe('x');
    expect(harness.events).toEqual(['connect']);
  });

  it('is served whatever pieces messages come in', async () => {
    const { harness } = keptServer();
    const ram = new GuestRam('pieces');
    const frontEnd = await harness.ready(ram);
    const table = message(Request.SET_MEM_TABLE, memTable(ram.region), VERSION | NEED_REPLY);
    for (const pieceBytes of [1, 5, 12, 13]) {
      for (let at = 0; at < table.length; at += pieceBytes) {
        frontEnd.sendBytes(table.subarray(at, at + pieceBytes), at === 0 ? [ram.fd] : []);
        if (at % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      expect((await frontEnd.reply()).payload.readBigUInt64LE()).toBe(0n);
    }
  });

  it('costs nothing but the keeping where nobody keeps it after all, and leaves nothing', async () => {
    const before = openDescriptors();
    let listens = true;
    const { harness, told } = keptServer(async () => listens);
    const ram = new GuestRam('unkept');
    const frontEnd = await harness.ready(ram);
    const queue = new TestQueue(harness.reactor, ram);
    await queue.setUp(frontEnd);
    const heard = told.length;
    listens = false;
    await queue.start(frontEnd);
    expect(told.length).toBe(heard + 1);
    expect(await queue.roundTrip('x')).toBe('x');
    await harness.disconnect(frontEnd);
    await harness.server.close();
    expect(openDescriptors()).toBeLessThanOrEqual(before + 8);
  });

  it('tells what a message has changed, and nothing of those that change nothing', async () => {
    const { harness, told } = keptServer();
    const ram = new GuestRam('told');
    const frontEnd = await harness.ready(ram);
    const queue = new TestQueue(harness.reactor, ram, 1);
    told.length = 0;
    await frontEnd.queryU64(Request.GET_FEATURES);
    await queue.setUp(frontEnd);
    await frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
    const names = told.map(({ parts }) => parts.map(({ name }) => name).join());
    expect(names).toEqual([...Array<string>(5).fill('vring 1'), 'memory']);
    expect(told.map(({ number }) => number)).toEqual(told.map((_, i) => (told[0].number ?? 0) + i));
  });
});
