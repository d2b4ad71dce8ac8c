/**
 * A peer at a unix stream socket, in the framing of QEMU's `-netdev stream`: passt, which brings user-mode networking without root, another
 * QEMU, or a switch of somebody else's. Frames go out finished, since the framing has no place for what is left to do.
 */
import {
  closeFd,
  connectUnix,
  EpollEvents,
  HostError,
  MAX_SOCKET_PATH_BYTES,
  ReceivedFds,
  recvMessage,
  sendMessage,
  type Reactor,
} from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import { Frame, HEAD_BYTES } from '../../frame.js';
import { FrameFinisher } from '../../offload/finisher.js';
import { VirtioNetHdrGso } from '../../protocol.js';
import { NetBackend } from '../net-backend.js';
import { InBuffer, Next } from './in-buffer.js';
import { OutBuffer, PREFIX_BYTES } from './out-buffer.js';

export interface StreamBackendOptions {
  /** Where the peer listens. */
  readonly path: string;
  readonly reactor: Reactor;
  /** Takes a line on each loss of the connection, and on each new reason for which there is none. */
  readonly log: (message: string) => void;
}

/** More than the longest frame comes to in the smallest segments there are. */
const OUT_BYTES = 512 * 1024;
/** Frames from one look at the socket; others get their turn then. */
const READS_PER_TURN = 16;
const RETRY_MS = { first: 100, longest: 5000 } as const;
const CLOSED = -1;
const PEER_GONE = 'the peer closed it';

export class StreamBackend extends NetBackend {
  readonly #options: StreamBackendOptions;
  readonly #out = new OutBuffer(OUT_BYTES);
  readonly #in = new InBuffer();
  readonly #noFds = new ReceivedFds(0);
  readonly #frame = new Frame();
  readonly #finisher = new FrameFinisher();
  readonly #append = (frame: Frame): boolean => (this.#out.append(frame), true);
  readonly #sendSoon = (): void => this.#sendNow();
  #fd = CLOSED;
  #watched = 0;
  #sendDue = false;
  /** A frame was refused for want of room. */
  #refused = false;
  /** The card has no room: nothing is read meanwhile. */
  #resting = false;
  #retryMs: number = RETRY_MS.first;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #ended = false;
  /** Why the last attempt to connect failed. */
  #lastFailure = '';

  /**
   * Connects at once if the peer is there, and again and again while it is not.
   *
   * @throws RangeError for a path that is too long for any socket
   */
  constructor(options: StreamBackendOptions) {
    super();
    if (Buffer.byteLength(options.path) > MAX_SOCKET_PATH_BYTES) {
      throw new RangeError(`a socket's path has up to ${MAX_SOCKET_PATH_BYTES} bytes: ${options.path}`);
    }
    this.#options = options;
    this.#connect();
  }

  get linkUp(): boolean {
    return this.#fd !== CLOSED;
  }

  send(frame: Frame): boolean {
    if (this.#fd === CLOSED) return true;
    if (mostBytes(frame) > this.#out.free) {
      this.#sendNow();
      if (this.#fd === CLOSED) return true;
      if (mostBytes(frame) > this.#out.free) {
        this.#refused = true;
        return false;
      }
    }
    this.#finisher.hand(frame, 0, this.#append);
    if (!this.#sendDue) {
      this.#sendDue = true;
      queueMicrotask(this.#sendSoon);
    }
    return true;
  }

  override roomForMore(): void {
    if (!this.#resting) return;
    this.#resting = false;
    if (this.#fd === CLOSED || !this.#deliver()) return;
    this.#watch();
  }

  close(): void {
    this.#ended = true;
    clearTimeout(this.#retry);
    this.#drop();
  }

  #connect(): void {
    try {
      this.#fd = connectUnix(this.#options.path);
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      if (error.code !== this.#lastFailure) this.#options.log(`${error.message}; it is tried again`);
      this.#lastFailure = error.code;
      this.#retryLater();
      return;
    }
    this.#watched = EpollEvents.EPOLLIN;
    const failed = this.#options.reactor.add(this.#fd, this.#watched, (events) => this.#ready(events));
    if (failed !== 0) {
      this.#lost(`it cannot be watched (errno ${-failed})`);
      return;
    }
    this.#lastFailure = '';
    this.port.linkChanged();
  }

  #retryLater(): void {
    this.#retry = setTimeout(() => this.#connect(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS.longest);
  }

  #ready(events: number): void {
    if ((events & EpollEvents.EPOLLOUT) !== 0) this.#sendNow();
    if (this.#fd === CLOSED || (events & ~EpollEvents.EPOLLOUT) === 0) return;
    // Nothing is asked for then, but an end is told of again and again.
    if (this.#resting) this.#lost(PEER_GONE);
    else this.#read();
  }

  #read(): void {
    const { bytes } = this.#in;
    for (let reads = 0; reads < READS_PER_TURN; reads++) {
      const { end } = this.#in;
      const received = recvMessage(this.#fd, bytes, end, bytes.length - end, this.#noFds);
      if (received === -Errno.EAGAIN) return;
      if (received <= 0) {
        this.#lost(received === 0 ? PEER_GONE : `errno ${-received}`);
        return;
      }
      this.#in.end = end + received;
      this.#retryMs = RETRY_MS.first;
      if (!this.#deliver()) return;
    }
  }

  /** Delivers what has come in. False where reading has to stop. */
  #deliver(): boolean {
    for (;;) {
      const next = this.#in.peek(this.#frame);
      if (next === Next.PART) return true;
      if (next === Next.BAD_LENGTH) {
        this.#lost(`the peer announced a frame of ${this.#in.badLength} bytes`);
        return false;
      }
      if (!this.port.offer(this.#frame)) {
        this.#resting = true;
        this.#watch();
        return false;
      }
      // The card may have closed us from within.
      if (this.#fd === CLOSED) return false;
      this.#in.advance(this.#frame);
    }
  }

  #sendNow(): void {
    this.#sendDue = false;
    const out = this.#out;
    while (out.length > 0 && this.#fd !== CLOSED) {
      const sent = sendMessage(this.#fd, out.bytes, out.start, out.length);
      if (sent === -Errno.EAGAIN) break;
      if (sent < 0) {
        this.#lost(`errno ${-sent}`);
        return;
      }
      out.advance(sent);
    }
    this.#watch();
    if (!this.#refused || out.length > OUT_BYTES / 2) return;
    this.#refused = false;
    this.port.sendable();
  }

  /** Reads while the card has room, and hears of room in the socket while there is something to send. */
  #watch(): void {
    if (this.#fd === CLOSED) return;
    const wanted =
      (this.#resting ? 0 : EpollEvents.EPOLLIN) | (this.#out.length > 0 ? EpollEvents.EPOLLOUT : 0);
    if (wanted === this.#watched) return;
    this.#watched = wanted;
    this.#options.reactor.modify(this.#fd, wanted);
  }

  #lost(reason: string): void {
    this.#options.log(`${this.#options.path}: the connection was lost: ${reason}`);
    this.#drop();
    if (!this.#ended) this.#retryLater();
    this.port.linkChanged();
    if (!this.#refused) return;
    this.#refused = false;
    this.port.sendable();
  }

  #drop(): void {
    if (this.#fd === CLOSED) return;
    this.#options.reactor.remove(this.#fd);
    closeFd(this.#fd);
    this.#fd = CLOSED;
    this.#out.clear();
    this.#in.clear();
    this.#resting = false;
  }
}

/** What a frame comes to at most once it is finished: each segment has headers, and a prefix. */
function mostBytes(frame: Frame): number {
  const { byteLength, gsoType, gsoSize } = frame;
  const segments = gsoType === VirtioNetHdrGso.VIRTIO_NET_HDR_GSO_NONE ? 1 : Math.ceil(byteLength / gsoSize);
  return byteLength + segments * (HEAD_BYTES + PREFIX_BYTES);
}
