/** A peer at the other end of a connected unix stream socket, while there is one; see framing.ts for how frames go. */
import {
  closeFd,
  EpollEvents,
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
import { PREFIX_BYTES, StreamFraming } from './framing.js';
import { InBuffer, Next } from './in-buffer.js';
import { OutBuffer } from './out-buffer.js';

export interface StreamConnectionOptions {
  /** What the log calls the peer. */
  readonly name: string;
  readonly framing: StreamFraming;
  readonly reactor: Reactor;
  /** Takes a line on each loss of the connection. */
  readonly log: (message: string) => void;
}

/** A connection at one moment. */
export interface StreamState {
  readonly fd: number;
  /** What has been read and not been delivered. */
  readonly received: Uint8Array;
  /** What is accepted and not sent. */
  readonly unsent: Uint8Array;
}

/** More than the longest frame comes to in the smallest segments there are. */
const OUT_BYTES = 512 * 1024;
/**
 * A frame of up to so many bytes that is the first for a while goes out at once: whoever sends one at a time waits for its answer. The
 * others of the same turn of the event loop go out together, and so do long ones, which are parts of streams.
 */
const AT_ONCE_BYTES = 2048;
/** Frames from one look at the socket; others get their turn then. */
const READS_PER_TURN = 16;
const CLOSED = -1;
const PEER_GONE = 'the peer closed it';

export class StreamConnection extends NetBackend {
  readonly #options: StreamConnectionOptions;
  readonly #framing: StreamFraming;
  readonly #out: OutBuffer;
  readonly #in: InBuffer;
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

  constructor(options: StreamConnectionOptions) {
    super();
    this.#options = options;
    this.#framing = options.framing;
    this.#out = new OutBuffer(options.framing, OUT_BYTES);
    this.#in = new InBuffer(options.framing);
  }

  get linkUp(): boolean {
    return this.#fd !== CLOSED;
  }

  /** Takes a connected, non-blocking socket over, where there is none now. */
  adopt(fd: number): void {
    this.#fd = fd;
    this.#watched = EpollEvents.EPOLLIN;
    const failed = this.#options.reactor.add(fd, this.#watched, (events) => this.#ready(events));
    if (failed !== 0) this.#lost(`it cannot be watched (errno ${-failed})`);
    else this.port.linkChanged();
  }

  /** What another process has to go on from, of a connection that is paused; undefined where there is none. */
  get state(): StreamState | undefined {
    if (this.#fd === CLOSED) return undefined;
    return { fd: this.#fd, received: this.#in.left, unsent: this.#out.left };
  }

  /** Takes over, paused, what another process had. False for what it cannot have had; the descriptor is then the caller's still. */
  restore({ fd, received, unsent }: StreamState): boolean {
    if (received.length > this.#in.bytes.length || !this.#out.restore(unsent)) return false;
    this.#in.bytes.set(received);
    this.#in.end = received.length;
    this.#fd = fd;
    this.port.linkChanged();
    return true;
  }

  /** Nothing is read or sent until `resume`. */
  pause(): void {
    if (this.#fd !== CLOSED) this.#options.reactor.remove(this.#fd);
  }

  /** Goes on after `pause`, with what has been read already. */
  resume(): void {
    if (this.#fd === CLOSED) return;
    this.#resting = false;
    this.#watched = EpollEvents.EPOLLIN;
    const failed = this.#options.reactor.add(this.#fd, this.#watched, (events) => this.#ready(events));
    if (failed !== 0) this.#lost(`it cannot be watched (errno ${-failed})`);
    else if (this.#deliver()) this.#sendNow();
  }

  send(frame: Frame): boolean {
    if (this.#fd === CLOSED) return true;
    if (this.#mostBytes(frame) > this.#out.free) {
      this.#sendNow();
      if (this.#fd === CLOSED) return true;
      if (this.#mostBytes(frame) > this.#out.free) {
        this.#refused = true;
        return false;
      }
    }
    if (this.#framing === StreamFraming.WITH_HEADER) this.#out.append(frame);
    else this.#finisher.hand(frame, 0, this.#append);
    if (this.#sendDue) return true;
    this.#sendDue = true;
    queueMicrotask(this.#sendSoon);
    if (this.#out.length <= AT_ONCE_BYTES) this.#flush();
    return true;
  }

  override roomForMore(): void {
    if (!this.#resting) return;
    this.#resting = false;
    if (this.#fd === CLOSED || !this.#deliver()) return;
    this.#watch();
  }

  close(): void {
    this.#drop();
  }

  /** The peer has said something. */
  protected heard(): void {}

  /** There is no connection any more; it was not closed from this side. */
  protected disconnected(): void {}

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
      const room = bytes.length - end;
      const received = recvMessage(this.#fd, bytes, end, room, this.#noFds);
      if (received === -Errno.EAGAIN) return;
      if (received <= 0) {
        this.#lost(received === 0 ? PEER_GONE : `errno ${-received}`);
        return;
      }
      this.#in.end = end + received;
      this.heard();
      // What comes later is told of again.
      if (!this.#deliver() || received < room) return;
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
    if (!this.#flush()) return;
    this.#watch();
    if (this.#out.length <= OUT_BYTES / 2) this.#letSend();
  }

  /** Sends what the socket takes. False where it is lost. */
  #flush(): boolean {
    const out = this.#out;
    while (out.length > 0 && this.#fd !== CLOSED) {
      const sent = sendMessage(this.#fd, out.bytes, out.start, out.length);
      if (sent === -Errno.EAGAIN) break;
      if (sent < 0) {
        this.#lost(`errno ${-sent}`);
        return false;
      }
      out.advance(sent);
    }
    return true;
  }

  #letSend(): void {
    if (!this.#refused) return;
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
    this.#options.log(`${this.#options.name}: the connection was lost: ${reason}`);
    this.#drop();
    this.disconnected();
    this.port.linkChanged();
    this.#letSend();
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

  /** What a frame comes to at most: where it is finished here, each segment has headers, and a prefix. */
  #mostBytes({ byteLength, gsoType, gsoSize }: Frame): number {
    if (this.#framing === StreamFraming.WITH_HEADER) return PREFIX_BYTES + this.#framing + byteLength;
    const segments =
      gsoType === VirtioNetHdrGso.VIRTIO_NET_HDR_GSO_NONE ? 1 : Math.ceil(byteLength / gsoSize);
    return byteLength + segments * (HEAD_BYTES + PREFIX_BYTES);
  }
}
