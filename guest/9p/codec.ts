/**
 * Bodies of 9P2000.L messages: what follows size[4] type[1] tag[2]. An encoder appends to a writer, a decoder takes from a
 * reader; overruns stick to both and are checked by the client.
 */
import { SetattrValid } from './constants.js';
import type { Bytes, MessageReader, MessageWriter } from './cursor.js';
import type {
  AttributeChanges,
  Attributes,
  FileSystemStatistics,
  FileTime,
  Lock,
  Opened,
  Qid,
  RawDirectoryEntry,
} from './messages.js';

/** msize[4] version[s] */
export function encodeTversion(w: MessageWriter, msize: number, version: string): void {
  w.u32(msize);
  w.string(version);
}

/** msize[4] version[s] */
export function decodeRversion(r: MessageReader): { msize: number; version: Uint8Array } {
  return { msize: r.u32(), version: r.string() };
}

/** afid[4] uname[s] aname[s] n_uname[4] */
export function encodeTauth(w: MessageWriter, afid: number, uname: Bytes, aname: Bytes, uid: number): void {
  w.u32(afid);
  w.string(uname);
  w.string(aname);
  w.u32(uid);
}

/** fid[4] afid[4] uname[s] aname[s] n_uname[4] */
export function encodeTattach(
  w: MessageWriter,
  fid: number,
  afid: number,
  uname: Bytes,
  aname: Bytes,
  uid: number,
): void {
  w.u32(fid);
  encodeTauth(w, afid, uname, aname, uid);
}

/** type[1] version[4] path[8] */
export function decodeQid(r: MessageReader): Qid {
  return { type: r.u8(), version: r.u32(), pathLow: r.u32(), pathHigh: r.u32() };
}

/** fid[4] newfid[4] nwname[2] nwname*(wname[s]) */
export function encodeTwalk(w: MessageWriter, fid: number, newFid: number, names: readonly Bytes[]): void {
  w.u32(fid);
  w.u32(newFid);
  w.u16(names.length);
  for (const name of names) w.string(name);
}

/** nwqid[2] nwqid*(qid[13]) */
export function decodeRwalk(r: MessageReader): Qid[] {
  const qids: Qid[] = [];
  for (let count = r.u16(); count > 0 && !r.overrun; count--) qids.push(decodeQid(r));
  return qids;
}

/** fid[4] request_mask[8] */
export function encodeTgetattr(w: MessageWriter, fid: number, mask: number): void {
  w.u32(fid);
  w.u64(mask);
}

/**
 * valid[8] qid[13] mode[4] uid[4] gid[4] nlink[8] rdev[8] size[8] blksize[8] blocks[8] atime_sec[8] atime_nsec[8] mtime_sec[8]
 * mtime_nsec[8] ctime_sec[8] ctime_nsec[8] btime_sec[8] btime_nsec[8] gen[8] data_version[8]; the last four are reserved.
 */
export function decodeRgetattr(r: MessageReader): Attributes {
  const attributes = {
    valid: r.u64(),
    qid: decodeQid(r),
    mode: r.u32(),
    uid: r.u32(),
    gid: r.u32(),
    nlink: r.u64(),
    rdev: r.u64(),
    sizeBytes: r.u64(),
    blockSizeBytes: r.u64(),
    blocks: r.u64(),
    atimeSeconds: r.i64(),
    atimeNanoseconds: r.u64(),
    mtimeSeconds: r.i64(),
    mtimeNanoseconds: r.u64(),
    ctimeSeconds: r.i64(),
    ctimeNanoseconds: r.u64(),
  };
  r.skip(32);
  return attributes;
}

/** fid[4] valid[4] mode[4] uid[4] gid[4] size[8] atime_sec[8] atime_nsec[8] mtime_sec[8] mtime_nsec[8] */
export function encodeTsetattr(w: MessageWriter, fid: number, changes: AttributeChanges): void {
  const { mode, uid, gid, sizeBytes, atime, mtime } = changes;
  w.u32(fid);
  w.u32(
    (mode === undefined ? 0 : SetattrValid.MODE) |
      (uid === undefined ? 0 : SetattrValid.UID) |
      (gid === undefined ? 0 : SetattrValid.GID) |
      (sizeBytes === undefined ? 0 : SetattrValid.SIZE) |
      timeBits(atime, SetattrValid.ATIME, SetattrValid.ATIME_SET) |
      timeBits(mtime, SetattrValid.MTIME, SetattrValid.MTIME_SET),
  );
  w.u32(mode ?? 0);
  w.u32(uid ?? 0);
  w.u32(gid ?? 0);
  w.u64(sizeBytes ?? 0);
  encodeTime(w, atime);
  encodeTime(w, mtime);
}

function timeBits(time: 'now' | FileTime | undefined, change: number, set: number): number {
  if (time === undefined) return 0;
  return time === 'now' ? change : change | set;
}

/** sec[8] nsec[8] */
function encodeTime(w: MessageWriter, time: 'now' | FileTime | undefined): void {
  const given = typeof time === 'object' ? time : { seconds: 0, nanoseconds: 0 };
  w.u64(given.seconds);
  w.u64(given.nanoseconds);
}

/** type[4] bsize[4] blocks[8] bfree[8] bavail[8] files[8] ffree[8] fsid[8] namelen[4] */
export function decodeRstatfs(r: MessageReader): FileSystemStatistics {
  return {
    type: r.u32(),
    blockSizeBytes: r.u32(),
    blocks: r.u64(),
    blocksFree: r.u64(),
    blocksAvailable: r.u64(),
    files: r.u64(),
    filesFree: r.u64(),
    id: r.bigU64(),
    nameLengthBytes: r.u32(),
  };
}

/** fid[4] name[s] flags[4] mode[4] gid[4] */
export function encodeTlcreate(
  w: MessageWriter,
  fid: number,
  name: Bytes,
  flags: number,
  mode: number,
  gid: number,
): void {
  w.u32(fid);
  w.string(name);
  w.u32(flags);
  w.u32(mode);
  w.u32(gid);
}

/** qid[13] iounit[4] */
export function decodeRlopen(r: MessageReader): Opened {
  return { qid: decodeQid(r), ioUnitBytes: r.u32() };
}

/** dfid[4] name[s] symtgt[s] gid[4] */
export function encodeTsymlink(w: MessageWriter, fid: number, name: Bytes, target: Bytes, gid: number): void {
  w.u32(fid);
  w.string(name);
  w.string(target);
  w.u32(gid);
}

/** dfid[4] name[s] mode[4] major[4] minor[4] gid[4] */
export function encodeTmknod(
  w: MessageWriter,
  fid: number,
  name: Bytes,
  node: { readonly mode: number; readonly major: number; readonly minor: number },
  gid: number,
): void {
  w.u32(fid);
  w.string(name);
  w.u32(node.mode);
  w.u32(node.major);
  w.u32(node.minor);
  w.u32(gid);
}

/** dfid[4] name[s] mode[4] gid[4] */
export function encodeTmkdir(w: MessageWriter, fid: number, name: Bytes, mode: number, gid: number): void {
  w.u32(fid);
  w.string(name);
  w.u32(mode);
  w.u32(gid);
}

/** A fid, then another, then a name: Trename's fid[4] dfid[4] name[s], Tlink's dfid[4] fid[4] name[s], Txattrwalk's fid[4] newfid[4] name[s]. */
export function encodeFidsAndName(w: MessageWriter, first: number, second: number, name: Bytes): void {
  w.u32(first);
  w.u32(second);
  w.string(name);
}

/** olddirfid[4] oldname[s] newdirfid[4] newname[s] */
export function encodeTrenameat(
  w: MessageWriter,
  oldFid: number,
  oldName: Bytes,
  newFid: number,
  newName: Bytes,
): void {
  w.u32(oldFid);
  w.string(oldName);
  w.u32(newFid);
  w.string(newName);
}

/** dirfd[4] name[s] flags[4] */
export function encodeTunlinkat(w: MessageWriter, fid: number, name: Bytes, flags: number): void {
  w.u32(fid);
  w.string(name);
  w.u32(flags);
}

/** fid[4] name[s] attr_size[8] flags[4] */
export function encodeTxattrcreate(
  w: MessageWriter,
  fid: number,
  name: Bytes,
  sizeBytes: number,
  flags: number,
): void {
  w.u32(fid);
  w.string(name);
  w.u64(sizeBytes);
  w.u32(flags);
}

/** fid[4] offset[8] count[4]; the offset of Treaddir is opaque and travels in halves. */
export function encodeTreaddir(
  w: MessageWriter,
  fid: number,
  offsetLow: number,
  offsetHigh: number,
  count: number,
): void {
  w.u32(fid);
  w.u32(offsetLow);
  w.u32(offsetHigh);
  w.u32(count);
}

/** count[4] count*(qid[13] offset[8] type[1] name[s]) */
export function decodeRreaddir(r: MessageReader): RawDirectoryEntry[] {
  const entries: RawDirectoryEntry[] = [];
  const end = r.left - 4 - r.u32();
  while (r.left > end && !r.overrun) {
    const qid = decodeQid(r);
    entries.push({ qid, offsetLow: r.u32(), offsetHigh: r.u32(), type: r.u8(), name: r.string() });
  }
  // An entry that reaches over the announced end is no entry.
  if (r.left !== end) r.fail();
  return entries;
}

/** fid[4] offset[8] count[4] */
export function encodeTread(w: MessageWriter, fid: number, offset: number, count: number): void {
  w.u32(fid);
  w.u64(offset);
  w.u32(count);
}

/** fid[4] offset[8] count[4] data[count] */
export function encodeTwrite(w: MessageWriter, fid: number, offset: number, data: Uint8Array): void {
  encodeTread(w, fid, offset, data.byteLength);
  w.data(data);
}

/** fid[4] type[1] flags[4] start[8] length[8] proc_id[4] client_id[s] */
export function encodeTlock(w: MessageWriter, fid: number, flags: number, lock: Lock): void {
  w.u32(fid);
  w.u8(lock.type);
  w.u32(flags);
  encodeLockRange(w, lock);
}

/** fid[4] type[1] start[8] length[8] proc_id[4] client_id[s] */
export function encodeTgetlock(w: MessageWriter, fid: number, lock: Lock): void {
  w.u32(fid);
  w.u8(lock.type);
  encodeLockRange(w, lock);
}

function encodeLockRange(w: MessageWriter, lock: Lock): void {
  w.u64(lock.start);
  w.u64(lock.length);
  w.u32(lock.procId);
  w.string(lock.clientId);
}

/** type[1] start[8] length[8] proc_id[4] client_id[s] */
export function decodeRgetlock(r: MessageReader): Lock {
  return { type: r.u8(), start: r.u64(), length: r.u64(), procId: r.u32(), clientId: r.string() };
}
