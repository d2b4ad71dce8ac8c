/**
 * The stat of 9P2000 and 9P2000.u, stat(5): what Rstat, Twstat and the directories' data carry.
 *
 * size[2] type[2] dev[4] qid[13] mode[4] atime[4] mtime[4] length[8] name[s] uid[s] gid[s] muid[s]
 * and in 9P2000.u: extension[s] n_uid[4] n_gid[4] n_muid[4]
 */
import { Errno } from '../../errno.js';
import type { ByteString } from '../fs/file-system.js';
import { LABEL_MAX_BYTES, NAME_MAX_BYTES, P9_NONUNAME, PATH_MAX_BYTES } from './constants.js';
import type { MessageReader, MessageWriter } from './cursor.js';
import { encodeQid, Qid } from './replies.js';

const TWO_32 = 0x1_0000_0000;
/** High halves from here on make a number that a double does not hold exactly. */
const HIGH_LIMIT = 0x20_0000;

/** "Don't touch" in a Twstat: the largest number that a field holds. A string's is the empty one. */
export const DONT_TOUCH_16 = 0xffff;
export const DONT_TOUCH_32 = 0xffff_ffff;
/** `length` where it is not to be touched: Numbers have no 2^64 - 1. */
export const DONT_TOUCH_LENGTH = -1;

/** A stat as on the wire, in one object that is filled again. */
export class WireStat {
  type = 0;
  dev = 0;
  readonly qid = new Qid();
  /** DirMode bits and permissions. */
  mode = 0;
  atime = 0;
  mtime = 0;
  length = 0;
  name: ByteString = '';
  uid: ByteString = '';
  gid: ByteString = '';
  muid: ByteString = '';
  extension: ByteString = '';
  nUid = P9_NONUNAME;
  nGid = P9_NONUNAME;
  nMuid = P9_NONUNAME;
}

/** Writes the stat, its size in front. */
export function encodeStat(w: MessageWriter, stat: WireStat, unix: boolean): void {
  const start = w.position;
  w.u16(0);
  w.u16(stat.type);
  w.u32(stat.dev);
  encodeQid(w, stat.qid);
  w.u32(stat.mode);
  w.u32(stat.atime);
  w.u32(stat.mtime);
  w.u64(stat.length);
  w.string(stat.name);
  w.string(stat.uid);
  w.string(stat.gid);
  w.string(stat.muid);
  if (unix) encodeExtension(w, stat);
  const end = w.position;
  w.position = start;
  w.u16(end - start - 2);
  w.position = end;
}

function encodeExtension(w: MessageWriter, stat: WireStat): void {
  w.string(stat.extension);
  w.u32(stat.nUid);
  w.u32(stat.nGid);
  w.u32(stat.nMuid);
}

/** Reads a stat, its size in front, of `lengthBytes` in all. */
export function decodeStat(r: MessageReader, stat: WireStat, lengthBytes: number, unix: boolean): void {
  const start = r.position;
  const size = r.u16();
  stat.type = r.u16();
  stat.dev = r.u32();
  stat.qid.type = r.u8();
  stat.qid.version = r.u32();
  stat.qid.pathLow = r.u32();
  stat.qid.pathHigh = r.u32();
  stat.mode = r.u32();
  stat.atime = r.u32();
  stat.mtime = r.u32();
  stat.length = decodeLength(r);
  stat.name = r.string(NAME_MAX_BYTES);
  stat.uid = r.string(LABEL_MAX_BYTES);
  stat.gid = r.string(LABEL_MAX_BYTES);
  stat.muid = r.string(LABEL_MAX_BYTES);
  stat.extension = unix ? r.string(PATH_MAX_BYTES) : '';
  stat.nUid = unix ? r.u32() : P9_NONUNAME;
  stat.nGid = unix ? r.u32() : P9_NONUNAME;
  stat.nMuid = unix ? r.u32() : P9_NONUNAME;
  if (size !== lengthBytes - 2 || r.position - start !== lengthBytes) r.fail(Errno.EPROTO);
}

function decodeLength(r: MessageReader): number {
  const low = r.u32();
  const high = r.u32();
  if (low === DONT_TOUCH_32 && high === DONT_TOUCH_32) return DONT_TOUCH_LENGTH;
  if (high >= HIGH_LIMIT) r.fail(Errno.EFBIG);
  return high * TWO_32 + low;
}
