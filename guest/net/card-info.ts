import { NetFeature } from './constants.js';

/** What a card says about itself, as far as its features were agreed on. */
export interface CardInfo {
  /** Six bytes; zeros where the card has none. */
  readonly mac: Uint8Array;
  /** True where the card does not say. */
  readonly linkUp: boolean;
  /** The card asks its driver to make itself known to the network. */
  readonly announce: boolean;
  readonly maxQueuePairs: number;
  /** Longest packet in bytes, without Ethernet's header; undefined where the card leaves it to the driver. */
  readonly mtu: number | undefined;
  /** Undefined where the card does not say. */
  readonly speedMbps: number | undefined;
  readonly fullDuplex: boolean | undefined;
}

/** Decodes struct virtio_net_config. Fields whose feature was not agreed on are not looked at. */
export function decodeCardInfo(features: bigint, byteAt: (offset: number) => number): CardInfo {
  const u16 = (at: number) => byteAt(at) | (byteAt(at + 1) << 8);
  const has = (feature: bigint) => (features & feature) !== 0n;
  const hasStatus = has(NetFeature.VIRTIO_NET_F_STATUS);
  const hasSpeed = has(NetFeature.VIRTIO_NET_F_SPEED_DUPLEX);
  return {
    mac: Uint8Array.from({ length: 6 }, (_, i) => (has(NetFeature.VIRTIO_NET_F_MAC) ? byteAt(i) : 0)),
    linkUp: !hasStatus || (u16(6) & 1) !== 0,
    announce: hasStatus && (u16(6) & 2) !== 0,
    maxQueuePairs: has(NetFeature.VIRTIO_NET_F_MQ) ? u16(8) : 1,
    mtu: has(NetFeature.VIRTIO_NET_F_MTU) ? u16(10) : undefined,
    speedMbps: hasSpeed ? u16(12) + u16(14) * 0x1_0000 : undefined,
    fullDuplex: hasSpeed ? byteAt(16) === 1 : undefined,
  };
}
