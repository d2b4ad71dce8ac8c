/**
 * A disk whose driver sends anything and changes it at any time, over a backend that answers late and fails at will. Right is: each request
 * is given back once, to the queue it came from; nothing is written outside its own buffers; and the backend is only asked for what was on
 * the disk when the request came, and for no change of a disk that is read-only.
 */
import { PENDING } from '../../../devices/blk/backends/block-backend.js';
import { VirtioBlk } from '../../../devices/blk/virtio-blk.js';
import { Errno } from '../../../devices/errno.js';
import { ScriptedBackend, type Call } from '../../devices/blk/support/scripted-backend.js';
import {
  NO_STATUS,
  Status,
  TestChain,
  TestContext,
  TestQueue,
} from '../../devices/blk/support/test-queue.js';
import { cutsOf, requestOf, ROOMS } from './disk-requests.js';

export const StepKind = {
  SEND: 0,
  END: 1,
  POKE: 2,
  CACHE_MODE: 3,
  SIZE: 4,
  RESET: 5,
  RESET_QUEUE: 6,
} as const;
export type StepKind = (typeof StepKind)[keyof typeof StepKind];

const KIND_COUNT = Object.keys(StepKind).length;
const SECTOR_BYTES = 512;
const SECTORS = 64;
const QUEUES = 2;
const WITHHELD = [0n, 1n << 9n, 1n << 11n, (1n << 9n) | (1n << 11n)];
const WRITEBACK_OFFSET = 32;
const RESULTS = [0, 0, 0, -Errno.EIO, -Errno.ENOSPC, -Errno.EOPNOTSUPP, -Errno.ECANCELED];
const CHANGES = ['write', 'writeZeroes', 'discard', 'secureErase'];
/** What the backend reads: neither what was sent nor what the room held. */
const READ_BYTE = 0xd1;

interface Sent {
  readonly chain: TestChain;
  readonly queue: TestQueue;
  readonly readable: Uint8Array;
  /** What that has to hold still: what was sent, with the driver's own changes. */
  readonly expected: Uint8Array;
}

export class DiskRun {
  states = 0;
  readonly #saw: (what: number) => void;
  readonly #backend = new ScriptedBackend(SECTORS * SECTOR_BYTES, { hasLifetime: false });
  readonly #device: VirtioBlk;
  readonly #readOnly: boolean;
  readonly #features: bigint;
  readonly #sent: Sent[] = [];
  #queues: TestQueue[] = [];
  #context = new TestContext(0n, []);
  /** The one that is being served. */
  #current: Sent | undefined;
  /** A bit for each call to come: whether the backend takes its time. */
  #delays: number;

  constructor([options, withheld, delays]: readonly number[], saw: (what: number) => void) {
    this.#saw = saw;
    this.#readOnly = options % 8 === 0;
    this.#delays = delays;
    this.#device = new VirtioBlk(this.#backend, {
      ...{ serial: 'fuzzed', readOnly: this.#readOnly, queues: QUEUES },
      log: () => {},
    });
    this.#features = this.#device.features & ~WITHHELD[withheld % WITHHELD.length];
    this.#backend.answer = (call) => this.#answer(call);
    this.#activate();
  }

  take([kind, a, b, c, d]: readonly number[]): void {
    this.states++;
    const step = kind % KIND_COUNT;
    switch (step) {
      case StepKind.SEND:
        return this.#send(requestOf(a, b, c), d);
      case StepKind.END:
        return this.#end(a, RESULTS[b % RESULTS.length]);
      case StepKind.POKE:
        return this.#poke(a, b, c);
      case StepKind.CACHE_MODE:
        return this.#device.writeConfig(a % 4 === 0 ? b % 80 : WRITEBACK_OFFSET, Uint8Array.of(c % 3));
      case StepKind.SIZE:
        this.#backend.sizeBytes = (1 + (a % (2 * SECTORS))) * SECTOR_BYTES;
        return this.#backend.sizeChanged();
      case StepKind.RESET:
        void this.#device.reset();
        return this.#activate();
      default:
        return this.#resetQueue(a % QUEUES);
    }
  }

  /** All that is under way ends, and then every request has to be back. */
  finish(): void {
    this.#backend.answer = () => 0;
    while (this.#backend.held.length > 0) this.#end(0, 0);
    for (const { chain, queue } of this.#sent) {
      const times = queue.pushed.filter((entry) => entry.chain === chain).length;
      if (times !== 1) throw new Error(`a request was given back ${times} times`);
    }
    if (this.#context.faults.length > 0) throw new Error(`the device failed: ${this.#context.faults[0]}`);
  }

  #activate(): void {
    this.#queues = Array.from({ length: QUEUES }, (_, i) => new TestQueue(i));
    this.#context = new TestContext(this.#features, this.#queues);
    this.#device.activate(this.#context);
  }

  #resetQueue(index: number): void {
    void this.#device.resetQueue(index);
    this.#queues[index] = new TestQueue(index);
  }

  #send(readable: Uint8Array, shape: number): void {
    const room = ROOMS[shape % ROOMS.length];
    const cuts = { read: cutsOf(shape >> 3), write: cutsOf(shape >> 7) };
    const queue = this.#queues[shape % QUEUES];
    const chain = new TestChain(readable, room, cuts);
    const sent = { chain, queue, readable, expected: readable.slice() };
    this.#sent.push(sent);
    this.#current = sent;
    this.#device.handleChain(queue, chain);
    this.#current = undefined;
    this.#check(sent);
  }

  /** The driver changes what it sent. */
  #poke(which: number, at: number, value: number): void {
    if (this.#sent.length === 0) return;
    const { readable, expected } =
      this.#sent[this.#sent.length - 1 - (which % Math.min(4, this.#sent.length))];
    if (readable.length === 0) return;
    readable[at % readable.length] = expected[at % readable.length] = value & 0xff;
  }

  #answer(call: Call): number {
    const { operation, offset, length } = call;
    if (this.#readOnly && CHANGES.includes(operation)) throw new Error(`${operation} on a read-only disk`);
    if (offset % SECTOR_BYTES !== 0 || length % SECTOR_BYTES !== 0 || offset < 0) {
      throw new Error(`${operation} of ${length} bytes at ${offset}`);
    }
    if (offset + length > 2 * SECTORS * SECTOR_BYTES) throw new Error(`${operation} beyond any size`);
    if (this.#current !== undefined) this.#checkCall(call, this.#current);
    this.#delays = ((this.#delays << 1) | ((this.#delays >> 15) & 1)) & 0xffff;
    if ((this.#delays & 1) === 1) return PENDING;
    return this.#result(call, RESULTS[(this.#delays >> 4) % RESULTS.length]);
  }

  /** A call that a request starts with; later ones of the same request are about ranges, which were checked when it came. */
  #checkCall({ operation, offset, length, vector }: Call, { chain, readable }: Sent): void {
    if (offset + length > this.#device.sizeBytes) throw new Error(`${operation} beyond the disk's end`);
    const own = operation === 'read' ? chain.data : readable;
    for (let i = 0; vector !== undefined && i < vector.count; i++) {
      const isInside =
        vector.bytes[i].buffer === own.buffer && vector.offsets[i] + vector.lengths[i] <= own.length;
      if (!isInside) throw new Error(`${operation} of other memory than the request's`);
    }
  }

  #end(which: number, result: number): void {
    const { held } = this.#backend;
    if (held.length === 0) return;
    const [call] = held.splice(which % held.length, 1);
    call.complete(this.#result(call, result));
    for (const sent of this.#sent) this.#check(sent);
  }

  #result({ operation, vector }: Call, result: number): number {
    if (operation === 'read' && vector !== undefined && result === 0) {
      const { bytes, offsets, lengths, count } = vector;
      for (let i = 0; i < count; i++) bytes[i].fill(READ_BYTE, offsets[i], offsets[i] + lengths[i]);
    }
    return result;
  }

  #check({ chain, queue, readable, expected }: Sent): void {
    if (Buffer.compare(readable, expected) !== 0) throw new Error('it wrote to what it may only read');
    const writtenBytes = queue.written(chain);
    if (writtenBytes === undefined) {
      if (chain.status !== NO_STATUS) throw new Error('a status was written, and the request is not back');
      return;
    }
    if (chain.status > Status.UNSUPP) throw new Error(`its status is ${chain.status}`);
    if (writtenBytes < 0 || writtenBytes > chain.room.length)
      throw new Error(`${writtenBytes} bytes are written`);
    const beyond = chain.data.subarray(writtenBytes);
    if (
      chain.status === Status.OK &&
      writtenBytes < chain.room.length &&
      !beyond.every((byte) => byte === NO_STATUS)
    ) {
      throw new Error('more was written than it says');
    }
    const type = readable.length >= 4 ? readable[0] & 0x1f : 0x1f;
    this.#saw(
      (type * 4 + chain.status) * 16 + Math.min(this.#backend.held.length, 7) * 2 + Number(this.#readOnly),
    );
  }
}
