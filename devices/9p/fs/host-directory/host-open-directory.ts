/** An open directory of the host: getdents64 fills a buffer, and entries that the guest had no room for wait in it. */
import { DIRENT64, getdents64, seekTo } from '../../../../host/index.js';
import { Errno } from '../../../errno.js';
import type { DirectorySink } from '../file-system.js';
import { DirectoryCookies } from './directory-cookies.js';
import type { ExportContext } from './export-context.js';
import { HostOpenFile, type OpenedNode } from './host-open-file.js';
import { DIRECTORY_BUFFER_BYTES, scratch, type DirectoryBuffer } from './scratch.js';

const NUL = 0;
const TWO_32 = 0x1_0000_0000;

export class HostOpenDirectory extends HostOpenFile {
  readonly #isRoot: boolean;
  readonly #cookies = new DirectoryCookies();
  /** Entries of the host from `#at` to `#filled`; null before the first and after the last. */
  #buffer: DirectoryBuffer | null = null;
  #at = 0;
  #filled = 0;
  /** The cookie that the entry at `#at`, or the next fill, stands behind. */
  #cookie = 0;

  /** Takes over `fd`. The root's `..` is the root. */
  constructor(context: ExportContext, fd: number, node: OpenedNode, isRoot: boolean) {
    super(context, fd, node);
    this.#isRoot = isRoot;
  }

  override readdir(cookie: number, sink: DirectorySink): number {
    // Reading on needs no seek, which is what keeps a listing exact while the directory changes.
    const error = cookie === this.#cookie ? 0 : this.#seek(cookie);
    if (error < 0) return error;
    for (;;) {
      if (this.#at === this.#filled) {
        const filled = this.#fill();
        if (filled <= 0) return filled;
      }
      if (!this.#give(sink)) return 0;
    }
  }

  override close(): void {
    this.#empty();
    super.close();
  }

  /** Bytes of entries that follow, 0 at the end, or a negative errno. */
  #fill(): number {
    this.#buffer ??= scratch.takeDirectoryBuffer();
    const filled = getdents64(this.fd, this.#buffer.bytes, DIRECTORY_BUFFER_BYTES);
    this.#at = 0;
    this.#filled = Math.max(filled, 0);
    if (filled <= 0) this.#empty();
    // A directory that was removed while open is at its end.
    return filled === -Errno.ENOENT ? 0 : filled;
  }

  /** Gives the entry at `#at`; false where the sink did not take it, and it stays. */
  #give(sink: DirectorySink): boolean {
    const buffer = this.#buffer;
    if (buffer === null) return false;
    const { bytes, view } = buffer;
    const at = this.#at;
    const cookie = this.#cookies.next(
      view.getUint32(at + DIRENT64.off, true),
      view.getUint32(at + DIRENT64.off + 4, true),
    );
    const next = at + view.getUint16(at + DIRENT64.reclen, true);
    const start = at + DIRENT64.name;
    const name = bytes.toString('latin1', start, nameEnd(bytes, start, next));
    const outside = this.#isRoot && name === '..';
    const inodeLow = outside ? this.node.inodeLow : view.getUint32(at + DIRENT64.ino, true);
    const inodeHigh = outside ? this.node.inodeHigh : view.getUint32(at + DIRENT64.ino + 4, true);
    if (!sink.entry(name, inodeLow, inodeHigh, bytes[at + DIRENT64.type], cookie)) return false;
    this.#cookies.advance();
    this.#cookie = cookie;
    this.#at = next;
    return true;
  }

  #seek(cookie: number): number {
    this.#empty();
    const number = this.#cookies.numberOf(cookie);
    const error =
      number < 0 ? seekTo(this.fd, cookie % TWO_32, Math.floor(cookie / TWO_32)) : this.#seekToNumber(number);
    if (error === 0) this.#cookie = cookie;
    return error;
  }

  #seekToNumber(number: number): number {
    const position = this.#cookies.recall(number);
    if (position !== undefined) return seekTo(this.fd, position.low, position.high);
    return this.#skip(number);
  }

  /**
   * A cookie from long ago, or of another open of this directory (as an NFS server in the guest uses them): counted out
   * from the start, which is exact as long as the directory stays as it is.
   */
  #skip(number: number): number {
    const error = seekTo(this.fd, 0, 0);
    if (error < 0) return error;
    for (let left = number; left > 0; left--) {
      if (this.#at === this.#filled) {
        const filled = this.#fill();
        if (filled < 0) return filled;
        if (filled === 0) break;
      }
      this.#at += this.#buffer?.view.getUint16(this.#at + DIRENT64.reclen, true) ?? 0;
    }
    this.#cookies.passed(number);
    return 0;
  }

  #empty(): void {
    if (this.#buffer !== null) scratch.giveDirectoryBuffer(this.#buffer);
    this.#buffer = null;
    this.#at = 0;
    this.#filled = 0;
  }
}

/** Names are short, so that a loop is quicker than a search by the runtime. What follows the NUL is whatever was there. */
function nameEnd(bytes: Uint8Array, start: number, next: number): number {
  let end = start;
  while (end < next && bytes[end] !== NUL) end++;
  return end;
}
