/**
 * One command in the guest, between whoever asked for it on the host and the files in its directory, by which the guest's helper runs it. The
 * guest is believed nothing: it can say what it likes about its own command, as much as there is room for, and as long as somebody listens.
 */
import { Errno } from '../../../../errno.js';
import type { IoVector } from '../../../../io-vector.js';
import { ByteQueue } from './byte-queue.js';
import type { ReadableStream } from './stream-reader.js';

/** Signals that the host may send, and what a shell's `kill` calls them. */
export const Signal = { HUP: 1, INT: 2, QUIT: 3, KILL: 9, USR1: 10, USR2: 12, TERM: 15 } as const;
export type Signal = keyof typeof Signal;

/** How a command ended. */
export type Outcome =
  /** As a shell has it: 128 and a signal's number where one ended it. */
  | { readonly exitCode: number }
  /** `untaken`: no helper began with it in time. `lost`: the helper, or the guest, went away in the middle. `gone`: so did the tree. */
  | { readonly failure: 'untaken' | 'lost' | 'gone' };

/** What the guest printed since it was asked for last. `outcome` comes last. */
export interface Output {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  readonly outcome?: Outcome;
}

export type OutputName = 'stdout' | 'stderr';

export interface GuestCommandOptions {
  readonly id: number;
  readonly script: Uint8Array;
  /** Has the helper send a signal to the command. */
  readonly sendSignal: (pid: number, signal: Signal) => void;
  /** Its directory is to go. Called once. */
  readonly onEnd: () => void;
  readonly patience?: Partial<CommandPatience>;
}

/** In milliseconds. */
export interface CommandPatience {
  /** Until a helper begins. */
  readonly takenMs: number;
  /** For the last output, after the command's exit, while something else in the guest can still write to it. */
  readonly lingerMs: number;
  /** From a request to end until it is killed, and again until nobody waits any more. */
  readonly endMs: number;
}

const PATIENCE: CommandPatience = { takenMs: 15_000, lingerMs: 1000, endMs: 5000 };
/** What may wait on its way, each way. */
const QUEUE_BYTES = 256 * 1024;
/** Linux's highest (PID_MAX_LIMIT). */
const PID_MAX = 4_194_304;
const STATUS_LINE = /^(started|exited) (\d{1,7})$/;

export class GuestCommand {
  readonly id: number;
  readonly script: Uint8Array;
  readonly #options: GuestCommandOptions;
  readonly #patience: CommandPatience;
  readonly #stdin = new ByteQueue(QUEUE_BYTES);
  readonly #output: Readonly<Record<OutputName, ByteQueue>> = {
    stdout: new ByteQueue(QUEUE_BYTES),
    stderr: new ByteQueue(QUEUE_BYTES),
  };
  /** Files that the guest has opened: each once only, ever. */
  readonly #opened = new Set<string>();
  readonly #openOutputs = new Set<OutputName>();
  #inputEnded = false;
  #pid: number | undefined;
  #exitCode: number | undefined;
  #outcome: Outcome | undefined;
  /** Nobody on the host listens any more. */
  #unheard = false;
  #timer: NodeJS.Timeout | undefined;
  /** Wakes the guest's reader of stdin. */
  #wakeStdin: () => void = () => undefined;
  /** Those on the host who wait for room in stdin, and for output; those in the guest who wait for room in an output. */
  readonly #inputWaiters = new Set<() => void>();
  readonly #outputWaiters = new Set<() => void>();
  readonly #writers = new Set<() => void>();

  constructor(options: GuestCommandOptions) {
    this.id = options.id;
    this.script = options.script;
    this.#options = options;
    this.#patience = { ...PATIENCE, ...options.patience };
    this.#after(this.#patience.takenMs, () => this.#finish({ failure: 'untaken' }));
  }

  get isTaken(): boolean {
    return this.#opened.has('status');
  }

  get hasEnded(): boolean {
    return this.#outcome !== undefined;
  }

  // What the host does.

  /**
   * False where there was no room for it within that time: nothing of it is taken. What comes after the end of the command, or of its input, is
   * dropped.
   */
  async input(bytes: Uint8Array, waitMs: number): Promise<boolean> {
    if (this.#stdin.isFull && !this.#inputIsOver) await within(this.#inputWaiters, waitMs);
    if (this.#inputIsOver) return true;
    if (this.#stdin.isFull) return false;
    this.#stdin.put(bytes);
    this.#wakeStdin();
    return true;
  }

  /** The command has got all its input. */
  endInput(): void {
    this.#inputEnded = true;
    this.#wakeStdin();
  }

  /** What there is, up to `maxBytes` of each; waits until there is something, or for `waitMs`. */
  async output(maxBytes: number, waitMs: number): Promise<Output> {
    if (!this.#hasOutput) await within(this.#outputWaiters, waitMs);
    const stdout = this.#output.stdout.take(maxBytes);
    const stderr = this.#output.stderr.take(maxBytes);
    release(this.#writers);
    const isAll = this.#outcome !== undefined && this.#isDrained;
    return { stdout, stderr, ...(isAll && { outcome: this.#outcome }) };
  }

  /** False where there is no process yet, or any more. */
  signal(signal: Signal): boolean {
    if (this.#pid === undefined || this.#exitCode !== undefined || this.hasEnded) return false;
    this.#options.sendSignal(this.#pid, signal);
    return true;
  }

  /** Ends it: by SIGTERM, and if that does not do, by SIGKILL. What it prints from now on is lost. */
  end(): void {
    if (this.#unheard || this.hasEnded) return;
    this.#unheard = true;
    this.endInput();
    this.#dropOutput();
    if (!this.signal('TERM')) return this.#finish({ failure: 'lost' });
    this.#after(this.#patience.endMs, () => {
      this.signal('KILL');
      this.#after(this.#patience.endMs, () => this.#finish({ failure: 'lost' }));
    });
  }

  /** The tree is closed. */
  abandon(): void {
    this.#finish({ failure: 'gone' });
  }

  // What the guest does.

  /** False where the file was opened before: each has one reader or writer. */
  open(name: string): boolean {
    if (this.hasEnded || this.#opened.has(name)) return false;
    this.#opened.add(name);
    if (name === 'status') this.#clearTimer();
    if (name === 'stdout' || name === 'stderr') this.#openOutputs.add(name);
    return true;
  }

  /** `wake` is called whenever there may be something to read. */
  stdinStream(wake: () => void): ReadableStream {
    this.#wakeStdin = wake;
    const give = (into: IoVector, maxBytes: number) => {
      const given = this.#stdin.takeInto(into, maxBytes);
      if (!this.#stdin.isFull) release(this.#inputWaiters);
      return given;
    };
    const hasEnded = () => this.#stdin.lengthBytes === 0 && this.#inputIsOver;
    return {
      give,
      get hasEnded() {
        return hasEnded();
      },
      // The command reads no more: whoever writes to it is not to wait for that.
      closed: () => {
        this.#inputEnded = true;
        this.#stdin.clear();
        release(this.#inputWaiters);
      },
    };
  }

  hasRoom(name: OutputName): boolean {
    return this.#unheard || this.hasEnded || !this.#output[name].isFull;
  }

  /** Resolves once there may be room; `given` is called with what ends the wait early. */
  roomFor(given: (giveUp: () => void) => void): Promise<void> {
    return new Promise((resolve) => {
      this.#writers.add(resolve);
      given(() => {
        this.#writers.delete(resolve);
        resolve();
      });
    });
  }

  /** Takes what the command printed; answers a negative errno where nobody wants it any more. */
  print(name: OutputName, bytes: Uint8Array): number {
    if (this.hasEnded || this.#unheard) return -Errno.EPIPE;
    this.#output[name].put(bytes);
    release(this.#outputWaiters);
    return bytes.length;
  }

  /** A line of `status`. */
  say(line: string): number {
    const [, verb, digits] = STATUS_LINE.exec(line) ?? [];
    if (this.hasEnded) return -Errno.EPIPE;
    const number = Number(digits);
    if (verb === 'started' && this.#pid === undefined && number > 1 && number <= PID_MAX) {
      // Nobody waits for it any more: its script ends where this fails.
      if (this.#unheard) return -Errno.EPIPE;
      this.#pid = number;
    } else if (verb === 'exited' && this.#exitCode === undefined && number <= 255) this.#exited(number);
    else return -Errno.EINVAL;
    return 0;
  }

  closed(name: string): void {
    if (name === 'status' && this.#exitCode === undefined) this.#finish({ failure: 'lost' });
    if (name !== 'stdout' && name !== 'stderr') return;
    this.#openOutputs.delete(name);
    this.#finishWhenDrained();
  }

  get #inputIsOver(): boolean {
    return this.#inputEnded || this.hasEnded;
  }

  get #isDrained(): boolean {
    return this.#output.stdout.lengthBytes + this.#output.stderr.lengthBytes === 0;
  }

  get #hasOutput(): boolean {
    return !this.#isDrained || this.hasEnded;
  }

  #exited(exitCode: number): void {
    this.#exitCode = exitCode;
    this.#clearTimer();
    if (this.#unheard) return this.#finish({ exitCode });
    this.#linger();
  }

  /** Something else may hold the outputs open, as a service does that the command started. While the host takes what came, that is no reason to end. */
  #linger(): void {
    this.#finishWhenDrained();
    if (this.hasEnded) return;
    this.#after(this.#patience.lingerMs, () => {
      if (this.#isDrained) this.#finish({ exitCode: this.#exitCode ?? 0 });
      else this.#linger();
    });
  }

  #finishWhenDrained(): void {
    if (this.#exitCode !== undefined && this.#openOutputs.size === 0)
      this.#finish({ exitCode: this.#exitCode });
  }

  #finish(outcome: Outcome): void {
    if (this.hasEnded) return;
    this.#outcome = outcome;
    this.#clearTimer();
    this.#stdin.clear();
    this.#wakeStdin();
    release(this.#inputWaiters);
    release(this.#writers);
    release(this.#outputWaiters);
    this.#options.onEnd();
  }

  #dropOutput(): void {
    this.#output.stdout.clear();
    this.#output.stderr.clear();
    release(this.#writers);
  }

  #after(delayMs: number, job: () => void): void {
    this.#clearTimer();
    this.#timer = setTimeout(job, delayMs);
  }

  #clearTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** Resolves once they are released, or after that time. */
async function within(waiters: Set<() => void>, waitMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await new Promise<void>((resolve) => {
    waiters.add(resolve);
    timer = setTimeout(() => {
      waiters.delete(resolve);
      resolve();
    }, waitMs);
  });
  clearTimeout(timer);
}

function release(waiters: Set<() => void>): void {
  for (const waiter of waiters) waiter();
  waiters.clear();
}
