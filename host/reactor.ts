/**
 * The event loop of a device process: descriptors watched by epoll, on Node's main thread, beside everything
 * else that Node does there.
 *
 * Idle, the reactor's epoll descriptor is itself watched by libuv (an epoll descriptor is pollable; koffi
 * exposes uv_poll), so timers, sockets, worker threads and file I/O of Node are served as ever and no CPU is
 * used. Busy, it looks for the next event from setImmediate in slices, without blocking, for a bounded and
 * adaptive time, and lets libuv take its turn between slices.
 *
 * Why it never blocks in epoll_wait itself (figures: 2 virtual cores, an eventfd written by another process,
 * one way, p50/p99): what costs is sleeping, not libuv. A wake through libuv takes 28/55 µs, through a
 * blocking epoll_wait 23/42, through koffi's thread pool 28/85 (and it queues behind slow file I/O); an event
 * found while spinning takes 1.1/10. So blocking gains 5 µs where spinning gains 27, and blocking would
 * starve Node's own descriptors and immediates. A busy reactor adds nothing measurable to a timer or to
 * fs.promises, and 0.05 ms to an HTTP request; an idle one uses 0.02 % of a core.
 */
import { availableParallelism } from 'node:os';
import koffi from 'koffi';
import { Errno, HostError, result, resultOrThrow } from './errors.js';
import * as libc from './libc.js';
import { NativeBuffer } from './native-buffer.js';

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;

/** Event bits, as in epoll_ctl(2). */
export const EpollEvents = {
  EPOLLIN: 0x001,
  EPOLLOUT: 0x004,
  EPOLLERR: 0x008,
  EPOLLHUP: 0x010,
  EPOLLRDHUP: 0x2000,
  EPOLLET: 0x80000000,
} as const;

/** struct epoll_event in 32-bit words: events, data[2]; packed on x86-64 alone. */
const PACKED = process.arch === 'x64';
const EVENT_WORDS = PACKED ? 3 : 4;
const DATA_WORD = PACKED ? 1 : 2;

/** Events taken by one epoll_wait; more wait for the next turn, after Node's own work. */
const BATCH_EVENTS = 64;

/**
 * Halt polling, after KVM's halt_poll_ns: a wait that ended within reach of a spin doubles the spin, one
 * that lasted longer halves it, below the minimum to nothing.
 */
const MIN_SPIN_MICROS = 20;
/**
 * As far as an emulated guest takes between two requests: it copies 512 KiB in half a millisecond, and finds a file's attributes in 0.15 to
 * 0.3. With KVM's 200 µs, two of three requests of such a guest found the reactor asleep, and all that it does was 10 to 30 % slower.
 */
const DEFAULT_MAX_SPIN_MICROS = availableParallelism() > 1 ? 500 : 0;
/**
 * Looks per slice, at 0.5 µs each: what a spinning reactor can add to the latency of anything else in the
 * process.
 */
const LOOKS_PER_SLICE = 32;
/**
 * How long batches may follow each other in one turn, of which Node's loop costs 5 µs (a batch by itself 1
 * µs).
 */
const TURN_BUDGET_MS = 0.1;

/**
 * Called with the ready event bits. Level-triggered unless added with EPOLLET: read until -EAGAIN, or be
 * called again. What it throws goes to the reactor's `onError`.
 */
export type ReactorHandler = (events: number, fd: number) => void;

/** Memory that somebody else writes, looked at instead of being told: rings whose notifications are off. */
export interface Poller {
  /** Looks for work and does some; true where there was any. Without work it must cost less than a microsecond. */
  poll(): boolean;
  /** There was no work for a while: asks to be told from now on. True where work came before that. */
  rest(): boolean;
}

export interface ReactorOptions {
  /** Told of exceptions from handlers and from pollers (fd -1); the reactor goes on. */
  readonly onError: (error: unknown, fd: number) => void;
  /** The longest time to spin after activity; 0 never spins. Default 500, or 0 on a single processor. */
  readonly maxSpinMicros?: number;
}

interface Watch {
  readonly fd: number;
  readonly handler: ReactorHandler;
  /** Told apart from an earlier watch of the same fd number, whose events may still be in the batch. */
  readonly generation: number;
  events: number;
}

/** A poller that is looked at: whether it had work just now, and when it had any. */
interface AwakePoller {
  readonly poller: Poller;
  busy: boolean;
  workedMs: number;
}

/**
 * Watches descriptors on the thread that created it. A started reactor keeps the process alive.
 * Remove a descriptor before closing it; the reactor recovers from the opposite order, at a price.
 */
export class Reactor {
  readonly #onError: (error: unknown, fd: number) => void;
  readonly #maxSpinMs: number;
  readonly #watches = new Map<number, Watch>();
  readonly #awake: AwakePoller[] = [];
  readonly #ready = new NativeBuffer(BATCH_EVENTS * EVENT_WORDS * 4);
  readonly #event = new NativeBuffer(EVENT_WORDS * 4);
  readonly #turn = (): void => this.#takeTurn();
  readonly #readable = (): void => this.#onReadable();
  #epollFd: number;
  #poll: ReturnType<typeof koffi.node.poll> | null = null;
  #immediate: NodeJS.Immediate | null = null;
  #nextGeneration = 1;
  #removedInBatch = false;
  #spinMs = 0;
  #lastWorkMs = 0;
  #wakeUps = 0;

  constructor(options: ReactorOptions) {
    this.#onError = options.onError;
    this.#maxSpinMs = (options.maxSpinMicros ?? DEFAULT_MAX_SPIN_MICROS) / 1000;
    this.#epollFd = createEpoll();
  }

  /**
   * Watches `fd` for `events` of {@link EpollEvents}. 0, or -EEXIST, -EBADF, -EPERM (not pollable), -ENOMEM,
   * -ENOSPC.
   */
  add(fd: number, events: number, handler: ReactorHandler): number {
    const watch: Watch = { fd, handler, generation: this.#nextGeneration++ >>> 0, events };
    const error = this.#control(EPOLL_CTL_ADD, watch);
    if (error === 0) this.#watches.set(fd, watch);
    return error;
  }

  /** Changes the watched events. 0, or -ENOENT for an fd that is not watched. */
  modify(fd: number, events: number): number {
    const watch = this.#watches.get(fd);
    if (watch === undefined) return -Errno.ENOENT;
    watch.events = events;
    return this.#control(EPOLL_CTL_MOD, watch);
  }

  /**
   * Stops watching: the handler is not called again, not even for events already taken. 0, -ENOENT, or -EBADF
   * for a closed fd.
   */
  remove(fd: number): number {
    if (!this.#watches.delete(fd)) return -Errno.ENOENT;
    this.#removedInBatch = true;
    return result(libc.epoll_ctl(this.#epollFd, EPOLL_CTL_DEL, fd, this.#event.address));
  }

  /** Starts to deliver events; nothing is lost of what happened before. */
  start(): void {
    if (this.#poll !== null) return;
    // Edges taken by a batch that stop() cut short would otherwise not be reported again.
    for (const watch of this.#watches.values()) this.#control(EPOLL_CTL_MOD, watch);
    this.#poll = koffi.node.poll(this.#epollFd, this.#readable);
    if (this.#awake.length > 0) this.#arm();
  }

  /**
   * Polls from now on, and has the poller rest once it has found nothing for as long as the reactor spins. Call it once per
   * wake: when the work of a wake is done, and again only after `rest` has answered false.
   */
  keepAwake(poller: Poller): void {
    this.#awake.push({ poller, busy: true, workedMs: performance.now() });
    if (this.#poll !== null) this.#arm();
  }

  /** How often the reactor was woken from sleep. */
  get wakeUps(): number {
    return this.#wakeUps;
  }

  /**
   * Delivers no more events until the next start(). May be called by a handler, whose batch then ends with
   * it.
   */
  stop(): void {
    this.#poll?.close();
    this.#poll = null;
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#immediate = null;
  }

  /** Stops for good and closes the epoll descriptor, though none of the watched ones. */
  close(): void {
    this.stop();
    this.#watches.clear();
    this.#awake.length = 0;
    if (this.#epollFd >= 0) libc.close(this.#epollFd);
    this.#epollFd = -1;
  }

  #control(operation: number, watch: Watch): number {
    this.#event.u32[0] = watch.events;
    this.#event.u32[DATA_WORD] = watch.fd;
    this.#event.u32[DATA_WORD + 1] = watch.generation;
    return result(libc.epoll_ctl(this.#epollFd, operation, watch.fd, this.#event.address));
  }

  /**
   * libuv's callback. It only arms a turn: handlers run from setImmediate, where promises and nextTick work
   * as usual.
   */
  #onReadable(): void {
    if (this.#immediate !== null || this.#poll === null) return;
    this.#wakeUps++;
    this.#adaptSpin(performance.now() - this.#lastWorkMs);
    this.#arm();
  }

  #arm(): void {
    this.#immediate ??= setImmediate(this.#turn);
  }

  #adaptSpin(waitedMs: number): void {
    if (waitedMs <= this.#maxSpinMs) {
      this.#spinMs = Math.min(Math.max(this.#spinMs * 2, MIN_SPIN_MICROS / 1000), this.#maxSpinMs);
    } else {
      this.#spinMs = this.#spinMs * 1000 <= MIN_SPIN_MICROS ? 0 : this.#spinMs / 2;
    }
  }

  /**
   * Does what there is to do, or a slice of looking for it; arms the next turn, or leaves the waiting to
   * libuv.
   */
  #takeTurn(): void {
    this.#immediate = null;
    const endMs = performance.now() + TURN_BUDGET_MS;
    let worked = false;
    for (let look = 0; look < LOOKS_PER_SLICE && this.#poll !== null; look++) {
      if (this.#runBatch() || this.#pollAwake()) {
        worked = true;
        this.#lastWorkMs = performance.now();
        if (this.#lastWorkMs > endMs) break;
      } else if (worked) {
        // Back to Node before spinning on: handlers may have settled promises.
        break;
      }
    }
    const nowMs = performance.now();
    const spins = nowMs - this.#lastWorkMs < this.#spinMs;
    this.#restIdle(nowMs);
    if (this.#poll !== null && (spins || this.#awake.length > 0)) this.#arm();
  }

  /** @returns whether one of the pollers had work */
  #pollAwake(): boolean {
    let worked = false;
    for (const awake of this.#awake) {
      awake.busy = this.#ask(awake.poller, 'poll');
      if (!awake.busy) continue;
      worked = true;
      awake.workedMs = performance.now();
    }
    return worked;
  }

  /** Each poller by itself: one that is busy for hours must not keep all others from resting. */
  #restIdle(nowMs: number): void {
    for (let i = this.#awake.length - 1; i >= 0; i--) {
      const awake = this.#awake.at(i);
      // One that rested may have closed the reactor.
      if (awake === undefined || awake.busy || nowMs - awake.workedMs < this.#spinMs) continue;
      if (this.#ask(awake.poller, 'rest')) {
        awake.workedMs = nowMs;
      } else {
        this.#awake.splice(this.#awake.indexOf(awake), 1);
      }
    }
  }

  #ask(poller: Poller, what: keyof Poller): boolean {
    try {
      return poller[what]();
    } catch (error) {
      this.#report(error, -1);
      return false;
    }
  }

  /** Calls the handlers of what is ready now. @returns whether there was any */
  #runBatch(): boolean {
    const count = libc.epoll_wait(this.#epollFd, this.#ready.address, BATCH_EVENTS, 0);
    this.#removedInBatch = false;
    let stale = false;
    for (let i = 0; i < count && this.#poll !== null; i++) {
      if (!this.#deliver(i * EVENT_WORDS)) stale = true;
    }
    if (stale && !this.#removedInBatch) this.#rebuild();
    return count > 0;
  }

  /** @returns false for an event of a watch that is gone */
  #deliver(word: number): boolean {
    const { u32 } = this.#ready;
    const watch = this.#watches.get(u32[word + DATA_WORD]);
    if (watch === undefined || watch.generation !== u32[word + DATA_WORD + 1]) return false;
    try {
      watch.handler(u32[word], watch.fd);
    } catch (error) {
      this.#report(error, watch.fd);
    }
    return true;
  }

  #report(error: unknown, fd: number): void {
    try {
      this.#onError(error, fd);
    } catch (failure) {
      // A failing error handler is the program's bug, but not a reason to lose the rest of the batch.
      queueMicrotask(() => {
        throw failure;
      });
    }
  }

  /**
   * Events keep coming from a watch that is gone: its descriptor was closed before it was removed while a
   * duplicate lives on elsewhere, so that epoll still has it and no fd number names it any more. Only a new
   * epoll set gets rid of it.
   */
  #rebuild(): void {
    const running = this.#poll !== null;
    this.stop();
    libc.close(this.#epollFd);
    this.#epollFd = createEpoll();
    for (const watch of this.#watches.values()) {
      const error = this.#control(EPOLL_CTL_ADD, watch);
      if (error === 0) continue;
      this.#watches.delete(watch.fd);
      this.#report(HostError.from(error, 'epoll_ctl', `add fd ${watch.fd}`), watch.fd);
    }
    if (running) this.start();
  }
}

function createEpoll(): number {
  return resultOrThrow(result(libc.epoll_create1(EPOLL_CLOEXEC)), 'epoll_create1', 'reactor');
}
