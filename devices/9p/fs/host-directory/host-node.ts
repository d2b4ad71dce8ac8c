/** A file of the exported directory, of whatever type, as a fid names it. */
import {
  AtFlags,
  closeFd,
  ftruncateOPath,
  linkFd,
  OpenFlags,
  readlinkat,
  renameat2,
  unlinkat,
} from '../../../../host/index.js';
import { Errno, type Failure } from '../../../errno.js';
import {
  FileMode,
  type FsNode,
  OpenFlag,
  type AttributeChanges,
  type Attributes,
  type ByteString,
  type Created,
  type FileSystemStatistics,
  type OpenFile,
  type Owner,
} from '../file-system.js';
import { changeAttributes } from './attribute-changes.js';
import { create, mkdir, mknod, symlink } from './creation.js';
import { getxattr, listxattr, removexattr, setxattr } from './extended-attributes.js';
import { HostFile, hostOpenFlags } from './host-file.js';
import { HostOpenDirectory } from './host-open-directory.js';
import { dropSetId } from './set-id.js';
import { statistics } from './statistics.js';
import { IDENTITY_MASK, TreeNode } from './tree-node.js';

/** Passed itself, not its address: nothing else would keep it alive. */
const emptyPath = new Uint8Array(1);
const LINK_TARGET_BYTES = 4096;
const linkTarget = Buffer.alloc(LINK_TARGET_BYTES);

export class HostNode extends TreeNode<HostNode> {
  protected override get self(): this {
    return this;
  }

  override getattr(out: Attributes): number {
    const fd = this.handle();
    if (fd < 0) return fd;
    const { statx } = this.context;
    const error = statx.load(fd);
    if (error === 0) statx.fill(out);
    return error;
  }

  /**
   * A child that is known already is only looked at, whether it is still there; the descriptor of another one is opened,
   * and its identity taken from that.
   */
  override walk(name: ByteString): HostNode | Failure {
    const { context } = this;
    const dirFd = this.#lookFor(name);
    if (dirFd < 0) return dirFd;
    const known = this.child(name);
    if (known !== undefined) {
      const error = context.statx.loadName(dirFd, context.name.address, IDENTITY_MASK);
      if (error === 0 && known.is(context.statx)) {
        known.retain();
        return known;
      }
      // The host has put another file there, or none.
      known.detach();
      if (error < 0) return error;
    }
    return this.#walkToNew(dirFd, name);
  }

  /** Makes the node of a file whose O_PATH descriptor is `fd` and whose attributes are in `context.statx`; takes `fd` over. */
  adoptOpened(name: ByteString, fd: number): HostNode {
    const node = new HostNode(this.context, this, name);
    this.adopt(node);
    this.context.handles.add(node, fd);
    return node;
  }

  override setattr(changes: AttributeChanges): number {
    const fd = this.handle();
    return fd < 0 ? fd : changeAttributes(this.context, fd, this.type, changes, ftruncateOPath);
  }

  /** Only regular files and directories: the host's FIFOs, sockets and devices are not the guest's (CVE-2023-2861, CVE-2020-35517). */
  override open(flags: number): OpenFile | Failure {
    switch (this.type) {
      case FileMode.S_IFREG:
        return (flags & OpenFlag.O_DIRECTORY) !== 0 ? -Errno.ENOTDIR : this.#openFile(flags);
      case FileMode.S_IFDIR:
        return (flags & (OpenFlag.O_ACCMODE | OpenFlag.O_TRUNC)) !== 0
          ? -Errno.EISDIR
          : this.#openDirectory();
      case FileMode.S_IFLNK:
        return -Errno.ELOOP;
      case FileMode.S_IFCHR:
      case FileMode.S_IFBLK:
        return -Errno.EACCES;
      default:
        return -Errno.ENXIO;
    }
  }

  override create(name: ByteString, flags: number, mode: number, owner: Owner): Created | Failure {
    return create(this.context, this, name, flags, mode, owner);
  }

  override mkdir(name: ByteString, mode: number, owner: Owner): HostNode | Failure {
    return mkdir(this.context, this, name, mode, owner);
  }

  override symlink(name: ByteString, target: ByteString, owner: Owner): HostNode | Failure {
    return symlink(this.context, this, name, target, owner);
  }

  override mknod(name: ByteString, mode: number, rdev: number, owner: Owner): HostNode | Failure {
    return mknod(this.context, this, name, mode, rdev, owner);
  }

  override link(name: ByteString, target: FsNode): number {
    if (!this.#sharesExportWith(target)) return -Errno.EXDEV;
    const pinned = target.pin();
    if (pinned < 0) return pinned;
    const dirFd = this.#lookFor(name);
    const answer = dirFd < 0 ? dirFd : linkFd(target.fd, dirFd, this.context.name.address);
    target.unpin();
    return answer;
  }

  override readlink(): ByteString | Failure {
    if (this.type !== FileMode.S_IFLNK) return -Errno.EINVAL;
    const fd = this.handle();
    if (fd < 0) return fd;
    const length = readlinkat(fd, emptyPath, linkTarget, LINK_TARGET_BYTES);
    return length < 0 ? length : linkTarget.toString('latin1', 0, length);
  }

  /** A node that fids hold gets its descriptor pinned first: without a name there is no other way back to it. */
  override unlink(name: ByteString, directory: boolean): number {
    const held = this.child(name);
    const pinned = held === undefined ? 0 : held.#pinUnlessStale();
    if (pinned < 0) return pinned;
    const dirFd = this.#lookFor(name);
    const flags = directory ? AtFlags.AT_REMOVEDIR : 0;
    const answer = dirFd < 0 ? dirFd : unlinkat(dirFd, this.context.name.address, flags);
    if (answer === 0) held?.detach();
    if (pinned > 0) held?.unpin();
    return answer;
  }

  override rename(name: ByteString, newDirectory: FsNode, newName: ByteString): number {
    if (!this.#sharesExportWith(newDirectory)) return -Errno.EXDEV;
    const pinned = newDirectory.pin();
    if (pinned < 0) return pinned;
    const answer = this.#renameInto(newDirectory, name, newName);
    newDirectory.unpin();
    return answer;
  }

  override remove(): number {
    const directory = this.parentNode;
    if (directory === null) return -Errno.EBUSY;
    const error = this.#checkName(directory);
    return error < 0 ? error : directory.unlink(this.name, this.type === FileMode.S_IFDIR);
  }

  override renameTo(newDirectory: FsNode, newName: ByteString): number {
    const directory = this.parentNode;
    if (directory === null) return -Errno.EBUSY;
    const error = this.#checkName(directory);
    return error < 0 ? error : directory.rename(this.name, newDirectory, newName);
  }

  override statfs(out: FileSystemStatistics): number {
    const fd = this.handle();
    return fd < 0 ? fd : statistics(fd, out);
  }

  override getxattr(name: ByteString): Uint8Array | Failure {
    const fd = this.handle();
    return fd < 0 ? fd : getxattr(this.context, fd, name);
  }

  override listxattr(): Uint8Array | Failure {
    const fd = this.handle();
    return fd < 0 ? fd : listxattr(this.context, fd);
  }

  override setxattr(name: ByteString, value: Uint8Array, flags: number): number {
    const fd = this.handle();
    return fd < 0 ? fd : setxattr(this.context, fd, name, value, flags);
  }

  override removexattr(name: ByteString): number {
    const fd = this.handle();
    return fd < 0 ? fd : removexattr(this.context, fd, name);
  }

  #sharesExportWith(node: FsNode): node is HostNode {
    return node instanceof HostNode && node.context === this.context;
  }

  /** Gets ready for a call on the entry `name`, which goes to `context.name`: this directory's descriptor, or a negative errno. */
  #lookFor(name: ByteString): number {
    if (this.type !== FileMode.S_IFDIR) return -Errno.ENOTDIR;
    const fd = this.handle();
    if (fd < 0) return fd;
    const refused = this.context.name.setName(name);
    return refused < 0 ? refused : fd;
  }

  #walkToNew(dirFd: number, name: ByteString): HostNode | Failure {
    const { context } = this;
    const fd = context.openEntry(dirFd, context.name.address);
    if (fd < 0) return fd;
    const error = context.statx.load(fd, IDENTITY_MASK);
    if (error === 0) return this.adoptOpened(name, fd);
    closeFd(fd);
    return error;
  }

  #openFile(flags: number): OpenFile | Failure {
    const { context } = this;
    const hostFlags = hostOpenFlags(flags);
    if (hostFlags < 0) return hostFlags;
    const fd = this.#reopen(hostFlags);
    if (fd < 0) return fd;
    const error = (flags & OpenFlag.O_TRUNC) === 0 ? 0 : dropSetId(context, fd);
    if (error === 0) return new HostFile(context, fd, flags);
    closeFd(fd);
    return error;
  }

  #openDirectory(): OpenFile | Failure {
    const fd = this.#reopen(OpenFlags.O_RDONLY | OpenFlags.O_DIRECTORY);
    return fd < 0 ? fd : new HostOpenDirectory(this.context, fd, this, this.parentNode === null);
  }

  /** This file, whose type was checked, opened for use; or a negative errno. */
  #reopen(hostFlags: number): number {
    const { context } = this;
    if (context.openFiles >= context.limits.maxOpenFiles) return -Errno.EMFILE;
    const handle = this.handle();
    if (handle < 0) return handle;
    const fd = context.reopen(handle, hostFlags);
    // Only a file's owner may leave its access time alone; the guest's root takes that for granted.
    const retry = fd === -Errno.EPERM && (hostFlags & OpenFlags.O_NOATIME) !== 0;
    return retry ? context.reopen(handle, hostFlags & ~OpenFlags.O_NOATIME) : fd;
  }

  /** 1 where the descriptor is pinned, 0 where there is none to be had any more, or a negative errno. */
  #pinUnlessStale(): number {
    const error = this.pin();
    if (error === -Errno.ESTALE) return 0;
    return error < 0 ? error : 1;
  }

  /** 0 where this node's name in `directory` leads to it still; the host may have changed that. */
  #checkName(directory: HostNode): number {
    if (this.detached) return -Errno.ESTALE;
    const dirFd = directory.#lookFor(this.name);
    if (dirFd < 0) return dirFd;
    const { name, statx } = this.context;
    const error = statx.loadName(dirFd, name.address, IDENTITY_MASK);
    if (error === -Errno.ENOENT) return -Errno.ESTALE;
    if (error < 0) return error;
    return this.is(statx) ? 0 : -Errno.ESTALE;
  }

  /** `to` is pinned. */
  #renameInto(to: HostNode, name: ByteString, newName: ByteString): number {
    const { context } = this;
    const replaced = to.child(newName);
    const pinned = replaced === undefined ? 0 : replaced.#pinUnlessStale();
    if (pinned < 0) return pinned;
    const dirFd = this.#lookFor(name);
    const refused = dirFd < 0 ? dirFd : context.otherName.setName(newName);
    const answer =
      refused < 0 ? refused : renameat2(dirFd, context.name.address, to.fd, context.otherName.address, 0);
    if (answer === 0) this.#noteRename(to, name, newName);
    if (pinned > 0) replaced?.unpin();
    return answer;
  }

  #noteRename(to: HostNode, name: ByteString, newName: ByteString): void {
    const { statx, otherName } = this.context;
    const replaced = to.child(newName);
    if (replaced !== undefined) {
      const error = statx.loadName(to.fd, otherName.address, IDENTITY_MASK);
      // Two names of one file: rename(2) does nothing then.
      if (error === 0 && replaced.is(statx)) return;
      replaced.detach();
    }
    this.child(name)?.moveTo(to, newName);
  }
}
