/** One connection to an NBD server: handshake, then commands out and replies in, in any order. */
import { connect, Socket, type OnReadOpts, type SocketConstructorOpts } from 'node:net';
import { Errno } from '../../../errno.js';
import { BlockBackendError } from '../errors.js';
import { protocolError, type ExportInfo } from './export-info.js';
import { NbdHandshake } from './handshake.js';
import type { NbdCall } from './nbd-call.js';
import { NBD_REQUEST_MAGIC, NbdCommand, RequestField } from './protocol.js';
import { ReplyParser, type ReplyEvents } from './reply-parser.js';
import type { NbdAddress } from './uri.js';

/** The connection is gone, and what was under way on it may be sent again elsewhere (ENOTCONN). */
export const CONNECTION_LOST = -107;

/** What arrives is taken out of here at once, so one buffer does. */
const RECEIVE_BYTES = 256 * 1024;
/** A peer whose machine is gone is noticed after about this long, also when nothing is asked of it. */
const KEEP_ALIVE_MS = 15_000;
/** How long a server has to take our goodbye. */
const GOODBYE_MS = 1000;

export interface ConnectionTimeouts {
  /** For connecting and the handshake. */
  readonly connectMs: number;
  /** For a reply: a server that takes longer counts as gone. */
  readonly replyMs: number;
}

export interface ConnectionEvents {
  /**
   * The connection is no more. What waited for replies is told next: `CONNECTION_LOST`, or -EIO where the server broke the
   * protocol, since it would do so again.
   */
  lost(connection: NbdConnection, reason: string): void;
}

export class NbdConnection implements ReplyEvents {
  readonly #socket: Socket;
  readonly #timeouts: ConnectionTimeouts;
  readonly #events: ConnectionEvents;
  /** Calls that wait for a reply, by slot. */
  readonly #calls: (NbdCall | undefined)[] = [];
  readonly #freeSlots: number[] = [];
  /** When each slot's call was sent, in milliseconds. */
  readonly #sentMs: number[] = [];
  #handshake: NbdHandshake | undefined;
  #parser: ReplyParser | undefined;
  #info: ExportInfo | undefined;
  #settle: ((outcome: ExportInfo | BlockBackendError) => void) | undefined;
  #serial = 0;
  #inFlight = 0;
  #timer: NodeJS.Timeout | undefined;
  #ended = false;

  private constructor(
    connectSocket: (onread: OnReadOpts) => Socket,
    timeouts: ConnectionTimeouts,
    events: ConnectionEvents,
  ) {
    this.#timeouts = timeouts;
    this.#events = events;
    const socket = connectSocket({
      buffer: new Uint8Array(RECEIVE_BYTES),
      callback: (length: number, buffer: Uint8Array) => this.#received(buffer, length),
    });
    socket.on('error', (error) => this.#end(describe(error), CONNECTION_LOST));
    socket.on('close', () => this.#end('the server closed the connection', CONNECTION_LOST));
    this.#socket = socket;
  }

  /**
   * Connects, unless `fd` is a connected socket already, and agrees on everything, unless `signal` breaks it off before that is done.
   *
   * @throws BlockBackendError BACKEND_MISSING where nobody answers, or what the handshake ended with
   */
  static async open(
    address: NbdAddress,
    timeouts: ConnectionTimeouts,
    events: ConnectionEvents,
    signal: AbortSignal,
    fd?: number,
  ): Promise<NbdConnection> {
    const connecting = (onread: OnReadOpts) =>
      (fd === undefined
        ? connect({ ...address.server, onread })
        : new Socket({ fd, readable: true, writable: true, onread } as SocketConstructorOpts)
      )
        .setNoDelay(true)
        .setKeepAlive(true, KEEP_ALIVE_MS);
    const connection = new NbdConnection(connecting, timeouts, events);
    const outcome = await connection.#negotiated(address.exportName, signal);
    if (outcome instanceof BlockBackendError) throw outcome;
    return connection;
  }

  /** Goes on with a connection of another process, which told its `descriptor` while nothing was under way on it. Owns that. */
  static takeOver(
    descriptor: number,
    info: ExportInfo,
    timeouts: ConnectionTimeouts,
    events: ConnectionEvents,
  ): NbdConnection {
    const made = (onread: OnReadOpts) =>
      // Node knows `onread` here, too, and its types do not.
      new Socket({ fd: descriptor, readable: true, writable: true, onread } as SocketConstructorOpts);
    const connection = new NbdConnection(made, timeouts, events);
    connection.#established(info);
    return connection;
  }

  get info(): ExportInfo {
    return this.#info as ExportInfo;
  }

  /** For another process to go on with, once nothing is received here any more. Still this connection's own. */
  get descriptor(): number {
    return (this.#socket as unknown as { readonly _handle: { readonly fd: number } })._handle.fd;
  }

  /** Nothing is received until `goOn`: it is another process's. */
  standStill(): void {
    this.#socket.pause();
  }

  goOn(): void {
    this.#socket.resume();
  }

  /** How many calls wait for a reply. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Sends a command; its owner hears of the reply, or of the connection's end, later. */
  send(call: NbdCall): void {
    const slot = this.#freeSlots.pop() ?? this.#calls.length;
    this.#serial = (this.#serial + 1) >>> 0;
    this.#calls[slot] = call;
    this.#sentMs[slot] = performance.now();
    this.#inFlight++;
    const message = call.encode(slot, this.#serial);
    if (!call.hasPayload || call.isStaged) this.#socket.write(message);
    else this.#sendPayload(call, message);
    this.#timer ??= setTimeout(this.#checkReplies, this.#timeouts.replyMs);
  }

  /** Says goodbye. What is under way ends with `CONNECTION_LOST`. */
  async close(): Promise<void> {
    if (this.#ended) return;
    const closed = new Promise<void>((resolve) => this.#socket.once('close', () => resolve()));
    const goodbye = new Uint8Array(RequestField.BYTES);
    const view = new DataView(goodbye.buffer);
    view.setUint32(RequestField.MAGIC, NBD_REQUEST_MAGIC);
    view.setUint16(RequestField.TYPE, NbdCommand.NBD_CMD_DISC);
    this.#socket.end(goodbye, () => this.#end('we closed it', CONNECTION_LOST));
    // A server that does not read any more is not waited for.
    const timer = setTimeout(() => this.#end('we closed it', CONNECTION_LOST), GOODBYE_MS);
    await closed;
    clearTimeout(timer);
  }

  /** Breaks it off at once. */
  destroy(reason: string): void {
    this.#end(reason, CONNECTION_LOST);
  }

  find(slot: number, serial: number): NbdCall | undefined {
    const call = this.#calls[slot];
    return call?.serial === serial ? call : undefined;
  }

  replied(call: NbdCall, result: number): void {
    this.#release(call);
    call.owner.replied(call, result);
  }

  #negotiated(exportName: string, signal: AbortSignal): Promise<ExportInfo | BlockBackendError> {
    this.#handshake = new NbdHandshake(exportName, {
      send: (bytes) => this.#socket.write(bytes),
      done: (info) => this.#established(info),
    });
    return new Promise((resolve) => {
      const late = () => this.#end('the server does not answer', CONNECTION_LOST);
      const timer = setTimeout(late, this.#timeouts.connectMs);
      const aborted = () => this.#end('we closed it', CONNECTION_LOST);
      signal.addEventListener('abort', aborted, { once: true });
      this.#settle = (outcome) => {
        this.#settle = undefined;
        clearTimeout(timer);
        signal.removeEventListener('abort', aborted);
        resolve(outcome);
      };
    });
  }

  #established(info: ExportInfo): void {
    this.#info = info;
    this.#handshake = undefined;
    this.#parser = new ReplyParser(info.structuredReplies, this);
    this.#settle?.(info);
  }

  #received(buffer: Uint8Array, length: number): boolean {
    let at = 0;
    if (this.#handshake !== undefined) {
      try {
        at = this.#handshake.feed(buffer, 0, length);
      } catch (error) {
        this.#refused(error);
        return false;
      }
    }
    if (this.#ended || at === length) return !this.#ended;
    const problem = this.#parser?.feed(buffer, at, length);
    if (problem !== undefined) this.#end(`the server breaks the protocol: ${problem}`, -Errno.EIO);
    return !this.#ended;
  }

  #refused(error: unknown): void {
    const failure = error instanceof BlockBackendError ? error : protocolError(describe(error));
    this.#settle?.(failure);
    this.#end(failure.message, CONNECTION_LOST);
  }

  /** Segments as they are, which the system takes from guest memory. */
  #sendPayload(call: NbdCall, header: Uint8Array): void {
    const { vector } = call;
    const socket = this.#socket;
    socket.cork();
    socket.write(header);
    let skip = call.vectorOffset;
    let left = call.lengthBytes;
    for (let i = 0; i < vector.count && left > 0; i++) {
      const length = vector.lengths[i];
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const take = Math.min(length - skip, left);
      const start = vector.offsets[i] + skip;
      socket.write(vector.bytes[i].subarray(start, start + take));
      left -= take;
      skip = 0;
    }
    socket.uncork();
  }

  #release(call: NbdCall): void {
    this.#calls[call.slot] = undefined;
    this.#freeSlots.push(call.slot);
    this.#inFlight--;
  }

  /** Looks for the oldest call, and comes back when it would be late. */
  readonly #checkReplies = (): void => {
    this.#timer = undefined;
    if (this.#inFlight === 0 || this.#ended) return;
    let oldestMs = Infinity;
    for (const [slot, call] of this.#calls.entries()) {
      if (call !== undefined) oldestMs = Math.min(oldestMs, this.#sentMs[slot]);
    }
    const leftMs = oldestMs + this.#timeouts.replyMs - performance.now();
    if (leftMs <= 0) this.#end(`no reply in ${this.#timeouts.replyMs} ms`, CONNECTION_LOST);
    else this.#timer = setTimeout(this.#checkReplies, Math.ceil(leftMs));
  };

  #end(reason: string, result: number): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#socket.destroy();
    this.#settle?.(new BlockBackendError('BACKEND_MISSING', `cannot reach the NBD server: ${reason}`));
    if (this.#info !== undefined) this.#events.lost(this, reason);
    for (const call of this.#calls.filter((waiting) => waiting !== undefined)) this.replied(call, result);
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
