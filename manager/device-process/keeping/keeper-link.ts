/** A device process's end: tells the daemon, while one keeps its connections, and gets those of the process before it. */
import { setTimeout as delay } from 'node:timers/promises';
import { closeFd, duplicateFd } from '../../../host/index.js';
import type { LogMethod } from '../../logging/log.js';
import type { ConnectionKeeper, KeptConnection, Told } from '../../ports/keeping/told.js';
import { SerialQueue } from '../../serial-queue.js';
import type { HandOverChannel } from '../hand-over/channel.js';
import type { HandOverConnections } from '../hand-over/connections.js';
import type { OutgoingParcel } from '../hand-over/parcel.js';
import { heldOf, KeepingMessage, keepingOf, keptOf } from './protocol.js';

/** A daemon that takes longer hangs, and must not hold up a VMM. */
const TELL_MS = 2000;
/** How long after the order to go on with it a connection may come. */
const RESUME_MS = 5000;

export interface KeeperLinkOptions {
  readonly connections: HandOverConnections;
  readonly log: LogMethod;
}

/** A port with a connection that may be kept. */
interface KeptPort {
  /** There is another keeper, which has heard of nothing. Resolves once it has, if that can be said now. */
  keepAgain(): Promise<void>;
}

export class KeeperLink {
  private readonly options: KeeperLinkOptions;
  private readonly queue = new SerialQueue();
  private readonly ports = new Map<string, KeptPort>();
  private readonly given = new Map<string, KeptConnection>();
  private readonly awaited = new Map<string, (given: KeptConnection) => void>();
  private channel: HandOverChannel | undefined;

  constructor(options: KeeperLinkOptions) {
    this.options = options;
  }

  /** Tells whoever listens there from now on; resolves once that has heard of what there is. @throws HostError where nobody does */
  async connect(socketPath: string): Promise<void> {
    const channel = await this.options.connections.connect(socketPath);
    this.channel?.close();
    this.channel = channel;
    void this.listen(channel);
    await Promise.all(Array.from(this.ports.values(), (port) => port.keepAgain()));
  }

  /** What a function's port tells its keeper by. */
  of(fn: string): ConnectionKeeper {
    const isThere = () => this.channel !== undefined;
    return {
      get isThere() {
        return isThere();
      },
      tell: (told) => this.tell(fn, told),
      ended: async () => {
        await this.send(KeepingMessage.ENDED, { function: fn });
      },
    };
  }

  /** The function's port is there. */
  add(fn: string, port: KeptPort): void {
    this.ports.set(fn, port);
  }

  remove(fn: string): void {
    this.ports.delete(fn);
  }

  /** The connection that a process before this one had; undefined where it does not come. Its parcels are the caller's to close. */
  async taken(fn: string): Promise<KeptConnection | undefined> {
    const given = this.given.get(fn);
    this.given.delete(fn);
    if (given) return given;
    const timer = new AbortController();
    const late = delay(RESUME_MS, undefined, { signal: timer.signal }).catch(() => undefined);
    const comes = new Promise<KeptConnection>((resolve) => this.awaited.set(fn, resolve));
    const found = await Promise.race([comes, late]);
    this.awaited.delete(fn);
    timer.abort();
    return found ?? undefined;
  }

  private async listen(channel: HandOverChannel): Promise<void> {
    try {
      for (let message; (message = await channel.receive()) !== undefined; message.parcel.close()) {
        if (message.type !== KeepingMessage.RESUME) continue;
        const { function: fn, number = 0, parts } = heldOf(message.data, message.parcel);
        this.give(fn, keptOf({ number, parts }));
      }
    } catch (error) {
      this.options.log('whoever keeps connections makes no sense', error);
    }
    this.lose(channel);
  }

  private give(fn: string, kept: KeptConnection): void {
    const take = this.awaited.get(fn);
    if (take) take(kept);
    else this.given.set(fn, kept);
  }

  private async tell(fn: string, { number, begins, parts }: Told): Promise<boolean> {
    // What they stand for may be closed before all is sent.
    const own = parts.map((part) => ({ ...part, fds: part.fds.map((fd) => duplicateFd(fd)) }));
    try {
      if (own.some(({ fds }) => fds.some((fd) => fd < 0))) return false;
      return await this.send(KeepingMessage.TELL, ...keepingOf(fn, number, begins, own));
    } finally {
      for (const fd of own.flatMap(({ fds }) => fds)) if (fd >= 0) closeFd(fd);
    }
  }

  /** False where nobody will hear of it. What is told later, is heard of later. */
  private send(type: number, data: unknown, parcel?: OutgoingParcel): Promise<boolean> {
    return this.queue.run(async () => {
      const { channel } = this;
      if (channel === undefined) return false;
      const timer = setTimeout(() => {
        this.options.log('whoever keeps connections does not listen, and is not told any more');
        this.lose(channel);
      }, TELL_MS);
      try {
        await channel.send(type, data, parcel);
        return this.channel === channel;
      } catch {
        this.lose(channel);
        return false;
      } finally {
        clearTimeout(timer);
      }
    });
  }

  private lose(channel: HandOverChannel): void {
    channel.close();
    if (this.channel === channel) this.channel = undefined;
  }
}
