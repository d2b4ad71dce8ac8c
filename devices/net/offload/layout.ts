/** Where the headers of a frame are: Ethernet with VLAN tags, IPv4 or IPv6 with its extensions, TCP or UDP. */
import { ETHERNET_HEADER_BYTES, EtherType, EthernetField, u16At, VLAN_TAG_BYTES } from '../ethernet.js';
import type { Frame } from '../frame.js';

export const IpProtocol = { HOP_BY_HOP: 0, TCP: 6, UDP: 17, ROUTING: 43, DESTINATION: 60 } as const;
const IPV4_MIN_BYTES = 20;
const IPV6_BYTES = 40;
const TCP_MIN_BYTES = 20;
export const UDP_BYTES = 8;
const MAX_TAGS = 2;
/** Offset of the data offset, in words of 32 bits, in the upper half of a byte. */
const TCP_DATA_OFFSET = 12;
const IPV4_FRAGMENT_MASK = 0x3fff;

/** A parsed frame's offsets, each from the frame's start. One object serves many frames. */
export class FrameLayout {
  networkOffset = 0;
  isIpv6 = false;
  /** What is in the IP packet: an `IpProtocol`, or another number. */
  protocol = 0;
  transportOffset = 0;
  /** Where the payload of TCP or UDP starts; 0 where it is neither, or not parsed that far. */
  payloadOffset = 0;

  /** False where the frame is no whole IP packet's beginning. Looks at the frame's first segment alone. */
  parse(frame: Frame): boolean {
    const { head, headOffset: at, headBytes: limit } = frame;
    this.payloadOffset = 0;
    if (limit < ETHERNET_HEADER_BYTES) return false;
    let offset: number = EthernetField.TYPE;
    let type = u16At(head, at + offset);
    for (let tags = 0; tags < MAX_TAGS && isTag(type); tags++) {
      offset += VLAN_TAG_BYTES;
      if (offset + 2 > limit) return false;
      type = u16At(head, at + offset);
    }
    this.networkOffset = offset + 2;
    this.isIpv6 = type === EtherType.IPV6;
    if (this.isIpv6) return this.#parseIpv6(head, at, limit);
    return type === EtherType.IPV4 && this.#parseIpv4(head, at, limit);
  }

  #parseIpv4(head: Uint8Array, at: number, limit: number): boolean {
    const ip = this.networkOffset;
    if (ip + IPV4_MIN_BYTES > limit || head[at + ip] >>> 4 !== 4) return false;
    const headerBytes = (head[at + ip] & 15) * 4;
    if (headerBytes < IPV4_MIN_BYTES || ip + headerBytes > limit) return false;
    this.protocol = head[at + ip + 9];
    this.transportOffset = ip + headerBytes;
    // A fragment has no whole transport header, or only the first one has.
    if ((u16At(head, at + ip + 6) & IPV4_FRAGMENT_MASK) === 0) this.#parseTransport(head, at, limit);
    return true;
  }

  #parseIpv6(head: Uint8Array, at: number, limit: number): boolean {
    const ip = this.networkOffset;
    if (ip + IPV6_BYTES > limit || head[at + ip] >>> 4 !== 6) return false;
    let protocol = head[at + ip + 6];
    let offset = ip + IPV6_BYTES;
    while (isExtension(protocol)) {
      if (offset + 2 > limit) return false;
      protocol = head[at + offset];
      offset += (head[at + offset + 1] + 1) * 8;
    }
    if (offset > limit) return false;
    this.protocol = protocol;
    this.transportOffset = offset;
    this.#parseTransport(head, at, limit);
    return true;
  }

  #parseTransport(head: Uint8Array, at: number, limit: number): void {
    const transport = this.transportOffset;
    if (this.protocol === IpProtocol.UDP && transport + UDP_BYTES <= limit) {
      this.payloadOffset = transport + UDP_BYTES;
    }
    if (this.protocol !== IpProtocol.TCP || transport + TCP_MIN_BYTES > limit) return;
    const headerBytes = (head[at + transport + TCP_DATA_OFFSET] >>> 4) * 4;
    if (headerBytes >= TCP_MIN_BYTES && transport + headerBytes <= limit) {
      this.payloadOffset = transport + headerBytes;
    }
  }
}

function isTag(type: number): boolean {
  return type === EtherType.VLAN || type === EtherType.SERVICE_VLAN;
}

function isExtension(protocol: number): boolean {
  return (
    protocol === IpProtocol.HOP_BY_HOP ||
    protocol === IpProtocol.ROUTING ||
    protocol === IpProtocol.DESTINATION
  );
}
