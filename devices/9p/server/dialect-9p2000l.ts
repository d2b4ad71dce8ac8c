/** 9P2000.L: Linux's dialect, whose operations are Linux's system calls and whose errors are its errno numbers. */
import {
  HEADER_BYTES,
  MessageType,
  QID_BYTES,
  RLERROR_BYTES,
  TWRITE_HEADER_BYTES,
  VERSION_9P2000_L,
} from '../protocol/constants.js';
import * as messages from '../protocol/messages.js';
import { encodeRlerror } from '../protocol/replies.js';
import type { Handler } from './and-then.js';
import type { Dialect, Operation } from './dialect.js';
import { getattr, readlink, setattr, statfs } from './operations/attributes.js';
import { link, mkdir, mknod, rename, renameat, symlink, unlinkat } from './operations/entries.js';
import { attach, auth, clunk, remove, walk } from './operations/fids.js';
import { fsync, getlock, lcreate, lock, lopen, read, readdir, write } from './operations/files.js';
import { xattrcreate, xattrwalk } from './operations/xattr.js';

const RQID_BYTES = HEADER_BYTES + QID_BYTES;
const RLOPEN_BYTES = RQID_BYTES + 4;
const RGETATTR_BYTES = 160;
const RSTATFS_BYTES = 67;
const RXATTRWALK_BYTES = HEADER_BYTES + 8;

/** A request that leaves the file system as it is. */
function query(decode: messages.Decoder, handle: Handler, replyBytes = RLERROR_BYTES): Operation {
  return { decode, handle, replyBytes, changes: false, dataOffset: 0 };
}

function change(decode: messages.Decoder, handle: Handler, replyBytes = RLERROR_BYTES): Operation {
  return { decode, handle, replyBytes, changes: true, dataOffset: 0 };
}

const operations: (Operation | undefined)[] = [];
operations[MessageType.Tauth] = query(messages.decodeTauth, auth);
operations[MessageType.Tattach] = query(messages.decodeTattach, attach, RQID_BYTES);
operations[MessageType.Twalk] = query(messages.decodeTwalk, walk);
operations[MessageType.Tclunk] = query(messages.decodeFid, clunk);
// Read-only or not, Tremove gives its fid up: its handler sees to both. Likewise Tlopen, which is a change only by its flags,
// and Twrite, which needs a fid that was opened for it.
operations[MessageType.Tremove] = query(messages.decodeFid, remove);
operations[MessageType.Tlopen] = query(messages.decodeTlopen, lopen, RLOPEN_BYTES);
operations[MessageType.Tlcreate] = change(messages.decodeTlcreate, lcreate, RLOPEN_BYTES);
operations[MessageType.Tread] = query(messages.decodeTread, read);
operations[MessageType.Twrite] = {
  decode: messages.decodeTwrite,
  handle: write,
  replyBytes: RLERROR_BYTES,
  changes: false,
  dataOffset: TWRITE_HEADER_BYTES,
};
operations[MessageType.Treaddir] = query(messages.decodeTread, readdir);
operations[MessageType.Tfsync] = query(messages.decodeTfsync, fsync);
operations[MessageType.Tlock] = query(messages.decodeTlock, lock);
operations[MessageType.Tgetlock] = query(messages.decodeTgetlock, getlock);
operations[MessageType.Tgetattr] = query(messages.decodeTgetattr, getattr, RGETATTR_BYTES);
operations[MessageType.Tsetattr] = change(messages.decodeTsetattr, setattr);
operations[MessageType.Tstatfs] = query(messages.decodeFid, statfs, RSTATFS_BYTES);
operations[MessageType.Treadlink] = query(messages.decodeFid, readlink);
operations[MessageType.Tmkdir] = change(messages.decodeTmkdir, mkdir, RQID_BYTES);
operations[MessageType.Tsymlink] = change(messages.decodeTsymlink, symlink, RQID_BYTES);
operations[MessageType.Tmknod] = change(messages.decodeTmknod, mknod, RQID_BYTES);
operations[MessageType.Tlink] = change(messages.decodeTlink, link);
operations[MessageType.Tunlinkat] = change(messages.decodeTunlinkat, unlinkat);
operations[MessageType.Trename] = change(messages.decodeTrename, rename);
operations[MessageType.Trenameat] = change(messages.decodeTrenameat, renameat);
operations[MessageType.Txattrwalk] = query(messages.decodeTxattrwalk, xattrwalk, RXATTRWALK_BYTES);
operations[MessageType.Txattrcreate] = change(messages.decodeTxattrcreate, xattrcreate);

export const DIALECT_9P2000_L: Dialect = {
  version: VERSION_9P2000_L,
  operations,
  errorType: MessageType.Rlerror,
  encodeError: encodeRlerror,
};
