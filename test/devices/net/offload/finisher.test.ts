import { describe, expect, it } from 'vitest';
import { ALL_OFFLOADS, Offload } from '../../../../devices/net/frame.js';
import { FrameFinisher, NO_ROOM } from '../../../../devices/net/offload/finisher.js';
import { FrameLayout } from '../../../../devices/net/offload/layout.js';
import { isSound } from '../../../../devices/net/offload/soundness.js';
import { bytesOf, frameOf } from '../support/frames.js';
import { offloaded, packet, payloadOf, type BuiltPacket, type PacketOptions } from '../support/packets.js';

const Gso = { NONE: 0, TCPV4: 1, TCPV6: 4, UDP_L4: 5 } as const;

function workOf(built: BuiltPacket, gsoType: number = Gso.NONE, gsoSize = 0, ecn = false) {
  const { transportOffset: csumStart, csumOffset } = built;
  return { needsChecksum: true, csumStart, csumOffset, gsoType, gsoSize, ecn };
}

/** What a receiver gets that accepts `accepts`. */
function handed(finisher: FrameFinisher, frame: ReturnType<typeof frameOf>, accepts: number): Uint8Array[] {
  expect(isSound(frame, new FrameLayout())).toBe(true);
  const parts: Uint8Array[] = [];
  expect(finisher.hand(frame, accepts, (part) => parts.push(bytesOf(part)) > 0)).toBe(0);
  return parts;
}

const PAYLOAD = payloadOf(5000);
const SACK = Uint8Array.of(1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8);
const streams: readonly (readonly [string, number, number, Omit<PacketOptions, 'payload'>])[] = [
  ['TCP over IPv4', Gso.TCPV4, Offload.TSO4, { id: 0xfffe, tcp: { sequence: 0xffff_f000, flags: 0x19 } }],
  [
    'TCP over IPv4 with options of both',
    Gso.TCPV4,
    Offload.TSO4,
    { ipOptions: SACK, tcp: { options: SACK } },
  ],
  ['TCP over IPv6', Gso.TCPV6, Offload.TSO6, { ipv6: true, tcp: { flags: 0x19 } }],
  [
    'TCP over IPv6 with an extension header',
    Gso.TCPV6,
    Offload.TSO6,
    { ipv6: true, ipOptions: new Uint8Array(16) },
  ],
  ['TCP in a VLAN', Gso.TCPV4, Offload.TSO4, { tags: [7] }],
  ['TCP in two VLANs', Gso.TCPV6, Offload.TSO6, { ipv6: true, tags: [7, 4000] }],
  ['UDP over IPv4', Gso.UDP_L4, Offload.USO4, { udp: true, id: 9 }],
  ['UDP over IPv6', Gso.UDP_L4, Offload.USO6, { udp: true, ipv6: true }],
];

describe('a frame for a receiver that takes no unfinished work', () => {
  it.each(streams)('is cut into whole packets: %s', (_name, gsoType, _offload, options) => {
    const finisher = new FrameFinisher();
    for (const segmentBytes of [100, 1448, 4999, 5000, 6000]) {
      const { whole, segments } = offloaded({ ...options, payload: PAYLOAD }, segmentBytes);
      const frame = frameOf(whole.bytes, workOf(whole, gsoType, segmentBytes), [200, 1000, 1001, 4000]);
      const parts = handed(finisher, frame, 0);
      expect(parts.map((part) => Buffer.from(part).toString('hex'))).toEqual(
        segments.map((part) => Buffer.from(part).toString('hex')),
      );
    }
  });

  it('keeps the congestion signal for its first segment', () => {
    const options = { tcp: { flags: 0xd8 }, payload: PAYLOAD };
    const { whole, segments } = offloaded(options, 2000);
    const parts = handed(new FrameFinisher(), frameOf(whole.bytes, workOf(whole, Gso.TCPV4, 2000, true)), 0);
    expect(parts).toEqual(segments);
    expect(parts.map((part) => part[whole.transportOffset + 13])).toEqual([0xd0, 0x50, 0x58]);
  });

  it.each([
    ['TCP', {}],
    ['TCP over IPv6', { ipv6: true }],
    ['UDP', { udp: true }],
  ])('gets its checksum finished: %s', (_name, options) => {
    for (const length of [0, 1, 2, 999, 65000]) {
      const payload = payloadOf(length);
      const partial = packet({ ...options, payload, partial: true });
      const cuts = length > 1000 ? [300, 501] : [];
      const [part] = handed(new FrameFinisher(), frameOf(partial.bytes, workOf(partial), cuts), 0);
      expect(Buffer.compare(part, packet({ ...options, payload }).bytes)).toBe(0);
    }
  });

  it('never gets a UDP checksum of zero, which would say that there is none', () => {
    // Its own checksum is what brings a sum to all ones.
    const { bytes, transportOffset } = packet({ udp: true, payload: new Uint8Array(2) });
    const payload = bytes.slice(transportOffset + 6, transportOffset + 8);
    const partial = packet({ udp: true, payload, partial: true });
    const [part] = handed(new FrameFinisher(), frameOf(partial.bytes, workOf(partial)), 0);
    expect([...part.slice(transportOffset + 6, transportOffset + 8)]).toEqual([0xff, 0xff]);
    expect(part).toEqual(packet({ udp: true, payload }).bytes);
  });

  it('passes as it is where nothing is left to do', () => {
    const { bytes } = packet({ payload: PAYLOAD });
    const frame = frameOf(bytes, { checksumValid: true });
    new FrameFinisher().hand(frame, 0, (part) => {
      expect(part).toBe(frame);
      return true;
    });
  });
});

describe('a frame for a receiver that takes unfinished work', () => {
  it.each(streams)(
    'passes whole where all it needs is accepted, and else does not: %s',
    (_n, gsoType, offload, options) => {
      const { whole, segments } = offloaded({ ...options, payload: PAYLOAD }, 1000);
      const frame = frameOf(whole.bytes, workOf(whole, gsoType, 1000));
      const finisher = new FrameFinisher();
      for (let accepts = 0; accepts <= ALL_OFFLOADS; accepts++) {
        const takesIt = (accepts & Offload.CSUM) !== 0 && (accepts & offload) !== 0;
        const parts = handed(finisher, frame, accepts);
        const expected = takesIt ? [whole.bytes] : segments;
        expect(Buffer.compare(Buffer.concat(parts), Buffer.concat(expected))).toBe(0);
      }
    },
  );

  it('is cut where the stream uses ECN and the receiver does not know that', () => {
    const { whole, segments } = offloaded({ tcp: { flags: 0x90 }, payload: PAYLOAD }, 1000);
    const frame = frameOf(whole.bytes, workOf(whole, Gso.TCPV4, 1000, true));
    const finisher = new FrameFinisher();
    expect(handed(finisher, frame, Offload.CSUM | Offload.TSO4)).toEqual(segments);
    expect(handed(finisher, frame, Offload.CSUM | Offload.TSO4 | Offload.ECN)).toEqual([whole.bytes]);
  });

  it('passes with an unfinished checksum', () => {
    const partial = packet({ payload: PAYLOAD, partial: true });
    expect(handed(new FrameFinisher(), frameOf(partial.bytes, workOf(partial)), Offload.CSUM)).toEqual([
      partial.bytes,
    ]);
  });
});

describe('a frame whose receiver has no room', () => {
  const { whole } = offloaded({ payload: PAYLOAD }, 1000);
  const frame = frameOf(whole.bytes, workOf(whole, Gso.TCPV4, 1000));

  it('is refused as a whole where its first part is', () => {
    let calls = 0;
    expect(new FrameFinisher().hand(frame, 0, () => (calls++, false))).toBe(NO_ROOM);
    expect(calls).toBe(1);
  });

  it('loses the parts that have none, and says how many', () => {
    let calls = 0;
    expect(new FrameFinisher().hand(frame, 0, () => calls++ % 2 === 0)).toBe(2);
    expect(calls).toBe(5);
  });
});
