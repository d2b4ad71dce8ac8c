/**
 * The records that say what a session is, rather than what was done to it.
 *
 *     SESSION  msize[4] dialect[s]
 *     PREFIX   device[8] bits[2] prefix[2]
 *     FID      number[4] state[1] qidType[1] openFlags[4] path[8] uid[4] root[8]
 *              n[2] n*(name[s]) lastName[s] n[4] n*lock xattr
 *     lock     type[1] start[8] length[8] processId[4] clientId[s]
 *     xattr    kind[1], and unless that is 0: flags[4] writtenBytes[4] name[s] length[4] value[length]
 */
import { Errno } from '../../../errno.js';
import type { ByteString, Lock } from '../../fs/file-system.js';
import type { InodePrefix } from '../../fs/inode-prefixes.js';
import { LABEL_MAX_BYTES, NAME_MAX_BYTES, XATTR_SIZE_MAX_BYTES } from '../../protocol/constants.js';
import { MessageReader, type MessageWriter } from '../../protocol/cursor.js';
import type { Fid, XattrValue } from '../fid.js';

/** What a fid is. */
export const FidBit = {
  NODE: 1,
  OPEN: 2,
  /** No name leads to its file. */
  NAMELESS: 4,
} as const;

const XattrKind = { none: 0, read: 1, write: 2 } as const;

export interface JournaledFid {
  readonly number: number;
  /** FidBit bits. */
  readonly state: number;
  readonly qidType: number;
  readonly openFlags: number;
  readonly pathLow: number;
  readonly pathHigh: number;
  readonly uid: number;
  readonly rootLow: number;
  readonly rootHigh: number;
  readonly names: readonly ByteString[];
  readonly lastName: ByteString;
  readonly locks: readonly Lock[];
  readonly xattr: XattrValue | undefined;
}

export function writeSession(w: MessageWriter, msizeBytes: number, dialect: string): void {
  w.u32(msizeBytes);
  w.string(dialect);
}

export function readSession(
  bytes: Uint8Array,
): { readonly msizeBytes: number; readonly dialect: string } | undefined {
  const r = readerOf(bytes);
  const session = { msizeBytes: r.u32(), dialect: r.string(LABEL_MAX_BYTES) };
  return r.errno === 0 ? session : undefined;
}

export function writePrefix(w: MessageWriter, { device, bits, prefix }: InodePrefix): void {
  w.u64(device);
  w.u16(bits);
  w.u16(prefix);
}

export function readPrefix(bytes: Uint8Array): InodePrefix | undefined {
  const r = readerOf(bytes);
  const prefix = { device: r.u64(Errno.EPROTO), bits: r.u16(), prefix: r.u16() };
  return r.errno === 0 ? prefix : undefined;
}

export function writeFid(w: MessageWriter, fid: Fid): void {
  const { node, file, attachment, xattr } = fid;
  const names = node?.names();
  // By those that a nameless file had last, it is known of which mount of a tree it is.
  const told = names ?? node?.lastNames() ?? [];
  w.u32(fid.number);
  w.u8(
    (node === undefined ? 0 : FidBit.NODE) |
      (file === undefined ? 0 : FidBit.OPEN) |
      (names === undefined ? FidBit.NAMELESS : 0),
  );
  w.u8(fid.qidType);
  w.u32(fid.openFlags);
  w.u64Halves(fid.pathLow, fid.pathHigh);
  w.u32(attachment?.uid ?? 0);
  w.u64Halves(attachment?.pathLow ?? 0, attachment?.pathHigh ?? 0);
  w.u16(told.length);
  for (const name of told) w.string(name);
  w.string(fid.name);
  writeLocks(w, file?.locks() ?? []);
  writeXattr(w, xattr);
}

function writeLocks(w: MessageWriter, locks: readonly Lock[]): void {
  w.u32(locks.length);
  for (const { type, startBytes, lengthBytes, processId, clientId } of locks) {
    w.u8(type);
    w.u64(startBytes);
    w.u64(lengthBytes);
    w.u32(processId);
    w.string(clientId);
  }
}

function writeXattr(w: MessageWriter, xattr: XattrValue | undefined): void {
  w.u8(xattr === undefined ? XattrKind.none : XattrKind[xattr.kind]);
  if (xattr === undefined) return;
  w.u32(xattr.flags);
  w.u32(xattr.writtenBytes);
  w.string(xattr.name);
  w.u32(xattr.value.length);
  const at = w.reserve(xattr.value.length);
  if (at >= 0) w.bytes.set(xattr.value, at);
}

/** The fid; undefined where the record is broken. What its fields say is still to be checked. */
export function readFid(bytes: Uint8Array): JournaledFid | undefined {
  const r = readerOf(bytes);
  const fid: JournaledFid = {
    number: r.u32(),
    state: r.u8(),
    qidType: r.u8(),
    openFlags: r.u32(),
    pathLow: r.u32(),
    pathHigh: r.u32(),
    uid: r.u32(),
    rootLow: r.u32(),
    rootHigh: r.u32(),
    names: listOf(r, r.u16(), () => r.string(NAME_MAX_BYTES)),
    lastName: r.string(NAME_MAX_BYTES),
    locks: listOf(r, r.u32(), () => readLock(r)),
    xattr: readXattr(r, bytes),
  };
  return r.errno === 0 && r.left === 0 ? fid : undefined;
}

function readLock(r: MessageReader): Lock {
  return {
    type: r.u8(),
    startBytes: r.u64(Errno.EPROTO),
    lengthBytes: r.u64(Errno.EPROTO),
    processId: r.u32(),
    clientId: r.string(LABEL_MAX_BYTES),
  };
}

function readXattr(r: MessageReader, bytes: Uint8Array): XattrValue | undefined {
  const kind = r.u8();
  if (kind === XattrKind.none) return undefined;
  const fields = { flags: r.u32(), writtenBytes: r.u32(), name: r.string(NAME_MAX_BYTES) };
  const lengthBytes = r.u32();
  if (lengthBytes > XATTR_SIZE_MAX_BYTES || fields.writtenBytes > lengthBytes) r.fail(Errno.EPROTO);
  const start = r.position;
  r.skip(lengthBytes);
  const value = r.errno === 0 ? bytes.slice(start, start + lengthBytes) : new Uint8Array(0);
  return { kind: kind === XattrKind.read ? 'read' : 'write', ...fields, value };
}

/** Stops where the record ends, so that a count costs no more than there are bytes. */
function listOf<Item>(r: MessageReader, count: number, each: () => Item): Item[] {
  const items: Item[] = [];
  for (let left = count; left > 0 && r.errno === 0; left--) items.push(each());
  return items;
}

function readerOf(bytes: Uint8Array): MessageReader {
  const r = new MessageReader(bytes);
  r.reset(0, bytes.length);
  return r;
}
