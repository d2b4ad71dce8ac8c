/** An open directory of the host: the entries that its reader has, with cookies that the guest can go on from. */
import { DIRENT64 } from '../../../../host/index.js';
import { isPromise, type DirectorySink, type MaybePromise } from '../file-system.js';
import type { Kept } from '../kept.js';
import { DirectoryCookies } from './directory-cookies.js';
import { DirectoryReader } from './directory-reader.js';
import type { ExportContext } from './export-context.js';
import { HostOpenFile, type OpenedNode } from './host-open-file.js';

const NUL = 0;
const DOT = 0x2e;
const TWO_32 = 0x1_0000_0000;

export class HostOpenDirectory extends HostOpenFile {
  readonly #isRoot: boolean;
  readonly #cookies: DirectoryCookies;
  readonly #reader: DirectoryReader;
  /** The cookie that the reader's next entry stands behind. */
  #cookie = 0;

  /** Takes over `fd`. The root's `..` is the root. `details` are those of another one that this goes on for. */
  constructor(context: ExportContext, fd: number, node: OpenedNode, isRoot: boolean, details?: Uint8Array) {
    super(context, fd, node);
    this.#cookies = details?.length ? DirectoryCookies.from(details) : new DirectoryCookies();
    this.#reader = new DirectoryReader(fd, context.statx);
    this.#isRoot = isRoot;
  }

  override readdir(cookie: number, sink: DirectorySink): MaybePromise<number> {
    // Reading on needs no seek, which is what keeps a listing exact while the directory changes.
    if (cookie === this.#cookie && cookie !== 0) return this.#giveAll(sink);
    const sought = this.#seek(cookie);
    if (isPromise(sought)) return sought.then((error) => (error < 0 ? error : this.#giveAll(sink)));
    return sought < 0 ? sought : this.#giveAll(sink);
  }

  override keep(): Kept {
    return { descriptor: this.fd, details: this.#cookies.save() };
  }

  protected override closeDescriptor(): void {
    this.#reader.close();
  }

  /** Gives entries until the sink is full or there are no more. */
  #giveAll(sink: DirectorySink): MaybePromise<number> {
    for (;;) {
      if (this.#reader.at === this.#reader.end) {
        const filled = this.#reader.fill();
        if (isPromise(filled)) return filled.then((bytes) => (bytes <= 0 ? bytes : this.#giveAll(sink)));
        if (filled <= 0) return filled;
      }
      if (!this.#give(sink)) return 0;
    }
  }

  /** Gives the reader's next entry; false where the sink did not take it, and it stays. */
  #give(sink: DirectorySink): boolean {
    const { buffer, at } = this.#reader;
    if (buffer === null) return false;
    const { bytes, view } = buffer;
    const cookie = this.#cookies.next(
      view.getUint32(at + DIRENT64.off, true),
      view.getUint32(at + DIRENT64.off + 4, true),
    );
    const next = at + view.getUint16(at + DIRENT64.reclen, true);
    const start = at + DIRENT64.name;
    const end = nameEnd(bytes, start, next);
    const outside = this.#isRoot && isDotDot(bytes, start, end);
    const inodeLow = outside ? this.node.inodeLow : view.getUint32(at + DIRENT64.ino, true);
    const inodeHigh = outside ? this.node.inodeHigh : view.getUint32(at + DIRENT64.ino + 4, true);
    const type = bytes[at + DIRENT64.type];
    const taken = sink.rawEntry
      ? sink.rawEntry(bytes, start, end, inodeLow, inodeHigh, type, cookie)
      : sink.entry(bytes.toString('latin1', start, end), inodeLow, inodeHigh, type, cookie);
    if (!taken) return false;
    this.#cookies.advance();
    this.#cookie = cookie;
    this.#reader.at = next;
    return true;
  }

  #seek(cookie: number): MaybePromise<number> {
    if (cookie === 0) return this.#sought(this.#reader.rewind(this.node), cookie);
    const number = this.#cookies.numberOf(cookie);
    if (number < 0) return this.#seekTo(cookie % TWO_32, Math.floor(cookie / TWO_32), cookie);
    const position = this.#cookies.recall(number);
    if (position !== undefined) return this.#seekTo(position.low, position.high, cookie);
    return this.#skip(number, cookie);
  }

  #seekTo(low: number, high: number, cookie: number): MaybePromise<number> {
    return this.#sought(this.#reader.seek(low, high), cookie);
  }

  /** Notes where the reader is, once it is there. */
  #sought(answer: MaybePromise<number>, cookie: number): MaybePromise<number> {
    if (isPromise(answer)) return answer.then((error) => this.#sought(error, cookie));
    if (answer === 0) this.#cookie = cookie;
    return answer;
  }

  /**
   * A cookie from long ago, or of another open of this directory (as an NFS server in the guest uses them): counted out
   * from the start, which is exact as long as the directory stays as it is.
   */
  async #skip(number: number, cookie: number): Promise<number> {
    const reader = this.#reader;
    const error = await reader.seek(0, 0);
    if (error < 0) return error;
    for (let left = number; left > 0; left--) {
      if (reader.at === reader.end) {
        const filled = await reader.fill();
        if (filled < 0) return filled;
        if (filled === 0) break;
      }
      reader.at += reader.buffer?.view.getUint16(reader.at + DIRENT64.reclen, true) ?? 0;
    }
    this.#cookies.passed(number);
    return this.#sought(0, cookie);
  }
}

/**
 * An entry ends with its name, a NUL, and bytes of whatever was there up to the next multiple of eight: the NUL is among the last eight.
 */
function nameEnd(bytes: Uint8Array, start: number, next: number): number {
  let end = Math.max(start, next - DIRENT64.alignment);
  while (end < next && bytes[end] !== NUL) end++;
  return end;
}

function isDotDot(bytes: Uint8Array, start: number, end: number): boolean {
  return end - start === 2 && bytes[start] === DOT && bytes[start + 1] === DOT;
}
