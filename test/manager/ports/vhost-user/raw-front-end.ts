/**
 * A vhost-user front-end written from the specification alone: its encoder shares nothing with the back-end's, and it sends whatever a
 * test tells it to, however wrong.
 */
import {
  closeFd,
  connectUnix,
  EpollEvents,
  ReceivedFds,
  recvMessage,
  type Reactor,
  sendMessage,
} from '../../../../host/index.js';

export const Request = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  RESET_OWNER: 4,
  SET_MEM_TABLE: 5,
  SET_LOG_BASE: 6,
  SET_LOG_FD: 7,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  SET_VRING_ERR: 14,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  SEND_RARP: 19,
  SET_BACKEND_REQ_FD: 21,
  GET_CONFIG: 24,
  SET_CONFIG: 25,
  POSTCOPY_ADVISE: 28,
  GET_INFLIGHT_FD: 31,
  SET_INFLIGHT_FD: 32,
  RESET_DEVICE: 34,
  GET_MAX_MEM_SLOTS: 36,
  ADD_MEM_REG: 37,
  REM_MEM_REG: 38,
  SET_STATUS: 39,
  GET_STATUS: 40,
  SET_DEVICE_STATE_FD: 42,
  CHECK_DEVICE_STATE: 43,
} as const;

/** Requests whose reply is their own, never an acknowledgement. */
export const QUERIES: readonly number[] = [
  Request.GET_FEATURES,
  Request.GET_VRING_BASE,
  Request.GET_PROTOCOL_FEATURES,
  Request.GET_QUEUE_NUM,
  Request.GET_CONFIG,
  Request.GET_INFLIGHT_FD,
  Request.GET_MAX_MEM_SLOTS,
  Request.GET_STATUS,
  Request.SET_DEVICE_STATE_FD,
  Request.CHECK_DEVICE_STATE,
  Request.SET_LOG_BASE,
];

export const VERSION = 0x1;
export const REPLY = 0x4;
export const NEED_REPLY = 0x8;
export const NO_FD = 0x100;

export const ProtocolFeature = {
  MQ: 1n << 0n,
  LOG_SHMFD: 1n << 1n,
  RARP: 1n << 2n,
  REPLY_ACK: 1n << 3n,
  BACKEND_REQ: 1n << 5n,
  CONFIG: 1n << 9n,
  INFLIGHT_SHMFD: 1n << 12n,
  RESET_DEVICE: 1n << 13n,
  CONFIGURE_MEM_SLOTS: 1n << 15n,
  STATUS: 1n << 16n,
  DEVICE_STATE: 1n << 19n,
} as const;
export const Feature = {
  LOG_ALL: 1n << 26n,
  INDIRECT_DESC: 1n << 28n,
  EVENT_IDX: 1n << 29n,
  PROTOCOL_FEATURES: 1n << 30n,
  VERSION_1: 1n << 32n,
  RING_PACKED: 1n << 34n,
} as const;

export interface Reply {
  readonly request: number;
  readonly flags: number;
  readonly payload: Buffer;
}

type Field = readonly [width: 1 | 2 | 4 | 8, value: number | bigint];

/** One number after the other, each with its width in bytes: `pack([4, 32], [8, 0x1000])`. */
export function pack(...fields: readonly Field[]): Buffer {
  const parts = fields.map(([width, value]) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)));
    return bytes.subarray(0, width);
  });
  return Buffer.concat(parts);
}

export const u64 = (value: number | bigint): Buffer => pack([8, value]);
export const state = (index: number, num: number): Buffer => pack([4, index], [4, num]);
export const NOTHING = Buffer.alloc(0);

export interface WireRegion {
  readonly guest: number | bigint;
  readonly size: number | bigint;
  readonly user: number | bigint;
  readonly offset?: number | bigint;
}

function region({ guest, size, user, offset = 0 }: WireRegion): Buffer {
  return pack([8, guest], [8, size], [8, user], [8, offset]);
}

export const memTable = (...regions: readonly WireRegion[]): Buffer =>
  Buffer.concat([pack([4, regions.length], [4, 0]), ...regions.map(region)]);
export const memRegion = (one: WireRegion): Buffer => Buffer.concat([u64(0), region(one)]);

export interface WireAddresses {
  readonly descriptor: number | bigint;
  readonly used: number | bigint;
  readonly available: number | bigint;
}

/** `flags` of SET_VRING_ADDR. */
export const VRING_F_LOG = 1;

export const vringAddr = (
  index: number,
  addresses: WireAddresses,
  flags = 0,
  log: number | bigint = 0,
): Buffer =>
  pack(
    [4, index],
    [4, flags],
    [8, addresses.descriptor],
    [8, addresses.used],
    [8, addresses.available],
    [8, log],
  );

export const logBase = (size: number | bigint, offset: number | bigint = 0): Buffer =>
  pack([8, size], [8, offset]);

/** As QEMU sends it, with its compiler's padding. */
export const inflight = (
  size: number | bigint,
  offset: number | bigint,
  queues: number,
  queueSize: number,
): Buffer => pack([8, size], [8, offset], [2, queues], [2, queueSize], [4, 0]);

export const config = (
  offset: number,
  size: number,
  bytes: Uint8Array = Buffer.alloc(size),
  flags = 0,
): Buffer => Buffer.concat([pack([4, offset], [4, size], [4, flags]), bytes]);

export function message(request: number, payload: Uint8Array = NOTHING, flags = VERSION): Buffer {
  return Buffer.concat([pack([4, request], [4, flags], [4, payload.length]), payload]);
}

const CHUNK_BYTES = 65536;

export class RawFrontEnd {
  readonly fd: number;
  readonly #reactor: Reactor;
  readonly #fds = new ReceivedFds(8);
  #received = Buffer.alloc(0);
  #fd = -1;
  #ended = false;
  #open = true;
  #changed: (() => void)[] = [];

  constructor(reactor: Reactor, path: string) {
    this.#reactor = reactor;
    this.fd = connectUnix(path);
    reactor.add(this.fd, EpollEvents.EPOLLIN, () => this.poll());
  }

  /** Takes what the socket has now, without waiting. @returns the bytes received and not consumed yet */
  poll(): number {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    let length: number;
    while ((length = recvMessage(this.fd, chunk, 0, CHUNK_BYTES, this.#fds)) > 0) {
      this.#received = Buffer.concat([this.#received, chunk.subarray(0, length)]);
      if (this.#fds.count > 0) this.#keepFd(this.#fds.take(0));
    }
    // Everything but "nothing now" is the end: 0, or a reset because the server left with requests unread.
    if (length !== -11) {
      this.#ended = true;
      this.#reactor.remove(this.fd);
    }
    for (const wake of this.#changed.splice(0)) wake();
    return this.#received.length;
  }

  /** The descriptor that came with the last reply, which is the caller's, or -1. */
  takeFd(): number {
    const fd = this.#fd;
    this.#fd = -1;
    return fd;
  }

  #keepFd(fd: number): void {
    if (this.#fd >= 0) closeFd(this.#fd);
    this.#fd = fd;
  }

  /** Sends bytes as they are, all at once. */
  sendBytes(bytes: Uint8Array, fds: readonly number[] = []): void {
    const sent = sendMessage(this.fd, bytes, 0, bytes.length, fds);
    if (sent !== bytes.length) throw new Error(`sent ${sent} of ${bytes.length} bytes`);
  }

  /** Sends a request that nobody answers. */
  send(request: number, payload: Uint8Array = NOTHING, fds: readonly number[] = []): void {
    this.sendBytes(message(request, payload), fds);
  }

  /** The next reply. Rejects when the server closes the connection first. */
  async reply(): Promise<Reply> {
    await this.#until(() => this.#received.length >= 12);
    const size = 12 + this.#received.readUInt32LE(8);
    await this.#until(() => this.#received.length >= size);
    const bytes = this.#received.subarray(0, size);
    this.#received = this.#received.subarray(size);
    return { request: bytes.readUInt32LE(0), flags: bytes.readUInt32LE(4), payload: bytes.subarray(12) };
  }

  /** Sends a request that has a reply of its own. */
  async query(
    request: number,
    payload: Uint8Array = NOTHING,
    fds: readonly number[] = [],
    flags = VERSION,
  ): Promise<Buffer> {
    this.sendBytes(message(request, payload, flags), fds);
    const reply = await this.reply();
    if (reply.request !== request || reply.flags !== (VERSION | REPLY)) {
      throw new Error(`request ${request} got reply ${reply.request} with flags ${reply.flags}`);
    }
    return reply.payload;
  }

  async queryU64(request: number): Promise<bigint> {
    return (await this.query(request)).readBigUInt64LE();
  }

  /** Sends a request and asks for an acknowledgement (negotiate REPLY_ACK first); 0 for success. */
  async ack(request: number, payload: Uint8Array = NOTHING, fds: readonly number[] = []): Promise<number> {
    this.sendBytes(message(request, payload, VERSION | NEED_REPLY), fds);
    const reply = await this.reply();
    if (reply.request !== request || reply.flags !== (VERSION | REPLY) || reply.payload.length !== 8) {
      throw new Error(`request ${request} got reply ${reply.request} with flags ${reply.flags}`);
    }
    return Number(reply.payload.readBigUInt64LE());
  }

  /** As `ack`, for what has to succeed. */
  async set(request: number, payload: Uint8Array = NOTHING, fds: readonly number[] = []): Promise<void> {
    const error = await this.ack(request, payload, fds);
    if (error !== 0) throw new Error(`request ${request} failed: ${error}`);
  }

  /** Agrees on all protocol features that are offered, and on these virtio features. */
  async negotiate(features: bigint = Feature.VERSION_1 | Feature.PROTOCOL_FEATURES): Promise<this> {
    this.send(Request.SET_PROTOCOL_FEATURES, u64(await this.queryU64(Request.GET_PROTOCOL_FEATURES)));
    await this.set(Request.SET_OWNER);
    await this.set(Request.SET_FEATURES, u64(features));
    return this;
  }

  async getVringBase(index: number): Promise<number> {
    const payload = await this.query(Request.GET_VRING_BASE, state(index, 0));
    if (payload.length !== 8 || payload.readUInt32LE(0) !== index) throw new Error('a bad vring state came');
    return payload.readUInt32LE(4);
  }

  /** Resolves when the server has closed the connection. */
  async closed(): Promise<void> {
    await this.#wait(() => this.#ended);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#keepFd(-1);
    this.#reactor.remove(this.fd);
    closeFd(this.fd);
  }

  async #until(condition: () => boolean): Promise<void> {
    await this.#wait(() => condition() || this.#ended);
    if (!condition()) throw new Error('the server closed the connection');
  }

  async #wait(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#changed.push(resolve));
  }
}
