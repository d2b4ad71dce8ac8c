import { describe, expect, it } from 'vitest';
import { RING_FEATURES } from '../../../../devices/virtio/ring/factory.js';
import { ReceivedFds, recvMessage, socketPair } from '../../../../host/index.js';
import { GuestRam, openDescriptors, owned, startServer, TestQueue } from './harness.js';
import { config, Feature, ProtocolFeature, Request, u64 } from './raw-front-end.js';

describe('features', () => {
  it('the device, the rings and the transport offer theirs', async () => {
    const frontEnd = startServer().connect();
    expect(await frontEnd.queryU64(Request.GET_FEATURES)).toBe(
      (1n << 3n) | RING_FEATURES | Feature.LOG_ALL | Feature.PROTOCOL_FEATURES | Feature.VERSION_1,
    );
  });

  it('the protocol features are those that are implemented', async () => {
    const { MQ, LOG_SHMFD, REPLY_ACK, BACKEND_REQ, CONFIG } = ProtocolFeature;
    const { RESET_DEVICE, CONFIGURE_MEM_SLOTS, STATUS, INFLIGHT_SHMFD, DEVICE_STATE } = ProtocolFeature;
    const frontEnd = startServer().connect();
    expect(await frontEnd.queryU64(Request.GET_PROTOCOL_FEATURES)).toBe(
      MQ |
        LOG_SHMFD |
        REPLY_ACK |
        BACKEND_REQ |
        CONFIG |
        INFLIGHT_SHMFD |
        RESET_DEVICE |
        CONFIGURE_MEM_SLOTS |
        STATUS |
        DEVICE_STATE,
    );
  });

  it('the device sees what was agreed on, without the bits of the protocol and of the log', async () => {
    const harness = startServer();
    const features = Feature.VERSION_1 | Feature.EVENT_IDX | (1n << 3n);
    const ram = new GuestRam('features');
    const frontEnd = await harness.ready(ram, features | Feature.PROTOCOL_FEATURES | Feature.LOG_ALL);
    const queue = new TestQueue(harness.reactor, ram, 0, true);
    await queue.start(frontEnd);
    await queue.roundTrip('x');
    expect(harness.device.context?.features).toBe(features);
  });

  it('features cannot change while a ring runs, and can be set again as they are', async () => {
    const harness = startServer();
    const ram = new GuestRam('features');
    const frontEnd = await harness.ready(ram);
    const queue = new TestQueue(harness.reactor, ram);
    await queue.start(frontEnd);
    await queue.roundTrip('x');
    const same = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES;
    expect(await frontEnd.ack(Request.SET_FEATURES, u64(same | Feature.EVENT_IDX))).toBe(16);
    expect(await frontEnd.ack(Request.SET_FEATURES, u64(same))).toBe(0);
    expect(await queue.roundTrip('y')).toBe('y');
  });

  it('the number of queues and of memory slots can be asked for', async () => {
    const frontEnd = await startServer().connect().negotiate();
    expect(await frontEnd.queryU64(Request.GET_QUEUE_NUM)).toBe(2n);
    expect(await frontEnd.queryU64(Request.GET_MAX_MEM_SLOTS)).toBe(509n);
  });

  it('RESET_OWNER changes nothing', async () => {
    const frontEnd = await startServer().connect().negotiate();
    expect(await frontEnd.ack(Request.RESET_OWNER)).toBe(0);
    expect(await frontEnd.queryU64(Request.GET_QUEUE_NUM)).toBe(2n);
  });
});

describe('the config space', () => {
  it('is read at any offset, with zeros behind its end', async () => {
    const frontEnd = await startServer().connect().negotiate();
    const reply = await frontEnd.query(Request.GET_CONFIG, config(18, 4));
    expect(reply).toEqual(config(18, 4, Uint8Array.of(19, 20, 0, 0)));
  });

  it.each([
    ['a size that lies', config(0, 8, Buffer.alloc(4))],
    ['an offset near 2^32', config(0xffffffff, 4)],
    ['more than a page', config(4093, 4)],
  ])('%s is answered with an empty reply', async (_, payload) => {
    const frontEnd = await startServer().connect().negotiate();
    expect(await frontEnd.query(Request.GET_CONFIG, payload)).toHaveLength(0);
  });

  it.each([
    ['as QEMU does', 0],
    ['as Cloud Hypervisor does, with the flag of a migration', 1],
  ])('is written through the device, %s', async (_, flags) => {
    const harness = startServer();
    const frontEnd = await harness.connect().negotiate();
    await frontEnd.set(Request.SET_CONFIG, config(16, 4, Uint8Array.of(1, 2, 3, 4), flags));
    expect(harness.device.calls).toEqual(['writeConfig 16 01020304']);
  });

  it('takes no write behind its end, and a write across it as far as it goes', async () => {
    const harness = startServer();
    const frontEnd = await harness.connect().negotiate();
    await frontEnd.set(Request.SET_CONFIG, config(18, 4, Uint8Array.of(1, 2, 3, 4)));
    await frontEnd.set(Request.SET_CONFIG, config(20, 4));
    await frontEnd.set(Request.SET_CONFIG, config(4092, 4));
    expect(harness.device.calls).toEqual(['writeConfig 18 0102']);
  });

  it('a change is told by the back-end channel, once there is one', async () => {
    const harness = startServer();
    const ram = new GuestRam('config');
    const frontEnd = await harness.ready(ram);
    const queue = new TestQueue(harness.reactor, ram);
    await queue.start(frontEnd);
    await queue.roundTrip('x');
    harness.device.context?.configChanged();
    const [ours, theirs] = socketPair().map(owned);
    await frontEnd.set(Request.SET_BACKEND_REQ_FD, undefined, [theirs]);
    harness.device.context?.configChanged();
    const bytes = Buffer.alloc(64);
    expect(recvMessage(ours, bytes, 0, 64, new ReceivedFds(1))).toBe(12);
    expect([bytes.readUInt32LE(0), bytes.readUInt32LE(4), bytes.readUInt32LE(8)]).toEqual([2, 1, 0]);
  });

  it('a front-end that never reads its channel does no harm, and one that closed it neither', async () => {
    const harness = startServer();
    const ram = new GuestRam('config');
    const frontEnd = await harness.ready(ram);
    const queue = new TestQueue(harness.reactor, ram);
    await queue.start(frontEnd);
    await queue.roundTrip('x');
    const [, theirs] = socketPair().map(owned);
    await frontEnd.set(Request.SET_BACKEND_REQ_FD, undefined, [theirs]);
    for (let i = 0; i < 5000; i++) harness.device.context?.configChanged();
    expect(await queue.roundTrip('y')).toBe('y');
  });

  it('a second channel takes the place of the first', async () => {
    const frontEnd = await startServer().connect().negotiate();
    const [first, second] = [socketPair().map(owned), socketPair().map(owned)];
    const before = openDescriptors();
    await frontEnd.set(Request.SET_BACKEND_REQ_FD, undefined, [first[1]]);
    await frontEnd.set(Request.SET_BACKEND_REQ_FD, undefined, [second[1]]);
    expect(openDescriptors()).toBe(before + 1);
  });
});
