/**
 * A guest's disk driver over vhost-user, as far as a clock needs one: it reads the same few blocks over and over, several requests at a time,
 * and knows when it was last answered. It waits a little before it asks again: a driver and a device that each take a core would measure how
 * long a process takes to start beside them.
 */
import {
  closeFd,
  connectUnix,
  EpollEvents,
  Errno,
  eventfdCreate,
  eventfdDrain,
  eventfdSignal,
  memfdCreate,
  ReceivedFds,
  recvMessage,
  sendMessage,
  SharedMapping,
  type Reactor,
} from '../../host/index.js';
import { GuestRam } from '../../guest/memory/ram.js';
import type { QueueRequest } from '../../guest/virtio/queue.js';
import { SplitDriverQueue } from '../../guest/virtio/split-queue.js';
import { VhostUserRequest } from '../../manager/ports/vhost-user/protocol.js';

const RAM_BYTES = 1 << 20;
const QUEUE_SIZE = 64;
const BLOCK_BYTES = 4096;
/** What a wait is measured to. */
const PACE_MS = 1;
const VERSION = 1;
const VIRTIO_F_EVENT_IDX = 1n << 29n;
const VHOST_USER_F_PROTOCOL_FEATURES = 1n << 30n;
const VIRTIO_F_VERSION_1 = 1n << 32n;
/** The front-end's own addresses: those of the guest, since nobody looks at either. */
const USER_ADDRESS = 0;

export class FrontEnd {
  /** Requests that were answered. */
  answered = 0;
  /** The longest that no request was answered, in milliseconds, since this was set to 0. */
  longestGapMs = 0;
  readonly #reactor: Reactor;
  readonly #socket: number;
  readonly #memory: number;
  readonly #ram: GuestRam;
  readonly #kick = eventfdCreate();
  readonly #call = eventfdCreate();
  readonly #queue: SplitDriverQueue;
  #lastMs = performance.now();
  #stopped = false;

  private constructor(reactor: Reactor, socketPath: string) {
    this.#reactor = reactor;
    this.#socket = connectUnix(socketPath);
    this.#memory = memfdCreate('guest', RAM_BYTES);
    this.#ram = new GuestRam(new SharedMapping(this.#memory).window(0, RAM_BYTES));
    this.#queue = new SplitDriverQueue(this.#ram, {
      ...{ index: 0, size: QUEUE_SIZE, indirect: false, eventIndex: true },
      notify: () => eventfdSignal(this.#kick),
    });
  }

  /** @param depth requests under way at a time */
  static async start(reactor: Reactor, socketPath: string, depth: number): Promise<FrontEnd> {
    const frontEnd = new FrontEnd(reactor, socketPath);
    await frontEnd.#setUp();
    for (let i = 0; i < depth; i++) frontEnd.#submit(frontEnd.#newRequest(i));
    return frontEnd;
  }

  async progress(count: number): Promise<void> {
    for (const wanted = this.answered + count; this.answered < wanted;)
      await new Promise((resolve) => setTimeout(resolve, 1));
  }

  close(): void {
    this.#stopped = true;
    this.#reactor.remove(this.#call);
    for (const fd of [this.#socket, this.#memory, this.#kick, this.#call]) closeFd(fd);
  }

  async #setUp(): Promise<void> {
    const features = VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VHOST_USER_F_PROTOCOL_FEATURES;
    const { descriptorArea, driverArea, deviceArea } = this.#queue.addresses;
    const R = VhostUserRequest;
    this.#send(R.VHOST_USER_SET_OWNER, words());
    this.#send(R.VHOST_USER_SET_FEATURES, words(features));
    this.#send(R.VHOST_USER_SET_PROTOCOL_FEATURES, words(0n));
    const region = words(1n, 0n, BigInt(RAM_BYTES), BigInt(USER_ADDRESS), 0n);
    this.#send(R.VHOST_USER_SET_MEM_TABLE, region, [this.#memory]);
    this.#send(R.VHOST_USER_SET_VRING_NUM, pairs(0, QUEUE_SIZE));
    this.#send(R.VHOST_USER_SET_VRING_BASE, pairs(0, 0));
    const areas = [descriptorArea, deviceArea, driverArea].map((address) => BigInt(USER_ADDRESS + address));
    this.#send(R.VHOST_USER_SET_VRING_ADDR, words(0n, ...areas, 0n));
    this.#send(R.VHOST_USER_SET_VRING_CALL, words(0n), [this.#call]);
    this.#send(R.VHOST_USER_SET_VRING_KICK, words(0n), [this.#kick]);
    this.#send(R.VHOST_USER_SET_VRING_ENABLE, pairs(0, 1));
    this.#send(R.VHOST_USER_GET_FEATURES, words());
    await this.#reply();
    this.#reactor.add(this.#call, EpollEvents.EPOLLIN, () => {
      eventfdDrain(this.#call);
      if (!this.#queue.collect()) throw new Error('the device broke the ring');
    });
  }

  #newRequest(number: number): QueueRequest {
    const buffer = this.#ram.allocate(16 + BLOCK_BYTES + 1);
    if (buffer === undefined) throw new Error('there is not enough memory');
    const { address, view } = buffer;
    view.setUint32(8, number * (BLOCK_BYTES / 512), true);
    const request: QueueRequest = {
      addresses: [address, address + 16, address + 16 + BLOCK_BYTES],
      lengths: [16, BLOCK_BYTES, 1],
      ...{ readableCount: 1, count: 3 },
      complete: (result) => {
        if (result !== BLOCK_BYTES + 1 || view.getUint8(16 + BLOCK_BYTES) !== 0)
          throw new Error(`a read failed: ${result}`);
        this.#tick();
        setTimeout(() => this.#submit(request), PACE_MS);
      },
    };
    return request;
  }

  #tick(): void {
    const now = performance.now();
    this.longestGapMs = Math.max(this.longestGapMs, now - this.#lastMs);
    this.#lastMs = now;
    this.answered++;
  }

  #submit(request: QueueRequest): void {
    if (!this.#stopped && !this.#queue.add(request)) throw new Error('the ring has no room');
  }

  #send(request: number, payload: Buffer, fds: readonly number[] = []): void {
    const header = Buffer.from(Uint32Array.of(request, VERSION, payload.length).buffer);
    const message = Buffer.concat([header, payload]);
    const sent = sendMessage(this.#socket, message, 0, message.length, fds);
    if (sent !== message.length) throw new Error(`a message was not sent: ${sent}`);
  }

  /** header[12] value[8]: all messages before it have been served. */
  async #reply(): Promise<void> {
    const reply = Buffer.alloc(20);
    const fds = new ReceivedFds(0);
    for (let have = 0; have < reply.length;) {
      const received = recvMessage(this.#socket, reply, have, reply.length - have, fds);
      if (received > 0) have += received;
      else if (received === -Errno.EAGAIN) await new Promise((resolve) => setTimeout(resolve, 1));
      else throw new Error(`no reply came: ${received}`);
    }
  }
}

function words(...values: readonly bigint[]): Buffer {
  return Buffer.from(BigUint64Array.from(values).buffer);
}

function pairs(...values: readonly number[]): Buffer {
  return Buffer.from(Uint32Array.from(values).buffer);
}
