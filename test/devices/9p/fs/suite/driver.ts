/** What the tests of a file system say in one line each: answers unwrapped, bytes in and out, whole listings. */
import { Errno, isFailure, type Failure } from '../../../../../devices/errno.js';
import { IoVector } from '../../../../../devices/io-vector.js';
import {
  Attributes,
  OpenFlag,
  type AttributeChanges,
  type ByteString,
  type Created,
  type FileSystem,
  type FsNode,
  type MaybePromise,
  type OpenFile,
  type Owner,
} from '../../../../../devices/9p/fs/file-system.js';

/** What file systems may differ in. A test of what one lacks says how it refuses. */
export interface Capabilities {
  /** The unit of times. */
  readonly timeUnitNanoseconds: 1 | 1_000 | 1_000_000;
  /** Names may be any bytes, not only UTF-8; others are EINVAL. */
  readonly rawNames: boolean;
  /** Directories nest without end; otherwise only as deep as a path of 4,095 bytes. */
  readonly deepPaths: boolean;
  /** Files may be larger than 4 GiB, with holes; otherwise EFBIG. */
  readonly largeFiles: boolean;
  /** Files can be given away. */
  readonly chown: boolean;
  /** FIFOs and sockets can be made; otherwise EPERM. */
  readonly specialFiles: boolean;
  /** Device nodes can be made; otherwise EPERM. */
  readonly deviceNodes?: boolean;
  /** A node stays usable, and can be opened, once it has lost its name. Otherwise only open files do. */
  readonly namelessNodes: boolean;
  /** The times of symbolic links cannot be set: EOPNOTSUPP. */
  readonly fixedLinkTimes?: boolean;
  readonly xattrs: boolean;
  readonly locks: boolean;
}

export interface FileSystemUnderTest {
  readonly fs: FileSystem;
  readonly capabilities: Capabilities;
  cleanup(): Promise<void> | void;
}

/** What a part of the suite gets: the file system and root of the test that runs. */
export interface Context {
  readonly capabilities: Capabilities;
  readonly fs: FileSystem;
  readonly root: FsNode;
}

/** Who runs the tests, so that unprivileged runs work. */
export const self: Owner = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };

export async function ok<T>(answer: MaybePromise<T | Failure>): Promise<Exclude<T, Failure>> {
  const value = await answer;
  if (isFailure(value)) throw new Error(`expected success, got ${errnoName(-value)}`);
  return value as Exclude<T, Failure>;
}

/** The count that a call answers. */
export async function count(answer: MaybePromise<number>): Promise<number> {
  const value = await answer;
  if (value < 0) throw new Error(`expected success, got ${errnoName(-value)}`);
  return value;
}

/** The name of the errno that a call fails with, or 'OK'. */
export async function failure(answer: MaybePromise<unknown>): Promise<string> {
  const value = await answer;
  return isFailure(value) ? errnoName(-value) : 'OK';
}

function errnoName(errno: number): string {
  return Object.entries(Errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
}

export function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

/** A text's UTF-8 bytes as a name. */
export function named(value: string): ByteString {
  return Buffer.from(value).toString('latin1');
}

/** The chunks as a vector without native addresses. */
export function vector(...chunks: Uint8Array[]): IoVector {
  const result = new IoVector();
  for (const chunk of chunks) result.push(chunk, 0, chunk.length, 0);
  return result;
}

export async function create(
  directory: FsNode,
  name: ByteString,
  flags: number = OpenFlag.O_RDWR | OpenFlag.O_EXCL,
  mode = 0o644,
): Promise<Created> {
  return ok<Created>(directory.create(name, flags | OpenFlag.O_CREAT, mode, self));
}

/** Makes a file with this content and answers its node. */
export async function put(directory: FsNode, name: ByteString, content: string): Promise<FsNode> {
  const { node, file } = await create(directory, name);
  await write(file, 0, content);
  await file.close();
  return node;
}

export async function write(file: OpenFile, offset: number, content: string): Promise<number> {
  return count(file.write(offset, vector(text(content))));
}

export async function read(file: OpenFile, offset: number, lengthBytes: number): Promise<string> {
  const into = new Uint8Array(lengthBytes);
  const length = await count(file.read(offset, vector(into)));
  return new TextDecoder().decode(into.subarray(0, length));
}

/** The content of a node, opened for that. */
export async function contentOf(node: FsNode): Promise<string> {
  const file = await ok<OpenFile>(node.open(OpenFlag.O_RDONLY));
  const content = await read(file, 0, 65_536);
  await file.close();
  return content;
}

export async function contentAt(directory: FsNode, name: ByteString): Promise<string> {
  const node = await ok<FsNode>(directory.walk(name));
  const content = await contentOf(node);
  node.release();
  return content;
}

export async function mkdir(directory: FsNode, name: ByteString, mode = 0o755): Promise<FsNode> {
  return ok<FsNode>(directory.mkdir(name, mode, self));
}

export async function attributesOf(of: FsNode | OpenFile): Promise<Attributes> {
  const attributes = new Attributes();
  await count(of.getattr(attributes));
  return attributes;
}

export function inodeOf(attributes: Attributes): string {
  return `${attributes.device}:${attributes.inodeHigh}:${attributes.inodeLow}`;
}

const NO_CHANGES: AttributeChanges = {
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

export function changes(valid: number, values: Partial<AttributeChanges>): AttributeChanges {
  return { ...NO_CHANGES, ...values, valid };
}

export interface Entry {
  readonly name: ByteString;
  readonly inodeLow: number;
  readonly inodeHigh: number;
  readonly type: number;
  readonly cookie: number;
}

/** Up to `most` entries from a cookie on. */
export async function entriesFrom(directory: OpenFile, cookie: number, most: number): Promise<Entry[]> {
  const entries: Entry[] = [];
  const sink = {
    entry(name: ByteString, inodeLow: number, inodeHigh: number, type: number, next: number): boolean {
      if (entries.length === most) return false;
      entries.push({ name, inodeLow, inodeHigh, type, cookie: next });
      return true;
    },
  };
  await count(directory.readdir(cookie, sink));
  return entries;
}

/** The whole listing, read as a client does: some entries at a time. `between` runs after each read. */
export async function listing(
  node: FsNode,
  batch = 1000,
  between: (entries: readonly Entry[]) => Promise<void> | void = () => undefined,
): Promise<Entry[]> {
  const directory = await ok<OpenFile>(node.open(OpenFlag.O_RDONLY));
  const all: Entry[] = [];
  for (;;) {
    const entries = await entriesFrom(directory, all.at(-1)?.cookie ?? 0, batch);
    if (entries.length === 0) break;
    all.push(...entries);
    await between(entries);
  }
  await directory.close();
  return all;
}

/** The names in a directory, sorted, without '.' and '..'. */
export async function names(node: FsNode): Promise<ByteString[]> {
  const entries = await listing(node);
  return entries
    .map(({ name }) => name)
    .filter((name) => name !== '.' && name !== '..')
    .sort();
}
