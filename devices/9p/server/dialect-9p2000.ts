/**
 * 9P2000, Plan 9's own dialect, and 9P2000.u, which adds to it what Unix has: numeric users, symbolic links, special files,
 * errno numbers. For clients older than 9P2000.L, and others.
 */
import {
  MessageType,
  HEADER_BYTES,
  QID_BYTES,
  RERROR_BYTES,
  TWRITE_HEADER_BYTES,
  VERSION_9P2000,
  VERSION_9P2000_U,
} from '../protocol/constants.js';
import { encodePlainRerror, encodeUnixRerror } from '../protocol/error-text.js';
import * as messages from '../protocol/messages.js';
import * as older from '../protocol/messages-9p2000.js';
import type { Handler } from './and-then.js';
import type { Dialect, Operation } from './dialect.js';
import { create } from './operations/create-9p2000.js';
import { readStats } from './operations/directory-9p2000.js';
import { attach, auth, clunk, remove, walk } from './operations/fids.js';
import { read, write } from './operations/files.js';
import { open } from './operations/open-9p2000.js';
import { stat, wstat } from './operations/stat-9p2000.js';

const RQID_BYTES = HEADER_BYTES + QID_BYTES;
const ROPEN_BYTES = RQID_BYTES + 4;

function operation(
  decode: messages.Decoder,
  handle: Handler,
  replyBytes = RERROR_BYTES,
  changes = false,
  dataOffset = 0,
): Operation {
  return { decode, handle, replyBytes, changes, dataOffset };
}

function operationsOf(unix: boolean): (Operation | undefined)[] {
  const operations: (Operation | undefined)[] = [];
  operations[MessageType.Tauth] = operation(unix ? messages.decodeTauth : older.decodePlainTauth, auth);
  operations[MessageType.Tattach] = operation(
    unix ? messages.decodeTattach : older.decodePlainTattach,
    attach,
    RQID_BYTES,
  );
  operations[MessageType.Twalk] = operation(messages.decodeTwalk, walk);
  // Topen, Twrite and Tremove see to read-only exports themselves, as in 9P2000.L.
  operations[MessageType.Topen] = operation(older.decodeTopen, open(unix), ROPEN_BYTES);
  operations[MessageType.Tcreate] = operation(
    unix ? older.decodeUnixTcreate : older.decodePlainTcreate,
    create(unix),
    ROPEN_BYTES,
    true,
  );
  operations[MessageType.Tread] = operation(messages.decodeTread, readOf(unix));
  operations[MessageType.Twrite] = operation(
    messages.decodeTwrite,
    write,
    RERROR_BYTES,
    false,
    TWRITE_HEADER_BYTES,
  );
  operations[MessageType.Tclunk] = operation(messages.decodeFid, clunk);
  operations[MessageType.Tremove] = operation(messages.decodeFid, remove);
  operations[MessageType.Tstat] = operation(messages.decodeFid, stat(unix));
  operations[MessageType.Twstat] = operation(
    unix ? older.decodeUnixTwstat : older.decodePlainTwstat,
    wstat(unix),
  );
  return operations;
}

/** Directories are read as files whose data are the stats of what is in them. */
function readOf(unix: boolean): Handler {
  const readDirectory = readStats(unix);
  return (session, r) =>
    session.isOpenDirectory(r.message.fid) ? readDirectory(session, r) : read(session, r);
}

export const DIALECT_9P2000: Dialect = {
  version: VERSION_9P2000,
  operations: operationsOf(false),
  errorType: MessageType.Rerror,
  encodeError: encodePlainRerror,
};

export const DIALECT_9P2000_U: Dialect = {
  version: VERSION_9P2000_U,
  operations: operationsOf(true),
  errorType: MessageType.Rerror,
  encodeError: encodeUnixRerror,
};
