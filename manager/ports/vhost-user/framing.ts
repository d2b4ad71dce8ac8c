/**
 * Messages out of a stream socket, and replies into it, without blocking.
 *
 * A message's descriptors come with its first byte, and a message may be a header alone. So no read asks for more than the header,
 * and after that for the payload that it announces: then descriptors are never taken for those of another message.
 */
import { Errno } from '../../../devices/errno.js';
import {
  bytesInPipe,
  closeFd,
  dropBytes,
  emptyPipe,
  peekMessage,
  pourIntoSocket,
  putIntoPipe,
  ReceivedFds,
  recvMessage,
  SCM_MAX_FD,
  sendMessage,
  type Pipe,
} from '../../../host/index.js';
import { WireReader, WireWriter } from '../vfio-user/wire.js';
import { MAX_PAYLOAD_BYTES, VHOST_USER_HEADER_BYTES, VhostUserFlag } from './protocol.js';

const MESSAGE_BYTES = VHOST_USER_HEADER_BYTES + MAX_PAYLOAD_BYTES;
const REPLY_FLAGS = VhostUserFlag.VHOST_USER_VERSION | VhostUserFlag.VHOST_USER_REPLY_MASK;

/** What {@link MessageReader.next} found. */
export const Received = {
  /** A whole message: the reader's fields describe it until `finish`. */
  MESSAGE: 1,
  /** Not a whole message yet. */
  NOTHING: 0,
  /** The peer has closed its end. */
  END: -1,
  /** The header is none that a request can have, and nothing after it can be read. */
  BAD_HEADER: -2,
  /** recvmsg failed: see `errno`. */
  FAILED: -3,
} as const;
export type Received = (typeof Received)[keyof typeof Received];

export class MessageReader {
  request = 0;
  /** Whether the front-end asks for an acknowledgement (VHOST_USER_NEED_REPLY). */
  needReply = false;
  /** After FAILED: a negative errno. */
  errno = 0;
  /** After MESSAGE: what follows the header. */
  readonly payload: WireReader;
  /** After MESSAGE: its descriptors. What is not taken from here is closed by `finish`. */
  readonly fds = new ReceivedFds(SCM_MAX_FD);
  /** Whether what is read stays in the socket until `take`. Changed while there is nothing `ahead`. */
  looksAhead = false;
  readonly #arriving = new ReceivedFds(SCM_MAX_FD);
  readonly #fd: number;
  /** With room for more than a message. */
  readonly #buffer = new Uint8Array(MESSAGE_BYTES + VHOST_USER_HEADER_BYTES);
  readonly #header = new WireReader(this.#buffer);
  #have = 0;
  #ahead = 0;
  /** Size of the message under way; 0 until its header is there. */
  #messageBytes = 0;

  constructor(fd: number) {
    this.#fd = fd;
    this.payload = new WireReader(this.#buffer);
  }

  /** Reads on until a message is whole or the socket is empty. After MESSAGE, call `finish` before the next call. */
  next(): Received {
    for (;;) {
      if (this.#messageBytes === 0 && this.#have >= VHOST_USER_HEADER_BYTES && !this.#parseHeader()) {
        return Received.BAD_HEADER;
      }
      if (this.#messageBytes > 0 && this.#have === this.#messageBytes) {
        this.payload.reset(VHOST_USER_HEADER_BYTES, this.#messageBytes);
        return Received.MESSAGE;
      }
      const outcome = this.#receive();
      if (outcome !== Received.MESSAGE) return outcome;
    }
  }

  /** Bytes that were read, and are in the socket still. Nothing more is read before they are taken. */
  get ahead(): number {
    return this.#ahead;
  }

  /** Takes what was read out of the socket. 0, or a negative errno. */
  take(): number {
    const taken = dropBytes(this.#fd, this.#ahead);
    if (taken !== this.#ahead) return Math.min(taken, -Errno.EIO);
    this.#ahead = 0;
    return 0;
  }

  /** Drops the message and closes the descriptors that nobody took. */
  finish(): void {
    this.fds.closeAll();
    this.#have = 0;
    this.#messageBytes = 0;
  }

  /** What has been read of a message that is not whole yet; its descriptors are in `fds`. */
  get received(): Uint8Array {
    return this.#buffer.slice(0, this.#have);
  }

  /** Goes on from what another reader has read. False for more than a message has. */
  restore(received: Uint8Array, fds: readonly number[]): boolean {
    for (const fd of fds) this.fds.push(fd);
    if (received.length > MESSAGE_BYTES) return false;
    this.#buffer.set(received);
    this.#have = received.length;
    return true;
  }

  /** Closes every descriptor that is still here. The socket stays the caller's. */
  close(): void {
    this.fds.closeAll();
    this.#arriving.closeAll();
  }

  /** `request[4] flags[4] size[4]`. False for a header that no request has. */
  #parseHeader(): boolean {
    this.#header.reset(0, VHOST_USER_HEADER_BYTES);
    this.request = this.#header.u32();
    const flags = this.#header.u32();
    const payloadBytes = this.#header.u32();
    this.needReply = (flags & VhostUserFlag.VHOST_USER_NEED_REPLY_MASK) !== 0;
    const others = flags & ~VhostUserFlag.VHOST_USER_NEED_REPLY_MASK;
    // The reply bit is one of those: we ask nothing on this socket, so a reply answers nothing.
    if (others !== VhostUserFlag.VHOST_USER_VERSION || payloadBytes > MAX_PAYLOAD_BYTES) return false;
    this.#messageBytes = VHOST_USER_HEADER_BYTES + payloadBytes;
    return true;
  }

  /** One chunk into the buffer; MESSAGE stands for "received something". */
  #receive(): Received {
    if (this.looksAhead) return this.#look();
    const wanted = this.#messageBytes === 0 ? VHOST_USER_HEADER_BYTES : this.#messageBytes;
    const received = recvMessage(this.#fd, this.#buffer, this.#have, wanted - this.#have, this.#arriving);
    if (received > 0) {
      this.#have += received;
      this.#keepArrived();
      return Received.MESSAGE;
    }
    return this.#nothing(received);
  }

  /**
   * As `#receive`, once for each `take`. A look ends behind the first bytes that have descriptors, and where it is full, at descriptors of any bytes
   * behind: so it is to see more than the message. Where it does, they are not the message's: front-ends send each by itself.
   */
  #look(): Received {
    if (this.#ahead > 0) return Received.NOTHING;
    const start = this.#have;
    const seen = peekMessage(this.#fd, this.#buffer, start, this.#buffer.length - start, this.#arriving);
    if (seen <= 0) return this.#nothing(seen);
    const end = start + seen;
    if (this.#messageBytes === 0 && end >= VHOST_USER_HEADER_BYTES && !this.#parseHeader())
      return Received.BAD_HEADER;
    this.#have = this.#messageBytes === 0 ? end : Math.min(end, this.#messageBytes);
    this.#ahead = this.#have - start;
    if (this.#have === end) this.#keepArrived();
    else this.#arriving.closeAll();
    return Received.MESSAGE;
  }

  #nothing(result: number): Received {
    if (result === -Errno.EAGAIN) return Received.NOTHING;
    if (result === 0) return Received.END;
    this.errno = result;
    return Received.FAILED;
  }

  #keepArrived(): void {
    for (let i = 0; i < this.#arriving.count; i++) {
      const fd = this.#arriving.take(i);
      if (fd >= 0) this.fds.push(fd);
    }
  }
}

/**
 * Sends replies one at a time. A reply that the socket does not take whole stays here, and the connection reads no further
 * request until it is gone: so no more than one reply is ever held back, whatever the peer does.
 */
export class ReplySender {
  readonly #fd: number;
  readonly #message = new WireWriter(MESSAGE_BYTES);
  #sent = 0;
  #end = 0;
  /** A descriptor that goes with the reply's first byte, or -1. */
  #attached = -1;
  #pipe: Pipe | undefined;
  /** Bytes in the pipe. */
  #piped = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Has replies wait in this pipe from now on, until `flush`: but for one with a descriptor, which goes out at once. The pipe is the caller's. Only
   * while nothing is pending, but what is in the pipe.
   */
  passThrough(pipe: Pipe | undefined): void {
    this.#pipe = pipe;
    this.#piped = pipe === undefined ? 0 : bytesInPipe(pipe);
  }

  /** Sends a descriptor with the reply that is being written, and closes it then. */
  readonly attach = (fd: number): void => {
    this.#dropAttached();
    this.#attached = fd;
  };

  /** True while a part of the last reply is still to be sent. */
  get pending(): boolean {
    return this.#sent < this.#end || this.#piped > 0;
  }

  /** What is still to be sent of the last reply. */
  get unsent(): Uint8Array {
    if (this.#pipe === undefined || this.#piped === 0)
      return this.#message.bytes.slice(this.#sent, this.#end);
    const bytes = emptyPipe(this.#pipe);
    putIntoPipe(this.#pipe, bytes);
    return bytes;
  }

  /** Goes on from what another sender has not sent. False for more than a reply has. */
  restore(unsent: Uint8Array): boolean {
    if (unsent.length > MESSAGE_BYTES) return false;
    this.#message.bytes.set(unsent);
    this.#sent = 0;
    this.#end = unsent.length;
    return true;
  }

  /** The writer for the next reply's payload, which is forgotten unless `reply` follows. Only while nothing is pending. */
  begin(): WireWriter {
    this.#dropAttached();
    this.#message.position = VHOST_USER_HEADER_BYTES;
    return this.#message;
  }

  /** Sends what was written since `begin`. 0, sent or pending, or a negative errno. */
  reply(request: number): number {
    const message = this.#message;
    const messageBytes = message.position;
    message.position = 0;
    message.putU32(request);
    message.putU32(REPLY_FLAGS);
    message.putU32(messageBytes - VHOST_USER_HEADER_BYTES);
    if (this.#pipe !== undefined && this.#attached < 0) return this.#intoPipe(this.#pipe, messageBytes);
    this.#sent = 0;
    this.#end = messageBytes;
    return this.flush();
  }

  #intoPipe(pipe: Pipe, messageBytes: number): number {
    const error = putIntoPipe(pipe, this.#message.bytes.subarray(0, messageBytes));
    if (error === 0) this.#piped += messageBytes;
    return error;
  }

  /** Acknowledges a request: 0 for success, or a positive errno. 0, sent or pending, or a negative errno. */
  acknowledge(request: number, outcome: number): number {
    this.begin().putU64(outcome);
    return this.reply(request);
  }

  /** Sends more of a pending reply. 0, sent or still pending, or a negative errno. */
  flush(): number {
    while (this.#sent < this.#end) {
      const fds = this.#attached < 0 ? [] : [this.#attached];
      const sent = sendMessage(this.#fd, this.#message.bytes, this.#sent, this.#end - this.#sent, fds);
      if (sent === -Errno.EAGAIN) return 0;
      if (sent < 0) return sent;
      this.#dropAttached();
      this.#sent += sent;
    }
    while (this.#pipe !== undefined && this.#piped > 0) {
      const moved = pourIntoSocket(this.#pipe, this.#fd, this.#piped);
      if (moved === -Errno.EAGAIN) return 0;
      if (moved < 0) return moved;
      this.#piped -= moved;
    }
    return 0;
  }

  /** A reply that is not out is not sent any more. */
  close(): void {
    this.#dropAttached();
  }

  #dropAttached(): void {
    if (this.#attached >= 0) closeFd(this.#attached);
    this.#attached = -1;
  }
}
