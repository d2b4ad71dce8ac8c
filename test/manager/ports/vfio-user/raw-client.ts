/**
 * A vfio-user client written from the specification alone: its encoder shares nothing with the server's, and it sends whatever a
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

export const Command = {
  VERSION: 1,
  DMA_MAP: 2,
  DMA_UNMAP: 3,
  GET_INFO: 4,
  GET_REGION_INFO: 5,
  GET_REGION_IO_FDS: 6,
  GET_IRQ_INFO: 7,
  SET_IRQS: 8,
  REGION_READ: 9,
  REGION_WRITE: 10,
  DMA_READ: 11,
  DMA_WRITE: 12,
  RESET: 13,
  DIRTY_PAGES: 14,
  REGION_WRITE_MULTI: 15,
  FEATURE: 16,
  MIG_DATA_READ: 17,
  MIG_DATA_WRITE: 18,
} as const;

export const EINVAL = 22;
export const EOPNOTSUPP = 95;
export const REPLY = 0x1;
export const NO_REPLY = 0x10;
export const ERROR = 0x20;
export const CONFIG_REGION = 7;

export interface Reply {
  readonly id: number;
  readonly command: number;
  readonly flags: number;
  readonly errno: number;
  readonly payload: Buffer;
}

export interface RequestOptions {
  readonly fds?: readonly number[];
  readonly flags?: number;
  readonly id?: number;
}

/** One number after the other, each with its width in bytes: `pack([4, 32], [8, 0x1000])`. */
export function pack(
  ...fields: readonly (readonly [width: 1 | 2 | 4 | 8, value: number | bigint])[]
): Buffer {
  const parts = fields.map(([width, value]) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)));
    return bytes.subarray(0, width);
  });
  return Buffer.concat(parts);
}

export function header(
  command: number,
  sizeBytes: number,
  { flags = 0, id = 1 }: RequestOptions = {},
): Buffer {
  return pack([2, id], [2, command], [4, sizeBytes], [4, flags], [4, 0]);
}

export function message(command: number, payload: Uint8Array, options: RequestOptions = {}): Buffer {
  return Buffer.concat([header(command, 16 + payload.length, options), payload]);
}

export const QEMU_CAPABILITIES =
  '{"capabilities": {"pgsizes": 4096, "max_msg_fds": 16, "max_dma_maps": 65535, "max_data_xfer_size": 1048576, ' +
  '"migration": {"max_bitmap_size": 268435456, "pgsize": 4096}, "write_multiple": true}}';

export const Payload = {
  version: (major = 0, minor = 0, json: string | undefined = QEMU_CAPABILITIES): Buffer =>
    Buffer.concat([pack([2, major], [2, minor]), Buffer.from(json === undefined ? '' : `${json}\0`)]),
  dmaMap: (
    address: number | bigint,
    size: number | bigint,
    offset: number | bigint = 0,
    flags = 3,
    argsz = 32,
  ): Buffer => pack([4, argsz], [4, flags], [8, offset], [8, address], [8, size]),
  dmaUnmap: (address: number | bigint, size: number | bigint, flags = 0, argsz = 24): Buffer =>
    pack([4, argsz], [4, flags], [8, address], [8, size]),
  deviceInfo: (argsz = 16): Buffer => pack([4, argsz], [4, 0], [4, 0], [4, 0]),
  regionInfo: (index: number, argsz = 32): Buffer =>
    pack([4, argsz], [4, 0], [4, index], [4, 0], [8, 0], [8, 0]),
  indexed: (index: number, argsz = 16, flags = 0): Buffer => pack([4, argsz], [4, flags], [4, index], [4, 0]),
  setIrqs: (
    flags: number,
    index: number,
    start: number,
    count: number,
    data: Uint8Array = Buffer.alloc(0),
  ): Buffer =>
    Buffer.concat([pack([4, 20 + data.length], [4, flags], [4, index], [4, start], [4, count]), data]),
  regionRead: (region: number, offset: number | bigint, count: number): Buffer =>
    pack([8, offset], [4, region], [4, count]),
  regionWrite: (region: number, offset: number | bigint, data: Uint8Array, count = data.length): Buffer =>
    Buffer.concat([pack([8, offset], [4, region], [4, count]), data]),
};

export const IrqFlag = { NONE: 1, BOOL: 2, EVENTFD: 4, MASK: 8, UNMASK: 16, TRIGGER: 32 } as const;
export const Irq = { INTX: 0, MSI: 1, MSIX: 2, ERR: 3, REQ: 4 } as const;

const CHUNK_BYTES = 65536;

export class RawClient {
  readonly fd: number;
  readonly #reactor: Reactor;
  readonly #fds = new ReceivedFds(8);
  #received = Buffer.alloc(0);
  #ended = false;
  #open = true;
  #changed: (() => void)[] = [];
  #nextId = 1;

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
    }
    // Everything but "nothing now" is the end: 0, or a reset because the server left with requests unread.
    if (length !== -11) {
      this.#ended = true;
      this.#reactor.remove(this.fd);
    }
    for (const wake of this.#changed.splice(0)) wake();
    return this.#received.length;
  }

  /** Sends bytes as they are, all at once. */
  send(bytes: Uint8Array, fds: readonly number[] = []): void {
    const sent = sendMessage(this.fd, bytes, 0, bytes.length, fds);
    if (sent !== bytes.length) throw new Error(`sent ${sent} of ${bytes.length} bytes`);
  }

  /** Sends more than the socket holds, as the server takes it. */
  async sendLarge(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const sent = sendMessage(this.fd, bytes, at, bytes.length - at);
      if (sent > 0) at += sent;
      else await this.#writable();
    }
  }

  /** The next reply. Rejects when the server closes the connection first. */
  async reply(): Promise<Reply> {
    await this.#until(() => this.#received.length >= 16);
    const size = this.#received.readUInt32LE(4);
    await this.#until(() => this.#received.length >= size);
    const bytes = this.#received.subarray(0, size);
    this.#received = this.#received.subarray(size);
    return {
      id: bytes.readUInt16LE(0),
      command: bytes.readUInt16LE(2),
      flags: bytes.readUInt32LE(8),
      errno: bytes.readUInt32LE(12),
      payload: bytes.subarray(16),
    };
  }

  async request(
    command: number,
    payload: Uint8Array = Buffer.alloc(0),
    options: RequestOptions = {},
  ): Promise<Reply> {
    const id = options.id ?? this.#nextId++ & 0xffff;
    this.send(message(command, payload, { ...options, id }), options.fds);
    return this.reply();
  }

  /** The errno that a request is answered with; 0 for success. */
  async errnoOf(
    command: number,
    payload: Uint8Array = Buffer.alloc(0),
    options: RequestOptions = {},
  ): Promise<number> {
    const { flags, errno } = await this.request(command, payload, options);
    return (flags & ERROR) === 0 ? 0 : errno;
  }

  async negotiate(): Promise<this> {
    const errno = await this.errnoOf(Command.VERSION, Payload.version());
    if (errno !== 0) throw new Error(`version refused: errno ${errno}`);
    return this;
  }

  async readRegion(region: number, offset: number, count: number): Promise<Buffer> {
    const { flags, errno, payload } = await this.request(
      Command.REGION_READ,
      Payload.regionRead(region, offset, count),
    );
    if ((flags & ERROR) !== 0) throw new Error(`region read refused: errno ${errno}`);
    return payload.subarray(16);
  }

  async readNumber(region: number, offset: number, width: 1 | 2 | 4): Promise<number> {
    return (await this.readRegion(region, offset, width)).readUIntLE(0, width);
  }

  async writeNumber(region: number, offset: number, width: 1 | 2 | 4 | 8, value: number): Promise<void> {
    const errno = await this.errnoOf(
      Command.REGION_WRITE,
      Payload.regionWrite(region, offset, pack([width, value])),
    );
    if (errno !== 0) throw new Error(`region write refused: errno ${errno}`);
  }

  /** Resolves when the server has closed the connection. */
  async closed(): Promise<void> {
    await this.#wait(() => this.#ended);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#reactor.remove(this.fd);
    closeFd(this.fd);
  }

  async #writable(): Promise<void> {
    const { EPOLLIN, EPOLLOUT } = EpollEvents;
    this.#reactor.modify(this.fd, EPOLLIN | EPOLLOUT);
    await new Promise<void>((resolve) => this.#changed.push(resolve));
    this.#reactor.modify(this.fd, EPOLLIN);
  }

  async #until(condition: () => boolean): Promise<void> {
    await this.#wait(() => condition() || this.#ended);
    if (!condition()) throw new Error('the server closed the connection');
  }

  async #wait(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#changed.push(resolve));
  }
}
