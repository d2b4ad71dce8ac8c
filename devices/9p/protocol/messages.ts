/**
 * The T-messages of 9P2000.L: what a client sends. Each function reads one message's fields into a `TMessage`; the reader
 * stands after size[4] type[1] tag[2]. Types are 9P's: [s] is length[2] and that many bytes.
 */
import { Errno } from '../../errno.js';
import { SetAttr } from '../fs/file-system.js';
import type { AttributeChanges, ByteString, Lock } from '../fs/file-system.js';
import {
  LABEL_MAX_BYTES,
  NAME_MAX_BYTES,
  P9_MAXWELEM,
  PATH_MAX_BYTES,
  TWRITE_HEADER_BYTES,
} from './constants.js';
import type { MessageReader } from './cursor.js';
import { WireStat } from './stat.js';

const NANOSECONDS_MAX = 999_999_999;

/**
 * The fields of any T-message, in one object that is filled again for each request: a message's own fields are set, the
 * others are left from before.
 */
export class TMessage {
  sizeBytes = 0;
  type = 0;
  tag = 0;

  fid = 0;
  afid = 0;
  newfid = 0;
  /** Tlink, Tmkdir's and others' directory; newdirfid of Trenameat. */
  dfid = 0;
  oldtag = 0;
  msize = 0;
  version = '';
  uname: ByteString = '';
  aname: ByteString = '';
  nUname = 0;
  /** How many of `wnames` are this message's. */
  nwname = 0;
  wnames: ByteString[] = [];
  name: ByteString = '';
  newname: ByteString = '';
  symtgt: ByteString = '';
  flags = 0;
  mode = 0;
  gid = 0;
  major = 0;
  minor = 0;
  offset = 0;
  count = 0;
  /** The low half of Tgetattr's mask: the high one has no bits defined. */
  requestMask = 0;
  attrSizeBytes = 0;
  datasync = 0;
  readonly changes: AttributeChanges = {
    valid: 0,
    mode: 0,
    uid: 0,
    gid: 0,
    sizeBytes: 0,
    atimeSeconds: 0,
    atimeNanoseconds: 0,
    mtimeSeconds: 0,
    mtimeNanoseconds: 0,
  };
  /** Tcreate's, of 9P2000.u. */
  extension: ByteString = '';
  /** Twstat's. */
  readonly wstat = new WireStat();
  readonly lock: Lock = {
    type: 0,
    startBytes: 0,
    lengthBytes: 0,
    processId: 0,
    clientId: '',
    wait: false,
    readOnly: false,
  };
}

/** Reads the fields of one T-message. */
export type Decoder = (r: MessageReader, m: TMessage) => void;

/** size[4] Tversion tag[2] msize[4] version[s] */
export function decodeTversion(r: MessageReader, m: TMessage): void {
  m.msize = r.u32();
  m.version = r.string(LABEL_MAX_BYTES);
}

/** size[4] Tauth tag[2] afid[4] uname[s] aname[s] n_uname[4] */
export function decodeTauth(r: MessageReader, m: TMessage): void {
  m.afid = r.u32();
  m.uname = r.string(LABEL_MAX_BYTES);
  m.aname = r.string(PATH_MAX_BYTES);
  m.nUname = r.u32();
}

/** size[4] Tattach tag[2] fid[4] afid[4] uname[s] aname[s] n_uname[4] */
export function decodeTattach(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.afid = r.u32();
  m.uname = r.string(LABEL_MAX_BYTES);
  m.aname = r.string(PATH_MAX_BYTES);
  m.nUname = r.u32();
}

/** size[4] Tflush tag[2] oldtag[2] */
export function decodeTflush(r: MessageReader, m: TMessage): void {
  m.oldtag = r.u16();
}

/** size[4] Twalk tag[2] fid[4] newfid[4] nwname[2] nwname*(wname[s]) */
export function decodeTwalk(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.newfid = r.u32();
  m.nwname = r.u16();
  if (m.nwname > P9_MAXWELEM) r.fail(Errno.EINVAL);
  for (let i = 0; i < m.nwname && r.errno === 0; i++) m.wnames[i] = r.string(NAME_MAX_BYTES);
}

/** size[4] Tread tag[2] fid[4] offset[8] count[4] */
export function decodeTread(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.offset = r.u64(Errno.EOVERFLOW);
  m.count = r.u32();
}

/** size[4] Twrite tag[2] fid[4] offset[8] count[4] data[count] */
export function decodeTwrite(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.offset = r.u64(Errno.EFBIG);
  m.count = r.u32();
  if (m.count !== m.sizeBytes - TWRITE_HEADER_BYTES) r.fail(Errno.EPROTO);
}

/** size[4] Tclunk tag[2] fid[4]; Tremove, Tstatfs and Treadlink look the same. */
export function decodeFid(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
}

/** size[4] Tlopen tag[2] fid[4] flags[4] */
export function decodeTlopen(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.flags = r.u32();
}

/** size[4] Tlcreate tag[2] fid[4] name[s] flags[4] mode[4] gid[4] */
export function decodeTlcreate(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.name = r.string(NAME_MAX_BYTES);
  m.flags = r.u32();
  m.mode = r.u32();
  m.gid = r.u32();
}

/** size[4] Tsymlink tag[2] fid[4] name[s] symtgt[s] gid[4] */
export function decodeTsymlink(r: MessageReader, m: TMessage): void {
  m.dfid = r.u32();
  m.name = r.string(NAME_MAX_BYTES);
  m.symtgt = r.string(PATH_MAX_BYTES);
  m.gid = r.u32();
}

/** size[4] Tmknod tag[2] dfid[4] name[s] mode[4] major[4] minor[4] gid[4] */
export function decodeTmknod(r: MessageReader, m: TMessage): void {
  m.dfid = r.u32();
  m.name = r.string(NAME_MAX_BYTES);
  m.mode = r.u32();
  m.major = r.u32();
  m.minor = r.u32();
  m.gid = r.u32();
}

/** size[4] Trename tag[2] fid[4] dfid[4] name[s] */
export function decodeTrename(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.dfid = r.u32();
  m.name = r.string(NAME_MAX_BYTES);
}

/** size[4] Tgetattr tag[2] fid[4] request_mask[8] */
export function decodeTgetattr(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.requestMask = r.u32();
  r.skip(4);
}

/**
 * size[4] Tsetattr tag[2] fid[4] valid[4] mode[4] uid[4] gid[4] size[8]
 * atime_sec[8] atime_nsec[8] mtime_sec[8] mtime_nsec[8]
 *
 * A size or time that is not valid is not looked at: Linux before 2022 sends there whatever its stack holds.
 */
export function decodeTsetattr(r: MessageReader, m: TMessage): void {
  const changes = m.changes;
  m.fid = r.u32();
  changes.valid = r.u32();
  changes.mode = r.u32();
  changes.uid = r.u32();
  changes.gid = r.u32();
  if ((changes.valid & SetAttr.P9_ATTR_SIZE) === 0) r.skip(8);
  else changes.sizeBytes = r.u64(Errno.EFBIG);
  if ((changes.valid & SetAttr.P9_ATTR_ATIME_SET) === 0) r.skip(16);
  else {
    changes.atimeSeconds = r.i64();
    changes.atimeNanoseconds = decodeNanoseconds(r);
  }
  if ((changes.valid & SetAttr.P9_ATTR_MTIME_SET) === 0) r.skip(16);
  else {
    changes.mtimeSeconds = r.i64();
    changes.mtimeNanoseconds = decodeNanoseconds(r);
  }
}

function decodeNanoseconds(r: MessageReader): number {
  const nanoseconds = r.u64(Errno.EINVAL);
  if (nanoseconds > NANOSECONDS_MAX) r.fail(Errno.EINVAL);
  return nanoseconds;
}

/** size[4] Txattrwalk tag[2] fid[4] newfid[4] name[s] */
export function decodeTxattrwalk(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.newfid = r.u32();
  m.name = r.string(NAME_MAX_BYTES);
}

/** size[4] Txattrcreate tag[2] fid[4] name[s] attr_size[8] flags[4] */
export function decodeTxattrcreate(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.name = r.string(NAME_MAX_BYTES);
  m.attrSizeBytes = r.u64(Errno.E2BIG);
  m.flags = r.u32();
}

/** size[4] Tfsync tag[2] fid[4] datasync[4], of which the protocol's first description, and clients after it, have no datasync. */
export function decodeTfsync(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.datasync = r.left === 0 ? 0 : r.u32();
}

/** size[4] Tlock tag[2] fid[4] type[1] flags[4] start[8] length[8] proc_id[4] client_id[s] */
export function decodeTlock(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.lock.type = r.u8();
  m.flags = r.u32();
  decodeLockRange(r, m.lock);
}

/** size[4] Tgetlock tag[2] fid[4] type[1] start[8] length[8] proc_id[4] client_id[s] */
export function decodeTgetlock(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.lock.type = r.u8();
  decodeLockRange(r, m.lock);
}

function decodeLockRange(r: MessageReader, lock: Lock): void {
  lock.startBytes = r.u64(Errno.EOVERFLOW);
  lock.lengthBytes = r.u64(Errno.EOVERFLOW);
  lock.processId = r.u32();
  lock.clientId = r.string(LABEL_MAX_BYTES);
}

/** size[4] Tlink tag[2] dfid[4] fid[4] name[s] */
export function decodeTlink(r: MessageReader, m: TMessage): void {
  m.dfid = r.u32();
  m.fid = r.u32();
  m.name = r.string(NAME_MAX_BYTES);
}

/** size[4] Tmkdir tag[2] dfid[4] name[s] mode[4] gid[4] */
export function decodeTmkdir(r: MessageReader, m: TMessage): void {
  m.dfid = r.u32();
  m.name = r.string(NAME_MAX_BYTES);
  m.mode = r.u32();
  m.gid = r.u32();
}

/** size[4] Trenameat tag[2] olddirfid[4] oldname[s] newdirfid[4] newname[s] */
export function decodeTrenameat(r: MessageReader, m: TMessage): void {
  m.fid = r.u32();
  m.name = r.string(NAME_MAX_BYTES);
  m.dfid = r.u32();
  m.newname = r.string(NAME_MAX_BYTES);
}

/** size[4] Tunlinkat tag[2] dirfd[4] name[s] flags[4] */
export function decodeTunlinkat(r: MessageReader, m: TMessage): void {
  m.dfid = r.u32();
  m.name = r.string(NAME_MAX_BYTES);
  m.flags = r.u32();
}
