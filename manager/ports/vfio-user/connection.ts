/** One client's connection: requests in, replies out, in order; and the rules about who may say what, when. */
import { getSystemErrorName } from 'node:util';
import { Errno } from '../../../devices/errno.js';
import { describeError } from '../../../devices/virtio/device-session.js';
import { closeFd, EpollEvents } from '../../../host/index.js';
import type { IncomingParcel, OutgoingParcel } from '../../device-process/hand-over/parcel.js';
import { markUnkept, UNKEPT_BYTES } from '../keeping/kept-mark.js';
import type { KeptSocket } from '../keeping/kept-socket.js';
import type { KeepableConnection } from '../keeping/port-keeping.js';
import type { ConnectionOptions } from './connection-options.js';
import { MessageReader, Received, ReplySender } from './framing.js';
import { isAnsweredAtLength, partOf, type KeptSession } from './kept-state.js';
import type { ConnectionState } from './port-state.js';
import { VfioUserCommand, VfioUserFlag, VfioUserLimit } from './protocol.js';
import { negotiateVersion } from './version.js';

/** Messages served before other descriptors of the process have their turn. */
const MAX_MESSAGES_PER_TURN = 64;
const KNOWN_FLAGS = VfioUserFlag.VFIO_USER_F_TYPE_MASK | VfioUserFlag.VFIO_USER_F_NO_REPLY;

export class Connection implements KeepableConnection {
  readonly #options: ConnectionOptions;
  readonly #reader: MessageReader;
  readonly #sender: ReplySender;
  #negotiated = false;
  #announced = false;
  #closed = false;
  /** Set where the connection ends once the last reply is out. */
  #closeReason: string | undefined;
  /** True while whoever keeps it is told of a message, or its reply waits for something: those behind it wait in the socket. */
  #occupied = false;
  /** A message is being served. */
  #serving = false;
  /** A message is read and answered that cannot be kept. */
  #aside = false;
  #watched: number = EpollEvents.EPOLLIN;
  #paused = false;
  /** Whoever keeps it, while somebody does. */
  #kept: KeptSocket | undefined;
  /** Whether somebody may keep it for the process that had it. */
  #mayBeKept = false;
  /** What was taken since the socket was marked as one that nobody keeps; undefined where it is not. */
  #unkeptBytes: number | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#reader = new MessageReader(options.fd);
    this.#sender = new ReplySender(options.fd);
  }

  /** True once the client's version is agreed. */
  get negotiated(): boolean {
    return this.#negotiated;
  }

  /** True once `onNegotiated` has been called. */
  get announced(): boolean {
    return this.#announced;
  }

  /** The connected socket. */
  get fd(): number {
    return this.#options.fd;
  }

  /** True while a message is served that takes its time. */
  get occupied(): boolean {
    return this.#occupied;
  }

  get isQuiet(): boolean {
    const isBusy = this.#closed || this.#paused || this.#occupied || this.#serving || this.#aside;
    return !isBusy && !this.#sender.pending && this.#closeReason === undefined && this.#reader.isBetween;
  }

  /** Has it outlive this process, while it is quiet: nothing is served until that is told, which this resolves with. */
  keep(kept: KeptSocket): Promise<void> {
    if (!this.#options.onServed()) return Promise.resolve();
    this.#kept = kept;
    this.#unkeptBytes = undefined;
    this.#reader.lookAhead();
    this.#sender.passThrough(kept.pipe);
    const told = kept.start();
    this.#occupy(told);
    return told;
  }

  /** It goes with this process from now on. A message that is being served goes through the steps of its keeper. */
  leave(): void {
    if (this.#kept === undefined) return;
    this.#disown();
    this.#kept = undefined;
    this.#reader.lookNoMore(this.#serving || this.#occupied);
    if (!this.#closed && !this.#paused) this.#watch();
  }

  /** Goes on for a process that was killed, once `resume` is called. */
  adopt({ negotiated, announced }: KeptSession): void {
    this.#negotiated = negotiated;
    this.#announced = announced;
  }

  /** Nothing is read until `resume`; a message that is being told of goes on. */
  pause(): void {
    this.#paused = true;
    this.#options.reactor.remove(this.#options.fd);
  }

  /** Goes on after `pause`, or begins after `restore` or `adopt`. */
  resume(): void {
    this.#paused = false;
    if (this.#mayBeKept) this.#disown();
    this.#mayBeKept = false;
    this.#watched = this.#wanted;
    const error = this.open();
    if (error !== 0) this.close(`it cannot be watched: ${getSystemErrorName(error)}`);
  }

  /** What another process has to go on from. */
  save(parcel: OutgoingParcel): ConnectionState {
    return {
      fd: parcel.addFd(this.#options.fd),
      negotiated: this.#negotiated,
      announced: this.#announced,
      closeReason: this.#closeReason ?? null,
      received: parcel.addBytes(this.#reader.received),
      receivedFds: this.#reader.receivedFds.map((fd) => parcel.addFd(fd)),
      arrivingFds: this.#reader.arriving.map((fd) => parcel.addFd(fd)),
      unsent: parcel.addBytes(this.#sender.unsent),
    };
  }

  /** Goes on, once `resume` is called, where another process was with this socket. False where that makes no sense. */
  restore(state: ConnectionState, parcel: IncomingParcel): boolean {
    this.#negotiated = state.negotiated;
    this.#announced = state.announced;
    this.#closeReason = state.closeReason ?? undefined;
    this.#mayBeKept = true;
    this.#sender.restore(parcel.bytes(state.unsent));
    const fds = parcel.takeFds(state.receivedFds);
    return this.#reader.restore(parcel.bytes(state.received), fds, parcel.takeFds(state.arrivingFds));
  }

  /** Starts to serve. 0, or a negative errno and the connection is as before. */
  open(): number {
    const { reactor, fd } = this.#options;
    return reactor.add(fd, this.#watched, (events) => this.#ready(events));
  }

  /** Ends the connection now; a reply that is not out yet is lost. */
  close(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    const { reactor, fd, onClosed } = this.#options;
    reactor.remove(fd);
    this.#reader.close();
    closeFd(fd);
    onClosed(reason);
  }

  #ready(events: number): void {
    const { EPOLLERR, EPOLLHUP } = EpollEvents;
    if (!this.#occupied) this.#turn();
    // Nothing is read now, so that the end of the stream does not show in any other way.
    else if ((events & (EPOLLERR | EPOLLHUP)) !== 0) this.close('the client closed the connection');
  }

  #turn(): void {
    if (this.#flush()) this.#drain();
    // Every message of this turn has been answered: no vCPU waits while the queues are served.
    if (!this.#closed && !this.#occupied) this.#afterMessages();
    if (!this.#closed) this.#watch();
    if (this.isQuiet) this.#options.onQuiet();
  }

  #drain(): void {
    for (let served = 0; !this.#closed; served++) {
      // Once the turn is used up, what has been read already is still served: nobody would call for that.
      const received = this.#reader.next(served < MAX_MESSAGES_PER_TURN);
      if (received !== Received.MESSAGE && received !== Received.LARGE) return this.#stop(received);
      if (received === Received.LARGE || this.#isAnsweredAtLength) {
        this.#leaveForNow();
        continue;
      }
      this.#options.counters.messages++;
      const kept = this.#kept;
      const part = kept && this.#part;
      if (kept && part !== undefined) return this.#occupy(this.#stepKept(kept, part));
      const ahead = kept !== undefined;
      const answered = this.#serve();
      if (answered !== undefined) return this.#occupy(answered.then(() => this.#finish(ahead)));
      const wasAside = this.#aside;
      this.#finish(ahead);
      // Whoever keeps it is told again before anything else is served.
      if (!this.#flush() || (wasAside && this.isQuiet)) return;
    }
  }

  get #isAnsweredAtLength(): boolean {
    const { command, payload } = this.#reader;
    return this.#kept !== undefined && isAnsweredAtLength(command, payload);
  }

  /** The part that the reader's message is about. */
  get #part(): string | undefined {
    const { command, payload, fds } = this.#reader;
    return partOf(command, payload, fds.count, this.#options.device.irqs);
  }

  /** The message under way is read and answered as if nobody kept the connection. */
  #leaveForNow(): void {
    this.leave();
    this.#aside = true;
  }

  /** The message is done: `ahead` where it was only looked at. */
  #finish(ahead: boolean): void {
    if (this.#closed) return;
    if (this.#unkeptBytes !== undefined) this.#countUnkept(this.#unkeptBytes + this.#reader.messageBytes);
    const error = ahead ? this.#reader.take() : 0;
    this.#reader.finish();
    if (this.#aside) this.#options.onUnkept();
    this.#aside = false;
    if (error !== 0) this.close(`receiving failed: ${getSystemErrorName(error)}`);
  }

  /** The kernel lowers the mark by what is taken. */
  #countUnkept(unkeptBytes: number): void {
    if (unkeptBytes > UNKEPT_BYTES) this.#disown();
    else this.#unkeptBytes = unkeptBytes;
  }

  /** Somebody keeps it as it was, and is not told any more. */
  #disown(): void {
    markUnkept(this.#options.fd);
    this.#unkeptBytes = 0;
  }

  /** Serves nothing until this is done, and what it put into the pipe is poured out. */
  #occupy(work: Promise<void>): void {
    this.#occupied = true;
    this.#watch();
    void work
      .catch((error: unknown) => this.close(`a message could not be kept: ${describeError(error)}`))
      .then(() => {
        this.#occupied = false;
        if (this.#closed || this.#paused) return;
        // Others have their turn, however much comes. A socket that is full is waited for.
        if (this.#flush()) setImmediate(() => this.#goOn());
        else if (!this.#closed) this.#watch();
      });
  }

  /** See `kept-mark.ts`. */
  async #stepKept(kept: KeptSocket, part: string): Promise<void> {
    const step = kept.begin({ part, chunkBytes: this.#reader.messageBytes }, false);
    await this.#serve();
    if (!this.#closed) await kept.tell(step);
    this.#finish(true);
    if (!this.#closed && this.#kept === kept) kept.look();
  }

  #goOn(): void {
    if (!this.#closed && !this.#paused && !this.#occupied) this.#turn();
  }

  /** There is no further message: now, or ever. */
  #stop(received: Received): void {
    if (received === Received.END) this.close('the client closed the connection');
    else if (received === Received.FAILED)
      this.close(`receiving failed: ${getSystemErrorName(this.#reader.errno)}`);
    else if (received === Received.BAD_SIZE) {
      this.#closeReason = 'the client sent a message of impossible size';
      this.#reply(-Errno.EINVAL);
      this.#flush();
    }
  }

  /** Serves the reader's message. A failure here is the device's bug or the client's, and ends with this message. */
  #serve(): Promise<void> | undefined {
    let result: number;
    this.#serving = true;
    try {
      result = this.#handle();
      if (this.#kept) this.#options.onServed();
    } catch (error) {
      this.#options.log(`vfio-user command ${this.#reader.command} failed: ${describeError(error)}`);
      result = -Errno.EIO;
    }
    this.#serving = false;
    // What was served may have ended the connection, and the socket's number may be another file's by now.
    if (this.#closed) return undefined;
    const quiet = this.#options.device.quiet();
    if (quiet !== undefined) return this.#replyOnce(quiet, result);
    this.#reply(result);
    return undefined;
  }

  /** The client's vCPU, if not all of the client, stands still meanwhile; nothing more of it is read. */
  async #replyOnce(quiet: Promise<void>, result: number): Promise<void> {
    await quiet;
    if (!this.#closed) this.#reply(result);
  }

  #handle(): number {
    const { command, flags, fds, payload } = this.#reader;
    const reply = this.#sender.begin();
    const type = flags & VfioUserFlag.VFIO_USER_F_TYPE_MASK;
    // We send no commands, so a reply answers nothing.
    if (type !== VfioUserFlag.VFIO_USER_F_TYPE_COMMAND || (flags & ~KNOWN_FLAGS) !== 0) return -Errno.EINVAL;
    if (fds.count > VfioUserLimit.MAX_MSG_FDS) return -Errno.EINVAL;
    if (!this.#negotiated) return this.#negotiate();
    return this.#options.device.serve(command, payload, fds, reply);
  }

  /** The first command must be a proposal that we can meet; otherwise the connection ends with the error reply. */
  #negotiate(): number {
    const { command, fds, payload } = this.#reader;
    this.#closeReason = 'the client did not propose a version first';
    if (command !== VfioUserCommand.VFIO_USER_VERSION || fds.count > 0) return -Errno.EINVAL;
    const proposed = { major: 0, minor: 0 };
    const result = negotiateVersion(payload, this.#sender.begin(), proposed);
    this.#closeReason =
      result < 0
        ? `the client proposed version ${proposed.major}.${proposed.minor} with unusable terms`
        : undefined;
    this.#negotiated = result === 0;
    return result;
  }

  /** Answers the reader's message: with what was written since `begin`, or with an error. */
  #reply(result: number): void {
    const { msgId, command, flags } = this.#reader;
    if (result < 0) this.#options.counters.errors++;
    if ((flags & VfioUserFlag.VFIO_USER_F_NO_REPLY) !== 0) return;
    const error =
      result < 0 ? this.#sender.replyError(msgId, command, -result) : this.#sender.reply(msgId, command);
    if (error !== 0) this.close(`sending failed: ${getSystemErrorName(error)}`);
  }

  /** Sends more of a reply that is stuck. True where nothing is, and the connection goes on. */
  #flush(): boolean {
    if (this.#closed) return false;
    const error = this.#sender.flush();
    if (error !== 0) this.close(`sending failed: ${getSystemErrorName(error)}`);
    else if (!this.#sender.pending && this.#closeReason !== undefined) this.close(this.#closeReason);
    const isFree = !this.#closed && !this.#sender.pending;
    if (isFree && this.#kept === undefined) this.#sender.passThrough(undefined);
    if (isFree) this.#announce();
    return isFree;
  }

  #announce(): void {
    if (this.#announced || !this.#negotiated) return;
    this.#announced = true;
    this.#options.onNegotiated();
  }

  #afterMessages(): void {
    try {
      this.#options.device.afterMessages();
    } catch (error) {
      this.#options.log(`work after a message failed: ${describeError(error)}`);
    }
  }

  #watch(): void {
    const { reactor, fd } = this.#options;
    const wanted = this.#wanted;
    if (wanted !== this.#watched) reactor.modify(fd, (this.#watched = wanted));
  }

  /**
   * While a reply is stuck or a message is told of, the client's requests are left in the socket, which in the end holds the client up. What was looked at
   * of a message is in there, too: only what comes behind it is to be heard of.
   */
  get #wanted(): number {
    const { EPOLLIN, EPOLLOUT, EPOLLET } = EpollEvents;
    if (this.#sender.pending) return EPOLLOUT;
    if (this.#occupied) return 0;
    return this.#kept === undefined || this.#reader.isBetween ? EPOLLIN : EPOLLIN | EPOLLET;
  }
}
