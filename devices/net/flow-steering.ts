/**
 * Which queue a frame goes to (virtio 1.3, section 5.1.6.5.5, automatic receive steering): the one whose transmit queue sent the last
 * frame of the same flow, so that a connection stays on one processor of the guest.
 */
import { ETHERNET_HEADER_BYTES, EtherType, EthernetField, u16At } from './ethernet.js';
import type { Frame } from './frame.js';
import { IpProtocol } from './offload/layout.js';

const BUCKETS = 256;
const IPV4_BYTES = 20;
const IPV6_BYTES = 40;

export class FlowSteering {
  /** The queue pair of each bucket of flows. */
  readonly #pairs = new Uint8Array(BUCKETS);

  reset(): void {
    this.#pairs.fill(0);
  }

  sent(frame: Frame, pair: number): void {
    this.#pairs[bucketOf(frame)] = pair;
  }

  /** A pair that has sent frames of the flow, or 0. */
  pairFor(frame: Frame): number {
    return this.#pairs[bucketOf(frame)];
  }
}

/** The same for both directions of a flow: addresses and ports of both ends, in no order. */
function bucketOf(frame: Frame): number {
  const { head, headOffset, headBytes } = frame;
  const network = headOffset + ETHERNET_HEADER_BYTES;
  const type = u16At(head, headOffset + EthernetField.TYPE);
  if (type === EtherType.IPV4 && headBytes >= ETHERNET_HEADER_BYTES + IPV4_BYTES + 4) {
    const hash = mix(head, network + 12, 8);
    const isFlow = head[network] === 0x45 && hasPorts(head[network + 9]);
    return isFlow ? hash ^ mix(head, network + IPV4_BYTES, 4) : hash;
  }
  if (type === EtherType.IPV6 && headBytes >= ETHERNET_HEADER_BYTES + IPV6_BYTES + 4) {
    const hash = mix(head, network + 8, 32);
    return hasPorts(head[network + 6]) ? hash ^ mix(head, network + IPV6_BYTES, 4) : hash;
  }
  return 0;
}

function hasPorts(protocol: number): boolean {
  return protocol === IpProtocol.TCP || protocol === IpProtocol.UDP;
}

/** Exclusive or over all bytes: it does not see which half was the sender's. */
function mix(bytes: Uint8Array, at: number, lengthBytes: number): number {
  let hash = 0;
  for (let i = 0; i < lengthBytes; i++) hash ^= bytes[at + i];
  return hash;
}
