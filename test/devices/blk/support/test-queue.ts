import type { VirtioBlk } from '../../../../devices/blk/virtio-blk.js';
import { IoVector } from '../../../../devices/io-vector.js';
import type { Chain, DeviceContext, Virtqueue } from '../../../../devices/virtio/device.js';

export const Type = {
  IN: 0,
  OUT: 1,
  FLUSH: 4,
  FLUSH_OUT: 5,
  GET_ID: 8,
  GET_LIFETIME: 10,
  DISCARD: 11,
  WRITE_ZEROES: 13,
  SECURE_ERASE: 14,
} as const;
export const Status = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;
export const NO_STATUS = 0xff;

/** le32 type, le32 reserved, le64 sector. */
export function header(type: number, sector: number | bigint = 0): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return bytes;
}

/** le64 sector, le32 num_sectors, le32 flags. */
export function range(sector: number | bigint, sectors: number, flags = 0): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(sector), true);
  view.setUint32(8, sectors, true);
  view.setUint32(12, flags, true);
  return bytes;
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** One request's buffers: what is read, and room to write, each cut as the test likes. */
export class TestChain implements Chain {
  readonly readable = new IoVector();
  readonly writable = new IoVector();
  readonly room: Uint8Array;

  constructor(readable: Uint8Array, roomBytes: number, cuts: { read?: number[]; write?: number[] } = {}) {
    this.room = new Uint8Array(roomBytes).fill(NO_STATUS);
    cut(readable, cuts.read ?? [], this.readable);
    cut(this.room, cuts.write ?? [], this.writable);
  }

  get status(): number {
    return this.room[this.room.length - 1];
  }

  get data(): Uint8Array {
    return this.room.subarray(0, -1);
  }
}

function cut(bytes: Uint8Array, lengths: readonly number[], into: IoVector): void {
  let at = 0;
  for (const length of [...lengths, bytes.length]) {
    const take = Math.min(length, bytes.length - at);
    if (take > 0) into.push(bytes, at, take, 0);
    at += take;
  }
}

/** A queue that notes what the device does with it. */
export class TestQueue implements Virtqueue {
  readonly size = 256;
  readonly broken = false;
  readonly events: string[] = [];
  readonly pushed: { readonly chain: Chain; readonly writtenBytes: number }[] = [];
  readonly index: number;
  #wake: (() => void) | undefined;

  constructor(index = 0) {
    this.index = index;
  }

  pop(): undefined {
    return undefined;
  }

  push(chain: Chain, writtenBytes: number): void {
    this.events.push('push');
    this.pushed.push({ chain, writtenBytes });
  }

  unpop(): void {}

  flush(): void {
    this.events.push('flush');
    this.#wake?.();
  }

  disableNotifications(): void {}

  enableNotifications(): boolean {
    return false;
  }

  /** Resolves at the next flush. */
  flushed(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }

  /** How much of a chain was written, once it is back. */
  written(chain: Chain): number | undefined {
    return this.pushed.find((entry) => entry.chain === chain)?.writtenBytes;
  }
}

/** What the device tells its driver, beside the queues. */
export class TestContext implements DeviceContext {
  readonly features: bigint;
  readonly queues: readonly (Virtqueue | undefined)[];
  readonly faults: string[] = [];
  configChanges = 0;

  constructor(features: bigint, queues: readonly (Virtqueue | undefined)[]) {
    this.features = features;
    this.queues = queues;
  }

  configChanged(): void {
    this.configChanges++;
  }

  fault(reason: string): void {
    this.faults.push(reason);
  }
}

/** Serves one request; the chain, whose status is NO_STATUS while the device has it. */
export function serve(
  device: VirtioBlk,
  queue: TestQueue,
  readable: Uint8Array,
  roomBytes = 1,
  cuts: { read?: number[]; write?: number[] } = {},
): TestChain {
  const chain = new TestChain(readable, roomBytes, cuts);
  device.handleChain(queue, chain);
  return chain;
}
