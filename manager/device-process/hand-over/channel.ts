/**
 * Messages between the process that hands its functions over and the one that takes them over, with as many descriptors as there are.
 *
 * A message: magic[4]="ChHo" type[4] jsonBytes[4] blobCount[4] blobsBytes[4] fdCount[4], then a byte of nothing for each 253 descriptors (as
 * many as the kernel passes at once), which they come with, then blobCount of length[4], the JSON, and the blobs. Little-endian.
 *
 * A read never asks for more than a header, or one of those bytes, while descriptors may come: so they are never taken for others'.
 */
import { setTimeout as delay } from 'node:timers/promises';
import {
  closeFd,
  EpollEvents,
  Errno,
  ReceivedFds,
  recvMessage,
  SCM_MAX_FD,
  sendMessage,
  type Reactor,
} from '../../../host/index.js';
import { IncomingParcel, type OutgoingParcel } from './parcel.js';

const MAGIC = 0x6f48_6843;
const HEADER_BYTES = 24;
/** The JSON of 1,792 functions with all their queues, ten times over. */
const MAX_JSON_BYTES = 64 << 20;
const MAX_BLOBS = 1 << 16;
const MAX_BLOBS_BYTES = 1 << 28;
const MAX_FDS = 1 << 20;
const LIMITS: MessageLimits = { fds: MAX_FDS, jsonBytes: MAX_JSON_BYTES, blobsBytes: MAX_BLOBS_BYTES };
/** How long descriptors wait where this user has too many on their way: the other process is to take some. */
const TOO_MANY_IN_FLIGHT_MS = 1;

/** What tells when the socket is ready. */
export type Watcher = Pick<Reactor, 'add' | 'modify' | 'remove'>;

/** What a message is to have at most. */
export interface MessageLimits {
  readonly fds: number;
  readonly jsonBytes: number;
  readonly blobsBytes: number;
}

export interface Message {
  readonly type: number;
  readonly data: unknown;
  readonly parcel: IncomingParcel;
}

/** Says that the other process sent what is no message, or that the connection broke. */
export class ChannelError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ChannelError';
  }
}

export class HandOverChannel {
  readonly #fd: number;
  readonly #reactor: Watcher;
  readonly #noFds = new ReceivedFds(0);
  readonly #someFds = new ReceivedFds(SCM_MAX_FD);
  #closed = false;
  /** Who waits to read, and who to write. */
  readonly #waiting = new Map<number, () => void>();
  #watched = 0;

  /** Takes over a connected, non-blocking socket. */
  constructor(fd: number, reactor: Watcher) {
    this.#fd = fd;
    this.#reactor = reactor;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ready(EpollEvents.EPOLLHUP);
    closeFd(this.#fd);
  }

  /** One message at a time, whatever is received meanwhile. Resolves once the kernel has all of it. @throws ChannelError */
  async send(type: number, data: unknown, parcel?: OutgoingParcel): Promise<void> {
    const { blobs = [], fds = [] } = parcel ?? {};
    const json = Buffer.from(JSON.stringify(data));
    const blobsBytes = blobs.reduce((sum, { length }) => sum + length, 0);
    if (json.length > MAX_JSON_BYTES || blobs.length > MAX_BLOBS || blobsBytes > MAX_BLOBS_BYTES)
      throw new ChannelError('there is more to hand over than can be');
    const header = [MAGIC, type, json.length, blobs.length, blobsBytes, fds.length];
    await this.#write(Buffer.from(Uint32Array.from(header).buffer));
    for (let at = 0; at < fds.length; at += SCM_MAX_FD)
      await this.#write(new Uint8Array(1), fds.slice(at, at + SCM_MAX_FD));
    const lengths = Buffer.from(Uint32Array.from(blobs, ({ length }) => length).buffer);
    await this.#write(Buffer.concat([lengths, json, ...blobs]));
  }

  /** The next message; undefined once there is none any more. @throws ChannelError */
  async receive(limits = LIMITS): Promise<Message | undefined> {
    const fds: number[] = [];
    try {
      return await this.#receive(fds, limits);
    } catch (error) {
      for (const fd of fds) closeFd(fd);
      throw error;
    }
  }

  async #receive(fds: number[], limits: MessageLimits): Promise<Message | undefined> {
    const header = await this.#read(HEADER_BYTES);
    if (header === undefined) return undefined;
    const [magic, type, jsonBytes, blobCount, blobsBytes, fdCount] = Array.from({ length: 6 }, (_, i) =>
      header.readUInt32LE(4 * i),
    );
    const sane = jsonBytes <= limits.jsonBytes && blobCount <= MAX_BLOBS && blobsBytes <= limits.blobsBytes;
    if (magic !== MAGIC || !sane || fdCount > limits.fds) throw new ChannelError('that is no message');
    for (let left = fdCount; left > 0; left -= SCM_MAX_FD) {
      await this.#readAll(1, this.#someFds);
      const { count } = this.#someFds;
      for (let i = 0; i < count; i++) fds.push(this.#someFds.take(i));
      if (count !== Math.min(left, SCM_MAX_FD)) throw new ChannelError('descriptors are missing');
    }
    const lengths = await this.#readAll(4 * blobCount);
    const data = parse(await this.#readAll(jsonBytes));
    const body = await this.#readAll(blobsBytes);
    return { type, data, parcel: new IncomingParcel(cut(body, lengths, blobCount), fds) };
  }

  async #readAll(lengthBytes: number, fds?: ReceivedFds): Promise<Buffer> {
    const bytes = await this.#read(lengthBytes, fds);
    if (bytes === undefined) throw new ChannelError('a message broke off');
    return bytes;
  }

  /** Undefined at the end of the stream. Descriptors that nobody asked for are refused. */
  async #read(lengthBytes: number, fds = this.#noFds): Promise<Buffer | undefined> {
    const buffer = Buffer.alloc(lengthBytes);
    for (let have = 0; have < lengthBytes;) {
      if (this.#closed) return undefined;
      const received = recvMessage(this.#fd, buffer, have, lengthBytes - have, fds);
      if (received === -Errno.EAGAIN) await this.#until(EpollEvents.EPOLLIN);
      else if (received < 0) throw new ChannelError(`receiving failed: errno ${-received}`);
      else if (received === 0 && have === 0) return undefined;
      else if (received === 0) throw new ChannelError('a message broke off');
      have += Math.max(received, 0);
    }
    return buffer;
  }

  async #write(bytes: Uint8Array, fds: readonly number[] = []): Promise<void> {
    for (let sent = 0; sent < bytes.length;) {
      if (this.#closed) throw new ChannelError('it was closed');
      const result = sendMessage(this.#fd, bytes, sent, bytes.length - sent, sent === 0 ? fds : []);
      if (result >= 0) sent += result;
      else if (result === -Errno.EAGAIN) await this.#until(EpollEvents.EPOLLOUT);
      else if (result === -Errno.ETOOMANYREFS) await delay(TOO_MANY_IN_FLIGHT_MS);
      else throw new ChannelError(`sending failed: errno ${-result}`);
    }
  }

  /** Watched while it is waited for alone: the end of a peer would be told of again and again. */
  #until(events: number): Promise<void> {
    const error = this.#watch(this.#watched | events);
    if (error !== 0) throw new ChannelError(`the socket cannot be watched: errno ${-error}`);
    return new Promise((resolve) => this.#waiting.set(events, resolve));
  }

  #watch(events: number): number {
    const former = this.#watched;
    this.#watched = events;
    if (former === 0)
      return events === 0 ? 0 : this.#reactor.add(this.#fd, events, (ready) => this.#ready(ready));
    return events === 0 ? this.#reactor.remove(this.#fd) : this.#reactor.modify(this.#fd, events);
  }

  #ready(events: number): void {
    const { EPOLLERR, EPOLLHUP } = EpollEvents;
    const ends = (events & (EPOLLERR | EPOLLHUP)) !== 0;
    let left = 0;
    for (const [awaited, wake] of [...this.#waiting]) {
      if (ends || (events & awaited) !== 0) {
        this.#waiting.delete(awaited);
        wake();
      } else left |= awaited;
    }
    if (left !== this.#watched) this.#watch(left);
  }
}

function parse(json: Buffer): unknown {
  try {
    return JSON.parse(json.toString()) as unknown;
  } catch {
    throw new ChannelError('that is no JSON');
  }
}

function cut(body: Buffer, lengths: Buffer, count: number): Uint8Array[] {
  const blobs: Uint8Array[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const length = lengths.readUInt32LE(4 * i);
    if (length > body.length - at) throw new ChannelError('bytes are missing');
    blobs.push(new Uint8Array(body.buffer, body.byteOffset + at, length));
    at += length;
  }
  if (at < body.length) throw new ChannelError('bytes are left over');
  return blobs;
}
