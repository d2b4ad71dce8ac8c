import { GuestError } from '../errors.js';
import type { Client9p } from './client.js';
import { OpenFlags } from './constants.js';
import { toBytes, type Bytes } from './cursor.js';
import type { OperationOptions, OperationRunner } from './operations.js';
import { Stats } from './stats.js';

/** A file that keeps giving is cut off here, as Node's `readFile` does. */
const MAX_FILE_BYTES = 2 ** 31 - 1;
/** Where reading a file of unknown size starts. */
const FIRST_CHUNK_BYTES = 65536;

/**
 * An open file. Reads and writes at explicit positions may run at the same time; those without go on where the last one ended
 * and must be awaited one by one.
 */
export class FileHandle {
  /** The path it was opened by, for errors. */
  readonly path: string;
  readonly #client: Client9p;
  readonly #operations: OperationRunner;
  readonly #fid: number;
  readonly #append: boolean;
  readonly #onClose: (handle: FileHandle) => void;
  #position = 0;
  #closed: Promise<void> | undefined;

  /** For `Mount.open`. */
  constructor(
    client: Client9p,
    operations: OperationRunner,
    file: { readonly fid: number; readonly flags: number; readonly path: string },
    onClose: (handle: FileHandle) => void,
  ) {
    this.#client = client;
    this.#operations = operations;
    this.#fid = file.fid;
    this.#append = (file.flags & OpenFlags.O_APPEND) !== 0;
    this.path = file.path;
    this.#onClose = onClose;
  }

  /** The fid behind the handle, for `Mount.client`: locks and extended attributes are there. */
  get fid(): number {
    return this.#fid;
  }

  /** Fills `target` from `position` on; resolves with the number of bytes, fewer only where the file ends. */
  read(target: Uint8Array, position?: number, options: OperationOptions = {}): Promise<number> {
    return this.#run('read', async () => {
      const start = position ?? this.#position;
      const done = await this.#readAt(start, target, options.signal);
      if (position === undefined) this.#position = start + done;
      return done;
    });
  }

  /** Writes all of `data` at `position`, or at the file's end where it was opened to append. */
  write(data: Bytes, position?: number, options: OperationOptions = {}): Promise<void> {
    return this.#run('write', async () => {
      const bytes = toBytes(data);
      // A server may append by itself; one that does not is told where the end is, as a kernel would.
      const start = this.#append ? (await this.#stat(options)).size : (position ?? this.#position);
      await this.#writeAt(start, bytes, options.signal);
      if (position === undefined) this.#position = start + bytes.byteLength;
    });
  }

  /** Everything from the start to the end of the file. */
  readFile(options: OperationOptions = {}): Promise<Uint8Array> {
    return this.#run('read', async () => {
      const { size } = await this.#stat(options);
      // One byte more than there should be, so that one read both takes it all and sees the end.
      const expected = size > 0 ? size + 1 : FIRST_CHUNK_BYTES;
      let bytes = new Uint8Array(Math.min(expected, MAX_FILE_BYTES + 1));
      let length = 0;
      for (;;) {
        length += await this.#readAt(length, bytes.subarray(length), options.signal);
        if (length < bytes.byteLength) return bytes.slice(0, length);
        if (length > MAX_FILE_BYTES) throw new GuestError('EFBIG', { syscall: 'read' });
        const larger = new Uint8Array(Math.min(2 * length, MAX_FILE_BYTES + 1));
        larger.set(bytes);
        bytes = larger;
      }
    });
  }

  stat(options: OperationOptions = {}): Promise<Stats> {
    return this.#run('fstat', () => this.#stat(options));
  }

  truncate(sizeBytes: number, options: OperationOptions = {}): Promise<void> {
    return this.#run('ftruncate', () => this.#client.setattr(this.#fid, { sizeBytes }, options.signal));
  }

  /** Resolves once the file's data and attributes are on the server's disk. */
  sync(options: OperationOptions = {}): Promise<void> {
    return this.#run('fsync', () => this.#client.fsync(this.#fid, false, options.signal));
  }

  /** `sync` without attributes that do not matter for reading the data. */
  datasync(options: OperationOptions = {}): Promise<void> {
    return this.#run('fdatasync', () => this.#client.fsync(this.#fid, true, options.signal));
  }

  /** Closing twice is closing once. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    this.#onClose(this);
    await this.#operations.always('close', this.path, () => this.#client.clunk(this.#fid));
  }

  #run<T>(syscall: string, work: () => Promise<T>): Promise<T> {
    if (this.#closed !== undefined) {
      return Promise.reject(new GuestError('EBADF', { syscall, path: this.path }));
    }
    return this.#operations.run(syscall, this.path, work);
  }

  async #stat(options: OperationOptions): Promise<Stats> {
    return new Stats(await this.#client.getattr(this.#fid, undefined, options.signal));
  }

  async #readAt(position: number, target: Uint8Array, signal: AbortSignal | undefined): Promise<number> {
    let done = 0;
    while (done < target.byteLength) {
      const room = done === 0 ? target : target.subarray(done);
      const got = await this.#client.read(this.#fid, position + done, room, signal);
      if (got === 0) break;
      done += got;
    }
    return done;
  }

  async #writeAt(position: number, bytes: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    let done = 0;
    while (done < bytes.byteLength) {
      const rest = done === 0 ? bytes : bytes.subarray(done);
      const written = await this.#client.write(this.#fid, position + done, rest, signal);
      if (written === 0) throw new GuestError('EIO', { syscall: 'write', path: this.path });
      done += written;
    }
  }
}
