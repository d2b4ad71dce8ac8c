/** What replies carry, decoded. 64-bit fields are numbers where files and times live (exact to 2^53), halves where they identify. */

/** A server's identity of a file. `path` is 64 bits in two halves. */
export interface Qid {
  /** QidType bits. */
  readonly type: number;
  readonly version: number;
  readonly pathLow: number;
  readonly pathHigh: number;
}

/** Rgetattr. */
export interface Attributes {
  /** GETATTR_* bits of the fields that hold something. */
  readonly valid: number;
  readonly qid: Qid;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly rdev: number;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  /** In units of 512 bytes. */
  readonly blocks: number;
  readonly atimeSeconds: number;
  readonly atimeNanoseconds: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly ctimeSeconds: number;
  readonly ctimeNanoseconds: number;
}

/** Tsetattr: what is undefined stays as it is. A time of 'now' is the server's. */
export interface AttributeChanges {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly sizeBytes?: number;
  readonly atime?: 'now' | FileTime;
  readonly mtime?: 'now' | FileTime;
}

export interface FileTime {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** Rstatfs; counts in blocks of `blockSizeBytes`. */
export interface FileSystemStatistics {
  readonly type: number;
  readonly blockSizeBytes: number;
  readonly blocks: number;
  readonly blocksFree: number;
  readonly blocksAvailable: number;
  readonly files: number;
  readonly filesFree: number;
  readonly id: bigint;
  readonly nameLengthBytes: number;
}

/** Rlopen and Rlcreate. */
export interface Opened {
  readonly qid: Qid;
  /** The largest transfer that is one operation for the server; 0 where it does not say. */
  readonly ioUnitBytes: number;
}

/** An entry of Rreaddir. */
export interface RawDirectoryEntry {
  readonly qid: Qid;
  /** The position after this entry, opaque: 64 bits in two halves. */
  readonly offsetLow: number;
  readonly offsetHigh: number;
  /** DT_* as `readdir(3)` has it. */
  readonly type: number;
  readonly name: Uint8Array;
}

/** Tgetlock and Rgetlock; Tlock has flags besides. */
export interface Lock {
  /** LockType. */
  readonly type: number;
  readonly start: number;
  /** 0 is to the end of the file. */
  readonly length: number;
  readonly procId: number;
  readonly clientId: Uint8Array | string;
}
