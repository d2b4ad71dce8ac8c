/**
 * How a session's journal is written: a header, then one record behind the other, in words of 4 bytes, little-endian.
 *
 *     "C9pJ"[4] version[4] 0[8]
 *     kind[1] words[3] number[4] requestBytes[2] replyBytes[2] extraBytes[4]  request  reply  extra
 *
 * `words` is the whole record's, and each of its three parts starts at a word. The first word is written last, and a word of 0 is
 * behind the record by then: whoever stops at any byte leaves whole records and an end.
 */

export const RecordKind = {
  /** What the session was agreed on, and what of it there is: a journal begins with it. */
  SESSION: 1,
  /** A pair of device and high inode bits got its part of the qids' space. */
  PREFIX: 2,
  /** A fid, as it is; and, in one with that, the request that it came by and its reply, where it is new. */
  FID: 3,
  /** A request is about to change files. `extra` is what it takes to find out, later, whether it did. */
  INTENT: 4,
  /** A request was carried out: what it did to the session follows from its message and the reply. */
  OUTCOME: 5,
  /** A request was carried out, and what it did is in the journal already. */
  REPLY: 6,
} as const;
export type RecordKind = (typeof RecordKind)[keyof typeof RecordKind];

export const WORD_BYTES = 4;
export const JOURNAL_MAGIC = 0x4a703943;
export const JOURNAL_VERSION = 1;
export const JOURNAL_HEADER_WORDS = 4;
export const RECORD_HEADER_WORDS = 4;
/** Behind `kind` in a record's first word. */
export const KIND_BITS = 8;
/** Words that a record may have: 24 bits of them. */
export const RECORD_WORDS_MAX = 0xff_ffff;

export function wordsFor(lengthBytes: number): number {
  return (lengthBytes + WORD_BYTES - 1) >>> 2;
}

/** A record of a journal that was read. The parts are views of the journal. */
export interface JournalRecord {
  readonly kind: number;
  /** What the transport told the request by. */
  readonly number: number;
  readonly request: Uint8Array;
  readonly reply: Uint8Array;
  readonly extra: Uint8Array;
}

/** The records of a journal, up to its end; or what is wrong with it. */
export function recordsOf(journal: Uint8Array): JournalRecord[] | string {
  const view = new DataView(journal.buffer, journal.byteOffset, journal.byteLength);
  const words = journal.byteLength >>> 2;
  if (words <= JOURNAL_HEADER_WORDS || view.getUint32(0, true) !== JOURNAL_MAGIC) return 'it is no journal';
  const version = view.getUint32(WORD_BYTES, true);
  if (version !== JOURNAL_VERSION) return `it is of version ${version}, and only ${JOURNAL_VERSION} is known`;
  const records: JournalRecord[] = [];
  for (let at = JOURNAL_HEADER_WORDS; at < words;) {
    const first = view.getUint32(at * WORD_BYTES, true);
    if (first === 0) return records;
    const length = first >>> KIND_BITS;
    if (length < RECORD_HEADER_WORDS || length > words - at) return 'a record of it has no end';
    const record = recordAt(journal, view, at * WORD_BYTES, length);
    if (record === undefined) return 'a record of it is longer than it says';
    records.push(record);
    at += length;
  }
  return 'it has no end';
}

function recordAt(
  journal: Uint8Array,
  view: DataView,
  atBytes: number,
  words: number,
): JournalRecord | undefined {
  const kind = journal[atBytes];
  const number = view.getUint32(atBytes + WORD_BYTES, true);
  const requestBytes = view.getUint16(atBytes + 2 * WORD_BYTES, true);
  const replyBytes = view.getUint16(atBytes + 2 * WORD_BYTES + 2, true);
  const extraBytes = view.getUint32(atBytes + 3 * WORD_BYTES, true);
  const replyWord = RECORD_HEADER_WORDS + wordsFor(requestBytes);
  const extraWord = replyWord + wordsFor(replyBytes);
  if (extraBytes > (words - extraWord) * WORD_BYTES) return undefined;
  const part = (word: number, lengthBytes: number): Uint8Array => {
    const start = atBytes + word * WORD_BYTES;
    return journal.subarray(start, start + lengthBytes);
  };
  return {
    kind,
    number,
    request: part(RECORD_HEADER_WORDS, requestBytes),
    reply: part(replyWord, replyBytes),
    extra: part(extraWord, extraBytes),
  };
}
