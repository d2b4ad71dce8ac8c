/** What another process left, or hands over, of a front-end's connection: any part of it may be anything, for that process may have been taken over by its guest. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { VirtioBlk } from '../../../../devices/blk/virtio-blk.js';
import { closeFd, createPipe, duplicateFd, socketPair } from '../../../../host/index.js';
import { dataAs } from '../../../../manager/device-process/hand-over/movable.js';
import {
  IncomingParcel,
  OutgoingParcel,
  ParcelError,
} from '../../../../manager/device-process/hand-over/parcel.js';
import type { Told } from '../../../../manager/ports/keeping/told.js';
import { VhostUserState } from '../../../../manager/ports/vhost-user/port-state.js';
import { VhostUserServer } from '../../../../manager/ports/vhost-user/server.js';
import { ScriptedBackend } from '../../../devices/blk/support/scripted-backend.js';
import { randomFrom, type Random } from '../../../support/random.js';
import { GuestRam, Harness, openDescriptors, TestQueue } from './harness.js';
import { config, Feature, Request } from './raw-front-end.js';

const CASES = Number(process.env.CHASSIS_FUZZ_STATES ?? 400);
const SEED = process.env.CHASSIS_FUZZ_STATES === undefined ? 0x91e70 : Date.now() % 2 ** 31;
const FEATURES = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES | (1n << 9n) | (1n << 11n);
const WRITEBACK = 32;
const BIG = '1'.repeat(20);
/** What a value may be in place of what it is. */
const VALUES: readonly unknown[] = [
  ...[null, true, false, -1, 0, 1, 2, 3, 4, 7, 255, 1.5, 0xffff, 0x10000, 2 ** 31, 2 ** 32, 2 ** 53, 1e300],
  ...['', '0', '1', BIG, 'ff', 'zz', 'x'.repeat(3000), [], [0], [0, 0], [1e9], {}, { fd: 0 }],
];

interface Part {
  readonly name: string;
  readonly data: unknown;
  readonly fds: readonly number[];
}

const newDisk = () => new VirtioBlk(new ScriptedBackend(), { serial: 'kept', log: () => {} });

/** A disk at work, whose driver has chosen its cache mode. */
async function atWork(tell: (told: Told) => void) {
  const keeper = {
    isThere: true,
    tell: async (told: Told) => {
      tell(told);
      return true;
    },
    ended: async () => undefined,
  };
  const harness = new Harness(newDisk(), { keeper });
  const ram = new GuestRam('kept');
  const frontEnd = await harness.ready(ram, FEATURES);
  const queue = new TestQueue(harness.reactor, ram);
  await queue.start(frontEnd);
  await frontEnd.set(Request.SET_CONFIG, config(WRITEBACK, 1, Uint8Array.of(0)));
  return { harness, keeper };
}

type Holder = Record<string, unknown>;

function places(value: unknown, found: [Holder, string][] = []): [Holder, string][] {
  if (typeof value !== 'object' || value === null) return found;
  for (const key of Object.keys(value)) {
    found.push([value as Holder, key]);
    places((value as Holder)[key], found);
  }
  return found;
}

/** Changes one to three values, or leaves some out. */
function change(data: unknown, random: Random): void {
  for (let count = 1 + random(3); count > 0; count--) {
    const all = places(data);
    if (all.length === 0) return;
    const [holder, key] = all[random(all.length)];
    if (random(8) === 0) delete holder[key];
    else holder[key] = structuredClone(VALUES[random(VALUES.length)]);
  }
}

/** Some are others, or missing. */
function changedFds(fds: readonly number[], random: Random): number[] {
  const own = fds.map((fd) => duplicateFd(fd));
  if (own.length === 0 || random(3) > 0) return own;
  const [at, other] = [random(own.length), random(own.length)];
  [own[at], own[other]] = [own[other], own[at]];
  if (random(2) === 0) closeFd(own.pop() ?? -1);
  return own;
}

async function within<T>(work: Promise<T>): Promise<T | string> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('it hangs')), 10_000);
  });
  try {
    return await Promise.race([work, late]);
  } catch (error) {
    // What a process says that makes no sense is refused so.
    if (error instanceof ParcelError) return error.message;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

describe(`what is left of a connection, in ${CASES} changes of seed ${SEED}`, () => {
  it('is gone on with or refused where it was kept, and leaves nothing open', async () => {
    const parts = new Map<string, Part>();
    let isSampled = false;
    const { harness, keeper } = await atWork((told) => {
      if (isSampled) return;
      for (const { name, data, fds } of told.parts) {
        for (const fd of parts.get(name)?.fds ?? []) closeFd(fd);
        parts.set(name, { name, data: structuredClone(data), fds: fds.map((fd) => duplicateFd(fd)) });
      }
    });
    isSampled = true;
    onTestFinished(() => [...parts.values()].flatMap(({ fds }) => fds).forEach((fd) => closeFd(fd)));
    const random = randomFrom(SEED);
    const outcomes = new Set<string>();
    for (let i = 0; i < CASES; i++) {
      const before = openDescriptors();
      const [socket, peer] = socketPair();
      const pipe = createPipe();
      const server = new VhostUserServer({
        ...{ path: `${harness.path}-${i}`, reactor: harness.reactor, device: newDisk(), keeper },
        ...{ onConnect: () => {}, onDisconnect: () => {}, log: () => {} },
        inflightPath: `${harness.path}.inflight`,
      });
      const chosen = [...parts.keys()][random(parts.size)];
      const given = Array.from(parts.values(), ({ name, data, fds }) => {
        const copy = structuredClone(data);
        if (name === chosen && i > 0) change(copy, random);
        const own =
          name === 'socket' ? [socket, pipe.readFd, pipe.writeFd] : changedFds(fds, i > 0 ? random : () => 1);
        return [name, { data: copy, parcel: new IncomingParcel([], own) }] as const;
      });
      if (i > 0 && random(10) === 0) given.splice(random(given.length), 1)[0][1].parcel.close();
      const outcome = await within(server.goOnFor({ number: random(3), parts: new Map(given) }));
      if (i === 0) expect(outcome).toBeUndefined();
      outcomes.add(String(outcome).replace(/\d+/g, ''));
      await server.close();
      for (const [, { parcel }] of given) parcel.close();
      closeFd(peer);
      expect(openDescriptors(), `case ${i}: ${outcome}`).toBe(before);
    }
    expect(outcomes.size).toBeGreaterThan(5);
  });

  it('is gone on with or refused where it is handed over, and leaves nothing open', async () => {
    const { harness } = await atWork(() => undefined);
    expect(await harness.server.pause(1000)).toBeUndefined();
    const parcel = new OutgoingParcel();
    const state = harness.server.save(parcel);
    const random = randomFrom(SEED);
    const outcomes = new Set<string>();
    for (let i = 0; i < CASES; i++) {
      const before = openDescriptors();
      const server = new VhostUserServer({
        ...{ path: `${harness.path}-${i}`, reactor: harness.reactor, device: newDisk() },
        ...{ onConnect: () => {}, onDisconnect: () => {}, log: () => {} },
      });
      const copy = { state: structuredClone(state) };
      if (i > 0) change(copy, random);
      const blobs = parcel.blobs.map((blob) => blob.slice());
      if (i > 0 && random(4) === 0)
        for (const blob of blobs) if (blob.length > 0) blob[random(blob.length)] = random(256);
      const incoming = new IncomingParcel(blobs, changedFds(parcel.fds, i > 0 ? random : () => 1));
      const restore = async () => server.restore(dataAs(VhostUserState, copy.state), incoming);
      const outcome = await within(restore());
      if (i === 0) expect(outcome).toBeUndefined();
      outcomes.add(String(outcome).replace(/\d+/g, ''));
      await server.close();
      incoming.close();
      expect(openDescriptors(), `case ${i}: ${outcome}`).toBe(before);
    }
    expect(outcomes.size).toBeGreaterThan(5);
    harness.server.resume();
  });
});
