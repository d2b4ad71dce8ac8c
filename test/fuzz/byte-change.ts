/** Changes of a few bytes, as fuzzers of what is untrusted make them; numbers of a case's steps say which. */
export const ByteChange = { BYTE: 0, NUMBER: 1, CUT: 2, INSERT: 3 } as const;

/** The bytes with that change at `at`, which may be the end; as they are for any other kind. May change `bytes`. */
export function changeBytes(bytes: Buffer, kind: number, at: number, what: number): Buffer {
  switch (kind) {
    case ByteChange.BYTE:
      if (at < bytes.length) bytes[at] = what;
      return bytes;
    case ByteChange.NUMBER:
      if (at + 4 <= bytes.length) bytes.writeUInt32LE((what * 0x1_0001) >>> 0, at);
      return bytes;
    case ByteChange.CUT:
      return bytes.subarray(0, at);
    case ByteChange.INSERT:
      return Buffer.concat([bytes.subarray(0, at), Buffer.alloc(what % 64, what), bytes.subarray(at)]);
    default:
      return bytes;
  }
}
