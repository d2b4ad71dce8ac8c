import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { MAX_FRAME_BYTES } from '../../../devices/net/frame.js';
import { offloaded, packet, payloadOf } from './support/packets.js';
import { header, TestCard, TestChain } from './support/test-queue.js';
import { TestBackend } from './support/frames.js';

const { bytes: FRAME } = packet({ payload: payloadOf(500) });

describe('a frame that the guest sends', () => {
  it.each([
    ['in one buffer', []],
    ['behind its header', [12]],
    ['in many buffers, the header in two', [5, 7, 1, 14, 100, 192, 3]],
  ])('goes out %s', (_name, cuts) => {
    const card = TestCard.on(new TestBackend()).start();
    const chain = card.send(FRAME, header({}), cuts);
    expect(card.backend.sent.map(({ bytes }) => bytes)).toEqual([FRAME]);
    expect(card.tx.pushed).toEqual([{ chain, writtenBytes: 0 }]);
    expect(card.device.statistics).toMatchObject({ txFrames: 1, txBytes: FRAME.length, txInvalid: 0 });
  });

  it('goes out behind a header of 10 bytes where the driver is a legacy one without mergeable buffers', () => {
    const card = TestCard.on(new TestBackend()).start([15], false);
    card.send(FRAME, header({}).slice(0, 10));
    expect(card.backend.sent[0].bytes).toEqual(FRAME);
  });

  it('goes out behind a header of 12 bytes where a legacy driver has mergeable buffers', () => {
    const card = TestCard.on(new TestBackend()).start([], false);
    card.send(FRAME, header({}));
    expect(card.backend.sent[0].bytes).toEqual(FRAME);
  });

  it('takes with it what is left to do', () => {
    const card = TestCard.on(new TestBackend()).start();
    const { whole } = offloaded({ payload: payloadOf(9000) }, 1400);
    card.send(
      whole.bytes,
      header({ flags: 3, gsoType: 0x81, gsoSize: 1400, csumStart: 34, csumOffset: 16, hdrLen: 7 }),
    );
    expect(card.backend.sent).toEqual([
      {
        bytes: whole.bytes,
        work: {
          needsChecksum: true,
          checksumValid: false,
          csumStart: 34,
          csumOffset: 16,
          gsoType: 1,
          gsoSize: 1400,
          ecn: true,
        },
      },
    ]);
  });

  it('is lost while the link is down, and given back', () => {
    const card = TestCard.on(new TestBackend()).start();
    card.device.setLink(false);
    card.send(FRAME);
    expect(card.backend.sent).toEqual([]);
    expect(card.tx.pushed).toHaveLength(1);
    expect(card.device.statistics).toMatchObject({ txFrames: 0, txDropped: 1 });
  });

  it('cannot be changed where it is looked at, whatever the guest does meanwhile', () => {
    const card = TestCard.on(new TestBackend()).start();
    const chain = new TestChain(new Uint8Array(Buffer.concat([header({}), FRAME])));
    const send = card.backend.send.bind(card.backend);
    card.backend.send = (frame) => {
      // Another source address, once the device has looked.
      chain.readable.bytes[0].fill(0xbb, 12 + 6, 12 + 12);
      return send(frame);
    };
    card.device.handleChain(card.tx, chain);
    expect(card.backend.sent[0].bytes).toEqual(FRAME);
  });
});

describe('what is no frame', () => {
  const { whole } = offloaded({ payload: payloadOf(3000) }, 1000);
  it.each<[string, Uint8Array, Uint8Array]>([
    ['has no bytes at all', new Uint8Array(0), new Uint8Array(0)],
    ['is shorter than a header', new Uint8Array(0), header({}).slice(0, 11)],
    ['is a header alone', new Uint8Array(0), header({})],
    ['is shorter than an Ethernet header', FRAME.slice(0, 13), header({})],
    ['is longer than any frame', new Uint8Array(MAX_FRAME_BYTES + 1), header({})],
    [
      'wants a checksum behind its end',
      FRAME,
      header({ flags: 1, csumStart: FRAME.length - 1, csumOffset: 0 }),
    ],
    [
      'wants a checksum far behind its end',
      FRAME,
      header({ flags: 1, csumStart: 0xffff, csumOffset: 0xffff }),
    ],
    [
      'is to be cut up as what it is not',
      FRAME,
      header({ flags: 1, gsoType: 4, gsoSize: 100, csumStart: 34, csumOffset: 16 }),
    ],
    [
      'is to be cut up into nothing',
      whole.bytes,
      header({ flags: 1, gsoType: 1, csumStart: 34, csumOffset: 16 }),
    ],
    ['is to be cut up without a checksum', whole.bytes, header({ gsoType: 1, gsoSize: 1000 })],
    [
      'is to be cut up in a way that is not on offer',
      FRAME,
      header({ flags: 1, gsoType: 3, gsoSize: 100, csumStart: 34 }),
    ],
  ])('is given back and counted where it %s', (_name, bytes, head) => {
    const card = TestCard.on(new TestBackend()).start();
    const chain = card.send(bytes, head);
    expect(card.backend.sent).toEqual([]);
    expect(card.tx.pushed).toEqual([{ chain, writtenBytes: 0 }]);
    expect(card.device.statistics).toMatchObject({ txInvalid: 1, txFrames: 0 });
    expect(card.faults).toEqual([]);
  });
});

describe('a backend that has no room', () => {
  function full() {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const card = TestCard.on(new TestBackend()).start();
    card.backend.room = 1;
    const chains = [1, 2, 3, 4].map((seed) => card.send(packet({ payload: payloadOf(9, seed) }).bytes));
    return { card, chains };
  }
  const returned = (card: TestCard) => card.tx.pushed.map(({ chain }) => chain);

  it('gets the frames later, in their order, as it has room', () => {
    const { card, chains } = full();
    expect(returned(card)).toEqual(chains.slice(0, 1));
    card.backend.room = 3;
    card.backend.port.sendable();
    expect(returned(card)).toEqual(chains.slice(0, 3));
    expect(card.tx.flushes).toBe(1);
    card.backend.room = 9;
    const last = card.send(packet({ payload: payloadOf(9, 5) }).bytes);
    expect(returned(card)).toEqual(chains.slice(0, 3));
    card.backend.port.sendable();
    expect(returned(card)).toEqual([...chains, last]);
    const seeds = card.backend.sent.map(({ bytes }) => bytes[54]);
    expect(seeds).toEqual([1, 2, 3, 4, 5].map((seed) => payloadOf(1, seed)[0]));
    vi.advanceTimersByTime(10_000);
    expect(card.device.statistics).toMatchObject({ txFrames: 5, txDropped: 0 });
  });

  it('loses them once they have waited for long, and they are given back', () => {
    const { card, chains } = full();
    vi.advanceTimersByTime(399);
    expect(returned(card)).toEqual(chains.slice(0, 1));
    vi.advanceTimersByTime(1);
    expect(returned(card)).toEqual(chains);
    expect(card.tx.flushes).toBe(1);
    expect(card.device.statistics).toMatchObject({ txFrames: 1, txDropped: 3 });
  });

  it('does not hear of them any more after a reset', () => {
    for (const reset of ['reset', 'resetQueue'] as const) {
      const { card, chains } = full();
      card.device[reset](1);
      card.backend.room = 9;
      card.backend.port.sendable();
      vi.advanceTimersByTime(10_000);
      expect(returned(card)).toEqual(chains.slice(0, 1));
      expect(card.backend.sent).toHaveLength(1);
    }
  });
});
