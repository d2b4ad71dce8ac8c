/** The mounts on the queues of a multiplexing function that a device process serves, for the requests of its daemon. */
import type { ServerLimits, ServerOptions } from '../../devices/9p/server/options.js';
import type { Virtio9pMux } from '../../devices/9p/virtio-9p-mux.js';
import { ChassisError, MAX_FIDS, type FunctionCounters, type Lost } from '../control/api.js';
import { countersOf, type DeviceCounters } from '../counters.js';
import type { Log } from '../logging/log.js';
import type { HeldQueues } from './keeping/held-queues.js';
import type { SeatSpec, SeatStatus } from './protocol.js';
import type { Beginning, OpenMount, PolicyTerms, ServedMount } from './served-mount.js';

export interface ServedQueuesOptions {
  readonly mux: Virtio9pMux;
  readonly openMount: OpenMount;
  readonly serverOptions: (tag: string, limits: Partial<ServerLimits>) => ServerOptions;
  /** What is to outlive the process; undefined where nothing can. */
  readonly held?: HeldQueues | undefined;
  readonly log: Log;
}

interface Seat {
  readonly tag: string;
  readonly spec: SeatSpec;
  readonly mount: ServedMount;
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
  async add(spec: SeatSpec, beginning?: Beginning): Promise<number> {
    const { queues, tag, source, ...terms } = spec;
    const { mux, openMount, serverOptions, held } = this.options;
    const queue = queues.find((each) => each < mux.queueSizes.length && !this.seats.has(each));
    if (queue === undefined) throw stillLeaving();
    const mount = await openMount(source, terms, beginning);
    try {
      const session = await held?.begin(queue);
      mux.attach(queue, mount.fs, tag, serverOptions(tag, limitsOf(terms)), session?.journal);
    } catch (error) {
      await held?.end(queue);
      await mount.fs.close();
      throw error;
    }
    mount.onPolicy = (changed) => mux.setLimits(queue, limitsOf(changed));
    this.seats.set(queue, { tag, spec, mount, leaving: false });
    return queue;
  }

  /** What another process makes the same mounts of, each on its queue. */
  get specs(): SeatSpec[] {
    const seats = [...this.seats].filter(([, { leaving }]) => !leaving);
    return seats.map(([queue, { spec, mount }]) => ({ ...spec, ...mount.terms, queues: [queue] }));
  }

  /** By tag. */
  get all(): ReadonlyMap<string, ServedMount> {
    const seats = [...this.seats.values()].filter(({ leaving }) => !leaving);
    return new Map(seats.map(({ tag, mount }) => [tag, mount]));
  }

  mount(queue: number): ServedMount | undefined {
    const seat = this.seats.get(queue);
    return seat?.leaving ? undefined : seat?.mount;
  }

  /**
   * Takes a queue's mount away, and answers what the guest had of it. One that is not there is gone already. Does not wait for what is
   * under way: a file system that hangs keeps its queue, and nobody else.
   * @throws ChassisError MOUNT_BUSY while the guest has it mounted, unless forced
   */
  remove(queue: number, force: boolean): Lost {
    const { mux, log, held } = this.options;
    const seat = this.seats.get(queue);
    const { fids = 0, openFiles = 0 } = mux.statistics(queue) ?? {};
    if (!seat || seat.leaving) return { fids: 0, openFiles: 0 };
    if (!force && (fids > 0 || openFiles > 0)) throw busy(seat.tag);
    seat.leaving = true;
    void mux
      .detach(queue)
      .catch((error: unknown) => log.with({ tag: seat.tag }).warn('not closed as it should be', error))
      .then(() => held?.end(queue))
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

  private countedOn(queue: number): DeviceCounters | undefined {
    const { mux } = this.options;
    const statistics = mux.statistics(queue);
    return statistics && { ...statistics, latencies: mux.latencies(queue) };
  }

  /** The queues that serve a mount, each with its part of what the function counted. */
  list({ queues }: FunctionCounters): SeatStatus[] {
    return [...this.seats]
      .filter(([, seat]) => !seat.leaving)
      .map(([queue]) => ({
        queue,
        counters: countersOf(this.countedOn(queue), [queues[queue]]),
      }));
  }
}

/** Of the policy, what is told to the guest's driver or counted by the server. */
function limitsOf({ readOnly, policy }: PolicyTerms): Partial<ServerLimits> {
  return { readOnly, maxFids: policy?.maxFids ?? MAX_FIDS };
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
