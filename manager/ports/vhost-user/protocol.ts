/**
 * The vhost-user protocol's numbers, under the names of QEMU's `docs/interop/vhost-user.rst`, for the back-end's side. All fields
 * are in the machine's byte order, which is little-endian wherever Node runs virtual machines.
 */

/** Message header: `request[4] flags[4] size[4]`; `size` counts the payload alone. */
export const VHOST_USER_HEADER_BYTES = 12;

export const VhostUserFlag = {
  VHOST_USER_VERSION_MASK: 0x3,
  VHOST_USER_VERSION: 0x1,
  VHOST_USER_REPLY_MASK: 0x4,
  VHOST_USER_NEED_REPLY_MASK: 0x8,
} as const;

/** Requests of the front-end that are served here. */
export const VhostUserRequest = {
  VHOST_USER_GET_FEATURES: 1,
  VHOST_USER_SET_FEATURES: 2,
  VHOST_USER_SET_OWNER: 3,
  VHOST_USER_RESET_OWNER: 4,
  VHOST_USER_SET_MEM_TABLE: 5,
  VHOST_USER_SET_LOG_BASE: 6,
  VHOST_USER_SET_LOG_FD: 7,
  VHOST_USER_SET_VRING_NUM: 8,
  VHOST_USER_SET_VRING_ADDR: 9,
  VHOST_USER_SET_VRING_BASE: 10,
  VHOST_USER_GET_VRING_BASE: 11,
  VHOST_USER_SET_VRING_KICK: 12,
  VHOST_USER_SET_VRING_CALL: 13,
  VHOST_USER_SET_VRING_ERR: 14,
  VHOST_USER_GET_PROTOCOL_FEATURES: 15,
  VHOST_USER_SET_PROTOCOL_FEATURES: 16,
  VHOST_USER_GET_QUEUE_NUM: 17,
  VHOST_USER_SET_VRING_ENABLE: 18,
  VHOST_USER_SEND_RARP: 19,
  VHOST_USER_SET_BACKEND_REQ_FD: 21,
  VHOST_USER_GET_CONFIG: 24,
  VHOST_USER_SET_CONFIG: 25,
  VHOST_USER_GET_INFLIGHT_FD: 31,
  VHOST_USER_SET_INFLIGHT_FD: 32,
  VHOST_USER_RESET_DEVICE: 34,
  VHOST_USER_GET_MAX_MEM_SLOTS: 36,
  VHOST_USER_ADD_MEM_REG: 37,
  VHOST_USER_REM_MEM_REG: 38,
  VHOST_USER_SET_STATUS: 39,
  VHOST_USER_GET_STATUS: 40,
  VHOST_USER_SET_DEVICE_STATE_FD: 42,
  VHOST_USER_CHECK_DEVICE_STATE: 43,
} as const;
export type VhostUserRequest = (typeof VhostUserRequest)[keyof typeof VhostUserRequest];

/** Requests of the back-end, on the socket that VHOST_USER_SET_BACKEND_REQ_FD brought. */
export const VhostUserBackendRequest = { VHOST_USER_BACKEND_CONFIG_CHANGE_MSG: 2 } as const;

/** Bit numbers in the protocol features. */
export const VhostUserProtocolFeature = {
  VHOST_USER_PROTOCOL_F_MQ: 0,
  VHOST_USER_PROTOCOL_F_LOG_SHMFD: 1,
  VHOST_USER_PROTOCOL_F_RARP: 2,
  VHOST_USER_PROTOCOL_F_REPLY_ACK: 3,
  VHOST_USER_PROTOCOL_F_BACKEND_REQ: 5,
  VHOST_USER_PROTOCOL_F_CONFIG: 9,
  VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD: 12,
  VHOST_USER_PROTOCOL_F_RESET_DEVICE: 13,
  VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS: 15,
  VHOST_USER_PROTOCOL_F_STATUS: 16,
  VHOST_USER_PROTOCOL_F_DEVICE_STATE: 19,
} as const;
export type VhostUserProtocolFeature =
  (typeof VhostUserProtocolFeature)[keyof typeof VhostUserProtocolFeature];

/** The virtio feature bit that says that there are protocol features. No driver ever sees it. */
export const VHOST_USER_F_PROTOCOL_FEATURES = 30;

/** The virtio feature bit by which the front-end has writes to guest memory logged. No driver's, either. */
export const VHOST_F_LOG_ALL = 26;
/** In `flags` of VHOST_USER_SET_VRING_ADDR: writes to the ring itself are logged, too. */
export const VHOST_VRING_F_LOG = 1 << 0;
/** The memory that one bit of the log stands for, in bytes. */
export const VHOST_LOG_PAGE = 0x1000;

/** In the u64 of VHOST_USER_SET_VRING_KICK, …_CALL and …_ERR. */
export const VHOST_USER_VRING_IDX_MASK = 0xff;
export const VHOST_USER_VRING_NOFD_MASK = 0x100;

/** `direction` of VHOST_USER_SET_DEVICE_STATE_FD: what the back-end does. */
export const VhostDeviceStateDirection = { SAVE: 0, LOAD: 1 } as const;
/** `phase` of VHOST_USER_SET_DEVICE_STATE_FD. */
export const VhostDeviceStatePhase = { STOPPED: 0 } as const;

/** `flags` of VHOST_USER_SET_CONFIG. */
export const VhostSetConfigType = { FRONTEND: 0, MIGRATION: 1 } as const;

/** Sizes of payloads, fixed part only. */
export const PayloadBytes = {
  U64: 8,
  /** `index[4] num[4]` */
  VRING_STATE: 8,
  /** `index[4] flags[4] descriptor[8] used[8] available[8] log[8]` */
  VRING_ADDR: 40,
  /** `num_regions[4] padding[4]`, then the regions */
  MEM_TABLE: 8,
  /** `guest_address[8] size[8] user_address[8] mmap_offset[8]` */
  MEM_REGION: 32,
  /** `padding[8]` and a region */
  SINGLE_MEM_REGION: 40,
  /** `offset[4] size[4] flags[4]`, then the config space's bytes */
  CONFIG: 12,
  /** `mmap_size[8] mmap_offset[8]` */
  LOG: 16,
  /** `mmap_size[8] mmap_offset[8] num_queues[2] queue_size[2]` */
  INFLIGHT: 20,
  /** `direction[4] phase[4]` */
  DEVICE_STATE: 8,
} as const;

export const VhostUserLimit = {
  /** Regions in one VHOST_USER_SET_MEM_TABLE. */
  MEM_TABLE_REGIONS: 8,
  /** Regions at a time, with VHOST_USER_ADD_MEM_REG. */
  MEM_SLOTS: 509,
  /** A device's config space, as far as a message can reach it. QEMU itself stops at 256. */
  CONFIG_BYTES: 4096,
  /** A device's state, which is in memory as a whole: that of some 250,000 fids. */
  STATE_BYTES: 32 * 1024 * 1024,
} as const;

/** No message is longer than one that carries a config space. */
export const MAX_PAYLOAD_BYTES = PayloadBytes.CONFIG + VhostUserLimit.CONFIG_BYTES;
