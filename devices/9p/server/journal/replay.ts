/**
 * What a session was, from its journal: record by record, as the server did it. Nothing is looked at but the journal, whose bytes
 * come from outside.
 */
import type { ByteString } from '../../fs/file-system.js';
import type { InodePrefix } from '../../fs/inode-prefixes.js';
import {
  HEADER_BYTES,
  MessageType,
  P9_NOFID,
  QID_BYTES,
  XATTR_SIZE_MAX_BYTES,
} from '../../protocol/constants.js';
import { MessageReader } from '../../protocol/cursor.js';
import { TMessage } from '../../protocol/messages.js';
import { DIALECT_9P2000_L } from '../dialect-9p2000l.js';
import type { XattrValue } from '../fid.js';
import { checkEntryName } from '../names.js';
import { RecordKind, recordsOf, type JournalRecord } from './record.js';
import { ReplayLocks } from './replay-locks.js';
import { ReplayNode } from './replay-tree.js';
import { readFid, readPrefix, readSession, FidBit, type JournaledFid } from './session-records.js';

const TYPE_OFFSET = 4;
const TAG_OFFSET = 5;
/** Of a qid: type[1] version[4] path[8]. */
const QID_PATH_OFFSET = 5;
const RWALK_HEADER_BYTES = HEADER_BYTES + 2;

/** A fid that a journal tells of. */
export interface ReplayFid {
  readonly number: number;
  /** Undefined for a fid of a value alone. */
  readonly node: ReplayNode | undefined;
  readonly qidType: number;
  readonly pathLow: number;
  readonly pathHigh: number;
  readonly uid: number;
  readonly rootLow: number;
  readonly rootHigh: number;
  readonly lastName: ByteString;
  /** Undefined where it is not open. */
  readonly openFlags: number | undefined;
  readonly xattr: XattrValue | undefined;
}

/** Why a journal is no use. */
export class BrokenJournal extends Error {}

/** The message of a record's request. @throws BrokenJournal */
export function decodeRequest(request: Uint8Array, message: TMessage): void {
  const reader = new MessageReader(request);
  reader.reset(0, request.length);
  message.sizeBytes = reader.u32();
  message.type = reader.u8();
  message.tag = reader.u16();
  if (reader.errno !== 0) throw new BrokenJournal('a request of it has no header');
  const operation = DIALECT_9P2000_L.operations[message.type];
  if (operation === undefined) throw new BrokenJournal(`it has a request of type ${message.type}`);
  operation.decode(reader, message);
  if (reader.errno !== 0) throw new BrokenJournal(`a request of it, of type ${message.type}, is broken`);
}

export class Replay {
  msizeBytes = 0;
  dialect = '';
  /** By their prefix: some are told twice. */
  readonly prefixes = new Map<number, InodePrefix>();
  readonly fids = new Map<number, ReplayFid>();
  readonly root = new ReplayNode();
  readonly locks = new ReplayLocks();
  /** The last thing told of each tag. */
  readonly latest = new Map<number, JournalRecord>();
  readonly #message = new TMessage();

  /** What the journal says; or what is wrong with it. */
  static of(journal: Uint8Array): Replay | string {
    const records = recordsOf(journal);
    if (typeof records === 'string') return records;
    const replay = new Replay();
    try {
      for (const record of records) replay.#apply(record);
      if (replay.msizeBytes === 0) return 'it says nothing of a session';
      return replay;
    } catch (error) {
      if (error instanceof BrokenJournal) return error.message;
      throw error;
    }
  }

  #apply(record: JournalRecord): void {
    switch (record.kind) {
      case RecordKind.SESSION:
        return this.#begin(readSession(record.extra));
      case RecordKind.PREFIX: {
        const prefix = expected(readPrefix(record.extra));
        return void this.prefixes.set(prefix.prefix, prefix);
      }
      case RecordKind.FID:
        // One that was walked to is told of together with the reply.
        if (record.request.length > 0) this.#note(record);
        return this.#setFid(expected(readFid(record.extra)));
      case RecordKind.INTENT:
      case RecordKind.REPLY:
        return this.#note(record);
      case RecordKind.OUTCOME:
        this.#note(record);
        return this.#carryOut(record);
      default:
        throw new BrokenJournal(`it has a record of kind ${record.kind}`);
    }
  }

  #begin(session: ReturnType<typeof readSession>): void {
    const { msizeBytes, dialect } = expected(session);
    if (this.msizeBytes !== 0) throw new BrokenJournal('it begins twice');
    this.msizeBytes = msizeBytes;
    this.dialect = dialect;
  }

  #note(record: JournalRecord): void {
    const { request } = record;
    if (request.length < HEADER_BYTES) throw new BrokenJournal('a request of it has no header');
    this.latest.set(request[TAG_OFFSET] | (request[TAG_OFFSET + 1] << 8), record);
  }

  #setFid(fid: JournaledFid): void {
    const { number, state, qidType, pathLow, pathHigh, uid, rootLow, rootHigh, lastName, xattr } = fid;
    if (number === P9_NOFID) throw new BrokenJournal('it has a fid that is none');
    if (fid.names.some((name) => checkEntryName(name) !== 0))
      throw new BrokenJournal('it has a file with a name that is none');
    const hasNode = (state & FidBit.NODE) !== 0;
    if (!hasNode && xattr === undefined) throw new BrokenJournal('it has a fid of nothing');
    const node = hasNode ? this.#nodeOf(fid) : undefined;
    const openFlags = (state & FidBit.OPEN) === 0 ? undefined : fid.openFlags;
    this.locks.fidGone(number);
    this.fids.set(number, {
      ...{ number, node, qidType, pathLow, pathHigh, uid, rootLow, rootHigh, lastName, openFlags, xattr },
    });
    for (const lock of fid.locks) this.locks.note(number, pathLow, pathHigh, lock);
  }

  #nodeOf({ state, names, pathLow, pathHigh }: JournaledFid): ReplayNode {
    let node = this.root;
    if ((state & FidBit.NAMELESS) !== 0) {
      node = new ReplayNode();
      node.detach();
    }
    for (const name of names) node = node.reach(name);
    node.identify(pathLow, pathHigh);
    return node;
  }

  /** What a request did to the session. */
  #carryOut({ request, reply, extra }: JournalRecord): void {
    const m = this.#message;
    decodeRequest(request, m);
    const failed = reply.length < HEADER_BYTES || reply[TYPE_OFFSET] !== m.type + 1;
    // Whatever is answered, the fid is gone.
    if (m.type === MessageType.Tclunk) return this.#remove(m.fid);
    if (m.type === MessageType.Tremove) {
      if (!failed) this.fids.get(m.fid)?.node?.detach();
      return this.#remove(m.fid);
    }
    if (!failed) this.#succeeded(m, reply, extra);
  }

  #succeeded(m: TMessage, reply: Uint8Array, extra: Uint8Array): void {
    switch (m.type) {
      case MessageType.Tattach:
        return this.#attach(m, reply);
      case MessageType.Twalk:
        return this.#walk(m, reply);
      case MessageType.Tlopen:
        return this.#open(m, reply);
      case MessageType.Tlcreate:
        return this.#create(m, reply);
      case MessageType.Txattrwalk:
        return this.#xattrWalk(m, extra);
      case MessageType.Txattrcreate:
        return this.#xattrCreate(m);
      case MessageType.Twrite:
        return this.#xattrWrite(m, extra);
      case MessageType.Tlock: {
        const { number, pathLow, pathHigh } = this.#fid(m.fid);
        return this.locks.note(number, pathLow, pathHigh, { ...m.lock });
      }
      case MessageType.Tunlinkat:
        return this.#directory(m.dfid).child(m.name)?.detach();
      case MessageType.Trenameat:
        return this.#directory(m.fid).rename(m.name, this.#directory(m.dfid), m.newname);
      case MessageType.Trename: {
        const { parent, name, detached } = this.#directory(m.fid);
        if (!detached) parent?.rename(name, this.#directory(m.dfid), m.name);
      }
    }
  }

  #attach(m: TMessage, reply: Uint8Array): void {
    let node = this.root;
    for (const name of m.aname.split('/')) if (name !== '' && name !== '.') node = node.reach(name);
    const qid = qidAt(reply, HEADER_BYTES);
    node.identify(qid.pathLow, qid.pathHigh);
    this.fids.set(m.fid, {
      ...{ number: m.fid, node, uid: m.nUname, rootLow: qid.pathLow, rootHigh: qid.pathHigh, lastName: '' },
      ...{ ...qid, openFlags: undefined, xattr: undefined },
    });
  }

  #walk(m: TMessage, reply: Uint8Array): void {
    const from = this.#fid(m.fid);
    const found =
      reply.length < RWALK_HEADER_BYTES ? 0 : reply[HEADER_BYTES] | (reply[HEADER_BYTES + 1] << 8);
    if (found !== m.nwname) return;
    let node = this.#directory(m.fid);
    let { qidType, pathLow, pathHigh } = from;
    for (let i = 0; i < found; i++) {
      const name = m.wnames[i];
      const isRoot = pathLow === from.rootLow && pathHigh === from.rootHigh;
      ({ qidType, pathLow, pathHigh } = qidAt(reply, RWALK_HEADER_BYTES + i * QID_BYTES));
      if (name !== '..') node = node.found(name, pathLow, pathHigh);
      else if (!isRoot) node = node.parent ?? node;
    }
    const last = m.wnames[found - 1];
    const lastName = found === 0 ? from.lastName : last === '..' ? '' : last;
    const { uid, rootLow, rootHigh } = from;
    this.fids.set(m.newfid, {
      ...{ number: m.newfid, node, qidType, pathLow, pathHigh, uid, rootLow, rootHigh, lastName },
      ...{ openFlags: undefined, xattr: undefined },
    });
  }

  #open(m: TMessage, reply: Uint8Array): void {
    this.fids.set(m.fid, { ...this.#fid(m.fid), ...qidAt(reply, HEADER_BYTES), openFlags: m.flags });
  }

  #create(m: TMessage, reply: Uint8Array): void {
    const qid = qidAt(reply, HEADER_BYTES);
    const node = this.#directory(m.fid).found(m.name, qid.pathLow, qid.pathHigh);
    this.fids.set(m.fid, {
      ...{ ...this.#fid(m.fid), ...qid },
      ...{ node, lastName: m.name, openFlags: m.flags },
    });
  }

  #xattrWalk(m: TMessage, extra: Uint8Array): void {
    const value = extra.slice();
    const none = { qidType: 0, pathLow: 0, pathHigh: 0, uid: 0, rootLow: 0, rootHigh: 0, lastName: '' };
    this.fids.set(m.newfid, {
      ...{ ...none, number: m.newfid, node: undefined, openFlags: undefined },
      xattr: { kind: 'read', name: m.name, flags: 0, value, writtenBytes: 0 },
    });
  }

  #xattrCreate({ fid, name, flags, attrSizeBytes }: TMessage): void {
    if (attrSizeBytes > XATTR_SIZE_MAX_BYTES)
      throw new BrokenJournal('it has an attribute that is too large');
    const value = new Uint8Array(attrSizeBytes);
    this.fids.set(fid, {
      ...this.#fid(fid),
      xattr: { kind: 'write', name, flags, value, writtenBytes: 0 },
    });
  }

  #xattrWrite({ fid, offset }: TMessage, extra: Uint8Array): void {
    const { xattr } = this.#fid(fid);
    // Data that was appended to a file is in the file.
    if (xattr === undefined) return;
    if (offset + extra.length > xattr.value.length)
      throw new BrokenJournal('it writes to an attribute that has no room for it');
    xattr.value.set(extra, offset);
    xattr.writtenBytes = Math.max(xattr.writtenBytes, offset + extra.length);
  }

  #remove(number: number): void {
    this.fids.delete(number);
    this.locks.fidGone(number);
  }

  #fid(number: number): ReplayFid {
    return expected(this.fids.get(number));
  }

  #directory(number: number): ReplayNode {
    return expected(this.#fid(number).node);
  }
}

function qidAt(reply: Uint8Array, at: number): { qidType: number; pathLow: number; pathHigh: number } {
  if (reply.length < at + QID_BYTES) throw new BrokenJournal('a reply of it is too short');
  const view = new DataView(reply.buffer, reply.byteOffset, reply.byteLength);
  return {
    qidType: reply[at],
    pathLow: view.getUint32(at + QID_PATH_OFFSET, true),
    pathHigh: view.getUint32(at + QID_PATH_OFFSET + 4, true),
  };
}

function expected<T>(value: T | undefined): T {
  if (value === undefined) throw new BrokenJournal('it tells of a fid that is not there');
  return value;
}
