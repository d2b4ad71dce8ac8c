import { closeSync, fstatSync, openSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Reactor, sendMessage, socketPair } from '../../../host/index.js';
import { HandOverChannel } from '../../../manager/device-process/hand-over/channel.js';
import { handOver } from '../../../manager/device-process/hand-over/giving.js';
import { HandOvers } from '../../../manager/device-process/hand-over/hand-overs.js';
import type { Given, MovableFunction } from '../../../manager/device-process/hand-over/movable.js';
import { OutgoingParcel } from '../../../manager/device-process/hand-over/parcel.js';
import { HAND_OVER_VERSION, HandOverMessage } from '../../../manager/device-process/hand-over/protocol.js';
import { takeOver } from '../../../manager/device-process/hand-over/taking.js';
import type { FunctionSpec } from '../../../manager/device-process/protocol.js';
import { openDescriptors } from '../ports/vhost-user/harness.js';
import { refusal } from '../refusal.js';

const { OFFER, READY, REFUSAL, STATE, RESTORED, GO, BEGUN, ABORT } = HandOverMessage;
const SPEC: FunctionSpec = {
  ...{ function: 'f', socketPath: '/s', port: 'vhost-user', msix: false },
  device: { type: '9p', tag: 'a', readOnly: false },
};

/** A function that is only what was done to it. */
class Noting implements MovableFunction {
  serving: boolean;
  problem: string | undefined;
  readonly calls: string[] = [];

  constructor(serving: boolean) {
    this.serving = serving;
  }

  offer(parcel: OutgoingParcel): unknown {
    return { fd: parcel.addFd(0) };
  }

  async pause(): Promise<string | undefined> {
    this.calls.push('pause');
    this.serving = false;
    return this.problem;
  }

  save(parcel: OutgoingParcel) {
    return { device: { bytes: parcel.addBytes(Buffer.from('state')) }, port: {} };
  }

  async restore({ data, parcel }: Given): Promise<string | undefined> {
    const { device } = data as { device: { bytes: number } };
    expect(Buffer.from(parcel.bytes(device.bytes)).toString()).toBe('state');
    return this.problem;
  }

  resume(): void {
    this.calls.push('resume');
    this.serving = true;
  }
}

let reactor: Reactor;
let ends: [number, number];
let before: number;

beforeEach(() => {
  reactor = new Reactor({ onError: (error) => console.error(error) });
  reactor.start();
  before = openDescriptors();
  ends = socketPair();
});
afterEach(() => {
  expect(openDescriptors()).toBe(before);
  reactor.close();
});

function giving(movable: Noting, channel = new HandOverChannel(ends[0], reactor)) {
  return handOver({ channel, functions: [{ spec: SPEC, movable }], endOther: () => other?.close() });
}

let other: HandOverChannel | undefined;

/** The other process, one message at a time. */
function peer(end = 1): HandOverChannel {
  return (other = new HandOverChannel(ends[end], reactor));
}

async function take(channel: HandOverChannel, type: number) {
  const message = await channel.receive();
  message?.parcel.close();
  expect(message?.type).toBe(type);
}

function taking(taken: Noting[], problem?: string) {
  return takeOver({
    channel: new HandOverChannel(ends[1], reactor),
    create: async (_spec, { data, parcel }) => {
      const fd = parcel.takeFd((data as { fd: number }).fd);
      expect(fstatSync(fd)).toBeDefined();
      const movable = new Noting(false);
      movable.problem = problem;
      taken.push(movable);
      return { movable, close: async () => closeSync(fd) };
    },
  });
}

describe('a hand-over', () => {
  it('leaves the new process serving', async () => {
    const old = new Noting(true);
    const taken: Noting[] = [];
    const [handed, functions] = await Promise.all([giving(old), taking(taken)]);
    expect(handed.pausedMs).toBeGreaterThan(0);
    expect([old.serving, taken[0].serving]).toEqual([false, true]);
    for (const each of functions.values()) await each.close();
  });

  it.each([
    ['cannot restore', undefined, 'no such queue', /no such queue/],
    ['has requests that do not end', 'a request is under way', undefined, /a request is under way/],
  ])('leaves the old one serving that %s', async (_, ours, theirs, message) => {
    const old = new Noting(true);
    old.problem = ours;
    const taken: Noting[] = [];
    const [handed, functions] = await Promise.allSettled([giving(old), taking(taken, theirs)]);
    expect(handed).toMatchObject({ reason: refusal('UPGRADE_REFUSED', message) });
    expect(functions.status).toBe('rejected');
    expect([old.serving, taken[0].serving]).toEqual([true, false]);
  });

  it('refuses a version that it does not know, and says so', async () => {
    const channel = peer(0);
    const taken = taking([]);
    await channel.send(OFFER, { version: HAND_OVER_VERSION + 1, functions: 'not as it was' });
    await expect(taken).rejects.toThrow('only a newer one takes over from an older one');
    const answer = await channel.receive();
    expect(answer?.type).toBe(REFUSAL);
    expect(JSON.stringify(answer?.data)).toContain(`version ${HAND_OVER_VERSION + 1}`);
    channel.close();
  });
});

describe('of two processes of which the new one ends, the old one serves', () => {
  const steps = [
    [OFFER, READY],
    [STATE, RESTORED],
    [GO, undefined],
  ] as const;
  it.each([0, 1, 2])('at step %i, without an answer', async (last) => {
    const old = new Noting(true);
    const handed = giving(old);
    const channel = peer();
    for (const [step, [comes, answer]] of steps.entries()) {
      await take(channel, comes);
      if (step === last) break;
      if (answer !== undefined) await channel.send(answer, {});
    }
    channel.close();
    await expect(handed).rejects.toMatchObject(refusal('UPGRADE_REFUSED', /goes on as it was/));
    expect(old.serving).toBe(true);
  });

  it('but not once it has said that it began', async () => {
    const old = new Noting(true);
    const handed = giving(old);
    const channel = peer();
    for (const [comes, answer] of steps) {
      await take(channel, comes);
      await channel.send(answer ?? BEGUN, {});
    }
    channel.close();
    await handed;
    expect([old.serving, old.calls]).toEqual([false, ['pause']]);
  });

  it.each([
    ['another message than is due', BEGUN],
    ['one that is none', 99],
  ])('also where it says %s', async (_, type) => {
    const old = new Noting(true);
    const handed = giving(old);
    const channel = peer();
    await take(channel, OFFER);
    await channel.send(type, {});
    await expect(handed).rejects.toMatchObject(refusal('UPGRADE_REFUSED', /the new process said/));
    expect(old.serving).toBe(true);
    channel.close();
  });

  it('also where what it says after GO is not that it began: it is ended', async () => {
    const old = new Noting(true);
    const handed = giving(old);
    const channel = peer();
    for (const [comes, answer] of steps) {
      await take(channel, comes);
      await channel.send(answer ?? READY, {});
    }
    await expect(handed).rejects.toMatchObject(refusal('UPGRADE_REFUSED', /ended as it was to begin/));
    expect(await channel.receive().catch(() => undefined)).toBeUndefined();
    expect(old.serving).toBe(true);
  });
});

describe('an old process that may not end the new one itself', () => {
  it('asks for that where it has not begun, and serves', async () => {
    const kill = vi.spyOn(process, 'kill').mockImplementation(() => {
      throw Object.assign(new Error('kill EPERM'), { code: 'EPERM' });
    });
    const old = new Noting(true);
    const onUnbegun = vi.fn();
    const handOvers = new HandOvers({
      connections: {
        connect: async () => new HandOverChannel(ends[0], reactor),
        accept: () => Promise.reject(new Error('nobody comes')),
      },
      ...{ onUnbegun, onTakenOver: () => undefined, onHandedOver: () => undefined },
    });
    const given = handOvers.give({ socketPath: '/s', pid: 2 }, [{ spec: SPEC, movable: old }]);
    const channel = peer();
    for (const [comes, answer] of [
      [OFFER, READY],
      [STATE, RESTORED],
    ]) {
      await take(channel, comes);
      await channel.send(answer, {});
    }
    await take(channel, GO);
    channel.close();
    await expect(given).rejects.toMatchObject(refusal('UPGRADE_REFUSED', /ended as it was to begin/));
    expect(kill).toHaveBeenCalledWith(2, 'SIGKILL');
    expect(onUnbegun).toHaveBeenCalled();
    expect(old.serving).toBe(true);
    kill.mockRestore();
  });
});

describe('of two processes of which the old one ends, the new one', () => {
  async function upTo(message: number | undefined) {
    const channel = peer(0);
    const taken: Noting[] = [];
    const done = taking(taken);
    const parcel = new OutgoingParcel();
    parcel.addFd(0);
    await channel.send(
      OFFER,
      { version: HAND_OVER_VERSION, functions: [{ spec: SPEC, offer: { fd: 0 } }] },
      parcel,
    );
    await take(channel, READY);
    if (message !== undefined) {
      const state = new OutgoingParcel();
      state.addBytes(Buffer.from('state'));
      await channel.send(STATE, { functions: [{ device: { bytes: 0 }, port: {} }] }, state);
      if (message !== STATE) {
        await take(channel, RESTORED);
        await channel.send(message, {});
      }
    }
    channel.close();
    return { done, taken };
  }

  it('begins nothing while it has not got the state', async () => {
    const { done, taken } = await upTo(undefined);
    await expect(done).rejects.toThrow();
    expect(taken[0].serving).toBe(false);
  });

  it('serves once it has: nobody else does', async () => {
    const { done, taken } = await upTo(STATE);
    for (const each of (await done).values()) await each.close();
    expect(taken[0].serving).toBe(true);
  });

  it('serves where it was told to', async () => {
    const { done, taken } = await upTo(GO);
    for (const each of (await done).values()) await each.close();
    expect(taken[0].serving).toBe(true);
  });

  it('ends where the old one said that it goes on', async () => {
    const { done, taken } = await upTo(ABORT);
    await expect(done).rejects.toThrow('the old process goes on');
    expect(taken[0].serving).toBe(false);
  });
});

describe('what is no message ends the connection, and closes what came along', () => {
  const header = (...words: number[]) => Buffer.from(Uint32Array.from(words).buffer);
  const MAGIC = 0x6f48_6843;

  it.each<[string, Buffer, boolean]>([
    ['another protocol', header(1, 2, 3, 4, 5, 6), false],
    ['too much JSON', header(MAGIC, 1, 0x7fff_ffff, 0, 0, 0), false],
    ['too many descriptors', header(MAGIC, 1, 2, 0, 0, 0x7fff_ffff), false],
    ['half a header', header(MAGIC, 1), false],
    ['no JSON', Buffer.concat([header(MAGIC, 1, 2, 0, 0, 0), Buffer.from('{{')]), false],
    [
      'bytes that are not there',
      Buffer.concat([header(MAGIC, 1, 2, 1, 1, 0), header(7), Buffer.from('{}x')]),
      false,
    ],
    ['bytes that nobody announced', Buffer.concat([header(MAGIC, 1, 2, 0, 1, 0), Buffer.from('{}x')]), false],
    [
      'descriptors that are not there',
      Buffer.concat([header(MAGIC, 1, 2, 0, 0, 2), Buffer.from('x{}')]),
      false,
    ],
    [
      'descriptors that nobody announced',
      Buffer.concat([header(MAGIC, 1, 2, 0, 0, 0), Buffer.from('{}')]),
      true,
    ],
  ])('%s', async (_, bytes, withFd) => {
    const fd = openSync('/dev/null', 'r');
    sendMessage(ends[0], bytes, 0, bytes.length, withFd ? [fd] : []);
    closeSync(fd);
    closeSync(ends[0]);
    const channel = peer();
    await expect(channel.receive()).rejects.toThrow();
    channel.close();
  });

  it('carries more descriptors than one message of the kernel does, and more bytes than a socket holds', async () => {
    const parcel = new OutgoingParcel();
    const fd = openSync('/dev/null', 'r');
    for (let i = 0; i < 600; i++) parcel.addFd(fd);
    parcel.addBytes(Buffer.alloc(3 << 20, 7));
    const [from, to] = [peer(0), peer(1)];
    const [, message] = await Promise.all([from.send(7, { some: 'data' }, parcel), to.receive()]);
    expect(message).toMatchObject({ type: 7, data: { some: 'data' } });
    expect(message?.parcel.bytes(0).every((byte) => byte === 7)).toBe(true);
    const taken = message?.parcel.takeFd(599) ?? -1;
    expect(fstatSync(taken).isCharacterDevice()).toBe(true);
    expect(() => message?.parcel.takeFd(599)).toThrow('there is no descriptor 599');
    expect(() => message?.parcel.takeFds([0, 1, 0])).toThrow('a descriptor is taken twice');
    closeSync(taken);
    message?.parcel.close();
    closeSync(fd);
    from.close();
    to.close();
  });
});
