/** A process of the daemon's that serves guests: started by this daemon, or by an earlier one. It lives on when the daemon ends. */
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { sizeOf } from './device-process/bounded-log.js';
import { wordsOf } from './logging/text-lines.js';
import { isRunning, type ProcessStamp } from './process-stamp.js';
import type { Confined } from './sandbox/bubblewrap.js';
import { launch, launchConfined, type Launched } from './sandbox/launch.js';

/** The folder is the process's to write to: what is no file of ours there is not opened, nor waited for. */
const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;
const LOG_FLAGS = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK;

export interface ProcessLife {
  readonly pid: number;
  /** Resolves with how it ended, once it has. */
  readonly ended: Promise<string>;
  signal(signal: NodeJS.Signals): void;
  /** Its connection broke: nothing else may say that it has ended. */
  connectionLost(): void;
  /** Nobody waits for its end any more. */
  forget(): void;
}

/** One that this daemon starts, in a session of its own: what ends the daemon, or a terminal's Ctrl-C, does not reach it. */
export class StartedProcess implements ProcessLife {
  readonly pid: number;
  readonly ended: Promise<string>;

  private constructor({ pid, ended }: Launched, logPath: string, logged: number) {
    this.pid = pid;
    this.ended = ended.then((how) => withLastWords(how, logPath, logged));
  }

  /** `logPath` takes what it says on standard output and error. Where it cannot be started, it has `ended`. */
  static async start(
    line: readonly string[],
    logPath: string,
    confined: Confined | undefined,
  ): Promise<StartedProcess> {
    const logged = sizeOf(logPath);
    const log = openSync(logPath, LOG_FLAGS, 0o600);
    try {
      const launched = confined ? await launchConfined(confined, log) : launch(line, log);
      launched.leave();
      return new StartedProcess(launched, logPath, logged);
    } finally {
      closeSync(log);
    }
  }

  signal(signal: NodeJS.Signals): void {
    try {
      if (this.pid > 0) process.kill(this.pid, signal);
    } catch {
      // It ended in between.
    }
  }

  connectionLost(): void {
    // Its end is reported by the system.
  }

  forget(): void {
    // See above.
  }
}

const LOOK_MS = 10;

/** One that an earlier daemon started. */
export class FoundProcess implements ProcessLife {
  readonly ended: Promise<string>;
  private readonly stamp: ProcessStamp;
  private readonly logPath: string;
  private readonly from: number;
  private end: (reason: string) => void = () => undefined;
  private look: NodeJS.Timeout | undefined;

  constructor(stamp: ProcessStamp, logPath: string) {
    this.stamp = stamp;
    this.logPath = logPath;
    this.from = sizeOf(logPath);
    this.ended = new Promise((resolve) => (this.end = resolve));
  }

  get pid(): number {
    return this.stamp.pid;
  }

  signal(signal: NodeJS.Signals): void {
    try {
      if (isRunning(this.stamp)) process.kill(this.pid, signal);
    } catch {
      // It ended in between.
    }
  }

  connectionLost(): void {
    this.look ??= setInterval(() => {
      if (isRunning(this.stamp)) return;
      this.forget();
      this.end(withLastWords('it ended', this.logPath, this.from));
    }, LOOK_MS);
  }

  forget(): void {
    clearInterval(this.look);
    this.look = undefined;
  }
}

/** Enough to say why a process died. */
const TAIL_BYTES = 4096;

/** The last line that it logged and that says something: not a stack's, nor the version that Node ends its own with. */
function withLastWords(how: string, logPath: string, from: number): string {
  const lines = tailOf(logPath, from)
    .split('\n')
    .filter((line) => line.trim() !== '' && !/^\s+at |^Node\.js v/.test(line));
  const last = lines.at(-1)?.trim();
  return last === undefined ? how : `${how}: ${wordsOf(last)}`;
}

/** What was written behind `from`, at most the last of it. A file that is smaller than that was begun anew. */
function tailOf(path: string, from: number): string {
  const size = sizeOf(path);
  const start = Math.max(size < from ? 0 : from, size - TAIL_BYTES);
  const bytes = Buffer.alloc(size - start);
  try {
    const fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      return bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, start));
    } finally {
      closeSync(fd);
    }
  } catch {
    return '';
  }
}
