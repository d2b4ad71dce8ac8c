/** The mounts on the queues of a multiplexing function that a device process serves, for the requests of its daemon. */
import type { FileSystem } from '../../devices/9p/fs/file-system.js';
import type { ServerOptions } from '../../devices/9p/server/options.js';
import type { Virtio9pMux } from '../../devices/9p/virtio-9p-mux.js';
import { ChassisError, type FunctionCounters, type Lost, type Source } from '../control/api.js';
import { countersOf, type DeviceCounters } from '../counters.js';
import type { SeatSpec, SeatStatus } from './protocol.js';

export interface ServedQueuesOptions {
  readonly mux: Virtio9pMux;
  readonly openSource: (source: Source) => Promise<FileSystem>;
  readonly serverOptions: (tag: string, readOnly: boolean) => ServerOptions;
  readonly log: (message: string) => void;
}

interface Seat {
  readonly tag: string;
  /** It serves nothing any more, and its queue is taken until its file system is closed. */
  leaving: boolean;
}

export class ServedQueues {
  private readonly options: ServedQueuesOptions;
  private readonly seats = new Map<number, Seat>();

  constructor(options: ServedQueuesOptions) {
    this.options = options;
  }

  /** Answers the queue. @throws ChassisError NO_SLOT_FREE where none of those asked for is free, or as the source cannot be opened */
  async add({ queues, tag, source, readOnly }: SeatSpec): Promise<number> {
    const { mux, openSource, serverOptions } = this.options;
    const queue = queues.find((each) => each < mux.queueSizes.length && !this.seats.has(each));
    if (queue === undefined) throw stillLeaving();
    const fs = await openSource(source);
    try {
      mux.attach(queue, fs, tag, serverOptions(tag, readOnly));
    } catch (error) {
      await fs.close();
      throw error;
    }
    this.seats.set(queue, { tag, leaving: false });
    return queue;
  }

  /**
   * Takes a queue's mount away, and answers what the guest had of it. One that is not there is gone already. Does not wait for what is
   * under way: a file system that hangs keeps its queue, and nobody else.
   * @throws ChassisError MOUNT_BUSY while the guest has it mounted, unless forced
   */
  remove(queue: number, force: boolean): Lost {
    const { mux, log } = this.options;
    const seat = this.seats.get(queue);
    const { fids = 0, openFiles = 0 } = mux.statistics(queue) ?? {};
    if (!seat || seat.leaving) return { fids: 0, openFiles: 0 };
    if (!force && (fids > 0 || openFiles > 0)) throw busy(seat.tag);
    seat.leaving = true;
    void mux
      .detach(queue)
      .catch((error: unknown) => log(`${seat.tag}: while closing: ${String(error)}`))
      .finally(() => this.seats.delete(queue));
    return { fids, openFiles };
  }

  /** Of all mounts together. */
  counted(): DeviceCounters {
    const sums = { bytesRead: 0, bytesWritten: 0, fids: 0 };
    for (const queue of this.seats.keys()) {
      const { bytesRead = 0, bytesWritten = 0, fids = 0 } = this.options.mux.statistics(queue) ?? {};
      sums.bytesRead += bytesRead;
      sums.bytesWritten += bytesWritten;
      sums.fids += fids;
    }
    return sums;
  }

  /** The queues that serve a mount, each with its part of what the function counted. */
  list({ queues }: FunctionCounters): SeatStatus[] {
    return [...this.seats]
      .filter(([, seat]) => !seat.leaving)
      .map(([queue]) => ({
        queue,
        counters: countersOf(this.options.mux.statistics(queue), [queues[queue]]),
      }));
  }
}

function busy(tag: string): ChassisError {
  return new ChassisError(
    'MOUNT_BUSY',
    `the guest has ${JSON.stringify(tag)} mounted`,
    'unmount it in the guest first (umount), or use --force, which fails what is open',
  );
}

function stillLeaving(): ChassisError {
  return new ChassisError(
    'NO_SLOT_FREE',
    'the queues that are left have requests of their last mounts under way',
    'try again in a moment, or use --via tree',
  );
}
