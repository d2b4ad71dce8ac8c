/**
 * A 9P device with many mounts (docs/9p-multiplexing.md): each queue is a transport of its own, as the one queue of the plain device
 * is, with a session and a file system of its own. Mounts come and go while the device runs, announced by config changes. A driver
 * that knows only the plain device finds that one, by the first queue.
 */
import { Errno } from '../errno.js';
import { sameBytes } from '../same-bytes.js';
import { SAME_PROCESS, type GivenDescriptors, type StateDestination } from '../state-descriptors.js';
import type { Chain, DeviceContext, VirtioDevice, Virtqueue } from '../virtio/device.js';
import { VirtioDeviceId } from '../virtio/device.js';
import { isPromise, type FileSystem } from './fs/file-system.js';
import { MUX_CONFIG_BYTES, MUX_TAG_MAX_BYTES, MuxConfig } from './mux-config.js';
import { decodeMux, decodeRegisters, encodeMux, encodeRegisters, type MuxState } from './mux-state.js';
import { QueueReplies } from './queue-replies.js';
import type { JournalStore } from './server/journal/journal-store.js';
import type { ServerLatencies, ServerLimits, ServerOptions, ServerStatistics } from './server/options.js';
import { Server } from './server/server.js';
import { UntellableError } from './server/state/save.js';
import { encodeTag } from './tag.js';
import { PCI_CLASS, QUEUE_SIZE, Virtio9pFeature } from './virtio-9p.js';

/** Queues of one device: with a vector each, and one for config changes, they fit an MSI-X table many times over. */
export const MUX_QUEUES_MAX = 512;

const MULTIPLEX = 1n << BigInt(Virtio9pFeature.VIRTIO_9P_F_MULTIPLEX);

/** What a queue serves. */
interface Seat {
  readonly server: Server;
  /** Set once it was detached: the queue is taken until that is done. */
  closing: Promise<void> | undefined;
}

export class Virtio9pMux implements VirtioDevice {
  readonly deviceId = VirtioDeviceId.fileSystem9p;
  readonly pciClass = PCI_CLASS;
  readonly features = (1n << BigInt(Virtio9pFeature.VIRTIO_9P_MOUNT_TAG)) | MULTIPLEX;
  readonly queueSizes: readonly number[];
  readonly config: Uint8Array;
  /** What it shows is in its state. */
  readonly changingConfig = [{ offset: 0, lengthBytes: MUX_CONFIG_BYTES }];
  readonly #registers: MuxConfig;
  readonly #seats: (Seat | undefined)[];
  readonly #replies: (QueueReplies | undefined)[];
  readonly #vacant = vacantServer();
  readonly #kept: JournalStore | undefined;
  /** The driver was told by another process what there is, and is to look again. */
  #mustLook = false;
  #context: DeviceContext | undefined;
  #closed = false;
  /** The state that the servers have taken over. */
  #prepared: Uint8Array | undefined;

  /**
   * One to 512 queues, all of them empty. With `kept`, what a driver knows of the mounts by the config space outlives this process: see
   * `goOn`.
   */
  constructor(queueCount: number, kept?: JournalStore) {
    if (!Number.isInteger(queueCount) || queueCount < 1 || queueCount > MUX_QUEUES_MAX)
      throw new RangeError(`a multiplexing device has 1 to ${MUX_QUEUES_MAX} queues, not ${queueCount}`);
    this.queueSizes = new Array<number>(queueCount).fill(QUEUE_SIZE);
    this.#seats = new Array<Seat | undefined>(queueCount).fill(undefined);
    this.#replies = new Array<QueueReplies | undefined>(queueCount).fill(undefined);
    this.#registers = new MuxConfig(queueCount);
    this.config = this.#registers.bytes;
    this.#kept = kept;
  }

  /** The lowest queue that nothing is attached to, and undefined where all are taken. */
  get freeQueue(): number | undefined {
    const queue = this.#seats.indexOf(undefined);
    return queue < 0 ? undefined : queue;
  }

  /**
   * Has an empty queue serve a file system, which is the device's from then on. The tag has 1 to 222 bytes of UTF-8 without NUL. With a
   * `journal`, a device like this one goes on for the queue's client after its process was killed.
   * @throws RangeError where there is no such queue, it is taken, or the tag is none
   */
  attach(queue: number, fs: FileSystem, tag: string, options: ServerOptions, journal?: JournalStore): void {
    const bytes = encodeTag(tag, MUX_TAG_MAX_BYTES);
    const exists = Number.isInteger(queue) && queue >= 0 && queue < this.#seats.length;
    if (this.#closed || !exists || this.#seats[queue] !== undefined)
      throw new RangeError(`nothing can be attached to queue ${queue}`);
    this.#seats[queue] = { server: new Server(fs, options, journal), closing: undefined };
    this.#registers.seat(queue, bytes, options.readOnly);
    this.#announce(queue);
  }

  /**
   * Takes a queue's mount away, in use or not, and closes its file system. Requests under way go back unanswered once they no
   * longer touch guest memory; those that come later are answered with ENODEV. Rejects only where the file system's close does.
   */
  async detach(queue: number): Promise<void> {
    const seat = this.#seats[queue];
    if (seat === undefined || seat.closing !== undefined)
      throw new RangeError(`nothing is attached to queue ${queue}`);
    this.#registers.vacate(queue);
    this.#announce(queue);
    seat.closing = seat.server.close().finally(() => {
      this.#seats[queue] = undefined;
    });
    await seat.closing;
  }

  /** Changes the limits of a queue's mount while the guest has it; tells the driver whether it may be changed. */
  setLimits(queue: number, limits: Partial<ServerLimits>): void {
    const seat = this.#seats[queue];
    if (seat === undefined || seat.closing !== undefined)
      throw new RangeError(`nothing is attached to queue ${queue}`);
    seat.server.setLimits(limits);
    if (limits.readOnly === undefined || !this.#registers.setReadOnly(queue, limits.readOnly)) return;
    this.#announce(queue);
  }

  /** The counters of a queue's server; undefined where nothing is attached. */
  statistics(queue: number): Readonly<ServerStatistics> | undefined {
    return this.#seats[queue]?.server.statistics;
  }

  latencies(queue: number): ServerLatencies | undefined {
    return this.#seats[queue]?.server.latencies;
  }

  /** `select` is live while a driver that agreed to the feature is at work. */
  writeConfig(offset: number, bytes: Uint8Array): void {
    if (!this.#isMultiplexed) return;
    this.#registers.write(offset, bytes);
    this.#keepRegisters();
  }

  /**
   * Goes on, before it is activated, for a device whose process was killed, which had the same mounts on its queues but for those that are gone:
   * config space is what that one kept.
   */
  goOn(): void {
    const bytes = this.#kept?.read();
    const registers = bytes && decodeRegisters(bytes);
    if (registers === undefined) return;
    this.#registers.goOn(registers);
    this.#mustLook = true;
    this.#keepRegisters();
  }

  /** Where journals tell of what clients have, whose device's process was killed, that is found again: their requests wait meanwhile. */
  activate(context: DeviceContext): void {
    this.#context = context;
    for (const seat of this.#seats) void seat?.server.recover();
    if (!this.#mustLook) return;
    this.#mustLook = false;
    context.configChanged();
  }

  handleChain(queue: Virtqueue, chain: Chain): void {
    const replies = this.#repliesOf(queue);
    // One that is being closed answers with ENODEV by itself.
    const server = this.#seats[queue.index]?.server ?? this.#vacant;
    replies.inBatch = true;
    server.handle(chain.readable, chain.writable, replies.done, chain, chain);
    replies.inBatch = false;
  }

  reset(): void | Promise<void> {
    this.#context = undefined;
    this.#prepared = undefined;
    this.#registers.reset();
    this.#keepRegisters();
    this.#replies.fill(undefined);
    const waits = this.#seats.map((seat) => seat?.server.dropAll()).filter(isPromise);
    if (waits.length > 0) return Promise.all(waits).then(() => undefined);
  }

  resetQueue(index: number): void | Promise<void> {
    this.#replies[index] = undefined;
    return this.#seats[index]?.server.dropAll();
  }

  hold(): void | Promise<void> {
    const waits = this.#seats.map((seat) => seat?.server.hold()).filter(isPromise);
    if (waits.length > 0) return Promise.all(waits).then(() => undefined);
  }

  unhold(): void {
    for (const seat of this.#seats) seat?.server.unhold();
  }

  /** A mount that was detached is none any more, whatever of it is under way. @throws UntellableError, which names the queue */
  saveState(to: StateDestination = SAME_PROCESS): Uint8Array {
    return encodeMux({
      ...this.#registers.state,
      servers: this.#registers.state.seats.map(({ queue }) => this.#saveSeat(queue, to)),
    });
  }

  #saveSeat(queue: number, to: StateDestination): Uint8Array {
    try {
      return this.#seats[queue]?.server.saveState(to) ?? new Uint8Array(0);
    } catch (error) {
      throw new UntellableError(`queue ${queue}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** Finds the files of all queues' clients. The same mounts have been attached to the same queues. */
  async prepareState(bytes: Uint8Array, descriptors?: GivenDescriptors): Promise<string | undefined> {
    this.#prepared = undefined;
    await this.reset();
    const state = decodeMux(bytes);
    if (typeof state === 'string') return state;
    const problem = this.#registers.problemOf(state) ?? (await this.#restoreSeats(state, descriptors));
    if (problem !== undefined) {
      await this.reset();
      return problem;
    }
    this.#registers.resume(state);
    this.#keepRegisters();
    this.#prepared = bytes;
    return undefined;
  }

  async #restoreSeats(
    { seats, servers }: MuxState,
    descriptors: GivenDescriptors | undefined,
  ): Promise<string | undefined> {
    for (const [index, { queue }] of seats.entries()) {
      const problem = await this.#seats[queue]?.server.restoreState(servers[index], descriptors);
      if (problem !== undefined) return `queue ${queue}: ${problem}`;
    }
    return undefined;
  }

  restoreState(bytes: Uint8Array): string | undefined {
    return this.#prepared !== undefined && sameBytes(this.#prepared, bytes)
      ? undefined
      : 'the files of its clients have not been looked for: prepareState';
  }

  /** Rejects where a file system's close does, once all of them are closed. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#context = undefined;
    const seats = this.#seats.filter((seat) => seat !== undefined);
    const closed = await Promise.allSettled(seats.map(({ closing, server }) => closing ?? server.close()));
    const failed = closed.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  get #isMultiplexed(): boolean {
    return this.#context !== undefined && (this.#context.features & MULTIPLEX) !== 0n;
  }

  /** Who knows only the first queue is not woken for the others. */
  #announce(queue: number): void {
    this.#keepRegisters();
    if (this.#isMultiplexed || queue === 0) this.#context?.configChanged();
  }

  /** Before a driver can have seen them. */
  #keepRegisters(): void {
    if (this.#kept === undefined) return;
    const bytes = encodeRegisters(this.#registers.state);
    this.#kept.create(bytes.length)?.set(bytes);
    this.#kept.commit();
  }

  #repliesOf(queue: Virtqueue): QueueReplies {
    const known = this.#replies[queue.index];
    return known?.queue === queue ? known : (this.#replies[queue.index] = new QueueReplies(queue));
  }
}

/** Answers every message with ENODEV: what a queue does that serves nothing. */
function vacantServer(): Server {
  const server = new Server(
    { attach: () => -Errno.ENODEV, close: () => undefined },
    { maxMsizeBytes: 4096, readOnly: true, maxFids: 0, maxOpenFiles: 0, log: () => undefined },
  );
  void server.close();
  return server;
}
