import { describe, expect, it } from 'vitest';
import { MAX_FRAME_BYTES } from '../../../../devices/net/frame.js';
import { FrameLayout } from '../../../../devices/net/offload/layout.js';
import { isSound } from '../../../../devices/net/offload/soundness.js';
import { frameOf, type Work } from '../support/frames.js';
import { packet, payloadOf } from '../support/packets.js';

const Gso = { NONE: 0, TCPV4: 1, UDP: 3, TCPV6: 4, UDP_L4: 5 } as const;
const payload = payloadOf(4000);
const tcp4 = packet({ payload, partial: true });
const tcp6 = packet({ payload, partial: true, ipv6: true });
const udp4 = packet({ payload, partial: true, udp: true });
const tcpWork = { needsChecksum: true, csumStart: 34, csumOffset: 16, gsoType: Gso.TCPV4, gsoSize: 1000 };
const udpWork = { needsChecksum: true, csumStart: 34, csumOffset: 6, gsoType: Gso.UDP_L4, gsoSize: 1000 };

const sound = (bytes: Uint8Array, work: Work = {}) => isSound(frameOf(bytes, work), new FrameLayout());
const changed = (bytes: Uint8Array, at: number, value: number) => {
  const copy = bytes.slice();
  copy[at] = value;
  return copy;
};

describe('a frame is sound', () => {
  it('where its length is one that a frame has', () => {
    const lengths = [1, 13, 14, 60, MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1];
    expect(lengths.map((length) => sound(new Uint8Array(length)))).toEqual([
      false,
      false,
      true,
      true,
      true,
      false,
    ]);
  });

  it.each([
    ['lies in the frame, to its last byte', 34, 18, 54, true],
    ['ends behind the frame', 34, 19, 54, false],
    ['starts in the Ethernet header', 13, 16, 54, false],
    ['starts behind the frame', 54, 0, 54, false],
    ['is at the ends of the fields', 0xffff, 0xffff, 54, false],
  ])('or not, where a checksum %s', (_name, csumStart, csumOffset, length, expected) => {
    expect(sound(new Uint8Array(length), { needsChecksum: true, csumStart, csumOffset })).toBe(expected);
  });

  it('where it is to be cut as what it is', () => {
    expect(sound(tcp4.bytes, tcpWork)).toBe(true);
    expect(sound(tcp6.bytes, { ...tcpWork, csumStart: 54, gsoType: Gso.TCPV6 })).toBe(true);
    expect(sound(udp4.bytes, udpWork)).toBe(true);
  });

  it.each<[string, Uint8Array, Work]>([
    ['of a size of 0', tcp4.bytes, { ...tcpWork, gsoSize: 0 }],
    ['without a checksum to finish', tcp4.bytes, { ...tcpWork, needsChecksum: false }],
    ['of a type that there is not', tcp4.bytes, { ...tcpWork, gsoType: 2 }],
    ['of the old type for UDP', udp4.bytes, { ...udpWork, gsoType: Gso.UDP }],
    ['of the other IP', tcp4.bytes, { ...tcpWork, gsoType: Gso.TCPV6 }],
    ['of the other IP, the other way', tcp6.bytes, { ...tcpWork, csumStart: 54 }],
    ['of the other transport', udp4.bytes, { ...udpWork, gsoType: Gso.TCPV4 }],
    ['of the other transport, the other way', tcp4.bytes, { ...tcpWork, gsoType: Gso.UDP_L4 }],
    ['with a checksum that starts elsewhere', tcp4.bytes, { ...tcpWork, csumStart: 36 }],
    ['with a checksum that is elsewhere', tcp4.bytes, { ...tcpWork, csumOffset: 6 }],
    ['with a checksum that is elsewhere in UDP', udp4.bytes, { ...udpWork, csumOffset: 16 }],
    ['with nothing behind the headers', tcp4.bytes.slice(0, 54), tcpWork],
    ['with half a TCP header', tcp4.bytes.slice(0, 50), tcpWork],
    ['with half an IP header', tcp4.bytes.slice(0, 30), tcpWork],
    ['with a TCP header shorter than any', changed(tcp4.bytes, 46, 0x40), tcpWork],
    ['with an IP header shorter than any', changed(tcp4.bytes, 14, 0x44), tcpWork],
    ['with the other version in the IP header', changed(tcp4.bytes, 14, 0x65), tcpWork],
    ['as a fragment', changed(tcp4.bytes, 20, 0x20), tcpWork],
    ['as a later fragment', changed(tcp4.bytes, 21, 1), tcpWork],
    [
      'with more extension headers than anybody looks at',
      withExtensions(),
      { ...tcpWork, csumStart: 54, gsoType: Gso.TCPV6 },
    ],
    ['into segments of a byte', tcp4.bytes, { ...tcpWork, gsoSize: 1 }],
    ['into more datagrams than anybody sends', udp4.bytes, { ...udpWork, gsoSize: 31 }],
    ['with ECN in UDP', udp4.bytes, { ...udpWork, ecn: true }],
    ['not at all, with ECN', tcp4.bytes, { ecn: true }],
  ])('and not, where it is to be cut %s', (_name, bytes, work) => {
    expect(sound(bytes, work)).toBe(false);
  });

  it('where a short segment is all that there is', () => {
    const { bytes } = packet({ payload: payloadOf(3), partial: true });
    expect(sound(bytes, { ...tcpWork, gsoSize: 3 })).toBe(true);
  });
});

function withExtensions(): Uint8Array {
  return packet({ payload, partial: true, ipv6: true, ipOptions: new Uint8Array(256) }).bytes;
}
