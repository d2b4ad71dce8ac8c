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
import { NOTHING_KEPT, type Given, type Kept } from '../kept.js';
import { changeAttributes } from './attribute-changes.js';
import type { WatchedDirectory } from './change-watch.js';
import { create, mkdir, mknod, symlink } from './creation.js';
import { getxattr, listxattr, removexattr, setxattr } from './extended-attributes.js';
import { HostFile, hostOpenFlags } from './host-file.js';
import { HostOpenDirectory } from './host-open-directory.js';
import { regainNode, reopenDirectory, takeOpenFile } from './regained.js';
import { dropSetId } from './set-id.js';
import { statistics } from './statistics.js';
import { IDENTITY_MASK, isAbsence, TreeNode } from './tree-node.js';

/** Passed itself, not its address: nothing else would keep it alive. */
const emptyPath = new Uint8Array(1);
const LINK_TARGET_BYTES = 4096;
const linkTarget = Buffer.alloc(LINK_TARGET_BYTES);

export class HostNode extends TreeNode<HostNode> {
  /** Where its changes on the host are watched. The watch's to change. */
  watched: WatchedDirectory | null = null;

  protected override get self(): this {
    return this;
  }

  /**
   * By descriptor where there is one, and else by name, which costs no descriptor. ENOENT where the name leads elsewhere by now: it
   * makes the guest's kernel forget the name and look again, as ESTALE does not.
   */
  override getattr(out: Attributes): number {
    const { statx } = this.context;
    const fd = this.openHandle();
    const error = fd < 0 ? this.#lookByName() : statx.load(fd);
    if (error === 0) statx.fill(out);
    return error === -Errno.ESTALE ? -Errno.ENOENT : error;
  }

  /** One look at the name, which tells all there is to know: nothing is opened before it is used. */
  override walk(name: ByteString, out?: Attributes): HostNode | Failure {
    const { statx, name: buffer } = this.context;
    const dirFd = this.#lookFor(name);
    if (dirFd < 0) return dirFd;
    this.context.watch?.used(this, dirFd);
    const error = statx.loadName(dirFd, buffer.address);
    const known = this.child(name);
    // The host has put another file there, or none.
    if (known !== undefined && (error === 0 ? !known.is(statx) : isAbsence(error))) known.detach();
    if (error < 0) return error;
    const node = this.child(name) ?? this.adoptFound(name);
    if (node === known) known.retain();
    if (out !== undefined) statx.report(out);
    return node;
  }

  /** Makes the node of a file in this directory whose attributes are in `context.statx`. */
  adoptFound(name: ByteString): HostNode {
    const node = new HostNode(this.context, this, name);
    this.adopt(node);
    return node;
  }

  /** The same, of which `fd` is an O_PATH descriptor; takes `fd` over. */
  adoptOpened(name: ByteString, fd: number): HostNode {
    const node = this.adoptFound(name);
    this.context.handles.add(node, fd);
    return node;
  }

  /** The same of a file that has lost its name, which was `name`. */
  adoptRegained(name: ByteString, fd: number): HostNode {
    const node = new HostNode(this.context, this, name);
    this.context.handles.add(node, fd);
    this.adoptNameless(node);
    return node;
  }

  override keep(): Kept | Failure {
    const fd = this.handle();
    return fd < 0 ? fd : { ...NOTHING_KEPT, descriptor: fd };
  }

  override regain(name: ByteString, given: Given): HostNode | Failure {
    return this.type === FileMode.S_IFDIR ? regainNode(this.context, this, name, given) : -Errno.ENOTDIR;
  }

  override reopen(flags: number, given: Given): OpenFile | Failure {
    if (this.type === FileMode.S_IFDIR) return reopenDirectory(this.context, this, given);
    return takeOpenFile(this.context, this, flags, given) ?? this.open(flags);
  }

  override setattr(changes: AttributeChanges): number {
    const fd = this.handle();
    const answer = fd < 0 ? fd : changeAttributes(this.context, fd, this.type, changes, ftruncateOPath);
    this.noteChange();
    return answer;
  }

  /** Only regular files and directories: the host's FIFOs, sockets and devices are not the guest's (CVE-2023-2861, CVE-2020-35517). */
  override open(flags: number, out?: Attributes): OpenFile | Failure {
    switch (this.type) {
      case FileMode.S_IFREG:
        return (flags & OpenFlag.O_DIRECTORY) !== 0 ? -Errno.ENOTDIR : this.#openFile(flags, out);
      case FileMode.S_IFDIR:
        return (flags & (OpenFlag.O_ACCMODE | OpenFlag.O_TRUNC)) !== 0
          ? -Errno.EISDIR
          : this.#openDirectory(out);
      case FileMode.S_IFLNK:
        return -Errno.ELOOP;
      case FileMode.S_IFCHR:
      case FileMode.S_IFBLK:
        return -Errno.EACCES;
      default:
        return -Errno.ENXIO;
    }
  }

  override create(
    name: ByteString,
    flags: number,
    mode: number,
    owner: Owner,
    out?: Attributes,
  ): Created | Failure {
    return this.#entryChanged(name, create(this.context, this, name, flags, mode, owner, out));
  }

  override mkdir(name: ByteString, mode: number, owner: Owner, out?: Attributes): HostNode | Failure {
    return this.#entryChanged(name, mkdir(this.context, this, name, mode, owner, out));
  }

  override symlink(name: ByteString, target: ByteString, owner: Owner, out?: Attributes): HostNode | Failure {
    return this.#entryChanged(name, symlink(this.context, this, name, target, owner, out));
  }

  override mknod(
    name: ByteString,
    mode: number,
    rdev: number,
    owner: Owner,
    out?: Attributes,
  ): HostNode | Failure {
    return this.#entryChanged(name, mknod(this.context, this, name, mode, rdev, owner, out));
  }

  override link(name: ByteString, target: FsNode): number {
    if (!this.#sharesExportWith(target)) return -Errno.EXDEV;
    const pinned = target.pin();
    if (pinned < 0) return pinned;
    const dirFd = this.#lookFor(name);
    const answer = dirFd < 0 ? dirFd : linkFd(target.handle(), dirFd, this.context.name.address);
    target.unpin();
    return this.#entryChanged(name, answer);
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
    return this.#entryChanged(name, answer);
  }

  override rename(name: ByteString, newDirectory: FsNode, newName: ByteString): number {
    if (!this.#sharesExportWith(newDirectory)) return -Errno.EXDEV;
    const pinned = newDirectory.pin();
    if (pinned < 0) return pinned;
    const answer = this.#renameInto(newDirectory, name, newName);
    newDirectory.unpin();
    newDirectory.#entryChanged(newName, answer);
    return this.#entryChanged(name, answer);
  }

  override remove(): number {
    const directory = this.parentNode;
    if (directory === null) return -Errno.EBUSY;
    const error = this.#lookByName();
    return error < 0 ? error : directory.unlink(this.name, this.type === FileMode.S_IFDIR);
  }

  override renameTo(newDirectory: FsNode, newName: ByteString): number {
    const directory = this.parentNode;
    if (directory === null) return -Errno.EBUSY;
    const error = this.#lookByName();
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
    return fd < 0 ? fd : listxattr(fd);
  }

  override setxattr(name: ByteString, value: Uint8Array, flags: number): number {
    const fd = this.handle();
    const answer = fd < 0 ? fd : setxattr(this.context, fd, name, value, flags);
    this.noteChange();
    return answer;
  }

  override removexattr(name: ByteString): number {
    const fd = this.handle();
    const answer = fd < 0 ? fd : removexattr(this.context, fd, name);
    this.noteChange();
    return answer;
  }

  /** The guest has changed this file: whoever watches need not tell it. */
  noteChange(): void {
    const directory = this.parentNode;
    if (!this.detached && directory !== null && directory.watched !== null)
      this.context.watch?.changedByGuest(directory, this.name, this);
  }

  /** The same of an entry of this directory, where `answer` is what became of it. */
  #entryChanged<T>(name: ByteString, answer: T): T {
    if (this.watched !== null) this.context.watch?.changedByGuest(this, name);
    return answer;
  }

  protected override onDetach(): void {
    super.onDetach();
    if (this.watched !== null) this.context.watch?.forget(this.watched);
  }

  #sharesExportWith(node: FsNode): node is HostNode {
    return node instanceof HostNode && node.context === this.context;
  }

  /** Gets ready for a call on the entry `name`, which goes to `context.name`: this directory's descriptor, or a negative errno. */
  #lookFor(name: ByteString): number {
    if (this.type !== FileMode.S_IFDIR) return -Errno.ENOTDIR;
    const refused = this.context.name.setName(name);
    return refused < 0 ? refused : this.handle();
  }

  /** Fills `context.statx` through this node's name in its directory. -ESTALE where that does not lead here any more. */
  #lookByName(): number {
    const directory = this.parentNode;
    if (directory === null || this.detached) return -Errno.ESTALE;
    const dirFd = directory.#lookFor(this.name);
    if (dirFd < 0) return dirFd;
    const { name, statx } = this.context;
    const error = statx.loadName(dirFd, name.address);
    if (error < 0) return isAbsence(error) ? -Errno.ESTALE : error;
    return this.is(statx) ? 0 : -Errno.ESTALE;
  }

  #openFile(flags: number, out: Attributes | undefined): OpenFile | Failure {
    const { context } = this;
    const hostFlags = hostOpenFlags(flags);
    if (hostFlags < 0) return hostFlags;
    const truncates = (flags & OpenFlag.O_TRUNC) !== 0;
    const handle = this.#handleForOpening(truncates ? undefined : out);
    const fd = handle < 0 ? handle : this.#reopen(handle, hostFlags);
    if (fd < 0) return fd;
    const error = truncates ? dropSetId(context, fd) : 0;
    if (error < 0) {
      closeFd(fd);
      return error;
    }
    if (truncates) this.noteChange();
    return new HostFile(context, fd, this, flags);
  }

  #openDirectory(out: Attributes | undefined): OpenFile | Failure {
    const handle = this.#handleForOpening(out);
    const fd = handle < 0 ? handle : this.context.openListing(handle);
    if (fd >= 0) this.context.watch?.used(this, fd);
    return fd < 0 ? fd : new HostOpenDirectory(this.context, fd, this, this.parentNode === null);
  }

  /** A descriptor to open this file by. Where it had to be opened itself, its attributes were looked at, and are in `out`. */
  #handleForOpening(out: Attributes | undefined): number {
    const { context } = this;
    if (context.openFiles >= context.limits.maxOpenFiles) return -Errno.EMFILE;
    const there = this.openHandle();
    if (there >= 0) return there;
    const handle = this.handle();
    if (handle >= 0 && out !== undefined) context.statx.report(out);
    return handle;
  }

  /** This file, whose type was checked, opened for use; or a negative errno. */
  #reopen(handle: number, hostFlags: number): number {
    const { context } = this;
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

  /** `to` is pinned. */
  #renameInto(to: HostNode, name: ByteString, newName: ByteString): number {
    const { context } = this;
    const replaced = to.child(newName);
    const pinned = replaced === undefined ? 0 : replaced.#pinUnlessStale();
    if (pinned < 0) return pinned;
    const dirFd = this.#lookFor(name);
    const refused = dirFd < 0 ? dirFd : context.otherName.setName(newName);
    const answer =
      refused < 0
        ? refused
        : renameat2(dirFd, context.name.address, to.handle(), context.otherName.address, 0);
    if (answer === 0) this.#noteRename(to, name, newName);
    if (pinned > 0) replaced?.unpin();
    return answer;
  }

  #noteRename(to: HostNode, name: ByteString, newName: ByteString): void {
    const { statx, otherName } = this.context;
    const replaced = to.child(newName);
    if (replaced !== undefined) {
      const error = statx.loadName(to.handle(), otherName.address, IDENTITY_MASK);
      // Two names of one file: rename(2) does nothing then.
      if (error === 0 && replaced.is(statx)) return;
      replaced.detach();
    }
    this.child(name)?.moveTo(to, newName);
  }
}
