/** One front-end's connection: requests in, replies out, in order. */
import { Errno } from '../../../devices/errno.js';
import { describeError } from '../../../devices/virtio/device-session.js';
import { closeFd, EpollEvents, type Reactor } from '../../../host/index.js';
import type { IncomingParcel, OutgoingParcel } from '../../device-process/hand-over/parcel.js';
import type { VhostUserDevice } from './device.js';
import { MessageReader, Received, ReplySender } from './framing.js';
import { markUnkept } from '../keeping/kept-mark.js';
import type { KeptSocket, KeptStep } from '../keeping/kept-socket.js';
import { partOf } from './kept-back-end.js';
import { KeptPart, type KeptReading } from './kept-state.js';
import { VHOST_USER_HEADER_BYTES, VhostUserRequest } from './protocol.js';
import type { ConnectionState } from './port-state.js';
import type { Outcome, RequestRule } from './request-rule.js';

/** Messages served before other descriptors of the process have their turn. */
const MAX_MESSAGES_PER_TURN = 64;

export interface ConnectionOptions {
  /** A connected socket, which the connection closes. */
  readonly fd: number;
  readonly reactor: Reactor;
  readonly device: VhostUserDevice;
  readonly log: (message: string) => void;
  /** The front-end has spoken, and made sense. */
  readonly onAnnounced: () => void;
  /** All that has come is served and answered. */
  readonly onQuiet: () => void;
  /** The connection has ended and its socket is closed; what the front-end gave the device is still there. */
  readonly onClosed: (reason: string) => void;
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #reader: MessageReader;
  readonly #sender: ReplySender;
  #announced = false;
  /** True while a request is served that takes its time: those behind it wait in the socket. */
  #serving = false;
  #closed = false;
  #watched: number = EpollEvents.EPOLLIN;
  #paused = false;
  /** Whoever keeps it, while somebody does. */
  #kept: KeptSocket | undefined;
  /** Whether somebody may keep it for the process that had it. */
  #mayBeKept = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#reader = new MessageReader(options.fd);
    this.#sender = new ReplySender(options.fd);
  }

  /** True once `onAnnounced` has been called. */
  get announced(): boolean {
    return this.#announced;
  }

  /** The connected socket. */
  get fd(): number {
    return this.#options.fd;
  }

  /** Whether it could be said now how far it got: nothing is served, or on its way out. */
  get isQuiet(): boolean {
    return !this.#closed && !this.#serving && !this.#paused && !this.#sender.pending;
  }

  /** Of a message that has not come whole, and its descriptors. */
  get reading(): { received: Uint8Array; fds: readonly number[] } {
    return { received: this.#reader.received, fds: this.#reader.fds.left };
  }

  /** Has it outlive this process, while it is quiet: nothing is served until that is told, which this resolves with. */
  keep(kept: KeptSocket): Promise<void> {
    this.#kept = kept;
    this.#reader.looksAhead = true;
    this.#sender.passThrough(kept.pipe);
    const told = kept.start();
    this.#occupy(told);
    return told;
  }

  /** It goes with this process from now on. What is on its way through the steps of its keeper goes through them. */
  leave(): void {
    this.#kept?.abandon();
    this.#kept = undefined;
    this.#reader.looksAhead = false;
  }

  /** Goes on for a process that was killed, once `resume` is called, with what that one had read. False where that makes no sense. */
  adopt({ announced, received }: KeptReading, fds: readonly number[]): boolean {
    this.#announced = announced;
    return this.#reader.restore(Buffer.from(received, 'hex'), fds);
  }

  /** Starts to serve. 0, or a negative errno and the connection is as before. */
  open(): number {
    const { reactor, fd } = this.#options;
    return reactor.add(fd, this.#watched, (events) => this.#ready(events));
  }

  /** True while a request is served that takes its time. */
  get serving(): boolean {
    return this.#serving;
  }

  /** Nothing is read until `resume`; a request that is being served goes on. */
  pause(): void {
    this.#paused = true;
    this.#options.reactor.remove(this.#options.fd);
  }

  /** Goes on after `pause`, or begins after `restore`. */
  resume(): void {
    this.#paused = false;
    if (this.#mayBeKept) this.#disown();
    const error = this.open();
    if (error !== 0) this.close(`it cannot be watched: errno ${-error}`);
  }

  /** What another process has to go on from. */
  save(parcel: OutgoingParcel): ConnectionState {
    return {
      fd: parcel.addFd(this.#options.fd),
      announced: this.#announced,
      received: parcel.addBytes(this.#reader.received),
      receivedFds: this.#reader.fds.left.map((fd) => parcel.addFd(fd)),
      unsent: parcel.addBytes(this.#sender.unsent),
    };
  }

  /** Goes on, once `resume` is called, where another process was with this socket. False where that makes no sense. */
  restore(state: ConnectionState, parcel: IncomingParcel): boolean {
    this.#announced = state.announced;
    this.#mayBeKept = true;
    const fds = parcel.takeFds(state.receivedFds);
    const read = this.#reader.restore(parcel.bytes(state.received), fds);
    const sent = this.#sender.restore(parcel.bytes(state.unsent));
    if (this.#sender.pending) this.#watched = EpollEvents.EPOLLOUT;
    return read && sent;
  }

  /** Ends the connection now; a reply that is not out yet is lost. */
  close(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    const { reactor, fd, onClosed } = this.#options;
    reactor.remove(fd);
    this.#reader.close();
    this.#sender.close();
    closeFd(fd);
    onClosed(reason);
  }

  #ready(events: number): void {
    const { EPOLLERR, EPOLLHUP } = EpollEvents;
    if (this.#serving) {
      // Nothing is read now, so that the end of the stream does not show in any other way.
      if ((events & (EPOLLERR | EPOLLHUP)) !== 0) this.close('the front-end closed the connection');
      return;
    }
    this.#turn();
  }

  #turn(): void {
    if (this.#flush()) this.#drain();
    // A message that is kept is answered later.
    const answered = this.#kept === undefined || !this.#serving;
    if (!this.#closed && answered) this.#afterMessages();
    if (!this.#closed) this.#watch();
    if (!this.#closed && this.isQuiet) this.#options.onQuiet();
  }

  #drain(): void {
    for (let served = 0; served < MAX_MESSAGES_PER_TURN; served++) {
      this.#kept?.look();
      const received = this.#reader.next();
      if (this.#kept !== undefined && this.#reader.ahead > 0 && received >= Received.NOTHING)
        return this.#serveKept(this.#kept, received === Received.MESSAGE);
      if (received !== Received.MESSAGE) return this.#stop(received);
      const rule = this.#rule();
      if (rule === undefined) this.#refuse();
      else {
        const outcome = this.#serve(rule);
        if (typeof outcome !== 'number') return this.#wait(rule, outcome);
        this.#finish(rule, outcome);
      }
      if (this.#closed || this.#sender.pending) return;
    }
  }

  /** Serves what was looked at, which is a message or a part of one. It is in the socket until whoever keeps it knows what came of it. */
  #serveKept(kept: KeptSocket, isMessage: boolean): void {
    this.#occupy(this.#stepKept(kept, isMessage));
  }

  /** Serves nothing until this is done, and what it put into the pipe is poured out. */
  #occupy(work: Promise<void>): void {
    this.#serving = true;
    this.#watch();
    void work
      .catch((error: unknown) => this.close(`a message could not be kept: ${describeError(error)}`))
      .then(() => {
        this.#serving = false;
        // Others have their turn, however much comes. A socket that is full is waited for.
        if (!this.#closed && this.#flush()) setImmediate(() => this.#goOn());
        else if (!this.#closed && !this.#paused) this.#watch();
      });
  }

  /** See `kept-mark.ts`. */
  async #stepKept(kept: KeptSocket, isMessage: boolean): Promise<void> {
    const step = this.#begin(kept, isMessage);
    if (isMessage) {
      const rule = this.#rule();
      const result = rule === undefined ? 0 : await this.#outcomeOf(rule);
      if (this.#closed) return;
      if (rule === undefined) this.#refuse();
      else this.#finish(rule, result);
    }
    if (this.#closed) return;
    await kept.tell(step);
    if (this.#closed) return;
    const error = this.#reader.take();
    if (error !== 0) this.close(`receiving failed: errno ${-error}`);
  }

  #begin(kept: KeptSocket, isMessage: boolean): KeptStep {
    const { request, received, ahead } = this.#reader;
    // What was told of a message that had not come whole counts no more.
    const unread = received.length > ahead ? KeptPart.READING : undefined;
    const part = isMessage
      ? (partOf(request, received.subarray(VHOST_USER_HEADER_BYTES)) ?? unread)
      : KeptPart.READING;
    const bringsDescriptor = isMessage && request === VhostUserRequest.VHOST_USER_GET_INFLIGHT_FD;
    return kept.begin({ part, chunkBytes: ahead }, bringsDescriptor);
  }

  async #outcomeOf(rule: RequestRule): Promise<number> {
    const { request } = this.#reader;
    try {
      return await this.#serve(rule);
    } catch (error) {
      return this.#failed(request, error);
    }
  }

  /** Somebody keeps it as it was, and is not told any more. */
  #disown(): void {
    this.#mayBeKept = false;
    markUnkept(this.#options.fd);
  }

  #goOn(): void {
    if (!this.#closed && !this.#paused && !this.#serving) this.#turn();
  }

  /** There is no further message: now, or ever. */
  #stop(received: Received): void {
    if (received === Received.END) this.close('the front-end closed the connection');
    else if (received === Received.FAILED) this.close(`receiving failed: errno ${-this.#reader.errno}`);
    else if (received === Received.BAD_HEADER) this.close('the front-end sent something that is no request');
  }

  /** The rule that the reader's message keeps; undefined for one that is unknown, or not what it should be. */
  #rule(): RequestRule | undefined {
    const { request, payload, fds } = this.#reader;
    const rule = this.#options.device.rule(request);
    if (rule === undefined || fds.count > (rule.maxFds ?? 0)) return undefined;
    const surplusBytes = payload.remaining - rule.payloadBytes;
    return surplusBytes === 0 || (surplusBytes > 0 && rule.andMore) ? rule : undefined;
  }

  /** Serves the reader's message. A failure here is the device's bug or the front-end's, and ends with this message. */
  #serve({ serve }: RequestRule): Outcome {
    const { request, payload, fds } = this.#reader;
    try {
      return serve({ payload, fds, reply: this.#sender.begin(), attach: this.#sender.attach });
    } catch (error) {
      return this.#failed(request, error);
    }
  }

  #failed(request: number, error: unknown): number {
    this.#options.log(`${requestName(request)} failed: ${describeError(error)}`);
    return -Errno.EIO;
  }

  /** Serves nothing more until `outcome` is known. */
  #wait(rule: RequestRule, outcome: Promise<number>): void {
    this.#serving = true;
    const { request } = this.#reader;
    void outcome
      .catch((error: unknown) => this.#failed(request, error))
      .then((result) => {
        this.#serving = false;
        if (this.#closed) return;
        this.#finish(rule, result);
        // Requests behind this one may be in the socket already.
        if (!this.#closed && !this.#paused) this.#turn();
      })
      // Elsewhere the reactor takes what is thrown; a rejection that nobody takes would end the process.
      .catch((error: unknown) => this.close(`${requestName(request)} failed: ${describeError(error)}`));
  }

  /** Answers the reader's message, as far as it is to be answered, and drops it. */
  #finish(rule: RequestRule, result: number): void {
    const { request } = this.#reader;
    const failure = `${requestName(request)} failed: errno ${-result}`;
    if (rule.replies) {
      this.#reader.finish();
      // The front-end waits for an answer that there is not.
      if (result < 0) return this.close(failure);
      this.#sent(this.#sender.reply(request));
    } else if (!this.#acknowledge(result) && result < 0) {
      this.#options.device.fail(failure);
    }
    if (!this.#closed && result === 0) this.#announce();
  }

  /** A message that means nothing here may be waited for, and what follows it cannot be trusted. */
  #refuse(): void {
    const { request } = this.#reader;
    if (!this.#acknowledge(-Errno.EINVAL))
      this.close(`${requestName(request)} is unknown, malformed or was not negotiated`);
  }

  /** Drops the reader's message, and tells the front-end how it went: false where it does not ask. */
  #acknowledge(result: number): boolean {
    const { request, needReply } = this.#reader;
    this.#reader.finish();
    if (!needReply || !this.#options.device.acknowledges) return false;
    this.#sent(this.#sender.acknowledge(request, -result));
    return true;
  }

  #sent(error: number): void {
    if (error !== 0) this.close(`sending failed: errno ${-error}`);
  }

  /** Sends more of a reply that is stuck. True where nothing is, and the connection goes on. */
  #flush(): boolean {
    const error = this.#sender.flush();
    if (error !== 0) this.close(`sending failed: errno ${-error}`);
    const isFree = !this.#closed && !this.#sender.pending;
    if (isFree && this.#kept === undefined) this.#sender.passThrough(undefined);
    return isFree;
  }

  #announce(): void {
    if (this.#announced) return;
    this.#announced = true;
    this.#options.onAnnounced();
  }

  #afterMessages(): void {
    try {
      this.#options.device.afterMessages();
    } catch (error) {
      this.#options.log(`work after a message failed: ${describeError(error)}`);
    }
  }

  /** While a reply is stuck or a request is served, further requests are left in the socket, which in the end holds the front-end up. */
  #watch(): void {
    const { reactor, fd } = this.#options;
    const idle = this.#serving ? 0 : EpollEvents.EPOLLIN;
    const wanted = this.#sender.pending ? EpollEvents.EPOLLOUT : idle;
    if (wanted !== this.#watched) reactor.modify(fd, (this.#watched = wanted));
  }
}

const REQUEST_NAMES = new Map<number, string>(
  Object.entries(VhostUserRequest).map(([name, request]) => [request, name]),
);

function requestName(request: number): string {
  return REQUEST_NAMES.get(request) ?? `request ${request}`;
}
