/** A file whose owner, mode and type are in an extended attribute. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { IoVector } from '../../../io-vector.js';
import {
  Attributes,
  FileMode,
  OpenFlag,
  SetAttr,
  type AttributeChanges,
  type ByteString,
  type Created,
  type FsNode,
  type MaybePromise,
  type OpenFile,
  type Owner,
} from '../file-system.js';
import type { Given } from '../kept.js';
import { SET_ID_BITS, withoutSetId } from '../set-id-bits.js';
import { joinNames, namesIn } from '../xattr-names.js';
import { isAcl } from './acl.js';
import { ForwardingNode } from './forwarding.js';
import { createMapped, makeMapped } from './mapped-creation.js';
import { MappedDirectory, MappedFile } from './mapped-file.js';
import type { MappedContext } from './mapped-fs.js';
import { applyMetadata, isReservedXattr, loadMetadata, storeMetadata, type Metadata } from './metadata.js';

const { P9_ATTR_ATIME, P9_ATTR_ATIME_SET, P9_ATTR_CTIME, P9_ATTR_GID, P9_ATTR_MODE } = SetAttr;
const { P9_ATTR_MTIME, P9_ATTR_MTIME_SET, P9_ATTR_SIZE, P9_ATTR_UID } = SetAttr;
const OWNER = P9_ATTR_UID | P9_ATTR_GID;
const TIMES = P9_ATTR_ATIME | P9_ATTR_ATIME_SET | P9_ATTR_MTIME | P9_ATTR_MTIME_SET | P9_ATTR_CTIME;

const LINK_TARGET_BYTES = 4096;

export class MappedNode extends ForwardingNode {
  readonly context: MappedContext;

  constructor(inner: FsNode, context: MappedContext) {
    super(inner);
    this.context = context;
  }

  protected override wrap(inner: FsNode): MappedNode {
    return new MappedNode(inner, this.context);
  }

  protected override isSibling(node: FsNode): node is MappedNode {
    return node instanceof MappedNode && node.context === this.context;
  }

  override async getattr(out: Attributes): Promise<number> {
    return this.finish(await this.inner.getattr(out), out);
  }

  /** Makes the host's attributes the guest's. */
  async finish(answer: number, out: Attributes): Promise<number> {
    if (answer < 0) return answer;
    const metadata = await loadMetadata(this.inner, out);
    if (isFailure(metadata)) return metadata;
    applyMetadata(metadata, out);
    return answer;
  }

  async attributes(): Promise<Attributes | Failure> {
    const attributes = new Attributes();
    const error = await this.getattr(attributes);
    return error < 0 ? error : attributes;
  }

  /** The host's idea of the file is not the guest's: `out` stays empty, and is asked for. */
  override async walk(name: ByteString): Promise<FsNode | Failure> {
    const refused = await this.#checkDirectory();
    return refused < 0 ? refused : this.wrapped(await this.inner.walk(name));
  }

  async #checkDirectory(): Promise<number> {
    const attributes = await this.attributes();
    if (isFailure(attributes)) return attributes;
    return (attributes.mode & FileMode.S_IFMT) === FileMode.S_IFDIR ? 0 : -Errno.ENOTDIR;
  }

  override setattr(changes: AttributeChanges): Promise<number> {
    return this.change(changes, this.inner);
  }

  /** Changes the file; its size and times through `target`, which may be an open file. */
  change(changes: AttributeChanges, target: FsNode | OpenFile): Promise<number> {
    return this.context.lock.exclusive(async () => {
      const before = await this.attributes();
      if (isFailure(before)) return before;
      const after = metadataOf(before);
      const refused = await this.#changeSize(changes, target, after);
      if (refused < 0) return refused;
      if ((changes.valid & OWNER) !== 0) giveAway(after, changes);
      if ((changes.valid & P9_ATTR_MODE) !== 0) {
        if ((after.mode & FileMode.S_IFMT) === FileMode.S_IFLNK) return -Errno.EOPNOTSUPP;
        after.mode = (after.mode & FileMode.S_IFMT) | (changes.mode & 0o7777);
        if ((after.mode & SET_ID_BITS) !== 0) this.context.setIdEpoch++;
      }
      const times = changes.valid & TIMES;
      const error = times === 0 ? 0 : await target.setattr({ ...changes, valid: times });
      return error < 0 || isSame(after, before) ? error : storeMetadata(this.inner, after);
    });
  }

  async #changeSize(changes: AttributeChanges, target: FsNode | OpenFile, after: Metadata): Promise<number> {
    if ((changes.valid & P9_ATTR_SIZE) === 0) return 0;
    const type = after.mode & FileMode.S_IFMT;
    if (type !== FileMode.S_IFREG) return type === FileMode.S_IFDIR ? -Errno.EISDIR : -Errno.EINVAL;
    after.mode = withoutSetId(after.mode);
    return target.setattr({ ...changes, valid: P9_ATTR_SIZE });
  }

  /** As the kernel does when a file is written. */
  dropSetId(): Promise<number> {
    return this.context.lock.exclusive(async () => {
      const before = await this.attributes();
      if (isFailure(before)) return before;
      const after = metadataOf(before);
      after.mode = withoutSetId(after.mode);
      return isSame(after, before) ? 0 : storeMetadata(this.inner, after);
    });
  }

  override async open(flags: number): Promise<OpenFile | Failure> {
    const attributes = await this.attributes();
    if (isFailure(attributes)) return attributes;
    switch (attributes.mode & FileMode.S_IFMT) {
      case FileMode.S_IFREG:
        return this.#openFile(flags);
      case FileMode.S_IFDIR:
        return this.#openDirectory(flags);
      case FileMode.S_IFLNK:
        return -Errno.ELOOP;
      case FileMode.S_IFCHR:
      case FileMode.S_IFBLK:
        return -Errno.EACCES;
      default:
        return -Errno.ENXIO;
    }
  }

  /** What it is to the guest was asked when it was opened. */
  override async reopen(flags: number, given: Given): Promise<OpenFile | Failure> {
    const attributes = await this.attributes();
    if (isFailure(attributes)) return attributes;
    const file = await this.inner.reopen(flags, given);
    if (isFailure(file)) return file;
    const isDirectory = (attributes.mode & FileMode.S_IFMT) === FileMode.S_IFDIR;
    return isDirectory ? new MappedDirectory(this, file) : new MappedFile(this, file);
  }

  async #openFile(flags: number): Promise<OpenFile | Failure> {
    const file = await this.inner.open(flags);
    if (isFailure(file)) return file;
    const error = (flags & OpenFlag.O_TRUNC) === 0 ? 0 : await this.dropSetId();
    if (error === 0) return new MappedFile(this, file);
    await file.close();
    return error;
  }

  async #openDirectory(flags: number): Promise<OpenFile | Failure> {
    const file = await this.inner.open(flags);
    return isFailure(file) ? file : new MappedDirectory(this, file);
  }

  override create(name: ByteString, flags: number, mode: number, owner: Owner): Promise<Created | Failure> {
    return createMapped(this, name, flags, mode, owner);
  }

  override mkdir(name: ByteString, mode: number, owner: Owner): Promise<FsNode | Failure> {
    return makeMapped(this, name, FileMode.S_IFDIR | (mode & 0o7777), 0, owner);
  }

  override symlink(name: ByteString, target: ByteString, owner: Owner): Promise<FsNode | Failure> {
    return makeMapped(this, name, FileMode.S_IFLNK | 0o777, 0, owner, target);
  }

  override async mknod(
    name: ByteString,
    mode: number,
    rdev: number,
    owner: Owner,
  ): Promise<FsNode | Failure> {
    const type = (mode & FileMode.S_IFMT) === 0 ? FileMode.S_IFREG : mode & FileMode.S_IFMT;
    if (type === FileMode.S_IFDIR || type === FileMode.S_IFLNK) return -Errno.EINVAL;
    const isDevice = type === FileMode.S_IFCHR || type === FileMode.S_IFBLK;
    return makeMapped(this, name, type | (mode & 0o7777), isDevice ? rdev : 0, owner);
  }

  /** The node of something in this directory; takes over `inner`. */
  nodeOf(inner: FsNode): MappedNode {
    return this.wrap(inner);
  }

  override async readlink(): Promise<ByteString | Failure> {
    const host = new Attributes();
    const error = await this.inner.getattr(host);
    if (error < 0) return error;
    const metadata = await loadMetadata(this.inner, host);
    if (isFailure(metadata)) return metadata;
    if (metadata === undefined) return this.inner.readlink();
    return (metadata.mode & FileMode.S_IFMT) === FileMode.S_IFLNK ? readTarget(this.inner) : -Errno.EINVAL;
  }

  /** ACLs would name users of the host. */
  override getxattr(name: ByteString): MaybePromise<Uint8Array | Failure> {
    if (isAcl(name)) return -Errno.EOPNOTSUPP;
    return isReservedXattr(name) ? -Errno.ENODATA : this.inner.getxattr(name);
  }

  override async listxattr(): Promise<Uint8Array | Failure> {
    const list = await this.inner.listxattr();
    return isFailure(list)
      ? list
      : joinNames(namesIn(list).filter((name) => !isReservedXattr(name) && !isAcl(name)));
  }

  override setxattr(name: ByteString, value: Uint8Array, flags: number): MaybePromise<number> {
    if (isAcl(name)) return -Errno.EOPNOTSUPP;
    return isReservedXattr(name) ? -Errno.EPERM : this.inner.setxattr(name, value, flags);
  }

  override removexattr(name: ByteString): MaybePromise<number> {
    if (isAcl(name)) return -Errno.EOPNOTSUPP;
    return isReservedXattr(name) ? -Errno.ENODATA : this.inner.removexattr(name);
  }
}

function metadataOf({ uid, gid, mode, rdev }: Attributes): Metadata {
  return { uid, gid, mode, rdev };
}

function isSame(a: Metadata, b: Metadata): boolean {
  return a.uid === b.uid && a.gid === b.gid && a.mode === b.mode && a.rdev === b.rdev;
}

/** A change of owner takes set-id bits along, whoever asks, but for directories'. */
function giveAway(metadata: Metadata, { valid, uid, gid }: AttributeChanges): void {
  if ((valid & P9_ATTR_UID) !== 0) metadata.uid = uid;
  if ((valid & P9_ATTR_GID) !== 0) metadata.gid = gid;
  if ((metadata.mode & FileMode.S_IFMT) !== FileMode.S_IFDIR) metadata.mode = withoutSetId(metadata.mode);
}

async function readTarget(node: FsNode): Promise<ByteString | Failure> {
  const file = await node.open(OpenFlag.O_RDONLY);
  if (isFailure(file)) return file;
  const bytes = new Uint8Array(LINK_TARGET_BYTES);
  const vector = new IoVector();
  vector.push(bytes, 0, bytes.length, 0);
  const length = await file.read(0, vector);
  await file.close();
  if (length < 0) return length;
  let target = '';
  for (let i = 0; i < length; i++) target += String.fromCharCode(bytes[i]);
  return target;
}
