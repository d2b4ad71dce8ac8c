import { openSync } from 'node:fs';
import { describe, expect, it, onTestFinished } from 'vitest';
import { eventfdCreate, memfdCreate, socketPair } from '../../../../host/index.js';
import { VhostUserLimit } from '../../../../manager/ports/vhost-user/protocol.js';
import {
  EchoDevice,
  GuestRam,
  Harness,
  impatiently,
  openDescriptors,
  owned,
  startServer,
  TestQueue,
} from './harness.js';
import { check, direction, expectant, goOn, load, LOAD, NO_PIPE, Pipe, SAVE, save, setFd } from './moved.js';
import { Feature, ProtocolFeature, Request, type RawFrontEnd } from './raw-front-end.js';

const EIO = 5;
const refused = (errno: number): number => errno | NO_PIPE;
const EBUSY = refused(16);
const EINVAL = refused(22);
const FEATURES = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES;

/** More than a pipe holds, and what it is with all that goes along. */
const LARGE = Buffer.alloc(1 << 20);
const SAVED_BYTES = LARGE.length + 56;

/** A device with a state of its own, which takes its time to take one over where it is told to. */
class StatefulDevice extends EchoDevice {
  state: Uint8Array = Buffer.from('the state');
  prepared: () => Promise<void> = () => Promise.resolve();

  saveState(): Uint8Array {
    return this.state;
  }

  async prepareState(): Promise<string | undefined> {
    this.calls.push('prepare');
    await this.prepared();
    return undefined;
  }

  restoreState(bytes: Uint8Array): string | undefined {
    this.calls.push(`restore ${bytes.length}`);
    if (Buffer.from(bytes).toString() === 'bad') return 'it is bad';
    this.state = bytes;
    return undefined;
  }
}

function newPipe(): Pipe {
  const pipe = new Pipe();
  onTestFinished(() => pipe.closeAll());
  return pipe;
}

function newDevice() {
  const harness = new Harness(new StatefulDevice());
  return { harness, device: harness.device };
}

/** A state as a device like these tells it. */
async function stateOf(text = 'another state'): Promise<Buffer> {
  const { harness, device } = newDevice();
  device.state = Buffer.from(text);
  return save(await harness.connect().negotiate());
}

describe('a pipe for a device’s state', () => {
  it.each([1, 7, 65536])('may bring it in pieces of %s bytes', async (chunkBytes) => {
    const { harness, device } = newDevice();
    expect(await load(await expectant(harness), await stateOf(), chunkBytes)).toBe(0);
    expect(Buffer.from(device.state).toString()).toBe('another state');
  });

  it('takes a state that is larger than a pipe', async () => {
    const large = 'x'.repeat(1 << 20);
    const { harness, device } = newDevice();
    expect(await load(await expectant(harness), await stateOf(large))).toBe(0);
    expect(device.state.length).toBe(1 << 20);
  });

  it('is refused where it is none, or the wrong end of one, and closed', async () => {
    const { harness } = newDevice();
    const frontEnd = await expectant(harness);
    const [socket, peer] = socketPair();
    const pipe = newPipe();
    const fds = [memfdCreate('no-pipe', 4096), eventfdCreate(), socket, openSync('/dev/null', 'r+')];
    for (const fd of [...fds, peer]) owned(fd);
    const before = openDescriptors();
    for (const fd of fds) {
      expect(await setFd(frontEnd, SAVE, fd)).toBe(EINVAL);
      expect(await setFd(frontEnd, LOAD, fd)).toBe(EINVAL);
    }
    expect(await setFd(frontEnd, SAVE, pipe.reader)).toBe(EINVAL);
    expect(await setFd(frontEnd, LOAD, pipe.writer)).toBe(EINVAL);
    expect(openDescriptors()).toBe(before);
  });

  it('is refused with a direction or a phase that is not known, and without a descriptor', async () => {
    const { harness } = newDevice();
    const frontEnd = await expectant(harness);
    const { writer } = newPipe();
    const before = openDescriptors();
    const ask = async (payload: Uint8Array, fds: number[]) =>
      Number((await frontEnd.query(Request.SET_DEVICE_STATE_FD, payload, fds)).readBigUInt64LE());
    expect(await ask(direction(2), [writer])).toBe(EINVAL);
    expect(await ask(direction(SAVE, 1), [writer])).toBe(EINVAL);
    expect(await ask(direction(SAVE), [])).toBe(EINVAL);
    expect(openDescriptors()).toBe(before);
  });

  it('is refused while a ring runs', async () => {
    const { harness } = newDevice();
    const ram = new GuestRam('running');
    const frontEnd = await harness.ready(ram);
    const queue = new TestQueue(harness.reactor, ram);
    await queue.start(frontEnd);
    await queue.roundTrip('x');
    expect(await setFd(frontEnd, SAVE, newPipe().writer)).toBe(EBUSY);
    expect(await setFd(frontEnd, LOAD, newPipe().reader)).toBe(EBUSY);
    expect(await queue.roundTrip('still here')).toBe('still here');
  });

  it('is refused while another one is in use, which goes on', async () => {
    const { harness, device } = newDevice();
    const frontEnd = await expectant(harness);
    const pipe = newPipe();
    expect(await setFd(frontEnd, LOAD, pipe.reader)).toBe(NO_PIPE);
    expect(await setFd(frontEnd, LOAD, newPipe().reader)).toBe(EBUSY);
    expect(await setFd(frontEnd, SAVE, newPipe().writer)).toBe(EBUSY);
    await pipe.write(await stateOf());
    pipe.closeAll();
    expect(await check(frontEnd)).toBe(0);
    expect(Buffer.from(device.state).toString()).toBe('another state');
  });

  it('is not there without the feature', async () => {
    const harness = new Harness(new StatefulDevice(), { withholdsState: true });
    const frontEnd = harness.connect();
    const offered = await frontEnd.queryU64(Request.GET_PROTOCOL_FEATURES);
    expect(offered & ProtocolFeature.DEVICE_STATE).toBe(0n);
    await frontEnd.negotiate();
    expect(await frontEnd.ack(Request.CHECK_DEVICE_STATE)).toBe(22);
  });
});

describe('a state that comes', () => {
  it('is refused where it is longer than any, without being kept', async () => {
    const { harness } = newDevice();
    const frontEnd = await expectant(harness);
    expect(await load(frontEnd, Buffer.alloc(VhostUserLimit.STATE_BYTES + 1))).toBe(EIO);
    expect(harness.events.at(-1)).toContain(`more than ${VhostUserLimit.STATE_BYTES} bytes`);
  });

  it.each([
    ['nothing', Buffer.alloc(0), 'cut off'],
    ['noise', Buffer.from('not a state at all'), 'this is no state'],
  ])('is refused where it is %s, and the next one is taken', async (_, bytes, why) => {
    const { harness, device } = newDevice();
    const frontEnd = await expectant(harness);
    expect(await load(frontEnd, bytes)).toBe(EIO);
    expect(harness.events.at(-1)).toContain(why);
    expect(device.calls).toEqual([]);
    expect(await load(frontEnd, await stateOf())).toBe(0);
  });

  it('that the device refuses leaves it as at power-on', async () => {
    const { harness, device } = newDevice();
    expect(await load(await expectant(harness), await stateOf('bad'))).toBe(EIO);
    expect(harness.events.at(-1)).toBe("log: the device's state cannot be loaded: it is bad");
    expect(device.calls).toEqual(['prepare', 'restore 3', 'reset']);
  });

  it('and never ends is given up once somebody waits for it', async () => {
    const { harness } = newDevice();
    const frontEnd = await expectant(harness);
    const state = await stateOf();
    const before = openDescriptors();
    const pipe = newPipe();
    expect(await setFd(frontEnd, LOAD, pipe.reader)).toBe(NO_PIPE);
    await pipe.write(state.subarray(0, 10));
    expect(await impatiently(() => check(frontEnd))).toBe(EIO);
    expect(harness.events.at(-1)).toContain('did nothing with the pipe for too long');
    pipe.closeAll();
    expect(openDescriptors()).toBe(before);
    expect(await load(frontEnd, state)).toBe(0);
  });

  it('while rings start is refused, and they run', async () => {
    const { harness, device } = newDevice();
    const ram = new GuestRam('started');
    const frontEnd = await expectant(harness);
    const pipe = newPipe();
    await setFd(frontEnd, LOAD, pipe.reader);
    const queue = new TestQueue(harness.reactor, ram);
    await goOn(frontEnd, ram, FEATURES, [[queue, 0]]);
    await queue.roundTrip('x');
    await pipe.write(await stateOf());
    pipe.closeAll();
    expect(await check(frontEnd)).toBe(EIO);
    expect(device.calls).toEqual(['activate']);
    expect(await queue.roundTrip('still here')).toBe('still here');
  });

  it('holds rings back until the device is ready', async () => {
    const { harness, device } = newDevice();
    const ram = new GuestRam('early');
    const frontEnd = await expectant(harness);
    let ready!: () => void;
    device.prepared = () => new Promise((resolve) => (ready = resolve));
    const pipe = newPipe();
    await setFd(frontEnd, LOAD, pipe.reader);
    await pipe.write(await stateOf());
    pipe.closeAll();
    while (device.calls.length === 0) await new Promise(setImmediate);
    const queue = new TestQueue(harness.reactor, ram);
    await goOn(frontEnd, ram, FEATURES, [[queue, 0]]);
    const answer = queue.roundTrip('x');
    await new Promise(setImmediate);
    expect(device.calls).toEqual(['prepare']);
    ready();
    expect(await answer).toBe('x');
    expect(await check(frontEnd)).toBe(0);
    expect(device.calls).toEqual(['prepare', 'restore 13', 'activate']);
  });
});

describe('a front-end that leaves', () => {
  async function leaves(during: (frontEnd: RawFrontEnd) => Promise<void>) {
    const { harness, device } = newDevice();
    device.state = LARGE;
    const before = openDescriptors();
    const frontEnd = await expectant(harness);
    await during(frontEnd);
    await harness.disconnect(frontEnd);
    expect(openDescriptors()).toBe(before);
    expect(await save(await expectant(harness))).toHaveLength(SAVED_BYTES);
    return device;
  }

  it('in the middle of a state that it reads leaves nothing open', async () => {
    await leaves(async (frontEnd) => {
      const pipe = new Pipe();
      await setFd(frontEnd, SAVE, pipe.writer);
      pipe.closeAll();
    });
  });

  it('in the middle of a state that it writes leaves nothing open', async () => {
    const state = await stateOf();
    const device = await leaves(async (frontEnd) => {
      const pipe = new Pipe();
      await setFd(frontEnd, LOAD, pipe.reader);
      await pipe.write(state.subarray(0, 20));
      pipe.closeAll();
    });
    expect(device.calls).toEqual([]);
  });

  it('while it waits for the outcome leaves nothing open', async () => {
    const { reader } = newPipe();
    await leaves(async (frontEnd) => {
      await setFd(frontEnd, LOAD, reader);
      frontEnd.send(Request.CHECK_DEVICE_STATE);
      await new Promise(setImmediate);
    });
  });

  it('while the device gets ready has it reset then, before the next one', async () => {
    const { harness, device } = newDevice();
    const frontEnd = await expectant(harness);
    let ready!: () => void;
    device.prepared = () => new Promise((resolve) => (ready = resolve));
    const pipe = newPipe();
    await setFd(frontEnd, LOAD, pipe.reader);
    await pipe.write(await stateOf());
    pipe.closeAll();
    while (device.calls.length === 0) await new Promise(setImmediate);
    await harness.disconnect(frontEnd);
    const ram = new GuestRam('next');
    const next = await harness.ready(ram);
    const queue = new TestQueue(harness.reactor, ram);
    await queue.start(next);
    const answer = queue.roundTrip('x');
    await new Promise(setImmediate);
    expect(device.calls).toEqual(['prepare']);
    ready();
    expect(await answer).toBe('x');
    expect(device.calls).toEqual(['prepare', 'restore 13', 'reset', 'activate']);
  });
});

describe('a state that comes to a device with a driver that stopped', () => {
  /** The device is busy with its reset for as long as `done` is not called. */
  async function stopped() {
    const { harness, device } = newDevice();
    const ram = new GuestRam('stopped');
    const frontEnd = await harness.ready(ram);
    const queue = new TestQueue(harness.reactor, ram);
    await queue.start(frontEnd);
    await queue.roundTrip('x');
    const base = await frontEnd.getVringBase(0);
    let done!: () => void;
    device.onReset = () => new Promise((resolve) => (done = resolve));
    const pipe = newPipe();
    await setFd(frontEnd, LOAD, pipe.reader);
    await pipe.write(await stateOf());
    pipe.closeAll();
    await device.until(() => device.calls.includes('reset'));
    device.onReset = () => undefined;
    return { harness, device, frontEnd, queue, base, done };
  }

  it('waits until the device has done with that one, and so do rings', async () => {
    const { device, frontEnd, queue, base, done } = await stopped();
    await queue.start(frontEnd, base);
    expect(device.calls).toEqual(['activate', 'reset']);
    done();
    queue.driver.allowInterrupts();
    expect(await queue.roundTrip('y')).toBe('y');
    expect(await check(frontEnd)).toBe(0);
    expect(device.calls).toEqual(['activate', 'reset', 'prepare', 'restore 13', 'activate']);
  });

  it('is none for a device whose front-end left meanwhile', async () => {
    const { harness, device, frontEnd, done } = await stopped();
    await harness.disconnect(frontEnd);
    done();
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(device.calls).toEqual(['activate', 'reset']);
  });
});

describe('a state that goes', () => {
  it('fails where the reader is gone, or does not read', async () => {
    const { harness, device } = newDevice();
    device.state = LARGE;
    const frontEnd = await expectant(harness);
    const gone = newPipe();
    await setFd(frontEnd, SAVE, gone.writer);
    gone.closeAll();
    expect(await check(frontEnd)).toBe(EIO);
    expect(harness.events.at(-1)).toBe("log: the device's state cannot be saved: the pipe failed: EPIPE");
    const stuck = newPipe();
    await setFd(frontEnd, SAVE, stuck.writer);
    expect(await impatiently(() => check(frontEnd))).toBe(EIO);
    expect(await save(frontEnd)).toHaveLength(SAVED_BYTES);
  });

  it('has no outcome where none was asked for', async () => {
    const frontEnd = await expectant(startServer());
    expect(await check(frontEnd)).toBe(22);
  });
});
