/** The NBD protocol's numbers (NetworkBlockDevice/nbd, doc/proto.md), with its names. Everything on the wire is big-endian. */

/** 64-bit magics, as two words. */
export const NBDMAGIC = { high: 0x4e42444d, low: 0x41474943 } as const;
export const IHAVEOPT = { high: 0x49484156, low: 0x454f5054 } as const;
export const OPTION_REPLY_MAGIC = { high: 0x0003e889, low: 0x045565a9 } as const;

export const NBD_REQUEST_MAGIC = 0x25609513;
export const NBD_SIMPLE_REPLY_MAGIC = 0x67446698;
export const NBD_STRUCTURED_REPLY_MAGIC = 0x668e33ef;

/** The server's handshake flags, and the client's, which are the same bits. */
export const NbdHandshakeFlag = { NBD_FLAG_FIXED_NEWSTYLE: 1, NBD_FLAG_NO_ZEROES: 2 } as const;

export const NbdOption = { NBD_OPT_ABORT: 2, NBD_OPT_GO: 7, NBD_OPT_STRUCTURED_REPLY: 8 } as const;

export const NbdOptionReply = {
  NBD_REP_ACK: 1,
  NBD_REP_INFO: 3,
  NBD_REP_ERR_UNSUP: 0x8000_0001,
  NBD_REP_ERR_POLICY: 0x8000_0002,
  NBD_REP_ERR_INVALID: 0x8000_0003,
  NBD_REP_ERR_PLATFORM: 0x8000_0004,
  NBD_REP_ERR_TLS_REQD: 0x8000_0005,
  NBD_REP_ERR_UNKNOWN: 0x8000_0006,
  NBD_REP_ERR_SHUTDOWN: 0x8000_0007,
  NBD_REP_ERR_BLOCK_SIZE_REQD: 0x8000_0008,
  NBD_REP_ERR_TOO_BIG: 0x8000_0009,
} as const;

/** Option replies from here on are errors. */
export const NBD_REP_FLAG_ERROR = 0x8000_0000;

export const NbdInfo = { NBD_INFO_EXPORT: 0, NBD_INFO_BLOCK_SIZE: 3 } as const;

/** What an export can do. */
export const NbdTransmissionFlag = {
  NBD_FLAG_HAS_FLAGS: 1 << 0,
  NBD_FLAG_READ_ONLY: 1 << 1,
  NBD_FLAG_SEND_FLUSH: 1 << 2,
  NBD_FLAG_SEND_FUA: 1 << 3,
  NBD_FLAG_SEND_TRIM: 1 << 5,
  NBD_FLAG_SEND_WRITE_ZEROES: 1 << 6,
  NBD_FLAG_CAN_MULTI_CONN: 1 << 8,
} as const;

export const NbdCommand = {
  NBD_CMD_READ: 0,
  NBD_CMD_WRITE: 1,
  NBD_CMD_DISC: 2,
  NBD_CMD_FLUSH: 3,
  NBD_CMD_TRIM: 4,
  NBD_CMD_WRITE_ZEROES: 6,
} as const;
export type NbdCommand = (typeof NbdCommand)[keyof typeof NbdCommand];

export const NbdCommandFlag = { NBD_CMD_FLAG_FUA: 1, NBD_CMD_FLAG_NO_HOLE: 2 } as const;

export const NBD_REPLY_FLAG_DONE = 1;

export const NbdReplyType = {
  NBD_REPLY_TYPE_NONE: 0,
  NBD_REPLY_TYPE_OFFSET_DATA: 1,
  NBD_REPLY_TYPE_OFFSET_HOLE: 2,
  NBD_REPLY_TYPE_ERROR: 0x8001,
  NBD_REPLY_TYPE_ERROR_OFFSET: 0x8002,
} as const;

/** Structured replies with this bit in their type are errors. */
export const NBD_REPLY_TYPE_FLAG_ERROR = 0x8000;

export const NBD_ESHUTDOWN = 108;

/** Longest string that the protocol knows: a name, an error's message. */
export const NBD_MAX_STRING_BYTES = 4096;
/** The most that a server has to take in one request if it does not say otherwise. */
export const NBD_DEFAULT_MAX_PAYLOAD_BYTES = 2 ** 25;
export const NBD_DEFAULT_PORT = 10809;

/** magic[4] flags[2] type[2] cookie[8] offset[8] length[4] */
export const RequestField = {
  MAGIC: 0,
  FLAGS: 4,
  TYPE: 6,
  COOKIE: 8,
  OFFSET: 16,
  LENGTH: 24,
  BYTES: 28,
} as const;

/** magic[4] error[4] cookie[8] */
export const SimpleReplyField = { ERROR: 4, COOKIE: 8, BYTES: 16 } as const;

/** magic[4] flags[2] type[2] cookie[8] length[4] */
export const StructuredReplyField = { FLAGS: 4, TYPE: 6, COOKIE: 8, LENGTH: 16, BYTES: 20 } as const;

/** offset[8] data[…] */
export const DATA_CHUNK_HEADER_BYTES = 8;
/** offset[8] size[4] */
export const HOLE_CHUNK_BYTES = 12;
/** error[4] message_length[2] */
export const ERROR_CHUNK_HEADER_BYTES = 6;
/** An error's offset, behind its message. */
export const ERROR_OFFSET_BYTES = 8;
