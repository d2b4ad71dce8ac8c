/** Packets from scratch, and a reader that checks them. Shares nothing with the code under test. */

export interface TcpOptions {
  readonly sequence?: number;
  readonly flags?: number;
  /** Multiples of four bytes. */
  readonly options?: Uint8Array;
  readonly ports?: readonly [number, number];
}

export interface PacketOptions {
  readonly macs?: readonly [destination: string, source: string];
  readonly tags?: readonly number[];
  readonly ipv6?: boolean;
  /** Of the IP in use. */
  readonly addresses?: { readonly source: Uint8Array; readonly destination: Uint8Array };
  /** IPv4 options, or IPv6 extension headers as [protocol, bytes] pairs flattened by the builder. */
  readonly ipOptions?: Uint8Array;
  readonly id?: number;
  readonly udp?: boolean;
  readonly tcp?: TcpOptions;
  /** The checksum holds the pseudo header's sum only, as for VIRTIO_NET_HDR_F_NEEDS_CSUM. */
  readonly partial?: boolean;
  /** An IP length for headers of a frame that is yet to be cut: as Linux leaves it, that of the whole. */
  readonly payload: Uint8Array;
}

export interface BuiltPacket {
  readonly bytes: Uint8Array;
  readonly networkOffset: number;
  readonly transportOffset: number;
  readonly payloadOffset: number;
  readonly csumOffset: number;
}

export const MAC_A = '52:54:00:00:00:0a';
export const MAC_B = '52:54:00:00:00:0b';
export const BROADCAST = 'ff:ff:ff:ff:ff:ff';

export function mac(text: string): Uint8Array {
  return Uint8Array.from(text.split(':').map((part) => Number.parseInt(part, 16)));
}

/** RFC 1071, by arithmetic modulo 2^16 - 1. */
export function internetChecksum(...parts: readonly Uint8Array[]): number {
  let sum = 0;
  for (const part of parts) {
    for (let i = 0; i < part.length; i++) sum += i % 2 === 0 ? part[i] * 256 : part[i];
  }
  return 0xffff - (sum === 0 ? 0 : ((sum - 1) % 0xffff) + 1);
}

function be(value: number, width: number): Uint8Array {
  return Uint8Array.from({ length: width }, (_, i) => Math.floor(value / 256 ** (width - 1 - i)) % 256);
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

const V4 = { source: Uint8Array.of(10, 0, 0, 1), destination: Uint8Array.of(10, 0, 0, 2) };
const V6 = {
  source: concat(Uint8Array.of(0xfd, 0), new Uint8Array(13), Uint8Array.of(1)),
  destination: concat(Uint8Array.of(0xfd, 0), new Uint8Array(13), Uint8Array.of(2)),
};

export function ethernet(
  [destination, source]: readonly [string, string],
  type: number,
  payload: Uint8Array,
  tags: readonly number[] = [],
): Uint8Array {
  const tagBytes = tags.map((tag) => concat(be(0x8100, 2), be(tag, 2)));
  return concat(mac(destination), mac(source), ...tagBytes, be(type, 2), payload);
}

/** A TCP or UDP packet in Ethernet. */
export function packet(options: PacketOptions): BuiltPacket {
  const { macs = [MAC_B, MAC_A], tags = [], ipv6 = false, payload } = options;
  const { ipOptions = new Uint8Array(0) } = options;
  const protocol = options.udp === true ? 17 : 6;
  const { source, destination } = options.addresses ?? (ipv6 ? V6 : V4);
  const length = transportHeader(options).length + payload.length;
  const pseudo = ipv6
    ? concat(source, destination, be(length, 4), be(protocol, 4))
    : concat(source, destination, be(protocol, 2), be(length, 2));
  const csumOffset = options.udp === true ? 6 : 16;
  const transport = concat(transportHeader(options, length), payload);
  // Added up to be complemented later, where it is not to be finished.
  const checksum =
    options.partial === true ? 0xffff - internetChecksum(pseudo) : internetChecksum(pseudo, transport);
  const isZeroUdp = options.udp === true && options.partial !== true && checksum === 0;
  transport.set(be(isZeroUdp ? 0xffff : checksum, 2), csumOffset);
  const ip = ipv6
    ? ipv6Header(protocol, ipOptions, length, source, destination)
    : ipv4Header(protocol, ipOptions, length, source, destination, options.id ?? 0);
  const networkOffset = 14 + 4 * tags.length;
  const transportOffset = networkOffset + ip.length;
  return {
    bytes: ethernet(macs, ipv6 ? 0x86dd : 0x0800, concat(ip, transport), tags),
    networkOffset,
    transportOffset,
    payloadOffset: transportOffset + transport.length - payload.length,
    csumOffset,
  };
}

function transportHeader(options: PacketOptions, length = 0): Uint8Array {
  const { ports = [1000, 2000] } = options.tcp ?? {};
  const portBytes = concat(be(ports[0], 2), be(ports[1], 2));
  if (options.udp === true) return concat(portBytes, be(length, 2), be(0, 2));
  const { sequence = 1, flags = 0x10, options: tcpOptions = new Uint8Array(0) } = options.tcp ?? {};
  const offset = (5 + tcpOptions.length / 4) << 4;
  const rest = concat(be(77, 4), Uint8Array.of(offset, flags), be(0x1234, 2), be(0, 2), be(0, 2));
  return concat(portBytes, be(sequence % 2 ** 32, 4), rest, tcpOptions);
}

function ipv4Header(
  protocol: number,
  options: Uint8Array,
  length: number,
  source: Uint8Array,
  destination: Uint8Array,
  id: number,
): Uint8Array {
  const header = concat(
    Uint8Array.of(0x40 | (5 + options.length / 4), 0),
    be(20 + options.length + length, 2),
    be(id % 0x10000, 2),
    Uint8Array.of(0x40, 0, 64, protocol),
    be(0, 2),
    source,
    destination,
    options,
  );
  header.set(be(internetChecksum(header), 2), 10);
  return header;
}

/** With `extension`, all of it is one destination options header. */
function ipv6Header(
  protocol: number,
  extension: Uint8Array,
  length: number,
  source: Uint8Array,
  destination: Uint8Array,
): Uint8Array {
  const next = extension.length === 0 ? protocol : 60;
  const header = concat(
    Uint8Array.of(0x60, 0, 0, 0),
    be(extension.length + length, 2),
    Uint8Array.of(next, 64),
    source,
    destination,
  );
  if (extension.length === 0) return header;
  const options = extension.slice();
  options.set([protocol, extension.length / 8 - 1]);
  return concat(header, options);
}

/** A long stream as segmentation offload has it, and what it has to become. */
export function offloaded(options: PacketOptions, segmentBytes: number) {
  const whole = packet({ ...options, partial: true });
  const { payload, tcp = {}, id = 0 } = options;
  const flags = tcp.flags ?? 0x10;
  const count = Math.ceil(payload.length / segmentBytes);
  const segments = Array.from({ length: count }, (_, i) => {
    const isLast = i === count - 1;
    const cleared = (isLast ? 0 : 0x09) | (i > 0 ? 0x80 : 0);
    return packet({
      ...options,
      id: id + i,
      tcp: { ...tcp, sequence: (tcp.sequence ?? 1) + i * segmentBytes, flags: flags & ~cleared },
      payload: payload.slice(i * segmentBytes, (i + 1) * segmentBytes),
    }).bytes;
  });
  return { whole, segments };
}

/** Bytes that do not repeat soon. */
export function payloadOf(lengthBytes: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length: lengthBytes }, (_, i) => (i * 7 + (i >>> 8) * 13 + seed * 29) & 0xff);
}
