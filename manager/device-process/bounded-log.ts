/** A log file that cannot fill the disk: at its limit it becomes `.old`, in place of the one before. */
import { appendFileSync, renameSync, statSync } from 'node:fs';

const DEFAULT_LIMIT_BYTES = 1 << 20;
/** What is kept in memory, to say why a process died. */
const TAIL_BYTES = 4096;

export class BoundedLog {
  private readonly path: string;
  private readonly limitBytes: number;
  private sizeBytes: number;
  private recent = Buffer.alloc(0);

  constructor(path: string, limitBytes = DEFAULT_LIMIT_BYTES) {
    this.path = path;
    this.limitBytes = limitBytes;
    this.sizeBytes = sizeOf(path);
  }

  /** The last lines, trimmed. */
  get tail(): string {
    return this.recent.toString('utf8').trim();
  }

  /** Adds bytes. A disk that takes no more costs the log, not the devices. */
  write(bytes: Buffer): void {
    this.recent = Buffer.concat([this.recent, bytes]).subarray(-TAIL_BYTES);
    const kept = bytes.subarray(-this.limitBytes);
    try {
      if (this.sizeBytes + kept.length > this.limitBytes) {
        renameSync(this.path, `${this.path}.old`);
        this.sizeBytes = 0;
      }
      appendFileSync(this.path, kept, { mode: 0o600 });
      this.sizeBytes += kept.length;
    } catch {
      this.sizeBytes = sizeOf(this.path);
    }
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
