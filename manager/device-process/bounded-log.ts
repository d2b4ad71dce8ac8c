/** A log file that cannot fill the disk: at its limit it becomes `.old`, in place of the one before. */
import { appendFileSync, copyFileSync, statSync, truncateSync } from 'node:fs';

const DEFAULT_LIMIT_BYTES = 1 << 20;

export class BoundedLog {
  private readonly path: string;
  private readonly limitBytes: number;

  constructor(path: string, limitBytes = DEFAULT_LIMIT_BYTES) {
    this.path = path;
    this.limitBytes = limitBytes;
  }

  /** Adds bytes. A disk that takes no more costs the log, not the devices. */
  write(bytes: Buffer): void {
    const kept = bytes.subarray(-this.limitBytes);
    try {
      if (sizeOf(this.path) + kept.length > this.limitBytes) this.begin();
      appendFileSync(this.path, kept, { mode: 0o600 });
    } catch {
      // See above.
    }
  }

  /** Copied and emptied, not renamed: the process has it for its standard error, too, which takes what Node says when it dies. */
  private begin(): void {
    copyFileSync(this.path, `${this.path}.old`);
    truncateSync(this.path);
  }
}

/** Its bytes; 0 where there is none. */
export function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
