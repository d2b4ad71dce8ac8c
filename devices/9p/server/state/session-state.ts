/**
 * What a 9p server has to tell another one that goes on for it with the same client and the same files: the version and message size agreed
 * on, and each fid. Files are named as their file system names them, from its root: whoever takes over opens them again, finds out that they
 * are the same files, and refuses where they are not.
 *
 *     version[1] dialect[b] msizeBytes[4]
 *     n[4] n*PREFIX_FIELDS
 *     n[4] n*(FID_FIELDS n[4] n*(name[b]) lastName[b] n[4] n*(LOCK_FIELDS clientId[b]) listing[1]*(LISTING_FIELDS n[4] n*(name[b]))
 *             xattr[1]*(XATTR_FIELDS name[b] value[b]))
 *
 * where `[b]` is a length of 4 bytes and the bytes, and a flag of 1 byte says whether what follows it is there. Little-endian.
 */
import { StateReader } from '../../../state-reader.js';
import { StateWriter, type FieldWidth } from '../../../state-writer.js';
import type { ByteString, Lock } from '../../fs/file-system.js';
import type { InodePrefix } from '../../fs/inode-prefixes.js';
import type { XattrValue } from '../fid.js';
import type { ListingState } from '../stat-listing.js';

const VERSION = 1;

type Fields = Readonly<Record<string, FieldWidth>>;
const PREFIX_FIELDS = { device: 8, bits: 2, prefix: 2 } as const satisfies Fields;
const FID_FIELDS = {
  number: 4,
  /** 1 for a fid of a node, 0 for one of a value alone. */
  hasNode: 1,
  isOpen: 1,
  removeOnClunk: 1,
  qidType: 1,
  openFlags: 4,
  pathLow: 4,
  pathHigh: 4,
  uid: 4,
  rootLow: 4,
  rootHigh: 4,
} as const satisfies Fields;
const LOCK_FIELDS = { type: 1, startBytes: 8, lengthBytes: 8, processId: 4 } as const satisfies Fields;
const LISTING_FIELDS = { offset: 8, cookie: 8 } as const satisfies Fields;
const XATTR_FIELDS = { isWrite: 1, flags: 4, writtenBytes: 4 } as const satisfies Fields;

export type FidFields = { -readonly [Name in keyof typeof FID_FIELDS]: number };

export interface FidState extends Readonly<FidFields> {
  /** From the root of the file system; empty for the root, and where there is no node. */
  readonly names: readonly ByteString[];
  /** `Fid.name`. */
  readonly lastName: ByteString;
  readonly locks: readonly Lock[];
  readonly listing: ListingState | undefined;
  readonly xattr: XattrValue | undefined;
}

export interface SessionState {
  /** '' where no version is agreed on. */
  readonly dialect: string;
  readonly msizeBytes: number;
  readonly prefixes: readonly InodePrefix[];
  readonly fids: readonly FidState[];
}

export function encodeSession(state: SessionState): Uint8Array {
  const writer = new StateWriter();
  writer.write(1, VERSION);
  writer.blob(bytesOf(state.dialect));
  writer.write(4, state.msizeBytes);
  writer.list(state.prefixes, (prefix) => writer.record(PREFIX_FIELDS, prefix));
  writer.list(state.fids, (fid) => writeFid(writer, fid));
  return writer.bytes;
}

/** The state, or what is wrong with the bytes. What its fields say is still to be checked. */
export function decodeSession(bytes: Uint8Array): SessionState | string {
  const reader = new StateReader(bytes);
  const version = reader.read(1);
  if (version !== VERSION)
    return `the state of a 9p server is of version ${version}, and only ${VERSION} is known`;
  const state: SessionState = {
    dialect: textOf(reader.blob()),
    msizeBytes: reader.read(4),
    prefixes: reader.list(() => reader.record(PREFIX_FIELDS)),
    fids: reader.list(() => readFid(reader)),
  };
  if (reader.overrun) return 'the state of the 9p server ends before its last field';
  if (reader.leftBytes > 0) return 'the state of the 9p server goes on after its last field';
  return state;
}

function writeFid(writer: StateWriter, fid: FidState): void {
  writer.record(FID_FIELDS, fid);
  writer.list(fid.names, (name) => writer.blob(bytesOf(name)));
  writer.blob(bytesOf(fid.lastName));
  writer.list(fid.locks, (lock) => {
    writer.record(LOCK_FIELDS, lock);
    writer.blob(bytesOf(lock.clientId));
  });
  writeOptional(writer, fid.listing, (listing) => {
    writer.record(LISTING_FIELDS, listing);
    writer.list(listing.names, (name) => writer.blob(bytesOf(name)));
  });
  writeOptional(writer, fid.xattr, ({ kind, name, flags, value, writtenBytes }) => {
    writer.record(XATTR_FIELDS, { isWrite: kind === 'write' ? 1 : 0, flags, writtenBytes });
    writer.blob(bytesOf(name));
    writer.blob(value);
  });
}

function readFid(reader: StateReader): FidState {
  return {
    ...reader.record(FID_FIELDS),
    names: reader.list(() => textOf(reader.blob())),
    lastName: textOf(reader.blob()),
    locks: reader.list(() => ({ ...reader.record(LOCK_FIELDS), clientId: textOf(reader.blob()) })),
    listing: readOptional(reader, () => ({
      ...reader.record(LISTING_FIELDS),
      names: reader.list(() => textOf(reader.blob())),
    })),
    xattr: readOptional(reader, () => readXattr(reader)),
  };
}

function readXattr(reader: StateReader): XattrValue {
  const { isWrite, flags, writtenBytes } = reader.record(XATTR_FIELDS);
  const kind = isWrite !== 0 ? 'write' : 'read';
  return { kind, flags, writtenBytes, name: textOf(reader.blob()), value: reader.blob() };
}

function writeOptional<Item>(writer: StateWriter, item: Item | undefined, write: (item: Item) => void): void {
  writer.write(1, item === undefined ? 0 : 1);
  if (item !== undefined) write(item);
}

function readOptional<Item>(reader: StateReader, read: () => Item): Item | undefined {
  return reader.read(1) === 0 ? undefined : read();
}

function bytesOf(text: ByteString): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function textOf(bytes: Uint8Array): ByteString {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
}
