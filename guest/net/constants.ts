/** The network device as virtio 1.3 lays it out (section 5.1). */

export const VIRTIO_ID_NET = 1;

/** Feature bits that this driver knows what to do with, as masks. */
export const NetFeature = {
  VIRTIO_NET_F_CSUM: 1n << 0n,
  VIRTIO_NET_F_GUEST_CSUM: 1n << 1n,
  VIRTIO_NET_F_CTRL_GUEST_OFFLOADS: 1n << 2n,
  VIRTIO_NET_F_MTU: 1n << 3n,
  VIRTIO_NET_F_MAC: 1n << 5n,
  VIRTIO_NET_F_GUEST_TSO4: 1n << 7n,
  VIRTIO_NET_F_GUEST_TSO6: 1n << 8n,
  VIRTIO_NET_F_GUEST_ECN: 1n << 9n,
  VIRTIO_NET_F_HOST_TSO4: 1n << 11n,
  VIRTIO_NET_F_HOST_TSO6: 1n << 12n,
  VIRTIO_NET_F_HOST_ECN: 1n << 13n,
  VIRTIO_NET_F_MRG_RXBUF: 1n << 15n,
  VIRTIO_NET_F_STATUS: 1n << 16n,
  VIRTIO_NET_F_CTRL_VQ: 1n << 17n,
  VIRTIO_NET_F_CTRL_RX: 1n << 18n,
  VIRTIO_NET_F_CTRL_VLAN: 1n << 19n,
  VIRTIO_NET_F_CTRL_RX_EXTRA: 1n << 20n,
  VIRTIO_NET_F_GUEST_ANNOUNCE: 1n << 21n,
  VIRTIO_NET_F_MQ: 1n << 22n,
  VIRTIO_NET_F_CTRL_MAC_ADDR: 1n << 23n,
  VIRTIO_NET_F_GUEST_USO4: 1n << 54n,
  VIRTIO_NET_F_GUEST_USO6: 1n << 55n,
  VIRTIO_NET_F_HOST_USO: 1n << 56n,
  VIRTIO_NET_F_SPEED_DUPLEX: 1n << 63n,
} as const;

/** What a device may leave undone in frames for this driver. */
export const GUEST_OFFLOADS =
  NetFeature.VIRTIO_NET_F_GUEST_CSUM |
  NetFeature.VIRTIO_NET_F_GUEST_TSO4 |
  NetFeature.VIRTIO_NET_F_GUEST_TSO6 |
  NetFeature.VIRTIO_NET_F_GUEST_ECN |
  NetFeature.VIRTIO_NET_F_GUEST_USO4 |
  NetFeature.VIRTIO_NET_F_GUEST_USO6;

/** Bits of a header's flags. */
export const HDR_F_NEEDS_CSUM = 1;
export const HDR_F_DATA_VALID = 2;

/** How a frame is to be cut up; `HDR_GSO_ECN` comes on top of the TCP ones. */
export const GsoType = { NONE: 0, TCPV4: 1, TCPV6: 4, UDP_L4: 5 } as const;
export type GsoType = (typeof GsoType)[keyof typeof GsoType];
export const HDR_GSO_ECN = 0x80;

/** u8 flags; u8 gso_type; le16 hdr_len, gso_size, csum_start, csum_offset; and le16 num_buffers where the header is long. */
export const HEADER_SIZE = 12;
export const LEGACY_HEADER_SIZE = 10;
export const NUM_BUFFERS_AT = 10;

/** Commands as [class, command]. */
export const NetCommand = {
  RX_PROMISC: [0, 0],
  RX_ALLMULTI: [0, 1],
  RX_ALLUNI: [0, 2],
  RX_NOMULTI: [0, 3],
  RX_NOUNI: [0, 4],
  RX_NOBCAST: [0, 5],
  MAC_TABLE_SET: [1, 0],
  MAC_ADDR_SET: [1, 1],
  VLAN_ADD: [2, 0],
  VLAN_DEL: [2, 1],
  ANNOUNCE_ACK: [3, 0],
  MQ_VQ_PAIRS_SET: [4, 0],
  GUEST_OFFLOADS_SET: [5, 0],
} as const;
export type NetCommand = (typeof NetCommand)[keyof typeof NetCommand];

/** The acknowledgement of a command that was done. */
export const ACK_OK = 0;
