/**
 * The R-messages of 9P2000.L: what a server answers. Each function writes one message's fields; the header, size[4] type[1]
 * tag[2], is written in front once the length is known. R-messages without fields (Rclunk and others) have no function here.
 */
import type { Attributes, ByteString, FileSystemStatistics, Lock } from '../fs/file-system.js';
import { DIRECTORY_ENTRY_HEADER_BYTES, HEADER_BYTES } from './constants.js';
import type { MessageWriter } from './cursor.js';

const TWO_32 = 0x1_0000_0000;

/** The server's name for a file: two fids are of one file exactly where their paths are equal. */
export class Qid {
  /** QidType bits. */
  type = 0;
  version = 0;
  /** 64 bits in two halves. */
  pathLow = 0;
  pathHigh = 0;
}

/** size[4] type[1] tag[2], in front of what was written; answers with the writer where it was. */
export function encodeHeader(w: MessageWriter, sizeBytes: number, type: number, tag: number): void {
  const end = w.position;
  w.position = 0;
  w.u32(sizeBytes);
  w.u8(type);
  w.u16(tag);
  w.position = Math.max(end, HEADER_BYTES);
}

/** size[4] Rlerror tag[2] ecode[4] */
export function encodeRlerror(w: MessageWriter, ecode: number): void {
  w.u32(ecode);
}

/** size[4] Rversion tag[2] msize[4] version[s] */
export function encodeRversion(w: MessageWriter, msize: number, version: string): void {
  w.u32(msize);
  w.string(version);
}

/** qid[13]: type[1] version[4] path[8]; all of Rattach, Rsymlink, Rmknod and Rmkdir. */
export function encodeQid(w: MessageWriter, qid: Qid): void {
  w.u8(qid.type);
  w.u32(qid.version);
  w.u64Halves(qid.pathLow, qid.pathHigh);
}

/** size[4] Rwalk tag[2] nwqid[2] nwqid*(qid[13]), of which the qids are there already: each is written as it is found. */
export function encodeRwalk(w: MessageWriter, nwqid: number): void {
  const end = w.position;
  w.position = HEADER_BYTES;
  w.u16(nwqid);
  w.position = end;
}

/** size[4] Rlopen tag[2] qid[13] iounit[4]; Rlcreate looks the same. */
export function encodeRlopen(w: MessageWriter, qid: Qid, iounit: number): void {
  encodeQid(w, qid);
  w.u32(iounit);
}

/** size[4] Rread tag[2] count[4], before data[count]; Rreaddir and all of Rwrite look the same. */
export function encodeCount(w: MessageWriter, count: number): void {
  w.u32(count);
}

/** One entry of Rreaddir's data: qid[13] offset[8] type[1] name[s] */
export function encodeDirectoryEntry(
  w: MessageWriter,
  qid: Qid,
  offset: number,
  type: number,
  name: ByteString,
): void {
  encodeQid(w, qid);
  w.u64(offset);
  w.u8(type);
  w.string(name);
}

/**
 * As `encodeDirectoryEntry`, with the name's bytes from `start` up to `end`, 65,535 at most. Room is taken once for all fields: there are
 * many entries.
 */
export function encodeRawDirectoryEntry(
  w: MessageWriter,
  qid: Qid,
  offset: number,
  type: number,
  source: Uint8Array,
  start: number,
  end: number,
): void {
  let at = w.reserve(DIRECTORY_ENTRY_HEADER_BYTES + end - start);
  if (at < 0) return;
  const { bytes, view } = w;
  bytes[at] = qid.type;
  view.setUint32(at + 1, qid.version, true);
  view.setUint32(at + 5, qid.pathLow, true);
  view.setUint32(at + 9, qid.pathHigh, true);
  view.setUint32(at + 13, offset, true);
  view.setUint32(at + 17, offset / TWO_32, true);
  bytes[at + 21] = type;
  view.setUint16(at + 22, end - start, true);
  at += DIRECTORY_ENTRY_HEADER_BYTES;
  // Names are short: a loop is quicker than `set`.
  for (let i = start; i < end; i++) bytes[at++] = source[i];
}

/**
 * size[4] Rgetattr tag[2] valid[8] qid[13] mode[4] uid[4] gid[4] nlink[8] rdev[8] size[8] blksize[8] blocks[8]
 * atime_sec[8] atime_nsec[8] mtime_sec[8] mtime_nsec[8] ctime_sec[8] ctime_nsec[8] btime_sec[8] btime_nsec[8]
 * gen[8] data_version[8]
 */
export function encodeRgetattr(w: MessageWriter, valid: number, qid: Qid, attributes: Attributes): void {
  w.u64Halves(valid, 0);
  encodeQid(w, qid);
  w.u32(attributes.mode);
  w.u32(attributes.uid);
  w.u32(attributes.gid);
  w.u64(attributes.nlink);
  w.u64(attributes.rdev);
  w.u64(attributes.sizeBytes);
  w.u64(attributes.blockSizeBytes);
  w.u64(attributes.blocks);
  w.u64(attributes.atimeSeconds);
  w.u64(attributes.atimeNanoseconds);
  w.u64(attributes.mtimeSeconds);
  w.u64(attributes.mtimeNanoseconds);
  w.u64(attributes.ctimeSeconds);
  w.u64(attributes.ctimeNanoseconds);
  w.u64(attributes.btimeSeconds);
  w.u64(attributes.btimeNanoseconds);
  // gen and data_version are never said to be valid: zeros.
  w.u64Halves(0, 0);
  w.u64Halves(0, 0);
}

/** size[4] Rstatfs tag[2] type[4] bsize[4] blocks[8] bfree[8] bavail[8] files[8] ffree[8] fsid[8] namelen[4] */
export function encodeRstatfs(w: MessageWriter, statistics: FileSystemStatistics): void {
  w.u32(statistics.type);
  w.u32(statistics.blockSizeBytes);
  w.u64(statistics.blocks);
  w.u64(statistics.blocksFree);
  w.u64(statistics.blocksAvailable);
  w.u64(statistics.files);
  w.u64(statistics.filesFree);
  w.u64Halves(statistics.idLow, statistics.idHigh);
  w.u32(statistics.nameLengthBytes);
}

/** size[4] Rreadlink tag[2] target[s] */
export function encodeRreadlink(w: MessageWriter, target: ByteString): void {
  w.string(target);
}

/** size[4] Rxattrwalk tag[2] size[8] */
export function encodeRxattrwalk(w: MessageWriter, sizeBytes: number): void {
  w.u64(sizeBytes);
}

/** size[4] Rlock tag[2] status[1] */
export function encodeRlock(w: MessageWriter, status: number): void {
  w.u8(status);
}

/** size[4] Rgetlock tag[2] type[1] start[8] length[8] proc_id[4] client_id[s] */
export function encodeRgetlock(w: MessageWriter, lock: Lock): void {
  w.u8(lock.type);
  w.u64(lock.startBytes);
  w.u64(lock.lengthBytes);
  w.u32(lock.processId);
  w.string(lock.clientId);
}
