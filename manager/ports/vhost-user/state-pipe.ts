/**
 * The front-end's pipe that a device's state goes through, without blocking. Each step takes what the pipe has or has room for, so that a peer that
 * stalls holds nothing up but its own state.
 */
import { constants, fstatSync, readSync, writeSync } from 'node:fs';
import { Errno } from '../../../devices/errno.js';
import { closeFd, EpollEvents, setNonBlocking, statusFlags, type Reactor } from '../../../host/index.js';

/** As much as a pipe of the usual size holds. */
const CHUNK_BYTES = 65536;
/** How long the peer may do nothing while somebody waits for the outcome. */
const STALL_MS = 5000;

/** 0 for an end of a pipe that can be read from, or written to, or -EINVAL. */
export function checkPipe(fd: number, writes: boolean): number {
  const access = writes ? constants.O_WRONLY : constants.O_RDONLY;
  const isPipe = fd >= 0 && fstatSync(fd).isFIFO();
  return isPipe && (statusFlags(fd) & (constants.O_WRONLY | constants.O_RDWR)) === access ? 0 : -Errno.EINVAL;
}

/** One end of a pipe, at work until its outcome is known. */
export abstract class StatePipe<Result> {
  /** Or why there is none. The descriptor is closed by then. */
  readonly outcome: Promise<Result | string>;
  protected readonly fd: number;
  readonly #reactor: Reactor;
  #settle!: (outcome: Result | string) => void;
  #isOpen = true;
  #isAwaited = false;
  #timer: NodeJS.Timeout | undefined;

  /** Takes over `fd`, which passed `checkPipe`, and begins. */
  constructor(fd: number, reactor: Reactor, events: number) {
    this.fd = fd;
    this.#reactor = reactor;
    this.outcome = new Promise((resolve) => (this.#settle = resolve));
    let error = setNonBlocking(fd);
    if (error >= 0) error = reactor.add(fd, events, () => this.#ready());
    if (error < 0) this.end(`the pipe cannot be watched: errno ${-error}`);
  }

  /** Somebody waits for the outcome: a peer that does nothing for long is not waited for. */
  awaited(): void {
    this.#isAwaited = true;
    this.#restartClock();
  }

  /** The outcome is known. What comes after the first one changes nothing. */
  end(outcome: Result | string): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    clearTimeout(this.#timer);
    this.#reactor.remove(this.fd);
    closeFd(this.fd);
    this.#settle(outcome);
  }

  /** Does what can be done now, and calls `end` where that was all. @throws what `readSync` and `writeSync` throw */
  protected abstract step(): void;

  #ready(): void {
    try {
      this.step();
      if (this.#isOpen) this.#restartClock();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EAGAIN') this.end(`the pipe failed: ${code ?? String(error)}`);
    }
  }

  #restartClock(): void {
    if (!this.#isAwaited || !this.#isOpen) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => this.end('the front-end did nothing with the pipe for too long'),
      STALL_MS,
    );
  }
}

/** Writes a state, and closes its end. */
export class OutgoingState extends StatePipe<undefined> {
  readonly #bytes: Uint8Array;
  #sentBytes = 0;

  constructor(fd: number, reactor: Reactor, bytes: Uint8Array) {
    super(fd, reactor, EpollEvents.EPOLLOUT);
    this.#bytes = bytes;
  }

  protected step(): void {
    const left = Math.min(this.#bytes.length - this.#sentBytes, CHUNK_BYTES);
    this.#sentBytes += writeSync(this.fd, this.#bytes, this.#sentBytes, left);
    if (this.#sentBytes === this.#bytes.length) this.end(undefined);
  }
}

/** Reads a state until the other end is closed. */
export class IncomingState extends StatePipe<Uint8Array> {
  readonly #maxBytes: number;
  readonly #chunks: Uint8Array[] = [];
  readonly #buffer = new Uint8Array(CHUNK_BYTES);
  #receivedBytes = 0;

  constructor(fd: number, reactor: Reactor, maxBytes: number) {
    super(fd, reactor, EpollEvents.EPOLLIN);
    this.#maxBytes = maxBytes;
  }

  protected step(): void {
    const count = readSync(this.fd, this.#buffer, 0, CHUNK_BYTES, null);
    if (count === 0) return this.end(Buffer.concat(this.#chunks, this.#receivedBytes));
    this.#receivedBytes += count;
    if (this.#receivedBytes > this.#maxBytes) this.end(`the state has more than ${this.#maxBytes} bytes`);
    else this.#chunks.push(this.#buffer.slice(0, count));
  }
}
