/** Frames and headers of any bytes, in buffers of any cut: nothing throws, and each chain comes back once. */
import { describe, expect, it } from 'vitest';
import { MAX_FRAME_BYTES } from '../../../devices/net/frame.js';
import { FrameFinisher } from '../../../devices/net/offload/finisher.js';
import { LearningSwitch } from '../../../devices/net/switch/learning-switch.js';
import { randomFrom } from '../blk/support/vectors.js';
import { frameOf, TestBackend, TestPort } from './support/frames.js';
import { packet, payloadOf, type PacketOptions } from './support/packets.js';
import { header, TestCard, TestChain } from './support/test-queue.js';

const CASES = Number(process.env.NET_FUZZ_CASES ?? 8000);
const SEED = Number(process.env.NET_FUZZ_SEED ?? 1);
type Random = (below: number) => number;

const PACKETS = [0, 1, 100, 1448, 5000].flatMap((length) =>
  (
    [{}, { udp: true }, { ipv6: true }, { udp: true, ipv6: true }, { tags: [5] }] as Partial<PacketOptions>[]
  ).map((options) => packet({ ...options, payload: payloadOf(length), partial: true })),
);
const SIZES = [0, 1, 14, 34, 47, 48, 54, 100, 1000, 1448, 0x7fff, 0xffff];

function anyOf<T>(random: Random, all: readonly T[]): T {
  return all[random(all.length)];
}

/** A frame that is nearly right, and its header. */
function sentBytes(random: Random): Uint8Array {
  const built = anyOf(random, PACKETS);
  const word = (right: number) =>
    random(9) > 0 ? right : random(2) === 0 ? anyOf(random, SIZES) : random(0x10000);
  const isUdp = built.csumOffset === 6;
  const isIpv6 = (built.bytes[built.networkOffset] ?? 0) >>> 4 === 6;
  const gsoType = isUdp ? 5 : isIpv6 ? 4 : 1;
  const head = header({
    flags: random(9) > 0 ? 1 : random(256),
    gsoType: random(9) > 0 ? gsoType : random(256),
    hdrLen: random(0x10000),
    gsoSize: word(1448),
    csumStart: word(built.transportOffset),
    csumOffset: word(built.csumOffset),
  });
  const bytes = new Uint8Array(Buffer.concat([head, built.bytes]));
  for (let i = Math.max(random(6) - 3, 0); i > 0; i--)
    bytes[12 + random(Math.min(80, bytes.length - 12))] ^= 1 << random(8);
  return random(8) === 0 ? bytes.slice(0, random(bytes.length + 1)) : bytes;
}

const cuts = (random: Random) =>
  Array.from({ length: random(5) }, () => anyOf(random, [0, 1, 11, 12, 13, 14, 192, 500]));

describe('a card', () => {
  it(`takes ${CASES} frames of all sorts, gives each back once, and passes on only what it can finish`, () => {
    const random = randomFrom(SEED);
    const card = TestCard.on(new TestBackend()).start();
    const finisher = new FrameFinisher();
    let longest = 0;
    let parts = 0;
    card.backend.send = (frame) => {
      const lost = finisher.hand(frame, random(64), (part) => {
        parts++;
        longest = Math.max(longest, part.byteLength);
        return true;
      });
      return lost === 0;
    };
    for (let i = 0; i < CASES; i++) {
      const chain = new TestChain(sentBytes(random), 0, cuts(random));
      card.tx.pushed.length = 0;
      card.device.handleChain(card.tx, chain);
      if (card.tx.pushed.length !== 1)
        throw new Error(`seed ${SEED}, case ${i}: ${card.tx.pushed.length} times`);
    }
    const { txFrames, txInvalid, txDropped } = card.device.statistics;
    console.log(`${CASES} frames (seed ${SEED}): ${txFrames} sent in ${parts} parts, ${txInvalid} refused`);
    expect([txFrames + txInvalid, txDropped]).toEqual([CASES, 0]);
    expect(Math.min(txFrames, txInvalid)).toBeGreaterThan(CASES / 20);
    expect(longest).toBeLessThanOrEqual(MAX_FRAME_BYTES);
    expect(card.faults).toEqual([]);
  });

  it(`fills buffers of all sizes with ${CASES} frames, each whole or not at all, and within its buffers`, () => {
    const random = randomFrom(SEED + 2);
    const card = TestCard.on(new TestBackend()).start(random(2) === 0 ? [] : [15]);
    let delivered = 0;
    for (let i = 0; i < CASES; i++) {
      const { bytes } = anyOf(random, PACKETS);
      while (card.rx.available.length < 8)
        card.post(12 + random(anyOf(random, [20, 2000, 6000])), cuts(random));
      card.rx.pushed.length = 0;
      card.device.setLink(true);
      card.command(Uint8Array.of(0, 0, 1));
      card.backend.port.deliver(frameOf(bytes));
      if (card.rx.pushed.length === 0) {
        card.rx.available.length = 0;
        continue;
      }
      const got = Buffer.concat(
        card.rx.pushed.map(({ chain, writtenBytes }) => (chain as TestChain).room.subarray(0, writtenBytes)),
      );
      const untouched = card.rx.pushed.every(({ chain, writtenBytes }) =>
        (chain as TestChain).room.subarray(writtenBytes).every((byte) => byte === 0xee),
      );
      const expected = Buffer.concat([header({ buffers: card.rx.pushed.length }), bytes]);
      if (!got.equals(expected) || !untouched) throw new Error(`seed ${SEED + 2}, case ${i}`);
      delivered++;
    }
    expect(delivered).toBeGreaterThan(CASES / 2);
    expect(card.faults).toEqual([]);
  });
});

describe('a switch with cards on all kinds of ports', () => {
  it(`passes ${CASES} frames of all sorts on, and no card receives what it cannot have`, () => {
    const random = randomFrom(SEED + 3);
    const net = new LearningSwitch({ addressesPerPort: 16 });
    const rules = [{}, { vlan: 5 }, { trunk: [1, 5] }, { vlan: 5, trunk: [1] }, { isolated: true }];
    const cards = rules.map((options) => {
      const port = net.addPort({ ...options, floodsPerSecond: 1e6 });
      return TestCard.on(port).start();
    });
    const observer = new TestPort();
    net.addPort({ trunk: [1, 5] }).port = observer;
    for (let i = 0; i < CASES; i++) {
      const card = anyOf(random, cards);
      const bytes = sentBytes(random);
      for (let at = 12; at < Math.min(24, bytes.length); at++) bytes[at] = random(2) * 2;
      card.device.handleChain(card.tx, new TestChain(bytes, 0, cuts(random)));
      card.tx.pushed.length = 0;
      for (const { bytes: got } of observer.frames.splice(0)) {
        const vlan = ((got[14] << 8) | got[15]) & 0xfff;
        const tagged = got[12] === 0x81 && got[13] === 0;
        if (!tagged || (vlan !== 1 && vlan !== 5))
          throw new Error(`seed ${SEED + 3}, case ${i}: VLAN ${vlan}`);
      }
    }
    expect(net.addressCount).toBeLessThanOrEqual(16 * rules.length);
    expect(cards.every(({ faults }) => faults.length === 0)).toBe(true);
  });
});
