/**
 * Messages out of a stream socket, and replies into it, without blocking.
 *
 * Descriptors belong to the message whose first bytes they came with, but recvmsg joins what was sent before them to the same
 * chunk. So from a message boundary no more is asked for than the shortest message that may carry descriptors
 * (SET_IRQS, 36 bytes), and after that exactly what the message lacks: then a chunk with descriptors ends within their
 * message. 36 bytes are also a whole register access, so those cost one system call.
 */
import {
  bytesInPipe,
  dropBytes,
  emptyPipe,
  peekMessage,
  pourIntoSocket,
  putIntoPipe,
  ReceivedFds,
  recvMessage,
  sendMessage,
  type Pipe,
} from '../../../host/index.js';
import { markSeen } from '../keeping/kept-mark.js';
import { Errno } from '../../../devices/errno.js';
import { MAX_MESSAGE_BYTES, VFIO_USER_HEADER_BYTES, VfioUserFlag } from './protocol.js';
import { WireReader, WireWriter } from './wire.js';

const FIRST_READ_BYTES = 36;
/** Buffers for everything but bulk region accesses, which get a larger one for their own duration. */
const BUFFER_BYTES = 8192;
/** What Linux passes in one sendmsg: with room for all of them, too many are counted rather than cut off. */
const KERNEL_MAX_FDS = 253;

/**
 * The largest message that is looked at and taken later: whole, it has to fit into a socket, whose buffer the client may have made as small as it can be.
 * Only accesses of more bytes than any register has are larger.
 */
export const MAX_LOOKED_AT_BYTES = 2048;

/** What {@link MessageReader.next} found. */
export const Received = {
  /** A whole message: the reader's fields describe it until `finish`. */
  MESSAGE: 1,
  /** Not a whole message yet. */
  NOTHING: 0,
  /** The peer has closed its end. */
  END: -1,
  /** The header's size is none that a message can have; msgId and command are set, and nothing after it can be read. */
  BAD_SIZE: -2,
  /** recvmsg failed: see `errno`. */
  FAILED: -3,
  /** A message that is too large to be looked at: `lookNoMore` is to come. */
  LARGE: -4,
} as const;
export type Received = (typeof Received)[keyof typeof Received];

export class MessageReader {
  msgId = 0;
  command = 0;
  flags = 0;
  /** After FAILED: a negative errno. */
  errno = 0;
  /** After MESSAGE: the bytes behind the header. */
  readonly payload: WireReader;
  /** After MESSAGE: its descriptors. What is not taken from here is closed by `finish`. */
  readonly fds = new ReceivedFds(KERNEL_MAX_FDS);
  readonly #arriving = new ReceivedFds(KERNEL_MAX_FDS);
  readonly #fd: number;
  #looksAhead = false;
  /** The last look saw all that there was. */
  #sawAll = false;
  readonly #header: WireReader;
  #buffer = new Uint8Array(BUFFER_BYTES);
  #have = 0;
  /** Size of the message at the buffer's start; 0 until its header is there. */
  #msgSize = 0;

  constructor(fd: number) {
    this.#fd = fd;
    this.payload = new WireReader(this.#buffer);
    this.#header = new WireReader(this.#buffer);
  }

  /**
   * Reads on until a message is whole or the socket is empty; without `mayReceive`, looks only at what has been read. After
   * MESSAGE, call `finish` before the next call.
   */
  next(mayReceive: boolean): Received {
    for (;;) {
      if (this.#msgSize === 0 && this.#have >= VFIO_USER_HEADER_BYTES && !this.#parseHeader()) {
        return Received.BAD_SIZE;
      }
      if (this.#looksAhead) {
        if (this.#msgSize > MAX_LOOKED_AT_BYTES) return Received.LARGE;
        this.#leaveSurplus();
      }
      this.#claimFds();
      if (this.#msgSize > 0 && this.#have >= this.#msgSize) {
        this.payload.reset(VFIO_USER_HEADER_BYTES, this.#msgSize);
        return Received.MESSAGE;
      }
      if (!mayReceive || this.#sawAll) {
        this.#sawAll = false;
        return Received.NOTHING;
      }
      const outcome = this.#receive();
      if (outcome !== Received.MESSAGE) return outcome;
    }
  }

  /** Drops the message: closes the descriptors nobody took and moves up what came after it. */
  finish(): void {
    this.fds.closeAll();
    const left = this.#have - this.#msgSize;
    if (this.#buffer.byteLength > BUFFER_BYTES) this.#resize(BUFFER_BYTES, this.#msgSize, left);
    else if (left > 0) this.#buffer.copyWithin(0, this.#msgSize, this.#have);
    this.#have = left;
    this.#msgSize = 0;
  }

  /** From now on what is read stays in the socket until `take`. Only between messages. */
  lookAhead(): void {
    this.#looksAhead = true;
  }

  /** What is read is taken out of the socket from now on. What was only looked at is read again, but for a message that is being served. */
  lookNoMore(isServing: boolean): void {
    if (!this.#looksAhead) return;
    this.#looksAhead = false;
    this.#sawAll = false;
    if (isServing) return;
    this.fds.closeAll();
    this.#arriving.closeAll();
    this.#have = 0;
    this.#msgSize = 0;
  }

  /** Whether bytes have been read of which no message was made yet. */
  get isBetween(): boolean {
    return this.#have === 0 && this.#arriving.count === 0;
  }

  /** Takes the message out of the socket that was looked at. 0, or a negative errno. */
  take(): number {
    const taken = dropBytes(this.#fd, this.#msgSize);
    return taken === this.#msgSize ? 0 : Math.min(taken, -Errno.EIO);
  }

  /** The message's size in bytes. */
  get messageBytes(): number {
    return this.#msgSize;
  }

  /** What has been read and not been served, and is in the socket no more. */
  get received(): Uint8Array {
    return this.#looksAhead ? new Uint8Array(0) : this.#buffer.slice(0, this.#have);
  }

  /** The descriptors of that. */
  get receivedFds(): number[] {
    return this.#looksAhead ? [] : this.fds.left;
  }

  /** Descriptors that came with the last of that, and may be a later message's. */
  get arriving(): number[] {
    return this.#looksAhead ? [] : this.#arriving.left;
  }

  /** Goes on from what another reader has read. False for more than a message has. */
  restore(received: Uint8Array, fds: readonly number[], arriving: readonly number[]): boolean {
    for (const fd of fds) this.fds.push(fd);
    for (const fd of arriving) this.#arriving.push(fd);
    if (received.length > MAX_MESSAGE_BYTES + FIRST_READ_BYTES) return false;
    if (received.length > this.#buffer.byteLength) this.#resize(received.length, 0, 0);
    this.#buffer.set(received);
    this.#have = received.length;
    return true;
  }

  /** Closes every descriptor that is still here. The socket stays the caller's. */
  close(): void {
    this.fds.closeAll();
    this.#arriving.closeAll();
  }

  /** False for a size that no message has. */
  #parseHeader(): boolean {
    this.#header.reset(0, VFIO_USER_HEADER_BYTES);
    this.msgId = this.#header.u16();
    this.command = this.#header.u16();
    const size = this.#header.u32();
    this.flags = this.#header.u32();
    if (size < VFIO_USER_HEADER_BYTES || size > MAX_MESSAGE_BYTES) return false;
    this.#msgSize = size;
    if (size > this.#buffer.byteLength) this.#resize(size, 0, this.#have);
    return true;
  }

  #resize(sizeBytes: number, keepFrom: number, keepBytes: number): void {
    const old = this.#buffer;
    this.#buffer = new Uint8Array(sizeBytes);
    this.#buffer.set(old.subarray(keepFrom, keepFrom + keepBytes));
    this.payload.rebase(this.#buffer);
    this.#header.rebase(this.#buffer);
  }

  /** Descriptors that came with the last chunk are this message's unless the chunk ends in a later one. */
  #claimFds(): void {
    if (this.#arriving.count === 0 || (this.#msgSize > 0 && this.#have > this.#msgSize)) return;
    for (let i = 0; i < this.#arriving.count; i++) this.fds.push(this.#arriving.take(i));
    this.#arriving.closeAll();
  }

  /** What was seen behind the message is looked at again once that is taken; descriptors came with the last bytes seen. */
  #leaveSurplus(): void {
    if (this.#msgSize === 0 || this.#have <= this.#msgSize) return;
    this.#arriving.closeAll();
    this.#have = this.#msgSize;
    this.#sawAll = false;
    markSeen(this.#fd, this.#msgSize);
  }

  /** One chunk into the buffer; MESSAGE stands for "received something". */
  #receive(): Received {
    if (this.#looksAhead) return this.#look();
    const wanted = this.#msgSize === 0 ? FIRST_READ_BYTES : this.#msgSize;
    const received = recvMessage(this.#fd, this.#buffer, this.#have, wanted - this.#have, this.#arriving);
    return this.#arrived(received);
  }

  /**
   * As `#receive`: the kernel counts what was seen, and the next look sees what is behind. A look ends behind the first bytes that have descriptors,
   * and where it is full, at descriptors of any bytes behind: so it is to see more than a message, and does not where no more came.
   */
  #look(): Received {
    const room = this.#buffer.length - this.#have;
    const seen = peekMessage(this.#fd, this.#buffer, this.#have, room, this.#arriving);
    this.#sawAll = seen > 0 && this.#arriving.count === 0;
    return this.#arrived(seen);
  }

  #arrived(received: number): Received {
    if (received > 0) {
      this.#have += received;
      return Received.MESSAGE;
    }
    if (received === -Errno.EAGAIN) return Received.NOTHING;
    if (received === 0) return Received.END;
    this.errno = received;
    return Received.FAILED;
  }
}

/**
 * Sends replies one at a time. A reply that the socket does not take whole stays here, and the connection reads no further
 * request until it is gone: so no more than one reply is ever held back, whatever the peer does.
 */
export class ReplySender {
  readonly #fd: number;
  readonly #message = new WireWriter(BUFFER_BYTES);
  #sent = 0;
  #end = 0;
  #pipe: Pipe | undefined;
  /** Bytes in the pipe. */
  #piped = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Has replies wait in this pipe from now on, until `flush`. The pipe is the caller's. Only while nothing is pending, but what is in the pipe. */
  passThrough(pipe: Pipe | undefined): void {
    this.#pipe = pipe;
    this.#piped = pipe === undefined ? 0 : bytesInPipe(pipe);
  }

  /** True while a part of the last reply is still to be sent. */
  get pending(): boolean {
    return this.#sent < this.#end || this.#piped > 0;
  }

  /** What is still to be sent of the last reply. */
  get unsent(): Uint8Array {
    if (this.#pipe !== undefined && this.#piped > 0) {
      const bytes = emptyPipe(this.#pipe);
      putIntoPipe(this.#pipe, bytes);
      return bytes;
    }
    return this.#message.bytes.slice(this.#sent, this.#end);
  }

  /** Goes on from what another sender has not sent. */
  restore(unsent: Uint8Array): void {
    this.#message.position = 0;
    this.#message.reserve(unsent.length);
    this.#message.putBytes(unsent);
    this.#sent = 0;
    this.#end = unsent.length;
  }

  /** The writer for the next reply's payload, which is forgotten unless `reply` follows. Only while nothing is pending. */
  begin(): WireWriter {
    this.#message.position = VFIO_USER_HEADER_BYTES;
    return this.#message;
  }

  /** Sends what was written since `begin`. 0, sent or pending, or a negative errno. */
  reply(msgId: number, command: number): number {
    return this.#send(msgId, command, VfioUserFlag.VFIO_USER_F_TYPE_REPLY, 0);
  }

  /** Sends a reply that is a header alone, with `errno` (positive). 0, sent or pending, or a negative errno. */
  replyError(msgId: number, command: number, errno: number): number {
    this.#message.position = VFIO_USER_HEADER_BYTES;
    const flags = VfioUserFlag.VFIO_USER_F_TYPE_REPLY | VfioUserFlag.VFIO_USER_F_ERROR;
    return this.#send(msgId, command, flags, errno);
  }

  /** Sends more of a pending reply. 0, sent or still pending, or a negative errno. */
  flush(): number {
    while (this.#sent < this.#end) {
      const sent = sendMessage(this.#fd, this.#message.bytes, this.#sent, this.#end - this.#sent);
      if (sent === -Errno.EAGAIN) return 0;
      if (sent < 0) return sent;
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

  #send(msgId: number, command: number, flags: number, errno: number): number {
    const message = this.#message;
    const sizeBytes = message.position;
    message.position = 0;
    message.putU16(msgId);
    message.putU16(command);
    message.putU32(sizeBytes);
    message.putU32(flags);
    message.putU32(errno);
    if (this.#pipe !== undefined) return this.#intoPipe(this.#pipe, sizeBytes);
    this.#sent = 0;
    this.#end = sizeBytes;
    return this.flush();
  }

  #intoPipe(pipe: Pipe, sizeBytes: number): number {
    const error = putIntoPipe(pipe, this.#message.bytes.subarray(0, sizeBytes));
    if (error === 0) this.#piped += sizeBytes;
    return error;
  }
}
