/**
 * Packs directory entries into an Rreaddir. Entries gather in the request's reply buffer, after the header's place, and move
 * to the client's buffers whenever that is full; entries never outgrow what the client asked for and has room for.
 */
import { Errno } from '../../errno.js';
import type { IoVector } from '../../io-vector.js';
import type { ByteString, DirectorySink } from '../fs/file-system.js';
import {
  DIRECTORY_ENTRY_HEADER_BYTES,
  DirentType,
  QidType,
  RREAD_HEADER_BYTES,
} from '../protocol/constants.js';
import type { MessageWriter } from '../protocol/cursor.js';
import { encodeDirectoryEntry, encodeRawDirectoryEntry, Qid } from '../protocol/replies.js';
import type { QidMapper } from './qid-mapper.js';

export class DirectoryWriter implements DirectorySink {
  /** Bytes of entries taken. */
  dataBytes = 0;
  /** 0, or the negative errno of an entry that could not be taken as it is. */
  failure = 0;
  /** True once an entry found no room. */
  full = false;
  #limitBytes = 0;
  #movedBytes = 0;
  #device = 0;
  #reply: IoVector | undefined;
  #qids: QidMapper | undefined;
  readonly #qid = new Qid();
  readonly #writer: MessageWriter;

  constructor(writer: MessageWriter) {
    this.#writer = writer;
  }

  begin(reply: IoVector, limitBytes: number, device: number, qids: QidMapper): void {
    this.#reply = reply;
    this.#limitBytes = limitBytes;
    this.#device = device;
    this.#qids = qids;
    this.dataBytes = 0;
    this.#movedBytes = 0;
    this.failure = 0;
    this.full = false;
    this.#writer.reset(RREAD_HEADER_BYTES);
  }

  entry(name: ByteString, inodeLow: number, inodeHigh: number, type: number, cookie: number): boolean {
    const entryBytes = DIRECTORY_ENTRY_HEADER_BYTES + name.length;
    if (!this.#prepare(entryBytes, inodeLow, inodeHigh, type, cookie)) return false;
    encodeDirectoryEntry(this.#writer, this.#qid, cookie, type, name);
    return this.#encoded(entryBytes);
  }

  rawEntry(
    bytes: Uint8Array,
    start: number,
    end: number,
    inodeLow: number,
    inodeHigh: number,
    type: number,
    cookie: number,
  ): boolean {
    const entryBytes = DIRECTORY_ENTRY_HEADER_BYTES + end - start;
    if (!this.#prepare(entryBytes, inodeLow, inodeHigh, type, cookie)) return false;
    encodeRawDirectoryEntry(this.#writer, this.#qid, cookie, type, bytes, start, end);
    return this.#encoded(entryBytes);
  }

  /** Moves the rest; an entry after this is refused. */
  end(): void {
    this.#move();
    this.abandon();
  }

  /** Lets go of the reply. */
  abandon(): void {
    this.#reply = undefined;
    this.#qids = undefined;
  }

  /** Makes the entry's qid, and room for the entry; false where it is not to be taken. */
  #prepare(entryBytes: number, inodeLow: number, inodeHigh: number, type: number, cookie: number): boolean {
    if (this.full || this.failure !== 0 || this.#qids === undefined) return false;
    if (entryBytes > this.#limitBytes - this.dataBytes) {
      this.full = true;
      return false;
    }
    this.failure = Number.isSafeInteger(cookie) && cookie >= 0 ? 0 : -Errno.EIO;
    this.failure ||= this.#qids.mapInode(this.#device, inodeLow, inodeHigh, this.#qid);
    if (this.failure !== 0) return false;
    if (entryBytes > this.#writer.room) this.#move();
    this.#qid.type = qidTypeOfDirent(type);
    return true;
  }

  #encoded(entryBytes: number): boolean {
    this.failure = -this.#writer.errno;
    if (this.failure !== 0) return false;
    this.dataBytes += entryBytes;
    return true;
  }

  #move(): void {
    const writer = this.#writer;
    const lengthBytes = this.dataBytes - this.#movedBytes;
    this.#reply?.scatter(
      RREAD_HEADER_BYTES + this.#movedBytes,
      writer.bytes,
      RREAD_HEADER_BYTES,
      lengthBytes,
    );
    this.#movedBytes = this.dataBytes;
    writer.reset(RREAD_HEADER_BYTES);
  }
}

function qidTypeOfDirent(type: number): number {
  if (type === DirentType.DT_DIR) return QidType.P9_QTDIR;
  return type === DirentType.DT_LNK ? QidType.P9_QTSYMLINK : QidType.P9_QTFILE;
}
