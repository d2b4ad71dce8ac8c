/**
 * A guest's disk at work, over vhost-user or as a test plugs it in: a driver that writes and reads back what it wrote, several requests at a time, and knows how long
 * each took.
 */
import type { Reactor } from '../../../host/index.js';
import { GUEST_BASE, GuestRam, TestQueue } from '../ports/vhost-user/harness.js';
import { memTable, RawFrontEnd, Request } from '../ports/vhost-user/raw-front-end.js';

const DATA_BYTES = 4096;
const SLOT_BYTES = 8192;
/** Behind the rings. */
const FIRST_SLOT = 0x20000;
const VIRTIO_BLK_T_IN = 0;
const VIRTIO_BLK_T_OUT = 1;

interface Slot {
  readonly number: number;
  /** Where its header is, with the data behind. */
  readonly at: number;
  round: number;
  writing: boolean;
  startedMs: number;
}

export class LoadedDisk {
  /** Requests that were answered. */
  done = 0;
  /** The longest that one took, since it was set to 0. */
  longestMs = 0;
  readonly #ram = new GuestRam('loaded disk', 0x200000);
  readonly #queue: TestQueue;
  readonly #slots: Slot[];
  readonly #busy = new Map<number, Slot>();
  #stopping = false;
  #problem: Error | undefined;

  private constructor(reactor: Reactor, slots: number) {
    this.#queue = new TestQueue(reactor, this.#ram);
    this.#slots = Array.from({ length: slots }, (_, number) => {
      const at = FIRST_SLOT + number * SLOT_BYTES;
      return { number, at, round: 0, writing: false, startedMs: 0 };
    });
  }

  static start(reactor: Reactor, socketPath: string, slots = 8): Promise<LoadedDisk> {
    return LoadedDisk.startOn(reactor, slots, async (queue, ram) => {
      const frontEnd = await new RawFrontEnd(reactor, socketPath).negotiate();
      await frontEnd.set(Request.SET_MEM_TABLE, memTable(ram.region), [ram.fd]);
      await queue.start(frontEnd);
    });
  }

  static async startOn(
    reactor: Reactor,
    slots: number,
    plug: (queue: TestQueue, ram: GuestRam) => Promise<void>,
  ): Promise<LoadedDisk> {
    const disk = new LoadedDisk(reactor, slots);
    await plug(disk.#queue, disk.#ram);
    for (const slot of disk.#slots) disk.#next(slot);
    void disk.#run();
    return disk;
  }

  /** Resolves once so many more requests are answered. */
  async progress(count: number): Promise<void> {
    for (const wanted = this.done + count; this.done < wanted;) {
      if (this.#problem) throw this.#problem;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** Resolves once all that is under way is answered. @throws Error where something was not what it should be */
  async stop(): Promise<void> {
    this.#stopping = true;
    while (this.#busy.size > 0 && !this.#problem) await new Promise((resolve) => setTimeout(resolve, 1));
    if (this.#problem) throw this.#problem;
  }

  async #run(): Promise<void> {
    const { driver, call } = this.#queue;
    for (let seen = call.count; !this.#problem; seen = call.count) {
      if (driver.allowInterrupts()) this.#reap();
      else await call.reaches(seen + 1);
      this.#reap();
    }
  }

  #reap(): void {
    for (const { id } of this.#queue.driver.reap()) {
      const slot = this.#busy.get(id);
      this.#busy.delete(id);
      if (slot === undefined)
        this.#problem = new Error(`request ${id} was answered that nobody has under way`);
      else this.#answered(slot);
    }
  }

  #answered(slot: Slot): void {
    this.longestMs = Math.max(this.longestMs, performance.now() - slot.startedMs);
    this.done++;
    const { bytes } = this.#ram;
    const data = Buffer.from(bytes.buffer, bytes.byteOffset + slot.at + 16, DATA_BYTES + 1);
    if (data[DATA_BYTES] !== 0) this.#problem = new Error(`a request failed with status ${data[DATA_BYTES]}`);
    else if (!slot.writing && !data.subarray(0, DATA_BYTES).equals(this.#content(slot)))
      this.#problem = new Error(`slot ${slot.number} reads something else than was written`);
    else if (!this.#stopping) this.#next(slot);
  }

  /** A write, then a read of the same. */
  #next(slot: Slot): void {
    const { bytes } = this.#ram;
    slot.writing = !slot.writing;
    if (slot.writing) slot.round++;
    const header = new DataView(bytes.buffer, bytes.byteOffset + slot.at, 16);
    header.setUint32(0, slot.writing ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, true);
    header.setUint32(4, 0, true);
    header.setUint32(8, slot.number * (DATA_BYTES / 512), true);
    header.setUint32(12, 0, true);
    if (slot.writing) bytes.set(this.#content(slot), slot.at + 16);
    else bytes.fill(0xee, slot.at + 16, slot.at + 16 + DATA_BYTES);
    bytes[slot.at + 16 + DATA_BYTES] = 0xff;
    slot.startedMs = performance.now();
    const at = GUEST_BASE + slot.at;
    const id = this.#queue.driver.add([
      { address: at, length: 16 },
      { address: at + 16, length: DATA_BYTES, writable: !slot.writing },
      { address: at + 16 + DATA_BYTES, length: 1, writable: true },
    ]);
    this.#busy.set(id, slot);
    if (this.#queue.driver.kickNeeded()) this.#queue.kick();
  }

  #content(slot: Slot): Buffer {
    const content = Buffer.alloc(DATA_BYTES, slot.number + slot.round);
    content.writeUInt32LE(slot.round, 0);
    content.writeUInt32LE(slot.number, DATA_BYTES - 4);
    return content;
  }
}
