/** One journal that is written to: records go behind each other until there is no room. */
import {
  JOURNAL_HEADER_WORDS,
  JOURNAL_MAGIC,
  JOURNAL_VERSION,
  KIND_BITS,
  RECORD_HEADER_WORDS,
  RECORD_WORDS_MAX,
  RecordKind,
  WORD_BYTES,
  wordsFor,
} from './record.js';
import { MessageWriter } from '../../protocol/cursor.js';

/** Replies that may be unpublished: as many as there are requests under way at most, over a ring of 128 entries. */
const LATEST = 128;

export class JournalLog {
  readonly sizeBytes: number;
  /** For what is written field by field, between `beginExtra` and `commitExtra`. */
  readonly writer: MessageWriter;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  /** Where the latest records with a reply are, in a ring. */
  readonly #latest = new Int32Array(LATEST);
  #latestCount = 0;
  #at = JOURNAL_HEADER_WORDS;
  #extraStart = 0;

  /** Makes an empty journal in `memory`, which is aligned to words. */
  constructor(memory: Uint8Array) {
    this.sizeBytes = memory.byteLength;
    this.#bytes = memory;
    this.#words = new Int32Array(memory.buffer, memory.byteOffset, memory.byteLength >>> 2);
    this.writer = new MessageWriter(memory);
    this.#words[0] = JOURNAL_MAGIC;
    this.#words[1] = JOURNAL_VERSION;
    this.#words[JOURNAL_HEADER_WORDS] = 0;
  }

  get usedBytes(): number {
    return this.#at * WORD_BYTES;
  }

  /** Whether a record of these parts has room, and the end behind it. */
  hasRoom(requestBytes: number, replyBytes: number, extraBytes: number): boolean {
    const words = RECORD_HEADER_WORDS + wordsFor(requestBytes) + wordsFor(replyBytes) + wordsFor(extraBytes);
    return this.#at + words < this.#words.length && words <= RECORD_WORDS_MAX;
  }

  /** Appends a record, for which there is room. The messages are the first bytes of these arrays. */
  append(
    kind: RecordKind,
    number: number,
    request: Int32Array,
    requestBytes: number,
    reply: Int32Array,
    replyBytes: number,
    extra: Uint8Array | undefined,
  ): void {
    const words = this.#words;
    const start = this.#at;
    words[start + 1] = number;
    words[start + 2] = requestBytes | (replyBytes << 16);
    words[start + 3] = extra === undefined ? 0 : extra.length;
    let at = start + RECORD_HEADER_WORDS;
    // Some ten words: quicker one by one than by a call.
    for (let i = 0, end = wordsFor(requestBytes); i < end; i++) words[at++] = request[i];
    for (let i = 0, end = wordsFor(replyBytes); i < end; i++) words[at++] = reply[i];
    if (extra !== undefined) {
      this.#bytes.set(extra, at * WORD_BYTES);
      at += wordsFor(extra.length);
    }
    if (replyBytes > 0) this.#latest[this.#latestCount++ % LATEST] = start;
    this.#commit(kind, start, at);
  }

  /** Begins a record that has an extra part alone, which `writer` takes. */
  beginExtra(): void {
    this.#extraStart = (this.#at + RECORD_HEADER_WORDS) * WORD_BYTES;
    this.writer.reset(this.#extraStart);
  }

  /** Ends it; false where it had no room, and there is no such record then. */
  commitExtra(kind: RecordKind): boolean {
    const words = this.#words;
    const start = this.#at;
    const extraBytes = this.writer.position - this.#extraStart;
    const end = start + RECORD_HEADER_WORDS + wordsFor(extraBytes);
    const room = this.writer.errno === 0 && end < words.length && end - start <= RECORD_WORDS_MAX;
    if (!room) return false;
    words[start + 1] = 0;
    words[start + 2] = 0;
    words[start + 3] = extraBytes;
    this.#commit(kind, start, end);
    return true;
  }

  /** All replies so far were published. */
  forgetLatest(): void {
    this.#latestCount = 0;
  }

  /** Appends the latest replies of `other` again, those that may be unpublished; false where there is no room. */
  takeLatest(other: JournalLog): boolean {
    const count = Math.min(other.#latestCount, LATEST);
    for (let i = other.#latestCount - count; i < other.#latestCount; i++) {
      const from = other.#latest[i % LATEST];
      const start = this.#at;
      const sizes = other.#words[from + 2];
      const end = start + RECORD_HEADER_WORDS + wordsFor(sizes & 0xffff) + wordsFor(sizes >>> 16);
      if (end >= this.#words.length) return false;
      this.#words.set(other.#words.subarray(from + 1, from + end - start), start + 1);
      // What it did is told already.
      this.#words[start + 3] = 0;
      this.#latest[this.#latestCount++ % LATEST] = start;
      this.#commit(RecordKind.REPLY, start, end);
    }
    return true;
  }

  /** The end behind the record first, then its first word, which makes it one. */
  #commit(kind: RecordKind, start: number, end: number): void {
    this.#words[end] = 0;
    this.#at = end;
    // Atomic, so that no compiler moves the writes before it behind it.
    Atomics.store(this.#words, start, kind | ((end - start) << KIND_BITS));
  }
}
