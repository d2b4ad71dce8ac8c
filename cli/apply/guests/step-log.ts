/** What a step printed, in a file: the last of it is what a failure is told with. */
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** A guest may print for as long as it likes. */
const LOG_MAX_BYTES = 4 << 20;
const TAIL_BYTES = 2048;

export class StepLog {
  readonly path: string;
  readonly #fd: number;
  #writtenBytes = 0;
  #tail = Buffer.alloc(0);

  constructor(path: string) {
    this.path = path;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    this.#fd = openSync(path, 'w', 0o600);
  }

  write(bytes: Buffer): void {
    this.#tail = Buffer.concat([this.#tail, bytes]).subarray(-TAIL_BYTES);
    const left = LOG_MAX_BYTES - this.#writtenBytes;
    if (left <= 0) return;
    this.#writtenBytes += bytes.length;
    writeSync(this.#fd, bytes.subarray(0, left));
    if (this.#writtenBytes >= LOG_MAX_BYTES) writeSync(this.#fd, '\n(more was printed)\n');
  }

  /** The last lines, with nothing that could steer a terminal. */
  get lastLines(): string {
    const lines = this.#tail.toString('utf8').trimEnd().split('\n').slice(-5);
    return lines.map((line) => line.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '?')).join('\n');
  }

  close(): void {
    closeSync(this.#fd);
  }
}
