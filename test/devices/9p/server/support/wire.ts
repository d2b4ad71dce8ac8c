/**
 * 9P messages as bytes, written and read by hand: nothing here comes from the code under test, so that a codec never
 * checks itself. Message numbers are literals for the same reason.
 */

export type Field = readonly number[];

export const u8 = (value: number): Field => [value & 0xff];
export const u16 = (value: number): Field => [value & 0xff, (value >> 8) & 0xff];
export const u32 = (value: number): Field => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
export const u64 = (value: bigint | number): Field =>
  [0n, 8n, 16n, 24n, 32n, 40n, 48n, 56n].map((shift) =>
    Number((BigInt.asUintN(64, BigInt(value)) >> shift) & 0xffn),
  );
export const raw = (bytes: ArrayLike<number>): Field => Array.from(bytes);
/** length[2] and the bytes: one a character. */
export const str = (text: string): Field => [
  ...u16(text.length),
  ...[...text].map((character) => character.charCodeAt(0) & 0xff),
];
export const qid = (type: number, version: number, path: bigint | number): Field => [
  ...u8(type),
  ...u32(version),
  ...u64(path),
];

/** size[4] type[1] tag[2] and the fields. */
export function message(type: number, tag: number, ...fields: Field[]): Uint8Array {
  const body = fields.flat();
  return Uint8Array.from([...u32(7 + body.length), ...u8(type), ...u16(tag), ...body]);
}

export const NOTAG = 0xffff;
export const NOFID = 0xffffffff;

/** T-messages. Each takes a tag and its fields in the order of the wire. */
export const T = {
  version: (tag: number, msize: number, version: string) => message(100, tag, u32(msize), str(version)),
  auth: (tag: number, afid: number, uname: string, aname: string, nUname: number) =>
    message(102, tag, u32(afid), str(uname), str(aname), u32(nUname)),
  attach: (tag: number, fid: number, afid: number, uname: string, aname: string, nUname: number) =>
    message(104, tag, u32(fid), u32(afid), str(uname), str(aname), u32(nUname)),
  flush: (tag: number, oldtag: number) => message(108, tag, u16(oldtag)),
  walk: (tag: number, fid: number, newfid: number, ...names: string[]) =>
    message(110, tag, u32(fid), u32(newfid), u16(names.length), ...names.map(str)),
  read: (tag: number, fid: number, offset: bigint | number, count: number) =>
    message(116, tag, u32(fid), u64(offset), u32(count)),
  write: (tag: number, fid: number, offset: bigint | number, data: ArrayLike<number>) =>
    message(118, tag, u32(fid), u64(offset), u32(data.length), raw(data)),
  clunk: (tag: number, fid: number) => message(120, tag, u32(fid)),
  remove: (tag: number, fid: number) => message(122, tag, u32(fid)),
  statfs: (tag: number, fid: number) => message(8, tag, u32(fid)),
  lopen: (tag: number, fid: number, flags: number) => message(12, tag, u32(fid), u32(flags)),
  lcreate: (tag: number, fid: number, name: string, flags: number, mode: number, gid: number) =>
    message(14, tag, u32(fid), str(name), u32(flags), u32(mode), u32(gid)),
  symlink: (tag: number, fid: number, name: string, target: string, gid: number) =>
    message(16, tag, u32(fid), str(name), str(target), u32(gid)),
  mknod: (tag: number, dfid: number, name: string, mode: number, major: number, minor: number, gid: number) =>
    message(18, tag, u32(dfid), str(name), u32(mode), u32(major), u32(minor), u32(gid)),
  rename: (tag: number, fid: number, dfid: number, name: string) =>
    message(20, tag, u32(fid), u32(dfid), str(name)),
  readlink: (tag: number, fid: number) => message(22, tag, u32(fid)),
  getattr: (tag: number, fid: number, mask: bigint | number = 0x7ff) => message(24, tag, u32(fid), u64(mask)),
  setattr: (tag: number, fid: number, changes: SetattrFields) =>
    message(
      26,
      tag,
      u32(fid),
      u32(changes.valid),
      u32(changes.mode ?? 0),
      u32(changes.uid ?? 0),
      u32(changes.gid ?? 0),
      u64(changes.size ?? 0),
      u64(changes.atimeSec ?? 0),
      u64(changes.atimeNsec ?? 0),
      u64(changes.mtimeSec ?? 0),
      u64(changes.mtimeNsec ?? 0),
    ),
  xattrwalk: (tag: number, fid: number, newfid: number, name: string) =>
    message(30, tag, u32(fid), u32(newfid), str(name)),
  xattrcreate: (tag: number, fid: number, name: string, size: bigint | number, flags: number) =>
    message(32, tag, u32(fid), str(name), u64(size), u32(flags)),
  readdir: (tag: number, fid: number, offset: bigint | number, count: number) =>
    message(40, tag, u32(fid), u64(offset), u32(count)),
  fsync: (tag: number, fid: number, datasync: number) => message(50, tag, u32(fid), u32(datasync)),
  lock: (
    tag: number,
    fid: number,
    type: number,
    flags: number,
    start: bigint | number,
    length: bigint | number,
    pid: number,
    client: string,
  ) => message(52, tag, u32(fid), u8(type), u32(flags), u64(start), u64(length), u32(pid), str(client)),
  getlock: (
    tag: number,
    fid: number,
    type: number,
    start: bigint | number,
    length: bigint | number,
    pid: number,
    client: string,
  ) => message(54, tag, u32(fid), u8(type), u64(start), u64(length), u32(pid), str(client)),
  link: (tag: number, dfid: number, fid: number, name: string) =>
    message(70, tag, u32(dfid), u32(fid), str(name)),
  mkdir: (tag: number, dfid: number, name: string, mode: number, gid: number) =>
    message(72, tag, u32(dfid), str(name), u32(mode), u32(gid)),
  renameat: (tag: number, olddirfid: number, oldname: string, newdirfid: number, newname: string) =>
    message(74, tag, u32(olddirfid), str(oldname), u32(newdirfid), str(newname)),
  unlinkat: (tag: number, dirfid: number, name: string, flags: number) =>
    message(76, tag, u32(dirfid), str(name), u32(flags)),
} as const;

/** T-messages of 9P2000 and 9P2000.u. */
export const Older = {
  auth: (tag: number, afid: number, uname: string, aname: string) =>
    message(102, tag, u32(afid), str(uname), str(aname)),
  attach: (tag: number, fid: number, afid: number, uname: string, aname: string) =>
    message(104, tag, u32(fid), u32(afid), str(uname), str(aname)),
  open: (tag: number, fid: number, mode: number) => message(112, tag, u32(fid), u8(mode)),
  create: (tag: number, fid: number, name: string, perm: number, mode: number) =>
    message(114, tag, u32(fid), str(name), u32(perm), u8(mode)),
  createUnix: (tag: number, fid: number, name: string, perm: number, mode: number, extension = '') =>
    message(114, tag, u32(fid), str(name), u32(perm), u8(mode), str(extension)),
  stat: (tag: number, fid: number) => message(124, tag, u32(fid)),
  wstat: (tag: number, fid: number, fields: StatFields) => wstat(tag, fid, stat(fields, false)),
  wstatUnix: (tag: number, fid: number, fields: StatFields) => wstat(tag, fid, stat(fields, true)),
} as const;

/** A stat's fields; those left out say "don't touch". */
export interface StatFields {
  type?: number;
  dev?: number;
  qid?: Field;
  mode?: number;
  atime?: number;
  mtime?: number;
  length?: bigint | number;
  name?: string;
  uid?: string;
  gid?: string;
  muid?: string;
  extension?: string;
  nUid?: number;
  nGid?: number;
}

const ONES = 0xffffffff;
const ALL_ONES_64 = 2n ** 64n - 1n;

/** A stat, its size in front. */
export function stat(fields: StatFields, unix: boolean): Field {
  const body = [
    ...u16(fields.type ?? 0xffff),
    ...u32(fields.dev ?? ONES),
    ...(fields.qid ?? qid(0xff, ONES, ALL_ONES_64)),
    ...u32(fields.mode ?? ONES),
    ...u32(fields.atime ?? ONES),
    ...u32(fields.mtime ?? ONES),
    ...u64(fields.length ?? ALL_ONES_64),
    ...str(fields.name ?? ''),
    ...str(fields.uid ?? ''),
    ...str(fields.gid ?? ''),
    ...str(fields.muid ?? ''),
    ...(unix
      ? [...str(fields.extension ?? ''), ...u32(fields.nUid ?? ONES), ...u32(fields.nGid ?? ONES)]
      : []),
    ...(unix ? u32(ONES) : []),
  ];
  return [...u16(body.length), ...body];
}

function wstat(tag: number, fid: number, bytes: Field): Uint8Array {
  return message(126, tag, u32(fid), u16(bytes.length), bytes);
}

export interface SetattrFields {
  valid: number;
  mode?: number;
  uid?: number;
  gid?: number;
  size?: bigint | number;
  atimeSec?: bigint | number;
  atimeNsec?: bigint | number;
  mtimeSec?: bigint | number;
  mtimeNsec?: bigint | number;
}

/** Reads a reply's fields in turn. */
export class Fields {
  #at = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  number(lengthBytes: number): number {
    return Number(this.big(lengthBytes));
  }

  big(lengthBytes: number): bigint {
    let value = 0n;
    for (let i = lengthBytes - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#bytes[this.#at + i]);
    this.#at += lengthBytes;
    return value;
  }

  text(): string {
    return String.fromCharCode(...this.bytes(this.number(2)));
  }

  bytes(lengthBytes: number): Uint8Array {
    if (this.#at + lengthBytes > this.#bytes.length) throw new Error('the reply ends too early');
    this.#at += lengthBytes;
    return this.#bytes.slice(this.#at - lengthBytes, this.#at);
  }

  qid(): { type: number; version: number; path: bigint } {
    return { type: this.number(1), version: this.number(4), path: this.big(8) };
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  /** A stat of 9P2000 or 9P2000.u. */
  stat(unix: boolean): ReadStat {
    const end = this.left - 2 - this.number(2);
    const read = {
      type: this.number(2),
      dev: this.number(4),
      qid: this.qid(),
      mode: this.number(4),
      atime: this.number(4),
      mtime: this.number(4),
      length: this.big(8),
      name: this.text(),
      uid: this.text(),
      gid: this.text(),
      muid: this.text(),
      unix: unix
        ? { extension: this.text(), nUid: this.number(4), nGid: this.number(4), nMuid: this.number(4) }
        : undefined,
    };
    if (this.left !== end) throw new Error(`the stat's size is wrong by ${this.left - end}`);
    return read;
  }
}

export interface ReadStat {
  type: number;
  dev: number;
  qid: { type: number; version: number; path: bigint };
  mode: number;
  atime: number;
  mtime: number;
  length: bigint;
  name: string;
  uid: string;
  gid: string;
  muid: string;
  unix: { extension: string; nUid: number; nGid: number; nMuid: number } | undefined;
}

/** An R-message taken apart. `errno` is Rlerror's, 0 otherwise. */
export class Reply {
  readonly bytes: Uint8Array;
  readonly type: number;
  readonly tag: number;

  constructor(bytes: Uint8Array) {
    const header = new Fields(bytes);
    const sizeBytes = header.number(4);
    if (sizeBytes !== bytes.length)
      throw new Error(`the reply says ${sizeBytes} bytes and has ${bytes.length}`);
    this.bytes = bytes;
    this.type = header.number(1);
    this.tag = header.number(2);
  }

  get fields(): Fields {
    return new Fields(this.bytes.subarray(7));
  }

  get errno(): number {
    return this.type === 7 ? this.fields.number(4) : 0;
  }

  /** What an Rerror says, '' for another reply. */
  get ename(): string {
    return this.type === 107 ? this.fields.text() : '';
  }

  /** The data of an Rread or Rreaddir. */
  get data(): Uint8Array {
    const fields = this.fields;
    return fields.bytes(fields.number(4));
  }
}
