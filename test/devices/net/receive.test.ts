import { describe, expect, it, vi } from 'vitest';
import { frameOf, TestBackend } from './support/frames.js';
import { offloaded, packet, payloadOf } from './support/packets.js';
import { header, TestCard } from './support/test-queue.js';
import { MAC_A, MAC_B } from './support/packets.js';

const to = { macs: [MAC_A, MAC_B] as const };
const { bytes: FRAME } = packet({ ...to, payload: payloadOf(500) });
const MRG_RXBUF = 15;

const roomOf = (chain: { room: Uint8Array }, from = 0) => chain.room.subarray(from);

describe('a frame for the guest', () => {
  it('fills one buffer, behind a header that says so', async () => {
    const card = TestCard.on(new TestBackend()).start();
    const buffer = card.post(1000, [10, 5, 100]);
    expect(card.backend.port.offer(frameOf(FRAME, {}, [300]))).toBe(true);
    expect(card.rx.pushed).toEqual([{ chain: buffer, writtenBytes: 12 + FRAME.length }]);
    expect(roomOf(buffer).slice(0, 12)).toEqual(header({ buffers: 1 }));
    expect(roomOf(buffer, 12).slice(0, FRAME.length)).toEqual(FRAME);
    expect(roomOf(buffer, 12 + FRAME.length).every((byte) => byte === 0xee)).toBe(true);
    await Promise.resolve();
    expect(card.rx.flushes).toBe(1);
    expect(card.device.statistics).toMatchObject({ rxFrames: 1, rxBytes: FRAME.length });
  });

  it('shares a flush, and an interrupt, with those that come with it', async () => {
    const card = TestCard.on(new TestBackend()).start();
    for (let i = 0; i < 20; i++) {
      card.post(1000);
      card.backend.port.deliver(frameOf(FRAME));
    }
    expect(card.rx.flushes).toBe(0);
    await Promise.resolve();
    expect([card.rx.pushed.length, card.rx.flushes]).toEqual([20, 1]);
  });

  it('fills as many buffers as it takes', () => {
    const card = TestCard.on(new TestBackend()).start();
    const buffers = [200, 100, 100, 200, 100].map((room) => card.post(room));
    card.backend.port.deliver(frameOf(FRAME));
    const written = [200, 100, 100, 12 + FRAME.length - 400];
    expect(card.rx.pushed).toEqual(written.map((writtenBytes, i) => ({ chain: buffers[i], writtenBytes })));
    expect(card.rx.available).toEqual(buffers.slice(4));
    const all = Buffer.concat(buffers.map(({ room }, i) => room.subarray(0, written[i] ?? 0)));
    expect(new Uint8Array(all)).toEqual(new Uint8Array(Buffer.concat([header({ buffers: 4 }), FRAME])));
  });

  it('fits a buffer to its last byte', () => {
    const card = TestCard.on(new TestBackend()).start([MRG_RXBUF]);
    card.post(12 + FRAME.length);
    card.backend.port.deliver(frameOf(FRAME));
    expect(card.device.statistics).toMatchObject({ rxFrames: 1, rxTooLong: 0 });
  });

  it('has a header of 10 bytes before it for a legacy driver without mergeable buffers', () => {
    const card = TestCard.on(new TestBackend()).start([MRG_RXBUF], false);
    const buffer = card.post(1000);
    card.backend.port.deliver(frameOf(FRAME));
    expect(card.rx.pushed[0].writtenBytes).toBe(10 + FRAME.length);
    expect(roomOf(buffer, 10).slice(0, FRAME.length)).toEqual(FRAME);
  });

  it('says what is left to do where the guest does that', () => {
    const card = TestCard.on(new TestBackend()).start();
    const { whole } = offloaded({ ...to, payload: payloadOf(3000) }, 1000);
    const work = { needsChecksum: true, csumStart: 34, csumOffset: 16, gsoType: 1, gsoSize: 1000, ecn: true };
    const buffer = card.post(4000);
    card.backend.port.deliver(frameOf(whole.bytes, work));
    expect(roomOf(buffer).slice(0, 12)).toEqual(
      header({
        flags: 1,
        gsoType: 0x81,
        hdrLen: 54,
        gsoSize: 1000,
        csumStart: 34,
        csumOffset: 16,
        buffers: 1,
      }),
    );
  });

  it('says that its checksum is right where somebody knows', () => {
    const card = TestCard.on(new TestBackend()).start();
    const buffer = card.post(1000);
    card.backend.port.deliver(frameOf(FRAME, { checksumValid: true }));
    expect(roomOf(buffer).slice(0, 12)).toEqual(header({ flags: 2, buffers: 1 }));
  });

  it('comes cut up, each part in a buffer of its own, where the guest does nothing', () => {
    const card = TestCard.on(new TestBackend()).start([1, 7, 8, 9, 54, 55]);
    const { whole, segments } = offloaded({ ...to, payload: payloadOf(2500) }, 1000);
    const work = { needsChecksum: true, csumStart: 34, csumOffset: 16, gsoType: 1, gsoSize: 1000 };
    const buffers = [0, 1].map(() => card.post(2000));
    card.backend.port.deliver(frameOf(whole.bytes, work));
    expect(buffers.map((buffer, i) => roomOf(buffer, 12).slice(0, segments[i].length))).toEqual(
      segments.slice(0, 2),
    );
    expect(card.device.statistics).toMatchObject({ rxFrames: 2, rxDropped: 1 });
  });
});

describe('a frame that the guest has no buffers for', () => {
  it('is refused where it can wait, and wanted once there are some', () => {
    const card = TestCard.on(new TestBackend()).start();
    card.post(100);
    card.rx.notifications = false;
    expect(card.backend.port.offer(frameOf(FRAME))).toBe(false);
    expect(card.rx.notifications).toBe(true);
    expect([card.rx.available.length, card.rx.pushed.length]).toEqual([1, 0]);
    expect(card.backend.calls).not.toContain('roomForMore');
    card.post(1000);
    card.backend.roomForMore = () => void card.backend.port.offer(frameOf(FRAME));
    expect(card.device.filledQueues.buffersAdded(card.rx)).toBe(1);
    expect(card.rx.notifications).toBe(false);
    expect(card.rx.pushed).toHaveLength(2);
    expect(card.device.statistics).toMatchObject({ rxFrames: 1, rxDropped: 0 });
  });

  it('is found room for where buffers came while the driver was asked for them', () => {
    const card = TestCard.on(new TestBackend()).start();
    vi.spyOn(card.rx, 'enableNotifications').mockImplementationOnce(() => {
      card.post(1000);
      return true;
    });
    expect(card.backend.port.offer(frameOf(FRAME))).toBe(true);
  });

  it('is lost and counted where it cannot wait, and the driver is not asked for anything', () => {
    const card = TestCard.on(new TestBackend()).start();
    card.device.filledQueues.buffersAdded(card.rx);
    for (let i = 0; i < 3; i++) card.backend.port.deliver(frameOf(FRAME));
    expect(card.device.statistics).toMatchObject({ rxFrames: 0, rxDropped: 3 });
    expect(card.rx.notifications).toBe(false);
    card.device.filledQueues.buffersAdded(card.rx);
    expect(card.backend.calls).not.toContain('roomForMore');
  });

  it('is not kept waiting by a guest that is gone', () => {
    for (const reset of ['reset', 'resetQueue'] as const) {
      const card = TestCard.on(new TestBackend()).start();
      expect(card.backend.port.offer(frameOf(FRAME))).toBe(false);
      card.device[reset](0);
      expect(card.backend.calls).toContain('roomForMore');
    }
  });
});

describe('a frame that the guest does not get', () => {
  it.each([
    ['before its driver has started', (card: TestCard) => card.device.reset()],
    ['while the link is down', (card: TestCard) => card.device.setLink(false)],
  ])('is lost %s', (_name, change) => {
    const card = TestCard.on(new TestBackend()).start();
    card.post(1000);
    change(card);
    expect(card.backend.port.offer(frameOf(FRAME))).toBe(true);
    expect(card.rx.pushed).toEqual([]);
    expect(card.device.statistics.rxDropped).toBe(1);
  });

  it('is one that does not fit the only buffer it may have, which is kept for another', () => {
    const card = TestCard.on(new TestBackend()).start([MRG_RXBUF]);
    const buffer = card.post(11 + FRAME.length);
    card.post(2000);
    card.backend.port.deliver(frameOf(FRAME));
    expect(card.rx.pushed).toEqual([]);
    expect(card.rx.available[0]).toBe(buffer);
    expect(card.device.statistics).toMatchObject({ rxTooLong: 1, rxDropped: 0 });
  });

  it('is one that is longer than the MTU that was agreed on, unless it is one to be cut', () => {
    const card = TestCard.on(new TestBackend(), { mtu: 1000 }).start();
    const frames = [1000, 1018, 1019].map(
      (length) => packet({ ...to, payload: payloadOf(length - 54) }).bytes,
    );
    for (let i = 0; i < 4; i++) card.post(5000);
    for (const bytes of frames) card.backend.port.deliver(frameOf(bytes));
    expect(card.device.statistics).toMatchObject({ rxFrames: 2, rxTooLong: 1 });
    const { whole } = offloaded({ ...to, payload: payloadOf(3000) }, 900);
    const work = { needsChecksum: true, csumStart: 34, csumOffset: 16, gsoType: 1, gsoSize: 900 };
    card.backend.port.deliver(frameOf(whole.bytes, work));
    expect(card.device.statistics).toMatchObject({ rxFrames: 3, rxTooLong: 1 });
  });
});

describe('a driver whose receive buffers are no buffers', () => {
  it.each([
    ['has no room at all', 0],
    ['has no room for the header', 11],
  ])('breaks its device, where one %s', (_name, room) => {
    const card = TestCard.on(new TestBackend()).start();
    card.post(room);
    card.backend.port.deliver(frameOf(FRAME));
    expect(card.faults).toEqual(['a receive buffer has no room for the header']);
    expect(card.rx.pushed).toEqual([]);
  });

  it('breaks it also in the middle of a frame, with nothing half given back', () => {
    const card = TestCard.on(new TestBackend()).start();
    card.post(100);
    card.post(3);
    card.backend.port.deliver(frameOf(FRAME));
    expect(card.faults).toHaveLength(1);
    expect([card.rx.pushed.length, card.rx.available.length]).toEqual([0, 2]);
  });
});
