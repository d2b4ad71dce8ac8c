/** The network device's numbers (virtio 1.3, section 5.1), with the specification's names. */

/** Feature bits (5.1.3). Not offered: UFO, HASH_REPORT, RSS, NOTF_COAL, VQ_NOTF_COAL, RSC_EXT, STANDBY, GUEST_HDRLEN. */
export const VirtioNetFeature = {
  VIRTIO_NET_F_CSUM: 0,
  VIRTIO_NET_F_GUEST_CSUM: 1,
  VIRTIO_NET_F_CTRL_GUEST_OFFLOADS: 2,
  VIRTIO_NET_F_MTU: 3,
  VIRTIO_NET_F_MAC: 5,
  VIRTIO_NET_F_GUEST_TSO4: 7,
  VIRTIO_NET_F_GUEST_TSO6: 8,
  VIRTIO_NET_F_GUEST_ECN: 9,
  VIRTIO_NET_F_HOST_TSO4: 11,
  VIRTIO_NET_F_HOST_TSO6: 12,
  VIRTIO_NET_F_HOST_ECN: 13,
  VIRTIO_NET_F_MRG_RXBUF: 15,
  VIRTIO_NET_F_STATUS: 16,
  VIRTIO_NET_F_CTRL_VQ: 17,
  VIRTIO_NET_F_CTRL_RX: 18,
  VIRTIO_NET_F_CTRL_VLAN: 19,
  VIRTIO_NET_F_CTRL_RX_EXTRA: 20,
  VIRTIO_NET_F_GUEST_ANNOUNCE: 21,
  VIRTIO_NET_F_MQ: 22,
  VIRTIO_NET_F_CTRL_MAC_ADDR: 23,
  VIRTIO_NET_F_GUEST_USO4: 54,
  VIRTIO_NET_F_GUEST_USO6: 55,
  VIRTIO_NET_F_HOST_USO: 56,
  VIRTIO_NET_F_SPEED_DUPLEX: 63,
} as const;

/** Offsets in struct virtio_net_config (5.1.4), without what RSS adds at its end. */
export const ConfigField = {
  MAC: 0,
  STATUS: 6,
  MAX_VIRTQUEUE_PAIRS: 8,
  MTU: 10,
  SPEED: 12,
  DUPLEX: 16,
  BYTES: 17,
} as const;

/** Bits of `status`. */
export const VirtioNetStatus = { VIRTIO_NET_S_LINK_UP: 1, VIRTIO_NET_S_ANNOUNCE: 2 } as const;

export const DUPLEX_FULL = 1;

/** Offsets in struct virtio_net_hdr (5.1.6): little-endian, before every packet. */
export const HeaderField = {
  FLAGS: 0,
  GSO_TYPE: 1,
  HDR_LEN: 2,
  GSO_SIZE: 4,
  CSUM_START: 6,
  CSUM_OFFSET: 8,
  NUM_BUFFERS: 10,
  /** A legacy driver's header without mergeable buffers ends before `num_buffers`. */
  LEGACY_BYTES: 10,
  BYTES: 12,
} as const;

/** Bits of the header's `flags`. */
export const VirtioNetHdrFlag = { VIRTIO_NET_HDR_F_NEEDS_CSUM: 1, VIRTIO_NET_HDR_F_DATA_VALID: 2 } as const;

/** The header's `gso_type`; `ECN` is a bit that comes on top of the TCP ones. */
export const VirtioNetHdrGso = {
  VIRTIO_NET_HDR_GSO_NONE: 0,
  VIRTIO_NET_HDR_GSO_TCPV4: 1,
  VIRTIO_NET_HDR_GSO_TCPV6: 4,
  VIRTIO_NET_HDR_GSO_UDP_L4: 5,
  VIRTIO_NET_HDR_GSO_ECN: 0x80,
} as const;

/** Classes of control commands, and what they hold (5.1.6.5). */
export const VirtioNetCtrl = {
  VIRTIO_NET_CTRL_RX: 0,
  VIRTIO_NET_CTRL_MAC: 1,
  VIRTIO_NET_CTRL_VLAN: 2,
  VIRTIO_NET_CTRL_ANNOUNCE: 3,
  VIRTIO_NET_CTRL_MQ: 4,
  VIRTIO_NET_CTRL_GUEST_OFFLOADS: 5,
} as const;

export const VirtioNetCtrlRx = {
  VIRTIO_NET_CTRL_RX_PROMISC: 0,
  VIRTIO_NET_CTRL_RX_ALLMULTI: 1,
  VIRTIO_NET_CTRL_RX_ALLUNI: 2,
  VIRTIO_NET_CTRL_RX_NOMULTI: 3,
  VIRTIO_NET_CTRL_RX_NOUNI: 4,
  VIRTIO_NET_CTRL_RX_NOBCAST: 5,
} as const;

export const VirtioNetCtrlMac = {
  VIRTIO_NET_CTRL_MAC_TABLE_SET: 0,
  VIRTIO_NET_CTRL_MAC_ADDR_SET: 1,
} as const;
export const VirtioNetCtrlVlan = { VIRTIO_NET_CTRL_VLAN_ADD: 0, VIRTIO_NET_CTRL_VLAN_DEL: 1 } as const;
export const VIRTIO_NET_CTRL_ANNOUNCE_ACK = 0;
export const VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET = 0;
export const VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET = 0;

/** The byte that answers a control command. */
export const VirtioNetAck = { VIRTIO_NET_OK: 0, VIRTIO_NET_ERR: 1 } as const;
