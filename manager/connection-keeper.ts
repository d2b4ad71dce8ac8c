/**
 * Connections of VMMs to a device process, held open beside it: their sockets, guest memory and eventfds, and what was agreed on over them. Where the
 * process dies, no VMM notices, and the next process goes on with them. See `device-process/keeping/`.
 */
import { closeFd } from '../host/index.js';
import { ChannelError, type HandOverChannel, type Message } from './device-process/hand-over/channel.js';
import { dataAs } from './device-process/hand-over/movable.js';
import {
  Ended,
  heldOf,
  KeepingMessage,
  keepingOf,
  type HeldConnection,
} from './device-process/keeping/protocol.js';
import type { LogMethod } from './logging/log.js';

/** What one process may have held: more than a guest comes to, and little of what the daemon has for all chassis. */
const MAX_HELD = { fds: 16_384, jsonBytes: 16 << 20, blobsBytes: 0 } as const;

export class ConnectionKeeper {
  private readonly log: LogMethod;
  /** By function. */
  private readonly held = new Map<string, HeldConnection>();
  private channel: HandOverChannel | undefined;
  /** Settles once all is heard that the process has said. */
  private heard: Promise<void> = Promise.resolve();

  constructor(log: LogMethod) {
    this.log = log;
  }

  /** Hears of a process's connections from now on. What is held of one before it stays until this one says otherwise. */
  listen(channel: HandOverChannel): void {
    const before = this.heard;
    this.channel = channel;
    this.heard = this.hear(channel).then(() => before);
  }

  /** Resolves once all is known that a process told which is no more. */
  async settled(): Promise<void> {
    await this.heard;
    this.channel = undefined;
  }

  /** Whether a function of the last process has a connection that goes on. */
  has(fn: string): boolean {
    return this.held.has(fn);
  }

  /** Gives the connection to the process that is heard now, and holds it still. @throws ChannelError */
  async give(fn: string): Promise<void> {
    const connection = this.held.get(fn);
    if (connection === undefined || this.channel === undefined) throw new ChannelError('it is not held');
    const parts = Array.from(connection.parts, ([name, part]) => ({ name, ...part }));
    const [keeping, parcel] = keepingOf(fn, connection.number, true, parts);
    await this.channel.send(KeepingMessage.RESUME, keeping, parcel);
  }

  /** Lets go of a connection: unless a process has it, its VMM sees it end. */
  drop(fn: string): void {
    for (const { fds } of this.held.get(fn)?.parts.values() ?? []) closeAll(fds);
    this.held.delete(fn);
  }

  /** Lets go of all connections, and hears of none any more. */
  close(): void {
    this.channel?.close();
    this.channel = undefined;
    for (const fn of [...this.held.keys()]) this.drop(fn);
  }

  private async hear(channel: HandOverChannel): Promise<void> {
    try {
      for (let message; (message = await channel.receive(MAX_HELD)) !== undefined; message.parcel.close())
        if (channel === this.channel) this.take(message);
    } catch (error) {
      // A process that is killed stops in the middle of a word.
      if (!(error instanceof ChannelError))
        this.log('what a process said of its connections makes no sense', error);
    }
    channel.close();
  }

  private take({ type, data, parcel }: Message): void {
    if (type === KeepingMessage.ENDED) return this.drop(dataAs(Ended, data).function);
    if (type !== KeepingMessage.TELL) return;
    const { function: fn, number, begins, parts } = heldOf(data, parcel);
    if (begins) this.drop(fn);
    const connection: HeldConnection | undefined = begins
      ? { number: 0, parts: new Map() }
      : this.held.get(fn);
    if (connection === undefined) return closeAll([...parts.values()].flatMap(({ fds }) => fds));
    connection.number = number ?? connection.number;
    for (const [name, part] of parts) {
      closeAll(connection.parts.get(name)?.fds ?? []);
      connection.parts.set(name, part);
    }
    this.held.set(fn, connection);
    this.checkSize();
  }

  /** @throws Error where a process has more held than any needs: it is heard no more */
  private checkSize(): void {
    let [fds, jsonBytes] = [0, 0];
    for (const [fn, { parts }] of this.held)
      for (const [name, part] of parts) {
        fds += part.fds.length;
        jsonBytes += fn.length + name.length + part.jsonBytes;
      }
    if (fds <= MAX_HELD.fds && jsonBytes <= MAX_HELD.jsonBytes) return;
    for (const fn of [...this.held.keys()]) this.drop(fn);
    throw new Error(`there are ${fds} descriptors and ${jsonBytes} bytes to hold, which is too much`);
  }
}

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) closeFd(fd);
}
