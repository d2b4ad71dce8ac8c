/**
 * A 9p session's journal in a file: mapped, so that what is written is there after a kill, whenever it comes; it outlives the process,
 * not the machine. A new journal is another file, which takes the place of the one before in one step.
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import type { JournalStore } from '../../devices/9p/server/journal/journal-store.js';
import { fallocate, SharedMapping } from '../../host/index.js';

/** What another process left is read as a whole. */
const READ_MAX_BYTES = 2 ** 30;
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR } = constants;

interface Mapped {
  readonly inode: number;
  readonly mapping: SharedMapping;
}

export class JournalFile implements JournalStore {
  readonly #path: string;
  readonly #log: (message: string) => void;
  #current: Mapped | undefined;
  #next: Mapped | undefined;

  /** The folder is the daemon's own; the path and one that begins like it are this journal's. */
  constructor(path: string, log: (message: string) => void) {
    this.#path = path;
    this.#log = log;
  }

  read(): Uint8Array | undefined {
    try {
      const fd = openSync(this.#path, O_RDONLY | O_NOFOLLOW);
      try {
        const stats = fstatSync(fd);
        return stats.isFile() && stats.size <= READ_MAX_BYTES ? readFileSync(fd) : undefined;
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.#failed('read', error);
      return undefined;
    }
  }

  create(sizeBytes: number): Uint8Array | undefined {
    this.#next?.mapping.close();
    this.#next = undefined;
    try {
      rmSync(this.#nextPath, { force: true });
      const fd = openSync(this.#nextPath, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW, 0o600);
      try {
        // All of its room, now: a mapped page that finds none later would end the process.
        const error = fallocate(fd, 0, 0, sizeBytes);
        if (error < 0) throw new Error(`errno ${-error}`);
        this.#next = { inode: fstatSync(fd).ino, mapping: new SharedMapping(fd, sizeBytes) };
      } finally {
        closeSync(fd);
      }
      return this.#next.mapping.window(0, sizeBytes);
    } catch (error) {
      rmSync(this.#nextPath, { force: true });
      this.#failed('make', error);
      return undefined;
    }
  }

  commit(): void {
    renameSync(this.#nextPath, this.#path);
    this.#current?.mapping.close();
    this.#current = this.#next;
    this.#next = undefined;
  }

  /** One that is somebody else's by now stays: that of a process which this session was handed over to. */
  remove(): void {
    const { inode } = this.#current ?? {};
    this.#current?.mapping.close();
    this.#next?.mapping.close();
    this.#current = this.#next = undefined;
    rmSync(this.#nextPath, { force: true });
    if (inode === undefined || lstatSync(this.#path, { throwIfNoEntry: false })?.ino === inode)
      rmSync(this.#path, { force: true });
  }

  get #nextPath(): string {
    return `${this.#path}.next`;
  }

  #failed(what: string, error: unknown): void {
    this.#log(
      `cannot ${what} the journal ${this.#path}: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}
