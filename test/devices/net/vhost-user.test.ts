/** A card behind a vhost-user socket: what pauses and resets of the virtual machine do to it. */
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { VirtioNet } from '../../../devices/net/virtio-net.js';
import {
  GUEST_BASE,
  GuestRam,
  Harness,
  PackedQueue,
  TestQueue,
} from '../../manager/ports/vhost-user/harness.js';
import { Feature } from '../../manager/ports/vhost-user/raw-front-end.js';
import { frameOf, TestBackend } from './support/frames.js';
import { MAC_A, MAC_B, packet, payloadOf } from './support/packets.js';

const FRAME = packet({ macs: [MAC_A, MAC_B], payload: payloadOf(100) }).bytes;
const BUFFERS = 0x80000;
const MRG_RXBUF = 1n << 15n;
const BUFFER_BYTES = 2048;

const formats = [
  { name: 'split', Queue: TestQueue, ring: 0n },
  { name: 'packed', Queue: PackedQueue, ring: Feature.RING_PACKED },
];

describe.each(formats)('a card’s receive queue with a $name ring', ({ Queue, ring }) => {
  /** A driver that has posted buffers. */
  async function posted(buffers: number, features = 0n, eventIdx = false) {
    const backend = new TestBackend();
    const harness = new Harness(new VirtioNet(backend, { mac: MAC_A, queueSize: 64 }));
    const ram = new GuestRam('net');
    const frontEnd = await harness.ready(
      ram,
      Feature.VERSION_1 | Feature.PROTOCOL_FEATURES | ring | features,
    );
    const queue = new Queue(harness.reactor, ram, 0, eventIdx);
    const post = (n: number) =>
      queue.driver.add([
        { address: GUEST_BASE + BUFFERS + n * BUFFER_BYTES, length: BUFFER_BYTES, writable: true },
      ]);
    for (let n = 0; n < buffers; n++) post(n);
    const received = (n: number) => {
      const at = BUFFERS + n * BUFFER_BYTES + 12;
      return ram.bytes.slice(at, at + FRAME.length);
    };
    await queue.start(frontEnd);
    queue.kick();
    while (harness.server.counters(0).wakes === 0) await new Promise(setImmediate);
    return { backend, harness, frontEnd, queue, post, received };
  }

  it('costs a pause no time, and goes on with the buffers that it has', async () => {
    const { backend, harness, frontEnd, queue, received } = await posted(8);
    backend.port.deliver(frameOf(FRAME));
    await queue.call.reaches(1);
    expect(queue.driver.reap()).toHaveLength(1);
    // Who waits, waits for ever.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    onTestFinished(() => void vi.useRealTimers());
    const base = await frontEnd.getVringBase(0);
    vi.useRealTimers();
    backend.port.deliver(frameOf(FRAME));
    expect(harness.device.statistics).toMatchObject({ rxFrames: 1, rxDropped: 1 });
    await queue.start(frontEnd, base);
    queue.driver.allowInterrupts();
    while (harness.device.statistics.rxFrames === 1) {
      backend.port.deliver(frameOf(FRAME));
      await new Promise(setImmediate);
    }
    await queue.call.reaches(2);
    expect(received(1)).toEqual(FRAME);
    expect(harness.events).toEqual(['connect']);
  });

  it('takes what waited through a pause once it goes on', async () => {
    const { backend, frontEnd, queue, received } = await posted(2);
    const base = await frontEnd.getVringBase(0);
    expect(backend.port.offer(frameOf(FRAME))).toBe(false);
    const taken = vi.fn(() => backend.port.offer(frameOf(FRAME)));
    backend.roomForMore = taken;
    await queue.start(frontEnd, base);
    while (taken.mock.results.at(-1)?.value !== true) await new Promise(setImmediate);
    await queue.call.reaches(1);
    expect(received(0)).toEqual(FRAME);
  });

  it('is asked for buffers only where a frame waits for them, and hears of those that come', async () => {
    const { backend, harness, queue, post, received } = await posted(0);
    post(0);
    expect(queue.driver.kickNeeded()).toBe(false);
    const long = packet({ macs: [MAC_A, MAC_B], payload: payloadOf(2500) }).bytes;
    expect(backend.port.offer(frameOf(long))).toBe(true);
    expect(harness.device.statistics).toMatchObject({ rxTooLong: 1 });
    backend.port.offer(frameOf(FRAME));
    expect(backend.port.offer(frameOf(FRAME))).toBe(false);
    backend.roomForMore = () => void backend.port.offer(frameOf(FRAME));
    post(1);
    expect(queue.driver.kickNeeded()).toBe(true);
    queue.kick();
    while (harness.device.statistics.rxFrames < 2) await new Promise(setImmediate);
    expect(received(1)).toEqual(FRAME);
    post(2);
    expect(queue.driver.kickNeeded()).toBe(false);
  });

  it.each([false, true])(
    'hears of more buffers where it has some, but too few (event index: %s)',
    async (eventIdx) => {
      const { backend, queue, post } = await posted(
        1,
        MRG_RXBUF | (eventIdx ? Feature.EVENT_IDX : 0n),
        eventIdx,
      );
      // What comes now is not asked for yet.
      queue.driver.kickNeeded();
      const long = packet({ macs: [MAC_A, MAC_B], payload: payloadOf(5000) }).bytes;
      expect(backend.port.offer(frameOf(long))).toBe(false);
      post(1);
      expect(queue.driver.kickNeeded()).toBe(true);
      queue.kick();
      while (!backend.calls.includes('roomForMore')) await new Promise(setImmediate);
      expect(backend.port.offer(frameOf(long))).toBe(false);
      post(2);
      expect(queue.driver.kickNeeded()).toBe(true);
      expect(backend.port.offer(frameOf(long))).toBe(true);
      await queue.call.reaches(1);
      expect(queue.driver.reap().map(({ length }) => length)).toEqual([2048, 2048, 12 + long.length - 4096]);
    },
  );

  it('loses nothing to its driver’s death but frames: the next one gets its own', async () => {
    const { backend, harness, frontEnd } = await posted(4);
    await harness.disconnect(frontEnd);
    expect(backend.port.offer(frameOf(FRAME))).toBe(true);
    expect(harness.device.statistics).toMatchObject({ rxFrames: 0, rxDropped: 1 });
  });
});
