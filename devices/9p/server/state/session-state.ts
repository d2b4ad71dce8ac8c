/**
 * What a 9p server has to tell another one that goes on for it with the same client and the same files: the version and message size agreed
 * on, and each fid. Files are named as their file system names them, from its root: whoever takes over opens them again, finds out that they
 * are the same files, and refuses where they are not.
 *
 *     version[1] dialect[b] msizeBytes[4] fileSystem[b]
 *     n[4] n*PREFIX_FIELDS
 *     n[4] n*(FID_FIELDS n[4] n*(name[b]) lastName[b] nodeDetails[b] fileDetails[b] n[4] n*(LOCK_FIELDS clientId[b])
 *             listing[1]*(LISTING_FIELDS n[4] n*(name[b])) xattr[1]*(XATTR_FIELDS name[b] value[b]))
 *
 * where `[b]` is a length of 4 bytes and the bytes, and a flag of 1 byte says whether what follows it is there. Little-endian. Descriptors
 * travel beside the bytes, and are numbered from 1 on: 0 is none.
 */
import { StateReader } from '../../../state-reader.js';
import { StateWriter, type FieldWidth } from '../../../state-writer.js';
import type { ByteString, HeldLock } from '../../fs/file-system.js';
import type { InodePrefix } from '../../fs/inode-prefixes.js';
import type { XattrValue } from '../fid.js';
import type { ListingState } from '../stat-listing.js';

const VERSION = 2;

/** How a fid's node is found again. */
export const Found = {
  /** By its names. */
  NAMED: 0,
  /** By what its file system keeps: it has lost its last name. */
  KEPT: 1,
  /** Not at all, and its client knows nothing else: it is gone. */
  STALE: 2,
} as const;

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
  /** One of `Found`. */
  found: 1,
  nodeDescriptor: 4,
  fileDescriptor: 4,
} as const satisfies Fields;
const LOCK_FIELDS = {
  type: 1,
  startBytes: 8,
  lengthBytes: 8,
  processId: 4,
  descriptor: 4,
} as const satisfies Fields;
const LISTING_FIELDS = { offset: 8, cookie: 8 } as const satisfies Fields;
const XATTR_FIELDS = { isWrite: 1, flags: 4, writtenBytes: 4 } as const satisfies Fields;

export type FidFields = { -readonly [Name in keyof typeof FID_FIELDS]: number };

export interface FidState extends Readonly<FidFields> {
  /** From the root of the file system; empty for the root, and where there is no node. The last ones where none lead there any more. */
  readonly names: readonly ByteString[];
  /** `Fid.name`. */
  readonly lastName: ByteString;
  /** What the file system keeps of a node without a name, and of an open file. */
  readonly nodeDetails: Uint8Array;
  readonly fileDetails: Uint8Array;
  /** Their descriptors are numbered, too. */
  readonly locks: readonly HeldLock[];
  readonly listing: ListingState | undefined;
  readonly xattr: XattrValue | undefined;
}

export interface SessionState {
  /** '' where no version is agreed on. */
  readonly dialect: string;
  readonly msizeBytes: number;
  /** `FileSystem.saveState` */
  readonly fileSystem: Uint8Array;
  readonly prefixes: readonly InodePrefix[];
  /** Told one after the other, as they are asked for. */
  readonly fids: Iterable<FidState>;
}

/** A session that is read as it is asked for: its fids once, one after the other. */
export interface DecodedSession extends SessionState {
  /** As many as the state says that there are: `fids` are fewer where it ends before. */
  readonly fidCount: number;
  /** What is wrong with the bytes. Asked once all fids were read. */
  problem(): string | undefined;
}

export function encodeSession(state: SessionState): Uint8Array {
  const writer = new StateWriter();
  writer.write(1, VERSION);
  writer.text(state.dialect);
  writer.write(4, state.msizeBytes);
  writer.blob(state.fileSystem);
  writer.list(state.prefixes, (prefix) => writer.record(PREFIX_FIELDS, prefix));
  writer.stream(state.fids, (fid) => writeFid(writer, fid));
  return writer.bytes;
}

/** The state, or what is wrong with its first bytes. What its fields say is still to be checked. */
export function decodeSession(bytes: Uint8Array): DecodedSession | string {
  const reader = new StateReader(bytes);
  const version = reader.read(1);
  if (version !== VERSION)
    return `the state of a 9p server is of version ${version}, and only ${VERSION} is known`;
  const session = {
    dialect: reader.text(),
    msizeBytes: reader.read(4),
    fileSystem: reader.blob(),
    prefixes: reader.list(() => reader.record(PREFIX_FIELDS)),
    fidCount: reader.read(4),
  };
  const problem = (): string | undefined => {
    if (reader.overrun) return 'the state of the 9p server ends before its last field';
    return reader.leftBytes > 0 ? 'the state of the 9p server goes on after its last field' : undefined;
  };
  return reader.overrun
    ? (problem() ?? '')
    : { ...session, fids: readFids(reader, session.fidCount), problem };
}

function* readFids(reader: StateReader, count: number): Generator<FidState> {
  for (let left = count; left > 0; left--) {
    const fid = readFid(reader);
    if (reader.overrun) return;
    yield fid;
  }
}

function writeFid(writer: StateWriter, fid: FidState): void {
  writer.record(FID_FIELDS, fid);
  writer.list(fid.names, (name) => writer.text(name));
  writer.text(fid.lastName);
  writer.blob(fid.nodeDetails);
  writer.blob(fid.fileDetails);
  writer.list(fid.locks, (lock) => {
    writer.record(LOCK_FIELDS, lock);
    writer.text(lock.clientId);
  });
  writeOptional(writer, fid.listing, (listing) => {
    writer.record(LISTING_FIELDS, listing);
    writer.list(listing.names, (name) => writer.text(name));
  });
  writeOptional(writer, fid.xattr, ({ kind, name, flags, value, writtenBytes }) => {
    writer.record(XATTR_FIELDS, { isWrite: kind === 'write' ? 1 : 0, flags, writtenBytes });
    writer.text(name);
    writer.blob(value);
  });
}

function readFid(reader: StateReader): FidState {
  return Object.assign(reader.record(FID_FIELDS), {
    names: reader.list(() => reader.text()),
    lastName: reader.text(),
    nodeDetails: reader.blob(),
    fileDetails: reader.blob(),
    locks: reader.list(() => ({ ...reader.record(LOCK_FIELDS), clientId: reader.text() })),
    listing: readOptional(reader, () => ({
      ...reader.record(LISTING_FIELDS),
      names: reader.list(() => reader.text()),
    })),
    xattr: readOptional(reader, () => readXattr(reader)),
  });
}

function readXattr(reader: StateReader): XattrValue {
  const { isWrite, flags, writtenBytes } = reader.record(XATTR_FIELDS);
  const kind = isWrite !== 0 ? 'write' : 'read';
  return { kind, flags, writtenBytes, name: reader.text(), value: reader.blob() };
}

function writeOptional<Item>(writer: StateWriter, item: Item | undefined, write: (item: Item) => void): void {
  writer.write(1, item === undefined ? 0 : 1);
  if (item !== undefined) write(item);
}

function readOptional<Item>(reader: StateReader, read: () => Item): Item | undefined {
  return reader.read(1) === 0 ? undefined : read();
}
