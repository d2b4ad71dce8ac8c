/** One client's connection: requests in, replies out, in order; and the rules about who may say what, when. */
import { getSystemErrorName } from 'node:util';
import { Errno } from '../../../devices/errno.js';
import { closeFd, EpollEvents, type Reactor } from '../../../host/index.js';
import type { IncomingParcel, OutgoingParcel } from '../../device-process/hand-over/parcel.js';
import type { VfioUserDevice } from './device.js';
import { MessageReader, Received, ReplySender } from './framing.js';
import type { ConnectionState } from './port-state.js';
import { VfioUserCommand, VfioUserFlag, VfioUserLimit } from './protocol.js';
import { negotiateVersion } from './version.js';

/** Messages served before other descriptors of the process have their turn. */
const MAX_MESSAGES_PER_TURN = 64;
const KNOWN_FLAGS = VfioUserFlag.VFIO_USER_F_TYPE_MASK | VfioUserFlag.VFIO_USER_F_NO_REPLY;

export interface ConnectionCounters {
  /** Messages received whole. */
  messages: number;
  /** Error replies, with those that No_reply kept back. */
  errors: number;
}

export interface ConnectionOptions {
  /** A connected socket, which the connection closes. */
  readonly fd: number;
  readonly reactor: Reactor;
  readonly device: VfioUserDevice;
  readonly counters: ConnectionCounters;
  readonly log: (message: string) => void;
  /** The client's version was agreed. */
  readonly onNegotiated: () => void;
  /** The connection has ended and its socket is closed; what the client gave the device is still there. */
  readonly onClosed: (reason: string) => void;
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #reader: MessageReader;
  readonly #sender: ReplySender;
  #negotiated = false;
  #announced = false;
  #closed = false;
  #paused = false;
  /** The reply to the reader's message waits for something. */
  #waiting = false;
  /** Set where the connection ends once the last reply is out. */
  #closeReason: string | undefined;

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

  /** Nothing is read until `resume`. */
  pause(): void {
    this.#paused = true;
    this.#options.reactor.remove(this.#options.fd);
  }

  /** Goes on after `pause`, or begins after `restore`. */
  resume(): void {
    this.#paused = false;
    const error = this.open();
    if (error !== 0) this.close(`it cannot be watched: ${getSystemErrorName(error)}`);
    else if (this.#sender.pending) this.#watchFor(true);
  }

  /** What another process has to go on from. */
  save(parcel: OutgoingParcel): ConnectionState {
    return {
      fd: parcel.addFd(this.#options.fd),
      negotiated: this.#negotiated,
      announced: this.#announced,
      closeReason: this.#closeReason ?? null,
      received: parcel.addBytes(this.#reader.received),
      receivedFds: this.#reader.fds.left.map((fd) => parcel.addFd(fd)),
      arrivingFds: this.#reader.arriving.map((fd) => parcel.addFd(fd)),
      unsent: parcel.addBytes(this.#sender.unsent),
    };
  }

  /** Goes on, once `resume` is called, where another process was with this socket. False where that makes no sense. */
  restore(state: ConnectionState, parcel: IncomingParcel): boolean {
    this.#negotiated = state.negotiated;
    this.#announced = state.announced;
    this.#closeReason = state.closeReason ?? undefined;
    this.#sender.restore(parcel.bytes(state.unsent));
    const fds = parcel.takeFds(state.receivedFds);
    return this.#reader.restore(parcel.bytes(state.received), fds, parcel.takeFds(state.arrivingFds));
  }

  /** Starts to serve. 0, or a negative errno and the connection is as before. */
  open(): number {
    const { reactor, fd } = this.#options;
    return reactor.add(fd, EpollEvents.EPOLLIN, (events) => this.#ready(events));
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
    if (!this.#waiting) this.#turn();
    // Nothing is read now, so that the end of the stream does not show in any other way.
    else if ((events & (EPOLLERR | EPOLLHUP)) !== 0) this.close('the client closed the connection');
  }

  #turn(): void {
    const blocked = this.#sender.pending;
    if (this.#flush()) this.#drain();
    // Every message of this turn has been answered: no vCPU waits while the queues are served.
    if (!this.#closed && !this.#waiting) this.#afterMessages();
    if (!this.#closed && !this.#waiting && this.#sender.pending !== blocked)
      this.#watchFor(this.#sender.pending);
  }

  #drain(): void {
    for (let served = 0; !this.#closed; served++) {
      // Once the turn is used up, what has been read already is still served: nobody would call for that.
      const received = this.#reader.next(served < MAX_MESSAGES_PER_TURN);
      if (received !== Received.MESSAGE) {
        this.#stop(received);
        return;
      }
      this.#options.counters.messages++;
      this.#serve();
      if (this.#waiting) return;
      this.#reader.finish();
      if (!this.#flush()) return;
      this.#announce();
    }
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
  #serve(): void {
    let result: number;
    try {
      result = this.#handle();
    } catch (error) {
      this.#options.log(`vfio-user command ${this.#reader.command} failed: ${describe(error)}`);
      result = -Errno.EIO;
    }
    // What was served may have ended the connection, and the socket's number may be another file's by now.
    if (this.#closed) return;
    const quiet = this.#options.device.quiet();
    if (quiet === undefined) this.#reply(result);
    else void this.#replyOnce(quiet, result);
  }

  /** The client's vCPU, if not all of the client, stands still meanwhile; nothing more of it is read. */
  async #replyOnce(quiet: Promise<void>, result: number): Promise<void> {
    this.#waiting = true;
    this.#options.reactor.modify(this.#options.fd, 0);
    await quiet;
    this.#waiting = false;
    if (this.#closed) return;
    this.#reply(result);
    if (this.#closed) return;
    this.#reader.finish();
    if (this.#paused) return;
    this.#watchFor(this.#sender.pending);
    this.#turn();
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
    return !this.#closed && !this.#sender.pending;
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
      this.#options.log(`work after a message failed: ${describe(error)}`);
    }
  }

  /** While a reply is stuck the client's requests are left in the socket, which in the end holds the client up. */
  #watchFor(sending: boolean): void {
    const { reactor, fd } = this.#options;
    reactor.modify(fd, sending ? EpollEvents.EPOLLOUT : EpollEvents.EPOLLIN);
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
