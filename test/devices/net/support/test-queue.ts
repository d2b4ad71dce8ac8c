import type { NetBackend } from '../../../../devices/net/backends/net-backend.js';
import type { VirtioNetOptions } from '../../../../devices/net/options.js';
import { VirtioNet } from '../../../../devices/net/virtio-net.js';
import { IoVector } from '../../../../devices/io-vector.js';
import type { Chain, DeviceContext, Virtqueue } from '../../../../devices/virtio/device.js';
import { MAC_A } from './packets.js';
import type { TestBackend } from './frames.js';

/** A chain over bytes of a test's: what is read, and room to write, each cut as the test likes. */
export class TestChain implements Chain {
  readonly readable = new IoVector();
  readonly writable = new IoVector();
  readonly room: Uint8Array;

  constructor(readable: Uint8Array, roomBytes = 0, cuts: readonly number[] = []) {
    this.room = new Uint8Array(roomBytes).fill(0xee);
    cut(readable, cuts, this.readable);
    cut(this.room, cuts, this.writable);
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

/** A queue with chains for the device to take, that notes what it does with them. */
export class TestQueue implements Virtqueue {
  readonly size = 256;
  readonly broken = false;
  readonly index: number;
  readonly available: Chain[] = [];
  readonly pushed: { readonly chain: Chain; readonly writtenBytes: number }[] = [];
  flushes = 0;
  notifications = true;

  constructor(index: number) {
    this.index = index;
  }

  pop(): Chain | undefined {
    return this.available.shift();
  }

  push(chain: Chain, writtenBytes: number): void {
    this.pushed.push({ chain, writtenBytes });
  }

  unpop(chain: Chain): void {
    this.available.unshift(chain);
  }

  flush(): void {
    this.flushes++;
  }

  disableNotifications(): void {
    this.notifications = false;
  }

  enableNotifications(): boolean {
    this.notifications = true;
    return this.available.length > 0;
  }
}

/** A card, its backend, and a driver's side that is the test's. */
export class TestCard<B extends NetBackend = TestBackend> implements DeviceContext {
  readonly backend: B;
  readonly device: VirtioNet;
  readonly queues: readonly TestQueue[];
  readonly faults: string[] = [];
  features = 0n;
  configChanges = 0;

  private constructor(backend: B, options: Partial<VirtioNetOptions>) {
    this.backend = backend;
    this.device = new VirtioNet(backend, { mac: MAC_A, ...options });
    this.queues = this.device.queueSizes.map((_, index) => new TestQueue(index));
  }

  static on<B extends NetBackend>(backend: B, options: Partial<VirtioNetOptions> = {}): TestCard<B> {
    return new TestCard(backend, options);
  }

  get rx(): TestQueue {
    return this.queues[0];
  }

  get tx(): TestQueue {
    return this.queues[1];
  }

  /** The driver starts, with all features but those in `without`, which are numbers of bits. */
  start(without: readonly number[] = [], versionOne = true): this {
    const all = this.device.features | (versionOne ? 1n << 32n : 0n);
    this.features = without.reduce((features, bit) => features & ~(1n << BigInt(bit)), all);
    this.device.activate(this);
    return this;
  }

  configChanged(): void {
    this.configChanges++;
  }

  fault(reason: string): void {
    this.faults.push(reason);
  }

  /** Sends a header and a frame in one chain. */
  send(bytes: Uint8Array, header: Uint8Array = new Uint8Array(12), cuts: readonly number[] = []): TestChain {
    const chain = new TestChain(new Uint8Array(Buffer.concat([header, bytes])), 0, cuts);
    this.device.handleChain(this.tx, chain);
    return chain;
  }

  /** Posts a buffer; the device is not told. */
  post(roomBytes: number, cuts: readonly number[] = []): TestChain {
    const chain = new TestChain(new Uint8Array(0), roomBytes, cuts);
    this.rx.available.push(chain);
    return chain;
  }

  /** Runs a control command, answers its acknowledgement. */
  command(bytes: Uint8Array, queue = this.queues[this.queues.length - 1]): number {
    const chain = new TestChain(bytes, 1);
    this.device.handleChain(queue, chain);
    return chain.room[0];
  }
}

/** struct virtio_net_hdr, as a driver writes it. */
export function header(
  fields: Partial<
    Record<'flags' | 'gsoType' | 'hdrLen' | 'gsoSize' | 'csumStart' | 'csumOffset' | 'buffers', number>
  >,
): Uint8Array {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt8(fields.flags ?? 0, 0);
  bytes.writeUInt8(fields.gsoType ?? 0, 1);
  bytes.writeUInt16LE(fields.hdrLen ?? 0, 2);
  bytes.writeUInt16LE(fields.gsoSize ?? 0, 4);
  bytes.writeUInt16LE(fields.csumStart ?? 0, 6);
  bytes.writeUInt16LE(fields.csumOffset ?? 0, 8);
  bytes.writeUInt16LE(fields.buffers ?? 0, 10);
  return new Uint8Array(bytes);
}
