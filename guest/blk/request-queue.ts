/** Block requests over a virtqueue: a chain is a header and data to read, then data to write and a status byte. */
import { GuestError } from '../errors.js';
import type { BufferPool } from '../memory/buffer-pool.js';
import type { RamRange } from '../memory/ram.js';
import type { DriverQueue, QueueRequest } from '../virtio/queue.js';
import { HEADER_SIZE, RequestStatus, SECTOR_SIZE, type RequestType } from './constants.js';

/** A request's header and status lie together in a buffer of their own. */
const STATUS_AT = 64;
const FRAME_BYTES = 128;
/** What the status holds until the device writes it. */
const NO_STATUS = 0xff;
/** Header and status. */
const FRAME_BUFFERS = 2;

/** The data of a request: guest RAM, and how much of it the request moves. */
export interface RequestData {
  readonly ram: RamRange;
  readonly lengthBytes: number;
  /** True where the device writes it. */
  readonly isIn: boolean;
}

class BlockExchange implements QueueRequest {
  readonly addresses: number[] = [];
  readonly lengths: number[] = [];
  readableCount = 0;
  count = 0;
  readonly frame: RamRange;
  expectedBytes = 0;
  resolve!: () => void;
  reject!: (error: GuestError) => void;
  readonly #ended: (exchange: BlockExchange) => void;

  constructor(frame: RamRange, ended: (exchange: BlockExchange) => void) {
    this.frame = frame;
    this.#ended = ended;
  }

  push(address: number, length: number): void {
    this.addresses[this.count] = address;
    this.lengths[this.count++] = length;
  }

  complete(result: number): void {
    const error = this.#error(result);
    this.#ended(this);
    if (error === undefined) this.resolve();
    else this.reject(error);
  }

  #error(result: number): GuestError | undefined {
    if (result < 0) return new GuestError(result, { syscall: 'request' });
    const status = this.frame.bytes[STATUS_AT];
    if (status === RequestStatus.VIRTIO_BLK_S_UNSUPP)
      return new GuestError('EOPNOTSUPP', { syscall: 'request' });
    if (status !== RequestStatus.VIRTIO_BLK_S_OK) return new GuestError('EIO', { syscall: 'request' });
    // The status is the last byte: a device that wrote it wrote everything before it.
    if (result === this.expectedBytes) return undefined;
    return new GuestError('EIO', { syscall: 'request', detail: 'the disk did not write all that it says' });
  }
}

export class BlockRequestQueue {
  readonly #pool: BufferPool;
  readonly #queues: () => readonly DriverQueue[];
  #maxSegmentBytes = SECTOR_SIZE;
  #maxSegments = 1;
  readonly #idle: BlockExchange[] = [];
  readonly #waiting: (() => void)[] = [];
  #next = 0;
  #failure: string | undefined;

  /** `queues` answers the device's queues as they are now. */
  constructor(pool: BufferPool, queues: () => readonly DriverQueue[]) {
    this.#pool = pool;
    this.#queues = queues;
  }

  /** How large a request's buffers may be, and how many of them may hold data. */
  setLimits(maxSegmentBytes: number, maxSegments: number): void {
    const buffers = Math.min(...this.#queues().map(({ maxBuffers }) => maxBuffers));
    this.#maxSegmentBytes = maxSegmentBytes;
    this.#maxSegments = Math.max(1, Math.min(maxSegments, buffers - FRAME_BUFFERS));
  }

  /** Most bytes of data that a request can have: whole sectors, none where the disk allows less than one. */
  get maxDataBytes(): number {
    const bytes = this.#maxSegmentBytes * this.#maxSegments;
    return bytes - (bytes % SECTOR_SIZE);
  }

  /** Sends a request and waits for it. Rejects with a GuestError of EIO, EOPNOTSUPP, ENODEV or ENOMEM. */
  async send(type: RequestType, sector: number, data?: RequestData): Promise<void> {
    const exchange = this.#exchange();
    const { view } = exchange.frame;
    view.setUint32(0, type, true);
    view.setUint32(4, 0, true);
    view.setUint32(8, sector % 2 ** 32, true);
    view.setUint32(12, Math.floor(sector / 2 ** 32), true);
    view.setUint8(STATUS_AT, NO_STATUS);
    exchange.count = 0;
    exchange.push(exchange.frame.address, HEADER_SIZE);
    if (data !== undefined && !data.isIn) this.#pushData(exchange, data);
    exchange.readableCount = exchange.count;
    if (data?.isIn === true) this.#pushData(exchange, data);
    exchange.push(exchange.frame.address + STATUS_AT, 1);
    exchange.expectedBytes = 1 + (data?.isIn === true ? data.lengthBytes : 0);
    const done = new Promise<void>((resolve, reject) => {
      exchange.resolve = resolve;
      exchange.reject = reject;
    });
    await this.#submit(exchange);
    return done;
  }

  /** The device broke or went: whoever comes, and whoever waits for room, is rejected with `code`. */
  fail(code: string): void {
    this.#failure ??= code;
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Gives RAM back. Only once nothing is under way. */
  close(): void {
    for (const { frame } of this.#idle.splice(0)) this.#pool.give(frame);
  }

  #exchange(): BlockExchange {
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    const frame = this.#pool.take(FRAME_BYTES);
    if (frame === undefined) throw new GuestError('ENOMEM', { syscall: 'request' });
    return new BlockExchange(frame, (exchange) => {
      this.#idle.push(exchange);
      this.#waiting.shift()?.();
    });
  }

  /** Buffers of the size that the disk allows. */
  #pushData(exchange: BlockExchange, { ram, lengthBytes }: RequestData): void {
    for (let at = 0; at < lengthBytes; at += this.#maxSegmentBytes) {
      exchange.push(ram.address + at, Math.min(this.#maxSegmentBytes, lengthBytes - at));
    }
  }

  /** Adds the request to the next queue that has room, in turn; waits where none has. */
  async #submit(exchange: BlockExchange): Promise<void> {
    for (;;) {
      if (this.#failure !== undefined) {
        this.#idle.push(exchange);
        throw new GuestError(this.#failure, { syscall: 'request' });
      }
      const queues = this.#queues();
      for (let tries = 0; tries < queues.length; tries++) {
        this.#next = (this.#next + 1) % queues.length;
        if (queues[this.#next].add(exchange)) return;
      }
      await new Promise<void>((wake) => this.#waiting.push(wake));
    }
  }
}
